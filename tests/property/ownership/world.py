"""A runtime, life after life on the same rows and the same folder, and what people do to it."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import trio

from actors.front import ActorFront
from actors.janitor_messages import MakeRoom
from actors.queue import Arrived, Batch, Offered
from actors.sessions import FindLive
from runtime.app import open_runtime
from runtime.kernel import ActorStopped, AskTimeout, Intensity
from runtime.ports.channel import Inbound
from runtime.ports.front import FrontError, Unavailable
from runtime.sessions.content import AgentBlock, ImageBlock, ResourceLink, TextBlock
from runtime.sessions.media import MediaKind
from runtime.sessions.rows import InboundRow, QueueOverrides, Sender
from runtime.settings import MediaSettings, QueueMode, QueueSettings, SessionSettings, Settings
from runtime.storage.errors import StoreError
from runtime.storage.media_errors import MediaError
from runtime.storage.sqlite import SqliteStore, open_memory
from tests.actors.stage import clock
from tests.property.ownership.edges import FIRST_CAP, LARGEST_FILE, Listener, Network, Way
from tests.property.ownership.facts import facts
from tests.property.ownership.inboxes import WITH_INBOX, check_inboxes, file_at, kept_in
from tests.property.ownership.loop import Loop, quiet
from tests.property.ownership.player import Call, FileKey, Order, Player, path_of
from tests.property.ownership.power import SCRIPTED, Life
from tests.property.ownership.record import Record, Step

ATTEMPTS = 3
"""How often a file may be taken in within one step, with a restart in it."""

AFTER_A_CRASH = 10.0
JANITOR = Intensity()
LONGEST_END = 120.0

Work = Callable[[], Awaitable[None]]


class World:
    """Everything. All methods are for the loop's thread.

    Args:
        loop: where it happens.
        folder: an empty folder.
    """

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.loop = loop
        self.folder = folder
        self.root = folder / "media"
        self.record = Record()
        self.data = folder / "data"
        self.player = Player(self._given, self._gone, WITH_INBOX)
        self.network = Network()
        self.cap = FIRST_CAP
        self.mode: QueueMode = "collect"
        self.serial = self.taken_back = 0
        self.crashed = False
        self.stumbles: list[float] = []
        self.problems: list[str] = []
        self.step_so_far = Step(FIRST_CAP, FIRST_CAP, FIRST_CAP)
        self.store: SqliteStore
        self.life: Life
        self._over = trio.Event()

    # -- lives --------------------------------------------------------------------------------

    async def begin(self, mode: QueueMode) -> None:
        self.mode = mode
        (self.folder / "outside").write_bytes(b"not ours")
        self.store = await self.loop.nursery.start(self._keep_store)
        await self._live()

    async def _keep_store(self, task_status: trio.TaskStatus[SqliteStore]) -> None:
        async with open_memory(clock) as store:
            task_status.started(store)
            await self._over.wait()

    async def end(self) -> None:
        """Nothing is left."""
        self.life.cut()
        await self._until_ended()
        self._over.set()
        await quiet()

    async def _live(self) -> None:
        self.life = Life()
        await self.loop.nursery.start(self._one_life, self.life)
        await quiet()

    async def _one_life(self, life: Life, task_status: trio.TaskStatus[None]) -> None:
        try:
            with life.power, kept_in(self.data):
                async with open_runtime(
                    self.settings,
                    agents={"agent": self.player},
                    channels=[self.network],
                    store=life.mortal(self.store),
                    clock=clock,
                    disk=life.disk,
                    transcriber=Listener(),
                ) as life.runtime:
                    task_status.started()
                    await life.stop.wait()
        except Exception:
            if not life.dead:
                self.problems.append(traceback.format_exc())
        finally:
            life.ended.set()

    async def _until_ended(self) -> None:
        end = trio.current_time() + LONGEST_END
        await quiet()
        while not self.life.ended.is_set():
            assert trio.current_time() < end, "the runtime does not come to its end"
            await self.loop.advance(1)
        self.network.lose_connection()

    async def restart(self, *, orderly: bool) -> None:
        """The runtime ends, at once or in order; it is started again when all is quiet."""
        if orderly:
            self.life.stop.set()
        else:
            self.life.cut()

    async def _revive(self) -> None:
        await self._until_ended()
        for call in self.player.calls:
            call.doubtful = call.doubtful or (call.spoke and not call.seen)
        for steer in self.player.steers:
            steer.doubtful = steer.doubtful or not steer.seen
        await self._live()
        await self.loop.advance(2)

    @property
    def settings(self) -> Settings:
        return Settings(
            media=MediaSettings(
                root=self.root,
                max_media_bytes=self.cap,
                max_file_bytes=LARGEST_FILE,
                free_space_floor=0,
                idle=None,
            ),
            queue=QueueSettings(cap=4, mode=self.mode),
            sessions=SessionSettings(max_tries=2, shutdown_grace=3.0),
        )

    # -- steps --------------------------------------------------------------------------------

    async def step(self, works: Sequence[Work], wait: float = 0.0) -> None:
        """Things happen at the same time; then everything is quiet again."""
        unspoken = [call for call in self.player.open_calls if not call.spoke]
        before, taken_back = len(self.player.calls), self.taken_back
        self.step_so_far.works += len(works)
        for work in works:
            self.loop.nursery.start_soon(self._do, work)
        await quiet()
        if self.crashed:
            self.crashed, wait = False, max(wait, AFTER_A_CRASH)
        if wait:
            await self.loop.advance(wait)
        if self.life.dead or self.life.stop.is_set():
            await self._revive()
        if len(works) > 1:
            self._doubt(unspoken, self.player.calls[before:], taken_back != self.taken_back)

    def _doubt(self, unspoken: Sequence[Call], new: Sequence[Call], taken_back: bool) -> None:
        """What happened at the same time may have happened in either order."""
        for call in unspoken:
            if call.spoke and not call.seen and (taken_back or call.only_ended):
                call.doubtful = True
        for call in new if taken_back else ():
            call.doubtful = True  # it may have been taken back as well
        for steer in self.player.steers:
            either = taken_back or self.player.is_ending(steer)
            steer.doubtful = steer.doubtful or (steer.taken and not steer.seen and either)

    async def _do(self, work: Work) -> None:
        try:
            await work()
        except (FrontError, StoreError, MediaError, ActorStopped, AskTimeout):
            pass  # what is refused was not promised
        except Exception as error:
            if str(error).partition("\n")[0] != SCRIPTED:
                self.problems.append(traceback.format_exc())

    async def check(self) -> None:
        """Everything is as it was promised."""
        assert not self.problems, "\n".join(self.problems)
        assert not self.life.ended.is_set(), "the runtime has ended by itself"
        found = await facts(self.store, self._library, self.root)
        step = self.step_so_far
        under_way = self.network.under_way
        step.reserved_least = sum(sizes[0] for sizes in under_way)
        step.reserved, step.unfinished = sum(sizes[-1] for sizes in under_way), len(under_way)
        self.record.check(found, self.player.calls, self.player.steers, step, trio.current_time())
        coming = sum(message.fetching for message in found.messages.values())
        self.step_so_far = Step(
            self.cap, self.cap, self.cap, coming, ATTEMPTS * coming * LARGEST_FILE
        )
        check_inboxes(self.data, self.root, found.disk)
        there = {path.name for path in self.folder.iterdir()} - {"data"}
        assert there == {"media", "outside"}, there
        assert (self.folder / "outside").read_bytes() == b"not ours"

    @property
    def _front(self) -> ActorFront:
        front = self.life.rt.front
        assert isinstance(front, ActorFront)
        return front

    @property
    def _library(self) -> Any:
        return self._front._services.library

    def _given(self, session_id: str, link: ResourceLink) -> FileKey:
        """The agent is given a file: it is there, in its session's own folder (M4, H1)."""
        path = path_of(link.uri)
        if session_id not in (path.parent.name, path.parents[2].name):
            self.problems.append(f"{path} was given to an agent of {session_id}")
        elif not path.is_file():
            self.problems.append(f"{path} was given to an agent, and is not there")
        key = session_id, file_at(path, [b.file for b in self._library.ledger])
        self.record.given(key, path.read_bytes())
        return key

    def _gone(self, session_id: str, paths: Sequence[Path]) -> frozenset[FileKey]:
        names = [name for session, name in self.record.files if session == session_id]
        return frozenset((session_id, file_at(path, names)) for path in paths)

    # -- what people do -----------------------------------------------------------------------

    async def session_id(self, name: str) -> str | None:
        """The session of a client, made when it is not there, or of a chat that has one."""
        if name.startswith("chat"):
            page = await self._front.list_sessions()
            found = [each.row for each in page.sessions if each.row.key.endswith(name)]
            return found[0].id if found else None
        return (await self._front.open_session(key=name)).id

    def _named(self, sizes: Sequence[int]) -> tuple[str, tuple[bytes, ...]]:
        """A new message: its name, and what comes with it; the same bytes for the same size."""
        self.serial += 1
        key, contents = f"m{self.serial}", tuple(map(content_of, sizes))
        self.record.said[key] = contents
        self._to_be_taken_in(contents)
        return key, contents

    def _to_be_taken_in(self, contents: Sequence[bytes]) -> None:
        self.step_so_far.tried.update(contents)
        self.step_so_far.number += len(contents)
        self.step_so_far.taken_in += ATTEMPTS * len(contents) * LARGEST_FILE

    async def prompt(self, name: str, sizes: Sequence[int]) -> None:
        session_id = await self.session_id(name)
        if session_id is not None:
            await self._prompt(session_id, sizes)

    async def say_more(self, number: int, sizes: Sequence[int]) -> None:
        """A prompt in the session of one that waits for a rule."""
        calls = self.player.open_calls
        if calls:
            await self._prompt(calls[number % len(calls)].session_id, sizes)

    async def _prompt(self, session_id: str, sizes: Sequence[int]) -> None:
        key, contents = self._named(sizes)
        images = (ImageBlock(base64.b64encode(each).decode(), "image/png") for each in contents)
        said: tuple[AgentBlock, ...] = (TextBlock(f"say {key}"), *images)
        try:
            await self._front.submit(session_id, said, message_id=key)
        except Unavailable as error:
            self.step_so_far.refused |= "no room" in str(error)
            raise

    async def push(
        self, chat: str, sizes: Sequence[int], way: Way, kind: MediaKind = MediaKind.IMAGE
    ) -> None:
        """A message of the network, whose files are fetched, or come with it (A1)."""
        key, contents = self._named(sizes)
        files = tuple(
            self.network.attached(f"{key}-{number}", content, kind, way)
            for number, content in enumerate(contents)
        )
        await self.network.put(Inbound(chat, key, Sender("ann"), f"say {key}", attachments=files))

    async def push_again(self) -> None:
        """The network delivers once more what it delivered last (D5)."""
        for inbound in self.network.last:
            self._to_be_taken_in(self.record.said[inbound.message_id])
        await self.network.redeliver()

    async def take_back(self, name: str, how: str) -> None:
        session_id = await self.session_id(name)
        if session_id is not None:
            await self._take_back(session_id, how)

    async def take_back_turn(self, number: int, how: str) -> None:
        """The same, in the session of one of the prompts that wait for a rule."""
        calls = self.player.open_calls
        if calls:
            await self._take_back(calls[number % len(calls)].session_id, how)

    async def _take_back(self, session_id: str, how: str) -> None:
        match how:
            case "cancel":
                self.taken_back += 1
                await self._front.cancel(session_id)
            case "clear":
                waits = {row.id for row in await self.store.pending_messages(session_id)}
                waits |= self.player.not_begun(session_id)
                await self._withdrawing(session_id, lambda: self._front.clear_queue(session_id))
                self.record.cleared |= dict.fromkeys(waits, len(self.player.calls))
            case "reset":
                await self._withdrawing(session_id, lambda: self._front.reset_session(session_id))
            case "/stop" | "/queue clear" | "/new":
                typed = (TextBlock(how),)
                await self._withdrawing(session_id, lambda: self._front.submit(session_id, typed))
            case "close":
                await self._withdrawing(session_id, lambda: self._front.close_session(session_id))

    async def _withdrawing(self, session_id: str, work: Callable[[], Awaitable[object]]) -> None:
        """An agent that has said nothing before is too late from now on (H3)."""
        self.taken_back += 1
        calls = [
            call
            for call in self.player.open_calls
            if call.session_id == session_id and not (call.spoke or call.withdrawn)
        ]
        for call in calls:
            call.withdrawn = True
        try:
            await work()
        except BaseException:
            for call in calls:
                call.doubtful = True
            raise

    async def set_mode(self, name: str, mode: QueueMode) -> None:
        session_id = await self.session_id(name)
        if session_id is not None:
            await self._front.set_queue(session_id, QueueOverrides(mode=mode))

    async def crash(self, name: str, part: str) -> None:
        """A bug: a handler stumbles over something."""
        self.crashed = True
        if part == "janitor":
            if self._may_stumble(1):
                self._front._janitor.tell(cast("Any", MakeRoom(cast("int", None), 0)))
            return
        session_id = await self.session_id(name)
        live = await self._front._sessions.ask(FindLive((session_id or "",)), timeout=60)
        for ref in live.values():
            if part == "session":
                ref.tell(Offered(cast("Batch", None)))
            else:
                ref.tell(Arrived(rows=(cast("InboundRow", None),)))

    def _may_stumble(self, times: int) -> bool:
        """Whether the janitor may crash as often once more: with too many the runtime ends."""
        since = trio.current_time() - JANITOR.seconds
        self.stumbles = [moment for moment in self.stumbles if moment > since]
        if len(self.stumbles) + times > JANITOR.restarts:
            return False
        self.stumbles += [trio.current_time()] * times
        return True

    async def removals(self, how: Literal["work", "are refused", "fall over"]) -> None:
        """Removing files works, or is refused by the disk, or is a bug."""
        if how != "fall over" or self._may_stumble(JANITOR.restarts):
            self.life.removals = how

    async def sweep(self) -> None:
        await self._front.sweep_media()

    async def set_cap(self, cap: int) -> None:
        self.cap = self.step_so_far.cap = cap
        self.step_so_far.lowest_cap = min(cap, self.step_so_far.lowest_cap)
        self.step_so_far.highest_cap = max(cap, self.step_so_far.highest_cap)
        self.life.rt.reconfigure(self.settings)

    # -- what else there is -------------------------------------------------------------------

    async def order(self, number: int, orders: Sequence[Order], steps: int = 0) -> None:
        """Tell the agent what to do with one of its prompts, so many steps of the loop later."""
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        calls = self.player.open_calls
        for order in orders if calls else ():
            calls[number % len(calls)].send.send_nowait(order)

    async def decide(self, number: int, taken: bool) -> None:
        """The agent takes a message in, or does not."""
        self.player.decide(number, taken)

    async def nothing(self) -> None:
        """Only time passes."""

    async def let_files_go(self, going: bool) -> None:
        """The network delivers files, or makes everybody wait."""
        if going:
            self.network.let_files_go.set()
        elif self.network.let_files_go.is_set():
            self.network.let_files_go = trio.Event()


def content_of(size: int) -> bytes:
    """Bytes that no other size has."""
    return (b"%d " % size * size)[:size]
