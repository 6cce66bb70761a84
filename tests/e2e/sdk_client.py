"""The published Python SDK as a client in a process of its own, unmodified.

    python sdk_client.py URL talk     a new session, a prompt, a prompt that is cancelled
    python sdk_client.py URL load ID  the session again, with its history
    python sdk_client.py URL files    a prompt with files of all kinds, while another one watches
    python sdk_client.py URL album N  N prompts at once, with an image each
    python sdk_client.py URL link U C a prompt with a link to U, where the agent works in C

In place of the URL, a command in JSON is started and spoken to over its pipes.

Prints what it saw as JSON.
"""

import asyncio  # noqa: TID251 - the SDK's, not ours
import base64
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
        self.blocks: list[dict[str, Any]] = []
        self.spoke = asyncio.Event()

    @property
    def answer(self) -> str:
        return "".join(text for kind, text in self.said if kind == "agent_message_chunk")

    async def session_update(self, session_id: str, update: Any, **meta: Any) -> None:
        if update.session_update == "user_message_chunk":
            self.blocks.append(update.content.model_dump(by_alias=True, exclude_none=True))
        if update.session_update in ("agent_message_chunk", "user_message_chunk"):
            if update.content.type != "text":
                return
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


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def files(connection: ClientSideConnection, terminal: Terminal, where: str) -> dict[str, Any]:
    session = await connection.new_session(cwd="/", mcp_servers=[])
    session_id = session.session_id
    watcher, reader = Terminal(), Terminal()
    async with connected(where, watcher) as other:
        greeting = await other.initialize(protocol_version=acp.PROTOCOL_VERSION)
        await other.resume_session(session_id=session_id, cwd="/")
        prompt: list[Any] = [
            acp.text_block("look"),
            acp.image_block(encoded(b"image"), "image/png", uri="file:///home/me/cat.png"),
            acp.audio_block(encoded(b"sound"), "audio/wav"),
            acp.resource_block(acp.embedded_text_resource("file:///notes.md", "# Notes")),
            acp.resource_block(
                acp.embedded_blob_resource(
                    "file:///home/me/a%20b.pdf", encoded(b"paper"), mime_type="application/pdf"
                )
            ),
            acp.resource_link_block("page", "https://example.org/page"),
        ]
        answer = await connection.prompt(session_id=session_id, prompt=prompt)
        said = terminal.answer
        # It watches in order: once this is answered, it has seen all of it.
        await other.prompt(session_id=session_id, prompt=[acp.text_block("seen")])
    async with connected(where, reader) as third:
        await third.initialize(protocol_version=acp.PROTOCOL_VERSION)
        await third.load_session(session_id=session_id, cwd="/", mcp_servers=[])
    can: Any = greeting.agent_capabilities and greeting.agent_capabilities.prompt_capabilities
    return {
        "session": session_id,
        "can": [can.image, can.audio, can.embedded_context],
        "stop_reason": answer.stop_reason,
        "answer": said,
        "watched": watcher.blocks,
        "loaded": reader.blocks,
    }


async def album(connection: ClientSideConnection, terminal: Terminal, count: str) -> dict[str, Any]:
    session = await connection.new_session(cwd="/", mcp_servers=[])
    prompts = [
        connection.prompt(
            session_id=session.session_id,
            prompt=[
                acp.text_block(f"picture {number}"),
                acp.image_block(encoded(b"image %d" % number), "image/png", uri=f"{number}.png"),
            ],
        )
        for number in range(int(count))
    ]
    answers = await asyncio.gather(*prompts)
    return {
        "session": session.session_id,
        "stop_reasons": [answer.stop_reason for answer in answers],
        "turns": [(answer.field_meta or {})["runtime"]["turnId"] for answer in answers],
        "answer": terminal.answer,
    }


async def link(
    connection: ClientSideConnection, terminal: Terminal, uri: str, cwd: str
) -> dict[str, Any]:
    session = await connection.new_session(cwd=cwd, mcp_servers=[])
    await connection.prompt(
        session_id=session.session_id, prompt=[acp.resource_link_block("it", uri)]
    )
    return {"session": session.session_id, "answer": terminal.answer}


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
        match what:
            case "talk":
                work = talk(connection, terminal)
            case "files":
                work = files(connection, terminal, where)
            case "album":
                work = album(connection, terminal, *arguments)
            case "link":
                work = link(connection, terminal, *arguments)
            case _:
                work = load(connection, terminal, *arguments)
        print(json.dumps(await asyncio.wait_for(work, LIMIT)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
