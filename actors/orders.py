"""What people command in a session, done (S36, S40, Q5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from actors.conversation import Conversation
from actors.services import Services
from runtime.sessions.commands import Command, Typed
from runtime.sessions.durations import format_duration
from runtime.sessions.events import QueueStatus
from runtime.sessions.numbers import number_of
from runtime.sessions.overrides import BadOverride, in_words, typed_overrides
from runtime.sessions.rows import InboundRow, QueueOverrides
from runtime.storage.anew import StartAnew, StartedAnew

DENIED = "Only an admin may do that."


class Doors(msgspec.Struct, frozen=True):
    """What the session lets people do.

    Args:
        status: what runs and waits.
        reconnect: start the agent again.
        stop: cancel the running turn and withdraw what was said before a message; of others too, if
            so told. Whether a turn is cancelled, and how many messages went.
        clear: withdraw what was said before a message; how many went.
        set_queue: use these queue settings of the session's own.
        start_anew: begin a new epoch, see `Epochs.start_anew`.
    """

    status: Callable[[], Awaitable[QueueStatus]]
    reconnect: Callable[[], Awaitable[None]]
    stop: Callable[[InboundRow, bool], Awaitable[tuple[bool, int]]]
    clear: Callable[[InboundRow], Awaitable[int]]
    set_queue: Callable[[QueueOverrides], Awaitable[object]]
    start_anew: Callable[[InboundRow, StartAnew], Awaitable[StartedAnew | None]]


class Orders:
    """Carries out commands, each of which may be given again: after a crash it is."""

    def __init__(self, services: Services, conversation: Conversation, doors: Doors) -> None:
        self._services = services
        self._conversation = conversation
        self._doors = doors

    def denied(self, row: InboundRow, command: Command) -> bool:
        """Whether whoever wrote a message may not give this command."""
        return not self._services.role_of(row).may(command.role)

    async def carry_out(self, row: InboundRow, typed: Typed) -> str:
        """Carry out a command, all but `Command.RESET`; what there is to say about it.

        Raises:
            StoreError: the disk refuses; it is not done.
        """
        match typed.command:
            case Command.RECONNECT:
                await self._doors.reconnect()
                return "The agent is connected anew."
            case Command.STOP:
                everything = not self.denied(row, Command.CLEAR)
                stopped, withdrawn = await self._doors.stop(row, everything)
                what = "Stopped." if stopped else "Nothing is running."
                return f"{what} {number_of(withdrawn, 'message')} withdrawn." if withdrawn else what
            case Command.STATUS:
                return _state(await self._doors.status())
            case Command.QUEUE:
                return f"{_state(await self._doors.status())} {self._settings()}"
            case Command.CLEAR:
                return f"{number_of(await self._doors.clear(row), 'message')} withdrawn."
            case Command.DEFAULT:
                await self._doors.set_queue(QueueOverrides())
                return f"This session has no queue settings of its own any more. {self._settings()}"
            case Command.CONFIGURE:
                try:
                    overrides = typed_overrides(typed.words, self._conversation.row.queue)
                except BadOverride as error:
                    return f"Nothing was changed: {error}."
                await self._doors.set_queue(overrides)
                return f"The queue of this session: {in_words(overrides)}. {self._settings()}"
            case Command.RESET:
                raise ValueError("a new epoch begins with its message: see `start_anew`")

    async def start_anew(self, row: InboundRow, request: StartAnew) -> StartedAnew | None:
        """Begin a new conversation with a message; None when it was withdrawn meanwhile.

        Raises:
            StoreError: the disk refuses; there is no new conversation.
        """
        return await self._doors.start_anew(row, request)

    def _settings(self) -> str:
        """What holds, wherever it was set."""
        row = self._conversation.row
        policy, cap = self._services.queue_policy(row)
        drop = row.queue.drop or self._services.settings.queue_of(row.channel).drop
        return (
            f"What holds: {policy.mode}, debounce {format_duration(policy.debounce)}, at most"
            f" {format_duration(policy.debounce_max)}, cap {cap}, drop {drop}."
        )


def _state(status: QueueStatus) -> str:
    if status.blocked is not None:
        return f"{status.blocked} Messages that wait: {status.waiting}."
    runs = "A turn is running." if status.running is not None else "Nothing is running."
    if status.running is None and status.waiting:
        runs = "No turn is running yet."
    return f"{runs} Messages that wait: {status.waiting}. Queue mode: {status.mode}."
