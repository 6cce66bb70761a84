"""The published Python SDK as a client in a process of its own, unmodified.

    python sdk_client.py URL talk     a new session, a prompt, a prompt that is cancelled
    python sdk_client.py URL load ID  the session again, with its history

In place of the URL, a command in JSON is started and spoken to over its pipes.

Prints what it saw as JSON.
"""

import asyncio  # noqa: TID251 - the SDK's, not ours
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import acp
from acp.client.connection import ClientSideConnection
from acp.ws import create_websocket_stream

LIMIT = 60.0


class Terminal:
    """Collects what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.spoke = asyncio.Event()

    async def session_update(self, session_id: str, update: Any, **meta: Any) -> None:
        if update.session_update in ("agent_message_chunk", "user_message_chunk"):
            self.said.append((update.session_update, update.content.text))
            self.spoke.set()


async def talk(connection: ClientSideConnection, terminal: Terminal) -> dict[str, Any]:
    session = await connection.new_session(cwd="/", mcp_servers=[])
    first = await connection.prompt(
        session_id=session.session_id, prompt=[acp.text_block("hello there")]
    )
    pieces = [text for kind, text in terminal.said if kind == "agent_message_chunk"]
    terminal.spoke.clear()
    long = connection.prompt(
        session_id=session.session_id, prompt=[acp.text_block("word " * 1_000)]
    )
    second = asyncio.create_task(long)
    await terminal.spoke.wait()
    await connection.cancel(session_id=session.session_id)
    stopped = await second
    return {
        "session": session.session_id,
        "pieces": pieces,
        "stop_reasons": [first.stop_reason, stopped.stop_reason],
    }


async def load(
    connection: ClientSideConnection, terminal: Terminal, session_id: str
) -> dict[str, Any]:
    await connection.load_session(session_id=session_id, cwd="/", mcp_servers=[])
    return {"said": terminal.said}


@asynccontextmanager
async def connected(where: str, listener: Any) -> AsyncIterator[ClientSideConnection]:
    if where.startswith("["):
        command, *arguments = json.loads(where)
        environment = dict(os.environ)
        async with acp.spawn_agent_process(listener, command, *arguments, env=environment) as both:
            yield both[0]
        return
    connection = acp.connect_to_agent(listener, await create_websocket_stream(where))
    yield connection
    await connection.close()


async def main(where: str, what: str, *arguments: str) -> None:
    terminal = Terminal()
    async with connected(where, terminal) as connection:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        if what == "talk":
            work = talk(connection, terminal)
        else:
            work = load(connection, terminal, *arguments)
        print(json.dumps(await asyncio.wait_for(work, LIMIT)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
