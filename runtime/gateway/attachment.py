"""One connection's view of one session (G3, G5, G12)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import trio

from runtime.gateway import choices, translate
from runtime.gateway.outgoing import Outgoing, SlowReader
from runtime.gateway.questions import Dialogs, Requests
from runtime.gateway.voices import Voices
from runtime.ports.front import Front, FrontError, Submitted, Watch, WatcherLagged
from runtime.protocol.extensions import EventParams, ResetEvent, UpdateMark
from runtime.sessions.content import Content, SaidBlock
from runtime.sessions.events import (
    AgentAnnounced,
    LiveEvent,
    MessageAccepted,
    MessageDropped,
    MessageSteered,
    Notice,
    PermissionAnswered,
    PermissionAsked,
    RunningTurn,
    SessionClosed,
    Snapshot,
    TurnEnded,
    TurnStarted,
    TurnUpdate,
)
from runtime.sessions.rows import InboundState, JournalEntry, Sender, TurnState
from runtime.sessions.updates import (
    AvailableCommands,
    ConfigOptions,
    CurrentMode,
    PermissionRequest,
    SessionUpdate,
)

PAGE = 500
"""Transcript lines read at a time."""

CATCH_UP = 10.0
"""Seconds that an answer waits for the updates before it: they are in memory already."""


class Link(msgspec.Struct, frozen=True):
    """What a view of a session needs of its connection.

    Args:
        connection: its id, for `Front.cancel`.
        sender: who speaks on it.
        outgoing: where messages to the client go.
        requests: those to the client.
        nursery: of the connection; runs the forwarding.
        booleans: whether the client knows settings that are true or false.
    """

    connection: str
    sender: Sender
    outgoing: Outgoing
    requests: Requests
    nursery: trio.Nursery
    booleans: bool


class Attachment:
    """Forwards what happens in a session to one client, through a single watch.

    Two things can be forwarded: the protocol's updates, and all events for those who asked. Each
    has a number after which it begins, so that what was before and what comes live meet without a
    gap and without repetition: the watch is open before the snapshot is taken, history goes up to
    the snapshot, and live events that the snapshot contains are skipped.

    Args:
        front: the runtime.
        session_id: the session.
        link: the connection.
    """

    def __init__(self, front: Front, session_id: str, link: Link) -> None:
        self._front = front
        self._id = session_id
        self._link = link
        self._outgoing = link.outgoing
        self._dialogs = Dialogs(front, session_id, link.outgoing, link.requests, link.nursery)
        self._watch: Watch | None = None
        self._gate = trio.Lock()
        self._updates_after: int | None = None
        self._events_after: int | None = None
        self._voices = Voices()
        self._unasked: dict[str, tuple[str, PermissionRequest]] = {}
        self._submission: trio.Event | None = None
        self._ends: dict[str, trio.Event] = {}
        self._forwarded = 0
        self._over = False

    @property
    def is_live(self) -> bool:
        """Whether events are forwarded: from the first request to the session's end."""
        return self._watch is not None and not self._over

    # -- what the client asked for ------------------------------------------------------------

    async def follow(self) -> Snapshot:
        """Forward updates from now on.

        Raises:
            FrontError: the session cannot be watched.
        """
        async with self._gate:
            snapshot = await self._open()
            if self._updates_after is None:
                self._updates_after = snapshot.number
                self._note_questions(snapshot)
        return snapshot

    async def replay(self) -> Snapshot:
        """Send the conversation of this epoch and the running turn, and go on live.

        Raises:
            FrontError: the session cannot be read.
            SlowReader: the client does not read.
        """
        after = 0
        if self._watch is None:
            # A long history goes out before the watch opens, whose buffer is bounded.
            after = await self._replay_journal(after, await self._front.snapshot(self._id))
        async with self._gate:
            snapshot = await self._open()
            await self._replay_journal(after, snapshot)
            if snapshot.running is not None:
                await self._replay_running(snapshot.running)
            self._updates_after = snapshot.number
            self._note_questions(snapshot)
        return snapshot

    async def follow_events(self, after: int, *, reset: bool) -> Snapshot:
        """Send the transcript after a line and a snapshot as events, and go on with live events.

        Raises:
            FrontError: the session cannot be read.
            SlowReader: the client does not read.
        """
        async with self._gate:
            snapshot = await self._open()
            if reset:
                self._post_event(EventParams(self._id, ResetEvent()))
            async with aclosing(self._journal(after, snapshot.journal_seq, None)) as entries:
                async for entry in entries:
                    self._post_event(translate.journal_event(self._id, entry))
            self._post_event(translate.snapshot_event(self._id, snapshot))
            await self._outgoing.wait_for_room()  # it may be longer than all that may wait
            self._events_after = snapshot.number
        return snapshot

    async def submit(self, content: Sequence[SaidBlock], message_id: str | None) -> Submitted:
        """Submit a message of this connection, which it will not be shown.

        One at a time: the caller has the session's lane.

        Raises:
            FrontError: it was not accepted.
        """
        self._submission = trio.Event()
        try:
            submitted = await self._front.submit(
                self._id,
                content,
                message_id=message_id,
                connection=self._link.connection,
                sender=self._link.sender,
            )
            if self.is_live and not submitted.duplicate:
                self._voices.sent(submitted.message_id)
            return submitted
        finally:
            self._submission.set()
            self._submission = None

    def ask_what_is_open(self) -> None:
        """Put the questions that were open when following began, now that the client knows the
        session. Raises `SlowReader`.
        """
        for turn_id, request in self._unasked.values():
            self._dialogs.ask(turn_id, request)
        self._unasked.clear()

    def announce_commands(self, commands: tuple[dict[str, Any], ...]) -> None:
        """Say what may be typed with a slash before it. Raises `SlowReader`."""
        self._post(AvailableCommands(list(commands)), UpdateMark())

    async def follow_if_new(self) -> None:
        """Forward updates from now on; at once when they are forwarded already."""
        if self._updates_after is None:
            await self.follow()
            self.ask_what_is_open()

    @asynccontextmanager
    async def expecting(self, submitted: Submitted) -> AsyncIterator[None]:
        """Leave the block only when everything up to the end of a message was forwarded.

        To be entered at once after `submit`.
        """
        self._voices.sent(submitted.message_id)
        end = self._ends.setdefault(submitted.message_id, trio.Event())
        try:
            yield
            with trio.move_on_after(CATCH_UP):
                if submitted.duplicate:
                    await self._catch_up(end)
                else:
                    await end.wait()
            self._voices.ended([submitted.message_id])
        finally:
            self._ends.pop(submitted.message_id, None)

    async def _catch_up(self, end: trio.Event) -> None:
        """Wait for the end of a message that may have ended before this connection came.

        Its end was published already, so it is forwarded, or it is in the watch: then the
        forwarding task makes progress each time that it is scheduled.
        """
        while not end.is_set():
            async with self._gate:
                before = self._forwarded
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            if self._forwarded == before and not self._gate.locked():
                return

    # -- watching -----------------------------------------------------------------------------

    async def _open(self) -> Snapshot:
        if self._watch is not None:
            return await self._front.snapshot(self._id)
        watch = self._front.watch(self._id)
        try:
            snapshot = await self._front.snapshot(self._id)
        except BaseException:
            watch.close()
            raise
        self._watch = watch
        self._link.nursery.start_soon(self._forward_forever, watch)
        return snapshot

    async def _forward_forever(self, watch: Watch) -> None:
        try:
            with watch:
                async for live in watch:
                    if self._gate.locked():
                        await self._gate.acquire()
                    else:  # the usual case, without a checkpoint for each event and watcher
                        self._gate.acquire_nowait()
                    try:
                        await self._forward(live)
                    finally:
                        self._gate.release()
                    self._forwarded += 1
                    if isinstance(live.event, SessionClosed):
                        return
        except WatcherLagged:
            raise SlowReader from None
        finally:
            self._over = True
            for end in self._ends.values():
                end.set()

    async def _forward(self, live: LiveEvent) -> None:
        await self._know_own(live)
        if self._updates_after is not None and live.number > self._updates_after:
            await self._forward_update(live)
        if self._events_after is not None and live.number > self._events_after:
            self._post_event(translate.live_event(self._id, live))
        match live.event:
            case MessageDropped(message_id=message_id) | Notice(message_id=str() as message_id):
                self._end([message_id])
            case TurnEnded(message_ids=ids, message_state=state) if state != InboundState.PENDING:
                self._end(ids)

    async def _know_own(self, live: LiveEvent) -> None:
        """Wait for the id of the message being submitted when an event may be about it."""
        match live.event:
            case (
                MessageDropped(message_id=message_id)
                | MessageSteered(message_id=message_id)
                | Notice(message_id=str() as message_id)
            ):
                ids: tuple[str, ...] = (message_id,)
            case TurnStarted(message_ids=ids) | TurnEnded(message_ids=ids):
                pass
            case _:
                return
        if self._submission is not None and not all(map(self._voices.is_own, ids)):
            await self._submission.wait()

    async def _forward_update(self, live: LiveEvent) -> None:
        match live.event:
            case TurnUpdate(turn_id=turn_id, update=update):
                await self._say(update, UpdateMark(turn_id=turn_id, number=live.number))
            case AgentAnnounced(update=update):
                await self._say(update, UpdateMark(number=live.number))
            case Notice(text=text) as said if text:
                self._outgoing.post_update(translate.notice(self._id, said, live.number))
            case PermissionAsked(turn_id=turn_id, request=request):
                self._dialogs.ask(turn_id, request)
            case PermissionAnswered(request_id=request_id):
                self._unasked.pop(request_id, None)
                self._dialogs.settle(request_id)
            case TurnEnded(turn_id=turn_id, message_ids=ids, message_state=state) as ended:
                self._unasked.clear()
                self._dialogs.end_turn(turn_id)
                if state == InboundState.PENDING and ended.state != TurnState.CANCELLED:
                    self._outgoing.post_update(translate.retry_due(self._id, ended, live.number))
                elif ended.error is not None and self._ends.keys().isdisjoint(ids):
                    # Whoever waits for the turn is answered with the error.
                    failed = translate.failure(self._id, turn_id, ended.error, live.number)
                    self._outgoing.post_update(failed)
            case MessageAccepted() as accepted:
                self._voices.accepted(accepted)
            case TurnStarted() as started:
                self._show_words(self._voices.to_show(started), started.turn_id, live.number)
            case MessageSteered() as steered:
                self._show_words(self._voices.joined(steered), steered.turn_id, live.number)

    def _show_words(self, words: Iterator[tuple[str, Content]], turn_id: str, number: int) -> None:
        for message_id, content in words:
            self._post_user(content, UpdateMark(turn_id, message_id, number))

    async def _say(self, update: SessionUpdate, mark: UpdateMark) -> None:
        """Pass on what the agent says; to its settings belongs ours (G2)."""
        if not isinstance(update, ConfigOptions):
            self._post(update, mark)
            return
        offered = update.config_options
        try:
            options = await choices.config_options(
                self._front, self._id, offered, booleans=self._link.booleans
            )
        except FrontError:
            return  # the session is being closed: nobody can set anything
        self._post(ConfigOptions(list(options)), mark)
        modes = choices.mode_state(offered)
        if modes is not None:
            self._post(CurrentMode(modes.current_mode_id), mark)

    def _note_questions(self, snapshot: Snapshot) -> None:
        if snapshot.running is not None:
            turn_id = snapshot.running.started.turn_id
            questions = snapshot.running.questions
            self._unasked = {each.request_id: (turn_id, each) for each in questions}

    def _post(self, update: SessionUpdate, mark: UpdateMark) -> None:
        self._outgoing.post_update(translate.update(self._id, update, mark))

    def _end(self, message_ids: tuple[str, ...] | list[str]) -> None:
        self._voices.ended(message_ids)
        for message_id in message_ids:
            end = self._ends.get(message_id)
            if end is not None:
                end.set()

    # -- history ------------------------------------------------------------------------------

    async def _replay_journal(self, after: int, snapshot: Snapshot) -> int:
        """Send the lines above ``after`` that the snapshot has; the number of the last one sent.

        Lines of the running turn are left out: the snapshot has all of it.
        """
        running = snapshot.running.started.turn_id if snapshot.running is not None else None
        epoch = (await self._front.session_info(self._id)).row.epoch
        async with aclosing(self._journal(after, snapshot.journal_seq, epoch)) as entries:
            async for entry in entries:
                if running is not None and entry.turn_id == running:
                    break
                for params in translate.replayed(self._id, entry):
                    self._outgoing.post_update(params)
                after = entry.seq
        return after

    async def _journal(
        self, after: int, upto: int, epoch: int | None
    ) -> AsyncGenerator[JournalEntry, None]:
        while after < upto:
            await self._outgoing.wait_for_room()
            entries = await self._front.journal(self._id, after=after, limit=PAGE, epoch=epoch)
            for entry in entries:
                if entry.seq > upto:
                    return
                yield entry
            if not entries:
                return
            after = entries[-1].seq

    async def _replay_running(self, running: RunningTurn) -> None:
        started = running.started
        mark = UpdateMark(turn_id=started.turn_id, message_id=started.message_ids[0])
        self._post_user(started.prompt, mark)
        self._voices.shown(started.message_ids)
        for params in translate.running_updates(self._id, running):
            self._outgoing.post_update(params)
            await self._outgoing.wait_for_room()

    def _post_user(self, content: Content, mark: UpdateMark) -> None:
        for params in translate.user_updates(self._id, content, mark):
            self._outgoing.post_update(params)

    def _post_event(self, params: EventParams) -> None:
        self._outgoing.post_event(params)
