"""SIGTERM at any moment: a clean exit within the grace, clients told, nothing lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed

from runtime.protocol.extensions import UNAVAILABLE
from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import QUICK, SLOW, House, client_of, close_code, until
from tests.gateway.client import said

SENDERS = 4
BURST = 40


async def stopped(process: RuntimeProcess, house: House) -> None:
    assert await process.ended() == 0
    assert "Traceback" not in house.log, house.log
    assert not (house.data_dir / "endpoint.json").exists()


# G9 S45
async def test_while_nothing_happens(house: House) -> None:
    process = await house.serve()
    async with client_of(process) as one, client_of(process) as two:
        await two.new_session()
        process.tell_to_stop()
        assert [await close_code(one), await close_code(two)] == [1001, 1001]
    await stopped(process, house)


# G9 S45 T2
async def test_a_turn_may_finish_within_the_grace(house: House) -> None:
    process = await house.serve("[agents.echo]\nkind = 'echo'\npace = '300ms'\n")
    async with client_of(process) as client:
        session_id = await client.new_session()
        prompt = await client.request("session/prompt", said(session_id, "one two three"))
        await client.until("session/update", sessionUpdate="agent_message_chunk")
        process.tell_to_stop()
        assert (await client.answer(prompt))["result"]["stopReason"] == "end_turn"
        assert client.text().startswith("one two three")
        assert await close_code(client) == 1001
    await stopped(process, house)


# G3 G9 S45 T5
async def test_a_turn_longer_than_the_grace_runs_again_after_the_start(house: House) -> None:
    process = await house.serve(f"{SLOW}[sessions]\nshutdown_grace = '200ms'\n")
    async with client_of(process) as client:
        session_id = await client.new_session()
        words = said(session_id, "one two", messageId="once")
        prompt = await client.request("session/prompt", words)
        await client.until("session/update", sessionUpdate="agent_message_chunk")
        process.tell_to_stop()
        error = (await client.answer(prompt))["error"]
        assert (error["code"], error["data"]["accepted"]) == (UNAVAILABLE, True)
        assert await close_code(client) == 1001
    await stopped(process, house)
    process = await house.serve(QUICK)
    async with client_of(process) as client:
        answer = await client.call("session/prompt", words)
        assert answer["stopReason"] == "end_turn"
        mark = answer["_meta"]["runtime"]
        assert (mark["duplicate"], mark["messageId"]) == (True, error["data"]["messageId"])


# D5 G4 G9 S45
async def test_in_a_burst_of_messages(house: House) -> None:
    process = await house.serve("[queue]\ncap = 1000\n")
    accepted: dict[str, str] = {}
    many = trio.Event()

    async def send(number: int) -> None:
        async with client_of(process) as client:
            session_id = await client.new_session(key=f"burst-{number}")
            for serial in range(10 * BURST):
                name = f"{number}-{serial}"
                try:
                    answer = await client.answer(
                        await client.request(
                            "_runtime/session/send", said(session_id, name, messageId=name)
                        )
                    )
                except ConnectionClosed:
                    return
                if "result" in answer:
                    accepted[name] = answer["result"]["messageId"]
                    if len(accepted) >= BURST:
                        many.set()
                else:
                    assert answer["error"]["code"] == UNAVAILABLE

    async with trio.open_nursery() as nursery:
        for number in range(SENDERS):
            nursery.start_soon(send, number)
        await many.wait()
        process.tell_to_stop()
    await stopped(process, house)
    process = await house.serve()
    async with client_of(process) as client:
        for number in range(SENDERS):
            session_id = await client.new_session(key=f"burst-{number}")
            for name in [name for name in accepted if name.startswith(f"{number}-")]:
                words = said(session_id, name, messageId=name)
                answer = await client.call("session/prompt", words)
                assert answer["stopReason"] == "end_turn"
                mark = answer["_meta"]["runtime"]
                assert (mark["messageId"], mark["duplicate"]) == (accepted[name], True)


def at_once(data_dir: Path) -> bool:
    return True


def locked(data_dir: Path) -> bool:
    return (data_dir / "lock").exists()


def with_database(data_dir: Path) -> bool:
    return (data_dir / "runtime.db").exists()


def published(data_dir: Path) -> bool:
    return (data_dir / "endpoint.json").exists()


# G9 S45
@pytest.mark.parametrize("moment", [at_once, locked, with_database, published])
async def test_while_it_starts(house: House, moment: Callable[[Path], bool]) -> None:
    process = await house.begin()
    await until(lambda: moment(house.data_dir))
    code = await process.stop()
    # Before the interpreter has read our code, the signal ends the process as it ends any other.
    assert code == 0 or (moment is at_once and code == -signal.SIGTERM)
    assert "Traceback" not in house.log, house.log
    assert not published(house.data_dir)
    process = await house.serve()
    assert await process.stop() == 0
