"""References in the hands of other threads, and of other Trio tasks."""

import threading

import pytest
import trio

from runtime.kernel import ActorRef, ActorStopped, AskTimeout, open_system
from runtime.kernel.testkit import settle
from tests.kernel.cast import AT_ONCE, Broken, Echo, FailRequest, Note, Scribe, Wait

# K10


async def test_a_thread_of_trio_tells_and_asks() -> None:
    def work() -> str:
        assert ref.tell_from_thread(Note("from a thread"))
        return ref.ask_from_thread(Echo("hello"), timeout=10)

    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="scribe")
        assert await trio.to_thread.run_sync(work) == "hello"
    assert page[1] == "from a thread"


async def test_a_foreign_thread_tells_and_asks() -> None:
    def work() -> None:
        answers.append(ref.ask_from_thread(Echo("hello"), timeout=10))
        trio.from_thread.run_sync(done.set, trio_token=token)

    answers: list[str] = []
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        thread = threading.Thread(target=work)
        thread.start()
        await done.wait()
        await trio.to_thread.run_sync(thread.join)
    assert answers == ["hello"]


async def test_a_thread_gets_the_errors_of_an_ask() -> None:
    def work() -> None:
        with pytest.raises(Broken):
            ref.ask_from_thread(FailRequest(), timeout=10)
        with pytest.raises(AskTimeout):
            ref.ask_from_thread(Wait(1000), timeout=0)

    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe", backoff=AT_ONCE, grace=0)
        await trio.to_thread.run_sync(work)


def test_after_the_end_of_the_run_a_thread_is_told_so() -> None:
    async def main() -> ActorRef[Note | Echo]:
        async with open_system() as system:
            ref = system.spawn(lambda: Scribe([]), name="scribe")
            await settle(system)
            return ref

    ref = trio.run(main)
    assert not ref.tell_from_thread(Note("late"))
    with pytest.raises(ActorStopped):
        ref.ask_from_thread(Echo("late"), timeout=1)


async def test_another_task_needs_nothing_special() -> None:
    async def other() -> None:
        answers.append(await ref.ask(Echo("hello"), timeout=1))

    answers: list[str] = []
    async with trio.open_nursery() as nursery, open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        nursery.start_soon(other)
        await settle(system)
    assert answers == ["hello"]
