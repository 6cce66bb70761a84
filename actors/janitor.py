"""Removes files, in media folders and outboxes: what nobody wants, what the cap or the disk wants
back, what is of no session (M5–M9, H2, R7).

    Look        something may be nobody's, new in an outbox, over the cap; or a session was closed
    LookSoon    something may be new in an outbox, as after every turn
    MakeRoom    evict until so many bytes fit               → when that was tried
    Sweep       enforce everything now                      → Swept

Nobody else removes a file, and this actor decides about none: what may go is said by the index
(`runtime.sessions.ledger`). An evicted file is written down before it goes, so that the agent can
be told whatever happens (M9); a discarded one goes first and its row after it, so that one that is
left behind is found at the next start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import trio

from actors.janitor_messages import (
    JanitorMessage,
    Look,
    LookSoon,
    MakeRoom,
    Reconcile,
    Sweep,
    SweepAgain,
    Swept,
)
from actors.library import Cleaner, Library, folder_name
from actors.library_opening import reconcile
from actors.outbox_looks import look_into, outboxes_of, reconcile_outboxes
from actors.paging import batched
from actors.removing import remove_all
from runtime.kernel import Actor, ActorRef, ActorStopped, AskTimeout, MailboxFull
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.sessions.handover import Owner
from runtime.sessions.ledger import Blob
from runtime.storage.attachments import Outbox
from runtime.storage.errors import StoreError
from runtime.storage.media_errors import MediaError, NoAnswer
from runtime.storage.media_requests import BlobRef
from runtime.storage.media_tree import MediaTree
from runtime.storage.store import Store

SWEEP_EVERY = 30.0
"""Seconds between two sweeps by itself."""

RECONCILE_EVERY = 6 * 3_600.0
"""Seconds between two looks at the whole disk (M7)."""

LOOK_EVERY = 0.25
"""Seconds between two looks into outboxes after turns, however many turns end (M7)."""

SETTLED = 3_600_000
"""Milliseconds after which a file without a row is on its way no more."""

ROOM_LIMIT = 30.0
"""Seconds in which room is made for a file; the disk may be slow."""

BATCH = 500
"""How many files are removed in one go."""

TOLD = 10
"""How many problems of one go are told in words; the others are only counted."""

IDLE_STEP = 1_000
"""How many files a sweep looks at, whether their session is still in use (S43), and how many,
whether what was evicted may be forgotten.
"""

KEEP_EVICTIONS = 30 * 86_400_000
"""Milliseconds for which it is remembered at least what was evicted."""

log = get_logger(__name__)


class JanitorsCleaner(Cleaner):
    """The library's way to the janitor."""

    def __init__(self, janitor: ActorRef[JanitorMessage]) -> None:
        self._janitor = janitor

    async def make_room(self, size: int, lack: int) -> None:
        try:
            await self._janitor.ask(MakeRoom(size, lack), timeout=ROOM_LIMIT)
        except (ActorStopped, AskTimeout, MailboxFull) as error:
            log.warning("room_not_made", reason=str(error))

    def look(self, *, soon: bool = False) -> None:
        self._janitor.tell(LookSoon() if soon else Look())


class Tools(Protocol):
    """What the janitor works with: of `actors.services.Services`, or of a command that sweeps
    while no runtime runs.
    """

    @property
    def library(self) -> Library:
        """The files, and whose they are."""

    @property
    def store(self) -> Store:
        """Has their rows."""

    @property
    def metrics(self) -> Metrics:
        """What is counted."""

    @property
    def now(self) -> Callable[[], int]:
        """The wall clock in ms since 1970."""


class Janitor(Actor[JanitorMessage]):
    """The only one that removes files of messages, and of agents from their outboxes."""

    def __init__(self, services: Tools) -> None:
        self._services = services
        self._library = services.library
        self._ledger = services.library.ledger
        self._stuck: list[tuple[Blob, str]] = []
        self._looked_at = 0
        self._forgotten_up_to = 0
        self._next_look = -math.inf

    async def on_start(self) -> None:
        if self._library.tree is None:
            return
        self._library.cleaner = JanitorsCleaner(self.ref)
        for blob in self._ledger.leaving:  # an earlier incarnation was about to remove these
            if blob.owner is Owner.IN_FLIGHT:
                self._ledger.stay(blob)
            else:
                self._stuck.append((blob, "evicted" if blob.handed_over else "discarded"))
        self.ref.tell(Look())
        self.every(SWEEP_EVERY, SweepAgain())
        self.every(RECONCILE_EVERY, Reconcile())

    async def on_message(self, message: JanitorMessage) -> object:
        tree = self._library.tree
        if tree is None:
            return Swept() if isinstance(message, Sweep) else None
        match message:
            case Look():
                await self._look(tree)
            case LookSoon():
                self.after(max(0.0, self._next_look - trio.current_time()), Look())
            case MakeRoom():
                await self._make_room(tree, message)
            case Sweep():
                return await self._sweep_all(tree)
            case SweepAgain():
                await self._sweep(tree)
            case Reconcile():
                await self._reconcile(tree)
        return None

    # -- reasons to remove --------------------------------------------------------------------

    async def _look(self, tree: MediaTree) -> None:
        """See what agents have put into their outboxes, which the cap may not have room for."""
        await self._look_into_used()
        await self._discard(tree)
        await self._evict(tree, self._excess)

    @property
    def _excess(self) -> int:
        """Bytes over the cap, beside those that are on their way out (M5)."""
        return self._ledger.excess(0, self._library.settings.max_media_bytes)

    async def _look_into_used(self) -> None:
        used = self._library.outboxes.take_used(BATCH)
        if len(used) == BATCH:
            self.ref.tell(Look())  # the others after what waits meanwhile
        if used:
            self._next_look = trio.current_time() + LOOK_EVERY
            await self._look_into(await self._outboxes_of(used))

    async def _look_into(self, outboxes: Mapping[str, Outbox]) -> None:
        try:
            problems = await look_into(self._library, self._services.store, outboxes)
        except StoreError as error:  # after the next turn there is another look
            log.warning("outboxes_not_read", reason=str(error))
            return
        self._services.metrics.media_problems.inc(problems)
        self._library.show()

    async def _sweep(self, tree: MediaTree) -> Swept:
        await self._look_into_used()
        swept = await self._discard(tree)
        swept = _sum(swept, await self._retry(tree))
        swept = _sum(swept, await self._evict_idle(tree))
        swept = _sum(swept, await self._evict(tree, max(await self._lack(), self._excess)))
        await self._forget_old_evictions()
        return swept

    async def _sweep_all(self, tree: MediaTree) -> Swept:
        """A sweep that looks at all files, however many there are."""
        self._looked_at = 0
        swept = await self._sweep(tree)
        before = 0
        while self._looked_at > before:
            before = self._looked_at
            swept = _sum(swept, await self._evict_idle(tree))
        return swept

    async def _make_room(self, tree: MediaTree, message: MakeRoom) -> None:
        """Nothing is evicted for a file that would not fit all the same, under the cap or on the
        disk (M5, M7).
        """
        await self._discard(tree)
        cap, ledger = self._library.settings.max_media_bytes, self._ledger
        fits = ledger.usage.in_flight + ledger.incoming.reserved + message.size <= cap
        if fits and message.lack <= ledger.evictable:
            excess = ledger.total + message.size - cap
            await self._evict(tree, max(excess, message.lack))

    async def _lack(self) -> int:
        """Bytes of the disk that are missing under the floor (M7)."""
        try:
            space = await self._library.space()
        except MediaError as error:
            self._complain(error)
            return 0
        return 0 if space is None else max(0, self._library.floor(space) - space.free)

    async def _discard(self, tree: MediaTree) -> Swept:
        """Remove what nobody wants (H2)."""
        swept = Swept()
        while blobs := self._ledger.take_discarded(BATCH):
            swept = _sum(swept, await self._remove(tree, blobs, "discarded"))
        await self._remove_folders(tree)
        return swept

    async def _evict(self, tree: MediaTree, size: int) -> Swept:
        """Remove so many bytes of what was handed over, least recently used first (M5)."""
        swept = Swept()
        while size > 0 and (blobs := self._ledger.take_evictable(size, BATCH)):
            size -= sum(blob.size for blob in blobs)
            swept = _sum(swept, await self._evict_these(tree, blobs, "evicted"))
        return swept

    async def _evict_idle(self, tree: MediaTree) -> Swept:
        """Remove files of sessions in which nobody has spoken for long; a step at each sweep."""
        idle = self._library.settings.idle
        if idle is None:
            return Swept()
        before = self._services.now() - int(idle * 1000)
        try:
            page = await self._services.store.idle_blobs(
                before, after=self._looked_at, limit=IDLE_STEP
            )
        except StoreError as error:
            log.warning("idle_media_not_found", reason=str(error))
            return Swept()
        self._looked_at = page.next or 0
        taken = [self._ledger.take(blob.session_id, blob.file) for blob in page.blobs]
        blobs = [blob for blob in taken if blob is not None]
        return await self._evict_these(tree, blobs, "idle") if blobs else Swept()

    async def _forget_old_evictions(self) -> None:
        """A step at each sweep; of those that no agent was told of nothing is forgotten (M9)."""
        before = self._services.now() - KEEP_EVICTIONS
        try:
            after = await self._services.store.forget_old_evictions(
                before, after=self._forgotten_up_to, limit=IDLE_STEP
            )
        except StoreError as error:
            log.warning("old_evictions_not_forgotten", reason=str(error))
            return
        self._forgotten_up_to = after or 0

    async def _evict_these(self, tree: MediaTree, blobs: Sequence[Blob], reason: str) -> Swept:
        """Write down that they go, then remove them."""
        try:
            await self._services.store.blobs_evicted(_refs(blobs))
        except StoreError as error:
            log.error("eviction_not_written", reason=str(error))
            for blob in reversed(blobs):
                self._ledger.stay(blob)
            return Swept(problems=len(blobs))
        self._library.untold.update(blob.session_id for blob in blobs)
        swept = await self._remove(tree, blobs, reason)
        for blob in blobs:
            if not self._ledger.knows(blob.session_id, blob.file):
                log.info("media_evicted", session=blob.session_id, file=blob.file, reason=reason)
        return swept

    async def _retry(self, tree: MediaTree) -> Swept:
        """Try once more to remove what could not be (M6)."""
        swept, stuck = Swept(), self._stuck
        self._stuck = []
        for why in dict.fromkeys(reason for _, reason in stuck):
            again = self._remove if why == "discarded" else self._evict_these
            blobs = [blob for blob, reason in stuck if reason == why]
            for some in batched(blobs, BATCH):
                swept = _sum(swept, await again(tree, some, why))
        await self._remove_folders(tree)
        return swept

    async def _reconcile(self, tree: MediaTree) -> None:
        """Mend what somebody else did to the folders, and an index that was lost."""
        services = self._services
        try:
            mended = await reconcile(self._library, tree, services.store, services.now() - SETTLED)
            await reconcile_outboxes(self._library, services.store)
        except (MediaError, StoreError) as error:
            self._complain(error)
            return
        if mended:
            log.warning("media_reconciled", differences=mended)
            self.ref.tell(Look())  # it may be more than there was
        self._library.show()

    # -- removing -----------------------------------------------------------------------------

    async def _remove(self, tree: MediaTree, blobs: Sequence[Blob], reason: str) -> Swept:
        """Remove files; one that cannot be is told, counted, and tried again later (M6)."""
        with trio.CancelScope(shield=True):  # what is gone is to be known as gone
            outboxes = await self._outboxes_of(
                {blob.session_id: None for blob in blobs if blob.outgoing is not None}
            )
            inboxes = self._library.inboxes.among({blob.session_id for blob in blobs})
            try:
                outcomes = await self._library.disk(
                    partial(remove_all, tree, outboxes, inboxes, blobs)
                )
            except NoAnswer as error:  # what the thread removes after all is found to be gone then
                outcomes = [str(error)] * len(blobs)
            removed: list[Blob] = []
            taken_back: list[Blob] = []
            problems: list[str] = []
            for blob, outcome in zip(blobs, outcomes, strict=True):
                if isinstance(outcome, str):
                    self._stuck.append((blob, reason))
                    problems.append(outcome)
                else:
                    self._ledger.gone(blob)
                    (removed if outcome else taken_back).append(blob)
            self._complain(*problems)
            for session_id in inboxes:
                if not self._ledger.has_session(session_id):
                    self._library.inboxes.forget(session_id)
            # Those of outboxes have a row only when they were evicted: then nothing is to be told.
            of_media = [blob for blob in removed if blob.outgoing is None]
            await self._forget(of_media if reason == "discarded" else taken_back)
        if taken_back:
            await self._look_into(
                {each.session_id: outboxes[each.session_id] for each in taken_back}
            )
        size = sum(blob.size for blob in removed)
        self._library.count_removed(reason, len(removed), size)
        return Swept(len(removed), size, len(blobs) - len(removed) - len(taken_back))

    async def _outboxes_of(self, sessions: Mapping[str, str | None]) -> dict[str, Outbox]:
        try:
            return await outboxes_of(self._library, self._services.store, sessions)
        except StoreError as error:  # there is another time
            log.warning("outboxes_not_found", reason=str(error))
            return {}

    async def _forget(self, blobs: Sequence[Blob]) -> None:
        if not blobs:
            return
        try:
            await self._services.store.blobs_forgotten(_refs(blobs))
        except StoreError as error:  # the next start finds rows without files
            log.warning("discarded_not_forgotten", reason=str(error))

    async def _remove_folders(self, tree: MediaTree) -> None:
        """The folders of closed sessions, once nobody refers to anything in them (S43)."""
        for session_id in [*self._library.closed]:
            if not self._ledger.has_session(session_id):
                self._library.closed.discard(session_id)
                await self._remove_folder(tree, session_id)

    async def _remove_folder(self, tree: MediaTree, session_id: str) -> None:
        try:
            removed = await self._library.disk(
                partial(tree.remove_session, folder_name(session_id))
            )
        except MediaError as error:
            self._complain(error)
            return
        self._complain(*removed.problems)

    def _complain(self, *problems: object) -> None:
        self._services.metrics.media_problems.inc(len(problems))
        for problem in problems[:TOLD]:
            log.warning("media_problem", reason=str(problem))
        if len(problems) > TOLD:
            log.warning("media_problems", others=len(problems) - TOLD)


def _refs(blobs: Sequence[Blob]) -> tuple[BlobRef, ...]:
    return tuple(BlobRef(blob.session_id, blob.file, blob.outgoing) for blob in blobs)


def _sum(one: Swept, other: Swept) -> Swept:
    return Swept(one.files + other.files, one.size + other.size, one.problems + other.problems)
