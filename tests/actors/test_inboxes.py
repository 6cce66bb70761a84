"""An agent that sees only the folder of its session finds files in its inbox (M5)."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

import runtime as greenroom
from actors.agents.echo import EchoAgent, Options
from actors.disk import Disk, Threads
from actors.front import ActorFront
from actors.library_opening import reconcile
from runtime.app import open_runtime
from runtime.ports.agent import AgentCapabilities, AgentContext, AgentHandle
from runtime.sessions.content import ImageBlock, PromptContent, ResourceLink
from runtime.sessions.updates import AgentEvent
from runtime.settings import MediaSettings, Settings, StorageSettings
from runtime.storage.inbox import Inbox
from runtime.storage.media_errors import MediaFailed
from tests.actors.hanging import SHORT, Gate, hang
from tests.actors.media_stage import house, links, path_of
from tests.actors.outbox_stage import SIZE, Place, Writer, media, place, until
from tests.actors.stage import Call, chunk
from tests.storage.media_stage import MEMORY, picture

CAT, DOG = b"c" * SIZE, b"d" * SIZE


class Contained(Writer):
    """Sees nothing but the folder of its session; is told of files while it works, which it does
    when it is told to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[ResourceLink] = []
        self.works = False
        self.end = trio.Event()
        self.take_in = self._note

    async def _write(self, call: Call) -> AsyncIterator[AgentEvent]:
        if call.text == "work":
            yield chunk("working")
            self.works = True
            await self.end.wait()
        async for event in super()._write(call):
            yield event

    async def _note(self, content: PromptContent) -> bool:
        self.told += [block for block in content if isinstance(block, ResourceLink)]
        return True

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        async with super().open(context) as handle:
            handle.capabilities = AgentCapabilities(steer=True, images=True, inbox=True)
            yield handle


@asynccontextmanager
async def contained(
    data_dir: Path,
    *,
    cap: int = 100 * SIZE,
    root: Path | None = None,
    disk: Disk | None = None,
) -> AsyncIterator[Place]:
    async with place(data_dir, cap=cap, agent=Contained(), root=root, disk=disk) as here:
        yield here


@contextmanager
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not os.access(MEMORY, os.W_OK) or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder) / "media"


def image(content: bytes, name: str = "cat.png") -> ImageBlock:
    data = base64.b64encode(content).decode()
    return ImageBlock(data, "image/png", f"file:///pictures/{name}")


async def send(here: Place, key: str, *blocks: ImageBlock) -> greenroom.Session:
    session = await here.rt.session(key)
    await (await session.prompt(blocks)).result()
    return session


def inboxes(data_dir: Path) -> list[Path]:
    """All files in inboxes."""
    return sorted(path for path in data_dir.glob("sessions/*/*/inbox/*/*"))


def given(here: Place) -> list[ResourceLink]:
    return links(here.agent.calls[-1])


async def test_it_is_linked_to_where_the_agent_sees_it(tmp_path: Path) -> None:  # M5 M10
    async with contained(tmp_path) as here:
        session = await send(here, "one", image(CAT), image(DOG, "dog.png"), image(CAT, "same.png"))
        cat, dog, same = given(here)
        folder = here.agent.calls[-1].context.folder
        assert folder is not None
        for link, name, content in ((cat, "cat.png", CAT), (dog, "dog.png", DOG)):
            path = path_of(link)
            assert path.parents[1] == folder / "inbox"
            assert path.name == name
            assert path.read_bytes() == content
            assert any(path.samefile(each) for each in media(tmp_path))
        assert path_of(same).samefile(path_of(cat))
        blocks = here.agent.calls[-1].turn.content
        assert [block.uri for block in blocks if isinstance(block, ImageBlock)] == [
            cat.uri,
            dog.uri,
            same.uri,
        ]
        usage = here.rt.front.media_usage()
        assert (usage.files, usage.size) == (2, 2 * SIZE)  # once each
        assert session.id in cat.uri


async def test_links_are_absolute_where_the_settings_are_not(  # M5 M9
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with contained(Path("data")) as here:
        await send(here, "one", image(CAT))
        (link,) = given(here)
        assert path_of(link).read_bytes() == CAT
        assert path_of(link).is_relative_to(tmp_path)
        context = here.agent.calls[-1].context
        for folder in (context.folder, context.media, context.outbox):
            assert folder is not None
            assert folder.is_absolute()
        await here.lower_cap(0)
        await here.say("one", "hello")
        assert link.uri in here.agent.calls[-1].text


async def test_a_name_that_leads_elsewhere_is_not_used(tmp_path: Path) -> None:  # A2
    async with contained(tmp_path) as here:
        await send(here, "one", image(CAT, "..%2F..%2Fx.png"), image(DOG, ".bashrc"))
        first, second = (path_of(link) for link in given(here))
        assert (first.name, first.parents[1].name) == ("x.png", "inbox")
        assert second.name == f"{second.parent.name}.png"


async def test_it_goes_with_the_file_and_the_agent_is_told(tmp_path: Path) -> None:  # M5 M9
    async with contained(tmp_path) as here:
        await send(here, "one", image(CAT))
        await send(here, "two", image(DOG, "dog.png"))
        first, second = inboxes(tmp_path)
        await here.cap(SIZE)
        assert (first.exists(), second.exists()) == (False, True)
        assert not first.parent.exists()
        assert len(media(tmp_path)) == 1
        await here.say("one", "hello")
        assert f"- cat.png ({first.as_uri()}), at " in here.agent.calls[-1].text


async def test_what_was_never_handed_over_leaves_nothing(tmp_path: Path) -> None:  # H2
    async with contained(tmp_path) as here:
        here.agent.hold = True
        session = await here.rt.session("one")
        turn = await session.prompt([image(CAT)])
        call = await here.agent.called(1)
        assert path_of(links(call)[0]).read_bytes() == CAT
        assert [path_of(links(call)[0])] == inboxes(tmp_path)
        await session.clear()
        call.go.set()
        await turn.result()
        await until(lambda: inboxes(tmp_path) == [] and media(tmp_path) == [])


async def test_a_session_that_is_closed_leaves_none(tmp_path: Path) -> None:  # S43 H1
    async with contained(tmp_path) as here:
        session = await send(here, "one", image(CAT))
        await send(here, "two", image(DOG))
        await session.close()
        await until(lambda: len(media(tmp_path)) == 1)
        assert [each.read_bytes() for each in inboxes(tmp_path)] == [DOG]


async def test_a_steered_file_is_there_too(tmp_path: Path) -> None:  # Q3 H8
    async with contained(tmp_path) as here:
        agent = here.agent
        assert isinstance(agent, Contained)
        started = trio.Event()
        go = trio.Event()

        async def play(call: object) -> AsyncIterator[object]:
            started.set()
            from runtime.sessions.updates import Result
            from tests.actors.stage import chunk

            yield chunk("working")
            await go.wait()
            yield Result()

        agent._play = play  # type: ignore[assignment]
        session = await here.rt.session("one")
        await session.set_queue(mode="steer")
        turn = await session.prompt("work")
        await started.wait()
        more = await session.send([image(CAT)])
        await until(lambda: len(agent.told) == 1)
        assert path_of(agent.told[0]) in inboxes(tmp_path)
        go.set()
        await turn.result()
        await session.outcome(more.message_id)
        assert path_of(agent.told[0]).read_bytes() == CAT


async def test_without_a_data_directory_links_lead_to_the_files(  # M5
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with house(tmp_path / "media", agent=Contained()) as here:
        session = await here.session()
        await session.send((image(CAT),))
        (link,) = links(await here.agent.called(1))
        assert path_of(link).parent.parent == tmp_path / "media"
        here.check()


# -- starts ----------------------------------------------------------------------------------------


async def test_after_a_start_all_is_as_it_was(tmp_path: Path) -> None:  # M7 M8
    async with contained(tmp_path) as here:
        await send(here, "one", image(CAT))
        (path,) = inboxes(tmp_path)
        (path.parents[1] / "notes.txt").write_text("the agent's own")
    async with contained(tmp_path) as here:
        assert here.size == SIZE
        assert inboxes(tmp_path) == [path]
        await here.cap(0)
        assert inboxes(tmp_path) == []
        assert (path.parents[1] / "notes.txt").exists()


async def test_what_stands_for_nothing_goes_at_the_start(tmp_path: Path) -> None:  # M8
    async with contained(tmp_path) as here:
        await send(here, "one", image(CAT))
        (path,) = inboxes(tmp_path)
    stray = path.parents[1] / "01a222e4-0000-7000-8000-000000000001"
    own = path.parents[1] / "the agent's own"
    for each in (stray, own):
        each.mkdir()
        (each / "x.txt").write_text("x")
    async with contained(tmp_path):
        assert not stray.exists()
        assert (own / "x.txt").exists()
        assert inboxes(tmp_path) == sorted([path, own / "x.txt"])


async def test_what_stands_for_nothing_goes_when_the_disk_is_looked_through(  # M7
    tmp_path: Path,
) -> None:
    async with contained(tmp_path) as here:
        await send(here, "one", image(CAT))
        (path,) = inboxes(tmp_path)
        stray = path.parents[1] / "01a222e4-0000-7000-8000-000000000001"
        stray.mkdir()
        (stray / "x.txt").write_text("x")
        await reconciled(here)
        assert inboxes(tmp_path) == [path]


# -- where no link can be made ---------------------------------------------------------------------


async def test_a_copy_is_counted(tmp_path: Path) -> None:  # M5 M7
    with elsewhere(tmp_path) as root:
        async with contained(tmp_path, root=root) as here:
            await send(here, "one", image(CAT), image(CAT, "same.png"))
            first, second = inboxes(tmp_path)
            assert first.read_bytes() == second.read_bytes() == CAT
            assert here.size == 3 * SIZE
            assert here.rt.front.media_usage().reserved == 0
            await reconciled(here)
            assert here.size == 3 * SIZE
            second.unlink()
            await reconciled(here)
            assert here.size == 2 * SIZE
        async with contained(tmp_path, root=root) as here:
            assert here.size == 2 * SIZE
            await here.cap(SIZE)
            assert (inboxes(tmp_path), here.size) == ([], 0)


async def test_room_is_made_for_a_copy(tmp_path: Path) -> None:  # M5
    with elsewhere(tmp_path) as root:
        async with contained(tmp_path, root=root, cap=3 * SIZE) as here:
            await send(here, "one", image(CAT))
            await send(here, "two", image(DOG))
            (path,) = inboxes(tmp_path)
            assert path.read_bytes() == DOG
            assert here.size == 2 * SIZE


async def test_without_room_for_a_copy_there_are_words(tmp_path: Path) -> None:  # M5
    with elsewhere(tmp_path) as root:
        async with contained(tmp_path, root=root, cap=2 * SIZE - 1) as here:
            await send(here, "one", image(CAT))
            assert given(here) == []
            assert "[image: cat.png: not here: The" in here.agent.calls[-1].text
            assert inboxes(tmp_path) == []
            assert here.size == SIZE
            assert here.rt.front.media_usage().reserved == 0


# -- trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["inbox", "folder"])
async def test_what_an_agent_puts_in_its_place_is_left_alone(tmp_path: Path, what: str) -> None:
    # M2 M6
    victim = tmp_path / "victim"
    async with contained(tmp_path / "data") as here:
        await send(here, "one", image(CAT))
        (path,) = inboxes(tmp_path / "data")
        (victim / path.parent.name).mkdir(parents=True)
        for each in (victim, victim / path.parent.name):
            (each / "cat.png").write_bytes(b"precious")
        swapped = path.parent if what == "folder" else path.parents[1]
        swapped.rename(tmp_path / "aside")
        swapped.symlink_to(victim)
        before = picture(victim)
        await send(here, "one", image(CAT))  # the same file once more
        assert given(here) == []
        assert "[image: cat.png: not here: it could not be put" in here.agent.calls[-1].text
        await here.cap(0)
        assert media(tmp_path / "data") == []
        assert picture(victim) == before


async def test_a_disk_that_refuses_costs_no_message(  # M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bool:
        raise MediaFailed("as scripted")

    async with contained(tmp_path) as here:
        with monkeypatch.context() as patch:
            patch.setattr("actors.inboxes.Inbox.link", refused)
            await send(here, "one", image(CAT))
        assert given(here) == []
        assert "not here: it could not be put into the inbox" in here.agent.calls[-1].text
        await send(here, "one", image(CAT))
        assert path_of(given(here)[0]).read_bytes() == CAT


@pytest.mark.parametrize("late", [True, False])
async def test_a_copy_that_nobody_waits_for_leaves_nothing(  # M3 M5 M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    gate = Gate()
    with elsewhere(tmp_path) as root:
        async with contained(tmp_path, root=root, disk=Threads(limit=SHORT)) as here:
            with monkeypatch.context() as patch:
                hang(patch, Inbox, "copy", gate, late=late)
                await send(here, "one", image(CAT))
            assert given(here) == []
            assert "not here: it could not be put into the inbox" in here.agent.calls[-1].text
            usage = here.rt.front.media_usage()
            assert (usage.size, usage.reserved, usage.stuck) == (SIZE, 0, 1)
            gate.open()
            await until(lambda: here.rt.front.media_usage().stuck == 0)
            assert inboxes(tmp_path) == []
            await send(here, "one", image(CAT))
            assert path_of(given(here)[0]).read_bytes() == CAT
            assert here.size == 2 * SIZE


async def test_what_cannot_be_removed_is_tried_again(  # M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise MediaFailed("as scripted")

    async with contained(tmp_path) as here:
        await send(here, "one", image(CAT))
        with monkeypatch.context() as patch:
            patch.setattr("actors.inboxes.Inbox.remove", refused)
            swept = await here.lower_cap(0)
            assert (swept.problems, len(inboxes(tmp_path)), len(media(tmp_path))) == (1, 1, 1)
        await here.rt.front.sweep_media()
        assert (inboxes(tmp_path), media(tmp_path)) == ([], [])


async def test_the_echo_reads_what_is_in_its_inbox(tmp_path: Path) -> None:  # M5
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path), media=MediaSettings(free_space_floor=0)
    )
    agents = {"echo": EchoAgent(Options(inbox=True))}
    async with open_runtime(settings, agents=agents) as rt:
        session = await rt.session("one")
        answer = await (await session.prompt([image(CAT)])).result()
        (path,) = inboxes(tmp_path)
        assert answer.text == f"[file: cat.png, image/png, {SIZE} bytes, readable: {path.as_uri()}]"


async def reconciled(here: Place) -> None:
    """Hold the index against the disk now."""
    front = here.rt.front
    assert isinstance(front, ActorFront)
    services = front._services
    tree = services.library.tree
    assert tree is not None
    await reconcile(services.library, tree, services.store, services.now() + 1)
