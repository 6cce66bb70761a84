"""A guest in another program: it opens nothing, installs nothing and leaves nothing."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import runtime
from runtime.settings import GatewaySettings, Settings, StorageSettings

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def listening() -> set[str]:
    """The sockets of this process that listen."""
    ours = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = descriptor.readlink().name
        except OSError:
            continue
        if target.startswith("socket:"):
            ours.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in ours:
                found.add(fields[1])
    return found


async def converse(folder: Path, text: str) -> None:
    settings = Settings(storage=StorageSettings(data_dir=folder))
    async with runtime.open_runtime(settings) as rt:
        assert rt.address is None
        session = await rt.session("demo")
        turn = await session.prompt(text)
        assert (await turn.result()).text == text


async def test_two_runtimes_beside_each_other_and_nothing_left(tmp_path: Path) -> None:
    # K1 D3
    ports, handlers = listening(), [signal.getsignal(each) for each in SIGNALS]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse, tmp_path / "one", "first")
        nursery.start_soon(converse, tmp_path / "two", "second")
    await converse(tmp_path / "one", "again")
    assert listening() == ports
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "store" in name or "sqlite" in name.lower()]


async def test_a_port_is_opened_only_when_it_is_asked_for(tmp_path: Path) -> None:
    # G8
    ports = listening()
    settings = Settings(storage=StorageSettings(data_dir=tmp_path), gateway=GatewaySettings(port=0))
    async with runtime.open_runtime(settings, serve=True) as rt:
        assert rt.address is not None
        (opened,) = listening() - ports
        assert int(opened.rsplit(":", 1)[1], 16) == rt.address[1]
    assert listening() == ports


async def test_the_folders_are_the_owners_own(tmp_path: Path) -> None:
    # S7 D3
    folder = tmp_path / "data"
    await converse(folder, "hello")
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


async def test_what_is_no_agent_is_refused_at_once(tmp_path: Path) -> None:
    settings = Settings(storage=StorageSettings(data_dir=tmp_path))
    mistakes: dict[str, Any] = {
        "'mine' is the class Agent, not one of it": runtime.Agent,
        "'mine' is 'echo', which is no runtime.Agent": "echo",
    }
    for said, mine in mistakes.items():
        with pytest.raises(TypeError, match=said):
            async with runtime.open_runtime(settings, agents={"mine": mine}):
                pass


async def test_what_says_nothing_is_refused_and_what_is_no_block_is_named(tmp_path: Path) -> None:
    settings = Settings(storage=StorageSettings(data_dir=tmp_path))
    nothing: tuple[Any, ...] = ("", " \n", [], [runtime.TextBlock("")])
    async with runtime.open_runtime(settings) as rt:
        session = await rt.session("demo")
        for prompt in nothing:
            with pytest.raises(runtime.BadRequest, match="nothing in the message"):
                await session.prompt(prompt)
        mixed: Any = [runtime.TextBlock("look"), "cat"]
        with pytest.raises(TypeError, match="such as TextBlock, not of 'cat'"):
            await session.prompt(mixed)
        assert await session.history() == ()
        turn = await session.prompt([runtime.ResourceLink(name="cat", uri="file:///cat.png")])
        await turn.result()
        assert session.id in repr(session)
        assert turn.message_id in repr(turn)


# S45: as by a second signal that comes right after the first
async def test_cancelled_when_it_begins_to_stop_it_just_ends(tmp_path: Path) -> None:
    settings = Settings(storage=StorageSettings(data_dir=tmp_path))
    with trio.CancelScope() as scope:
        async with runtime.open_runtime(settings):
            scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked(0.1)
    assert scope.cancelled_caught
