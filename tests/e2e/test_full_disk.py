"""The disk becomes full while the runtime works: it says so, loses nothing, and goes on."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import h11
import trio

from runtime.protocol.extensions import UNAVAILABLE
from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import LIMIT, LOOK_EVERY, QUICK, House, client_of, small_disk
from tests.gateway.client import AcpClient, said

LONG = "word " * 2_000


async def get(process: RuntimeProcess, path: str) -> tuple[int, bytes]:
    """Ask for a page."""
    place = urlsplit(process.url)
    assert place.hostname is not None
    assert place.port is not None
    stream = await trio.open_tcp_stream(place.hostname, place.port)
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target=path, headers=[("Host", place.netloc)])
    async with stream:
        await stream.send_all(connection.send(request) or b"")
        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
        status, body = 0, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return status, body


async def ready(process: RuntimeProcess, status: int) -> bytes:
    """Wait until the page that says whether it is ready has this status."""
    with trio.fail_after(LIMIT):
        while True:
            found, body = await get(process, "/readyz")
            if found == status:
                return body
            await trio.sleep(LOOK_EVERY)


async def send(client: AcpClient, session_id: str, name: str) -> dict[str, object]:
    words = said(session_id, f"{name} {LONG}", messageId=name)
    return await client.answer(await client.request("_runtime/session/send", words))


# D1 G3 G7
async def test_a_disk_that_becomes_full_and_free_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk:
        house = House(disk.root / "data", tmp_path, [])
        process = await house.serve(f"{QUICK}[queue]\ncap = 10000\n")
        try:
            async with client_of(process) as client:
                session_id = await client.new_session(key="full")
                accepted: list[str] = []
                assert (await get(process, "/readyz"))[0] == 200
                disk.fill()
                # What SQLite has set aside in its files takes a few messages more.
                with trio.fail_after(LIMIT):
                    while True:
                        name = f"m{len(accepted)}"
                        answer = await send(client, session_id, name)
                        if "error" in answer:
                            break
                        accepted.append(name)
                error = await client.error("session/prompt", said(session_id, LONG))
                assert error["code"] == UNAVAILABLE
                assert "No space is left" in error["message"]
                assert "accepted" not in error["data"]
                (problem,) = json.loads(await ready(process, 503))["problems"]
                assert "No space is left" in problem
                assert (await get(process, "/healthz"))[0] == 200
                assert await client.call("session/list")
                disk.free()
                await ready(process, 200)
                for name in [*accepted, "afterwards"]:
                    words = said(session_id, f"{name} {LONG}", messageId=name)
                    answer = await client.call("session/prompt", words)
                    assert answer["stopReason"] == "end_turn"
                    assert answer["_meta"]["runtime"].get("duplicate", False) == (name in accepted)
            assert await process.stop() == 0
            assert "Traceback" not in house.log, house.log
        finally:
            process.end()
            await process.ended()
