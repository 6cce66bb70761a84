"""The client for commands: deadlines, errors that say what to do, and connections that break."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio_websocket

from runtime.cli import client as client_module
from runtime.cli import connect as connect_module
from runtime.cli.client import (
    CallFailed,
    CallTimedOut,
    Client,
    ConnectionLost,
    NotAllowed,
    Notification,
    NotReachable,
)
from runtime.cli.connect import connect
from runtime.cli.errors import CommandError
from runtime.endpoint import Endpoint

from .conftest import Served

Answer = Callable[[dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A port of the test's own. Yields the address of its WebSocket."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/acp"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def peer(answers: dict[str, Any], notify: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """A peer that gives these answers by method; other calls close the connection, or, with an
    answer of None, are never answered."""

    async def serve(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            socket = await request.accept()
            try:
                while True:
                    call = msgspec.json.decode(await socket.get_message())
                    for text in notify:
                        await socket.send_message(text)
                    if call["method"] not in answers:
                        await socket.aclose(1001, "going away")
                    elif (answer := answers[call["method"]]) is not None:
                        reply = {"jsonrpc": "2.0", "id": call["id"], **answer}
                        await socket.send_message(msgspec.json.encode(reply).decode())
            except trio_websocket.ConnectionClosed:
                nursery.cancel_scope.cancel()

    async with listening(serve) as url:
        yield url


HELLO: dict[str, Any] = {"initialize": {"result": {}}}


async def test_calls_are_answered(served: Served) -> None:
    async with connect(served.endpoint) as client:
        page = await client.call("session/list", {}, dict[str, Any])
        assert page["sessions"] == []
        with pytest.raises(CallFailed) as caught:
            await client.call("no/such/method", {}, dict[str, Any])
        assert caught.value.rpc_code == -32601
    with pytest.raises(ConnectionLost):
        await client.call("session/list", {}, dict[str, Any])


async def test_what_goes_wrong_inside_is_not_wrapped(served: Served) -> None:
    with pytest.raises(KeyError):
        async with connect(served.endpoint):
            raise KeyError
    with pytest.raises(CallFailed):
        async with connect(served.endpoint) as client:
            await client.call("no/such/method", {}, dict[str, Any])


async def test_an_answer_of_another_shape_is_no_defect_of_ours(served: Served) -> None:
    async with connect(served.endpoint) as client:
        with pytest.raises(CommandError, match="the answer to session/list is not understood"):
            await client.call("session/list", {}, list[int])


async def test_a_silent_peer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(connect_module, "CONNECT_TIMEOUT", 0.05)
    async with listening(say_nothing) as url:
        with pytest.raises(NotReachable, match="does not answer within"):
            async with connect(Endpoint(url)):
                pass


async def test_a_call_has_a_deadline() -> None:
    async with peer({**HELLO, "slow": None}) as url, connect(Endpoint(url)) as client:
        with pytest.raises(CallTimedOut, match="did not answer slow within"):
            await client.call("slow", {}, dict[str, Any], timeout=0.05)


async def test_a_connection_that_is_closed_ends_what_waits() -> None:
    async with peer(HELLO) as url, connect(Endpoint(url)) as client:
        with pytest.raises(ConnectionLost, match="closed with 1001: going away"):
            await client.call("anything", {}, dict[str, Any])
        await client.ended()
        with pytest.raises(ConnectionLost):
            await client.notify("anything", {})
        assert [notification async for notification in client.notifications] == []


async def test_a_peer_that_stops_answering_pings_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "HEARTBEAT", 0.05)

    async def stall(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            socket = await request.accept()
            call = msgspec.json.decode(await socket.get_message())
            reply = {"jsonrpc": "2.0", "id": call["id"], "result": {}}
            await socket.send_message(msgspec.json.encode(reply).decode())
            nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    async with listening(stall) as url, connect(Endpoint(url)) as client:
        with pytest.raises(ConnectionLost, match="does not answer any more"):
            await (await client.begin("anything", {}, dict[str, Any])).wait()


# G3
async def test_notifications_come_before_the_answer_that_follows_them() -> None:
    heard: list[str] = []

    async def listen(notification: Notification) -> None:
        await trio.lowlevel.checkpoint()
        heard.append(notification.method)

    notify = ('{"jsonrpc":"2.0","method":"one"}', "not JSON", '{"jsonrpc":"2.0","method":"two"}')
    async with peer(HELLO, notify) as url, connect(Endpoint(url), listen):
        assert heard == ["one", "two"]


async def test_a_port_of_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_http(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n")

    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    monkeypatch.setattr(connect_module, "CONNECT_TIMEOUT", 0.5)
    async with listening(say_http) as url:
        with pytest.raises(NotAllowed, match=r"refuses the connection \(404\): nope"):
            async with connect(Endpoint(url)):
                pass
    async with listening(hang_up) as url:
        with pytest.raises(NotReachable) as caught:
            async with connect(Endpoint(url)):
                pass
        assert "wss://" in (caught.value.hint or ""), "so does a port that speaks TLS"


async def test_a_cancelled_client_leaves_nothing_behind() -> None:
    client: Client | None = None
    async with peer({**HELLO, "slow": None}) as url:
        with trio.CancelScope() as scope:
            async with connect(Endpoint(url)) as client:
                scope.cancel()
                await client.call("slow", {}, dict[str, Any])
    assert scope.cancelled_caught
    assert client is not None
    await client.ended()
