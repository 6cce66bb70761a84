"""The published Python SDK in a process of its own: prompt after prompt, until its input ends.

    python sdk_witness.py URL

Prints a line when the first prompt is answered, and at the end how many were, as JSON. Anything
that goes wrong is a traceback and an exit code.
"""

import asyncio  # noqa: TID251 - the SDK's, not ours
import sys
from typing import Any

import acp
from acp.ws import create_websocket_stream

LIMIT = 60.0


class Terminal:
    """Keeps what the agent said since it was asked."""

    def __init__(self) -> None:
        self.said = ""

    async def session_update(self, session_id: str, update: Any, **meta: Any) -> None:
        assert update.session_update == "agent_message_chunk", update
        self.said += update.content.text


async def main(url: str) -> None:
    terminal = Terminal()
    listener: Any = terminal
    connection = acp.connect_to_agent(listener, await create_websocket_stream(url))
    await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
    session = await connection.new_session(cwd="/", mcp_servers=[])
    end = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    answered = 0
    while not end.done() or answered == 0:
        text = f"prompt {answered}"
        terminal.said = ""
        prompt = connection.prompt(session_id=session.session_id, prompt=[acp.text_block(text)])
        answer = await asyncio.wait_for(prompt, LIMIT)
        assert answer.stop_reason == "end_turn", answer
        assert terminal.said.strip() == text, terminal.said
        answered += 1
        if answered == 1:
            print("here", flush=True)
    await connection.close()
    print(answered, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
