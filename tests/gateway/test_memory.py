"""What clients leave behind in the process when they have gone: nothing."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from actors.agents.echo import EchoAgent, Options
from runtime.app import Runtime, open_runtime
from runtime.settings import GatewaySettings, SessionSettings, Settings, StorageSettings
from tests.e2e.stage import until
from tests.gateway import raw
from tests.gateway.client import connected, said
from tests.hostile.wire import Target

POOLED = ("runtime.kernel.scheduler.Worker",)
"""Kept for the next burst, a bounded number of them."""

OURS = ("runtime", "actors", "trio_websocket", "wsproto", "h11")
ROUNDS = 8
PATIENCE = 60.0


# G6 S42: connections, requests, sessions asleep and sessions closed, each with all that was made
# for it
async def test_nothing_is_left_of_clients_that_went(tmp_path: Path) -> None:
    settings = Settings(
        gateway=GatewaySettings(port=0, handshakes_per_second=1_000.0),
        storage=StorageSettings(data_dir=tmp_path),
        sessions=SessionSettings(hibernate_after=0.05),
    )
    agents = {"echo": EchoAgent(Options())}
    with others_left_out():
        async with open_runtime(settings, agents=agents, serve=True) as runtime:
            await nothing_is_left(runtime)


@contextmanager
def others_left_out() -> Iterator[None]:
    """What other tests have left in memory is not looked at, which would take long."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def nothing_is_left(runtime: Runtime) -> None:
    assert runtime.address is not None
    target = Target(*runtime.address)
    await visit(target, ROUNDS)
    await until(all_asleep)
    before = alive()
    await visit(target, ROUNDS)
    await until(all_asleep)
    left = Counter[str]()
    with trio.move_on_after(PATIENCE):
        while left := alive() - before:  # noqa: ASYNC110 - what goes announces nothing
            await trio.sleep(0.05)
    assert not left


async def visit(target: Target, times: int) -> None:
    """Clients that talk, err, close a session, leave another, and break off."""
    url = f"ws://{target.host}:{target.port}/acp"
    for number in range(times):
        async with connected(url) as client:
            for close in (False, True):
                session_id = await client.new_session()
                await client.call("session/prompt", said(session_id, f"hello {number}"))
                await client.error("session/prompt", said("no such session", "hello"))
                if close:
                    await client.call("session/close", {"sessionId": session_id})
            await client.websocket.send_message("{")
            await client.receive()
            await client.request("session/prompt", said(await client.new_session(), "unheard"))
        async with await raw.connect(target) as stream:
            await stream.send_all(raw.handshake(target)[: number * 20])


def all_asleep() -> bool:
    """Whether no session has an actor."""
    return alive()["actors.session.SessionActor"] == 0


def alive() -> Counter[str]:
    """How many objects there are of each type of ours, and of what the port is made of."""
    gc.collect()
    types = (type(each) for each in gc.get_objects())
    names = Counter(
        f"{each.__module__}.{each.__qualname__}"
        for each in types
        if each.__module__.partition(".")[0] in OURS
    )
    return Counter({name: count for name, count in names.items() if name not in POOLED})
