"""A disk that does not answer, and prompts that cannot be made (M6, T4, T5)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from actors import giving
from actors.disk import Inline, Threads
from actors.giving import READ_LIMIT
from runtime.embedding import TurnFailed
from runtime.sessions.content import ResourceLink
from tests.actors.media_stage import SeeingAgent, house, image

T = TypeVar("T")


class NeverReads(Inline):
    """Writes, but what is read does not come back."""

    async def __call__(self, work: Callable[[], T], /, **how: Any) -> T:
        if isinstance(work, partial) and work.func.__name__ == "_encoded":
            await trio.sleep_forever()
        return await super().__call__(work, **how)


# M6 T4
async def test_files_that_the_disk_does_not_give_are_linked_only(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    agent = SeeingAgent(images=True, hold=False)
    async with house(tmp_path / "media", agent=agent, disk=NeverReads()) as here:
        session = await here.session()
        began = trio.current_time()
        turn = await session.prompt((image(b"one"), image(b"two")))
        call = await agent.called(1)
        assert trio.current_time() - began < READ_LIMIT + 5
        kinds = [type(block) for block in call.turn.content]
        assert kinds == [ResourceLink, ResourceLink]
        assert (await turn.result()).stop_reason == "end_turn"


# T5 M6
async def test_a_prompt_that_cannot_be_made_is_not_the_agents_fault(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")

    agent = SeeingAgent(hold=False)
    async with house(tmp_path / "media", agent=agent) as here:
        session = await here.session()
        monkeypatch.setattr(giving, "build_prompt", fail)
        turn = await session.prompt((image(b"one"),))
        with pytest.raises(TurnFailed, match="Send it again") as caught:
            await turn.result()
        assert caught.value.code == "prompt_not_made"
        assert agent.calls == []


# M6
async def test_what_only_reads_is_not_waited_for_by_who_is_cancelled() -> None:
    disk, go = Threads(threads=1), threading.Event()
    try:
        with trio.fail_after(30):
            with trio.move_on_after(0.05) as limit:
                await disk(go.wait, abandon=True)
            assert limit.cancelled_caught
            assert await disk(lambda: "written") == "written"  # it takes no thread from writers
    finally:
        go.set()


# M3
async def test_what_writes_is_waited_for_by_who_is_cancelled() -> None:
    disk, began, go = Threads(), threading.Event(), threading.Event()
    outcomes: list[str] = []

    def write() -> str:
        began.set()
        go.wait(30)
        return "written"

    async def wait() -> None:
        outcomes.append(await disk(write))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.to_thread.run_sync(began.wait)
            nursery.cancel_scope.cancel()
            go.set()
    assert outcomes == ["written"]
