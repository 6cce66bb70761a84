import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol import jsonrpc
from runtime.protocol.jsonrpc import RpcError
from runtime.protocol.peer import (
    MOST_REQUESTS,
    REQUEST_CANCELLED,
    TOO_MANY_REQUESTS,
    CallFailed,
    ConnectionEnded,
    Peer,
    Records,
    Service,
    Work,
)


class Wire(Records):
    """Both directions in memory; ``deaf`` takes nothing that is written."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](1_000)
        self.written: list[Any] = []
        self.news = trio.Event()
        self.deaf = False

    async def read_record(self) -> bytes | None:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return None

    async def write(self, record: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.deaf:
            raise ConnectionEnded("nobody reads")
        self.written.append(json.loads(record))
        self.news.set()
        self.news = trio.Event()

    def say(self, *records: Any) -> None:
        for record in records:
            data = record if isinstance(record, bytes) else json.dumps(record).encode()
            self._send.send_nowait(data)

    def end(self) -> None:
        self._send.close()

    async def answers(self, count: int) -> list[Any]:
        with trio.fail_after(5):
            while len(self.written) < count:
                await self.news.wait()
        return self.written


class Recorder(Service):
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.oddities: list[str] = []
        self.go = trio.Event()

    async def request(self, method: str, params: msgspec.Raw) -> Work:
        self.heard.append(method)
        if method == "refuse":
            raise RpcError(-5, "no")

        async def work() -> object:
            if method == "wait":
                await self.go.wait()
            if method == "break":
                raise ZeroDivisionError
            return {"done": method}

        return work

    async def notification(self, method: str, params: msgspec.Raw) -> None:
        self.heard.append(method)
        if method == "break":
            raise ZeroDivisionError

    def odd(self, what: str, error: BaseException | None = None) -> None:
        self.oddities.append(what)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Wire, Recorder, Peer]]:
    wire, service = Wire(), Recorder()
    peer = Peer(wire, service)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        yield wire, service, peer
        nursery.cancel_scope.cancel()


def call(identity: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}


def notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def reply(identity: Any, **outcome: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, **outcome}


async def test_calls_and_their_answers() -> None:
    async with connected() as (wire, service, peer):
        outcomes: list[Any] = []

        async def ask(method: str) -> None:
            try:
                outcomes.append(await peer.call(method, {}, msgspec.json.decode, limit=5))
            except CallFailed as failure:
                outcomes.append((failure.code, failure.message, failure.data))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "first")
            nursery.start_soon(ask, "second")
            asked = {each["method"]: each["id"] for each in await wire.answers(2)}
            wire.say(
                reply(12345, result="nobody asked"),
                reply(asked["second"], error={"code": 3, "message": "no", "data": ["why"]}),
                reply(asked["first"], result=[1], error=None),
                reply(asked["first"], result="again"),
            )
        assert outcomes == [(3, "no", ["why"]), [1]]
        assert service.oddities == ["unknown_answer", "unknown_answer"]


async def test_a_call_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as (wire, service, peer):
        with pytest.raises(trio.TooSlowError):
            await peer.call("slow", {}, bytes, limit=60)
        assert trio.current_time() == pytest.approx(60)
        wire.say(reply(1, result="too late"), notice("after"))
        await trio.testing.wait_all_tasks_blocked()
        assert (service.oddities, service.heard) == (["unknown_answer"], ["after"])


async def test_answers_are_read_in_the_order_of_the_wire() -> None:
    async with connected() as (wire, service, peer):

        def read(result: msgspec.Raw) -> list[str]:
            return list(service.heard)

        wire.say(notice("before"), reply(1, result={}), notice("after"))
        assert await peer.call("m", {}, read, limit=5) == ["before"]


async def test_what_cannot_be_read_from_an_answer_is_raised_to_who_asked() -> None:
    async with connected() as (wire, _, peer):
        wire.say(reply(1, result="x"))
        with pytest.raises(ValueError, match="not so"):
            await peer.call("m", {}, lambda _: refuse(ValueError("not so")), limit=5)


def refuse(error: Exception) -> None:
    raise error


async def test_requests_are_answered_whatever_their_ids() -> None:
    async with connected() as (wire, service, _):
        wire.say(call("a", "one"), call(7, "refuse"), call(None, "break"), notice("break"))
        answers = {json.dumps(each["id"]): each for each in await wire.answers(3)}
        assert answers['"a"']["result"] == {"done": "one"}
        assert answers["7"]["error"] == {"code": -5, "message": "no"}
        assert answers["null"]["error"]["code"] == jsonrpc.INTERNAL_ERROR
        assert "Zero" not in json.dumps(answers)
        await trio.testing.wait_all_tasks_blocked()
        assert service.oddities == ["failed_inside", "failed_inside"]
        assert service.heard == ["one", "refuse", "break", "break"]


async def test_a_request_can_be_taken_back() -> None:
    async with connected() as (wire, _, _):
        wire.say(call("x", "wait"), notice("$/cancel_request", requestId="y"))
        wire.say(notice("$/cancel_request", requestId="x"))
        (answer,) = await wire.answers(1)
        assert (answer["id"], answer["error"]["code"]) == ("x", REQUEST_CANCELLED)


async def test_only_so_many_requests_are_worked_on_at_the_same_time() -> None:
    async with connected() as (wire, service, _):
        wire.say(*(call(number, "wait") for number in range(MOST_REQUESTS + 10)))
        refused = list(await wire.answers(10))
        assert {each["error"]["code"] for each in refused} == {TOO_MANY_REQUESTS}
        service.go.set()
        answers = await wire.answers(MOST_REQUESTS + 10)
        assert sum("result" in each for each in answers) == MOST_REQUESTS
        wire.say(call("later", "one"))
        assert (await wire.answers(MOST_REQUESTS + 11))[-1]["result"] == {"done": "one"}


async def test_the_end_of_the_connection_ends_its_calls() -> None:
    async with connected() as (wire, _, peer):
        wire.say(call(1, "wait"))
        wire.end()
        with pytest.raises(ConnectionEnded):
            await peer.call("m", {}, bytes, limit=5)
        with pytest.raises(ConnectionEnded):
            await peer.call("m", {}, bytes, limit=5)


async def test_who_does_not_listen_may_still_speak() -> None:
    async with connected() as (wire, service, peer):
        wire.deaf = True
        wire.say(call(1, "one"), notice("two"))
        await trio.testing.wait_all_tasks_blocked()
        assert service.heard == ["one", "two"]
        with pytest.raises(ConnectionEnded):
            await peer.notify("m", {})


async def test_texts_cut_inside_of_a_character_are_read() -> None:
    async with connected() as (wire, _, peer):
        cut = rb'{"jsonrpc":"2.0","id":1,"result":"a\ud83d b\\ud83d \ud83d\ude00"}'
        wire.say(cut)
        assert await peer.call("m", {}, msgspec.json.decode, limit=5) == "a� b\\ud83d 😀"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]),
        "id": st.sampled_from([None, 1, 2, "a", -1.5, [], {}, 2**70]) | JSON,
        "method": st.sampled_from(["one", "refuse", "break", "$/cancel_request", "", 3]) | JSON,
        "params": JSON,
        "result": JSON,
        "error": JSON | st.fixed_dictionaries({"code": JSON, "message": JSON}),
    },
).map(lambda message: json.dumps(message).encode())
NOISE = st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | MESSAGES


@given(st.lists(NOISE, max_size=8))
def test_nothing_that_comes_ends_it_and_every_answer_is_well_formed(records: list[bytes]) -> None:
    async def main() -> list[Any]:
        async with connected() as (wire, _, peer):
            wire.say(*records, call("last", "one"))
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0):  # a call of ours has an id that they may have used
                await peer.call("ours", {}, bytes, limit=1)
            return list(wire.written)

    written = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    answers = [message for message in written if "method" not in message]
    for answer in answers:
        assert answer["jsonrpc"] == "2.0"
        assert ("result" in answer) != ("error" in answer)
        if "error" in answer:
            assert isinstance(answer["error"]["code"], int)
            assert isinstance(answer["error"]["message"], str)
    assert reply("last", result={"done": "one"}) in answers
