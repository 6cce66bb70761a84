"""The front: what clients can ask of the runtime. The gateway and the embedding API stand on this
alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import msgspec

from runtime.ports.agent import Offers
from runtime.sessions.content import SaidBlock
from runtime.sessions.events import LiveEvent, QueueStatus, Snapshot, TurnEnded
from runtime.sessions.rows import (
    InboundState,
    JournalEntry,
    QueueOverrides,
    Sender,
    SessionRow,
    TurnError,
    Workplace,
)


class FrontError(Exception):
    """Base of what can be wrong with a client's request; the text is for the client."""


class NoSuchSession(FrontError):
    """There is no such session, or it is closed."""


class NoSuchAgent(FrontError):
    """No agent of that name is configured."""


class QueueIsFull(FrontError):
    """The session's queue is full; the message was not accepted and may be sent again later
    (Q4).
    """


class BadRequest(FrontError):
    """A value is not acceptable. ``path`` names it, as in ``$.prompt[0].text``."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class Unavailable(FrontError):
    """The runtime cannot take this now (disk full, stopping); nothing was accepted."""


class SessionBlocked(Unavailable):
    """The session's agent could not be started too often: its messages are kept and run after
    `Front.reconnect` (P3).
    """


class Refused(FrontError):
    """The agent refused what was asked of it, in its own words."""


class WatcherLagged(FrontError):
    """A watcher read too slowly and its buffer is full: read the journal and watch again (G6)."""


class Submitted(msgspec.Struct, frozen=True):
    """A message was accepted: it is durable."""

    message_id: str
    sequence: int
    duplicate: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How a message ended.

    ``state`` is done, failed, dropped or expired. ``stop_reason`` is the protocol's, of the turn
    that carried it; ``cancelled`` also for a message withdrawn before it became a turn. ``text`` is
    the answer.
    """

    message_id: str
    state: InboundState
    stop_reason: str | None = None
    error: TurnError | None = None
    turn_id: str | None = None
    text: str | None = None

    @classmethod
    def of(cls, ended: TurnEnded, message_id: str) -> Outcome:
        """How one of the messages of a turn ended, by the end of that."""
        return cls(
            message_id=message_id,
            state=ended.message_state,
            stop_reason=ended.stop_reason,
            error=ended.error,
            turn_id=ended.turn_id,
            text=ended.text,
        )


class SessionInfo(msgspec.Struct, frozen=True):
    """A session as listed: its row, and what it does just now (``stopped``, ``idle``, ``running``
    or ``blocked``).
    """

    row: SessionRow
    run_state: str


class InfoPage(msgspec.Struct, frozen=True):
    """A page of sessions, most recently active first."""

    sessions: tuple[SessionInfo, ...]
    next_cursor: str | None = None


class SessionMedia(msgspec.Struct, frozen=True):
    """The files of one session: how many, and bytes."""

    session_id: str
    files: int
    size: int


class MediaUsage(msgspec.Struct, frozen=True):
    """What files of messages take on disk. Sizes in bytes.

    Args:
        root: the folder; None where no files are kept.
        cap: what all may take together.
        files, size: how many there are, and their bytes.
        in_flight: bytes of files that no agent has been given yet: they are never removed.
        evictable: bytes that may be removed when room is needed.
        reserved: bytes counted for files that are being received.
        stuck: pieces of work that the disk does not finish, and nobody waits for any more.
    """

    root: str | None
    cap: int
    files: int
    size: int
    in_flight: int
    evictable: int
    reserved: int
    stuck: int


class MediaSwept(msgspec.Struct, frozen=True):
    """What a sweep removed: files, their bytes, and how many files could not be removed."""

    files: int
    size: int
    problems: int


class Readiness(msgspec.Struct, frozen=True):
    """Whether the runtime can accept messages, and if not, why and what to do."""

    ready: bool
    problems: tuple[str, ...] = ()


class Watch(ABC):
    """A live view of one session: iterate it. It outlives the session's sleep and the actor's
    restarts.
    """

    @abstractmethod
    def __aiter__(self) -> Watch: ...

    @abstractmethod
    async def __anext__(self) -> LiveEvent:
        """The next event.

        Raises:
            WatcherLagged: events were lost because the buffer was full. The watch is closed.
            StopAsyncIteration: the watch was closed, or the runtime stopped.
        """

    @abstractmethod
    def close(self) -> None:
        """End the watch; a task that waits in it ends its loop."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Front(ABC):
    """What clients can ask. All methods may raise `Unavailable`; those with a session
    `NoSuchSession`.
    """

    # -- sessions -----------------------------------------------------------------------------

    @abstractmethod
    async def open_session(
        self,
        *,
        key: str | None = None,
        agent: str | None = None,
        workplace: Workplace | None = None,
    ) -> SessionRow:
        """The session of a key, made when it is not there; without a key a new one (S6, G2).

        Args:
            key: a name of the client's choice.
            agent: who answers; the default agent without.
            workplace: where the agent is to work, from now on; None leaves it as it was.

        Raises:
            NoSuchAgent, BadRequest.
        """

    @abstractmethod
    async def set_workplace(self, session_id: str, workplace: Workplace) -> SessionRow:
        """Where the agent is to work, from its next start on (G10)."""

    @abstractmethod
    async def offers(self, session_id: str) -> Offers:
        """What the session's agent lets one choose from; as of its last start when it sleeps."""

    @abstractmethod
    async def choose(self, session_id: str, option_id: str, value: str | bool) -> Offers:
        """Choose one of the agent's settings, now and after each start of it (G2).

        The agent is started when it sleeps. Raises Refused, BadRequest, SessionBlocked.
        """

    @abstractmethod
    async def reconnect(self, session_id: str) -> None:
        """Unblock a session and start its agent anew; a running turn keeps the one it has (P3)."""

    @abstractmethod
    async def answer_permission(
        self, session_id: str, request_id: str, option_id: str | None
    ) -> bool:
        """Answer an open question of the agent; None: nobody chose.

        Returns:
            Whether it was still open: the first answer counts.

        Raises:
            BadRequest: the question has no such option.
        """

    @abstractmethod
    async def session_info(self, session_id: str) -> SessionInfo:
        """One session."""

    @abstractmethod
    async def list_sessions(self, *, cursor: str | None = None, limit: int = 50) -> InfoPage:
        """A page of sessions. Raises BadRequest for a cursor that is none."""

    @abstractmethod
    async def reset_session(self, session_id: str) -> SessionRow:
        """Begin the conversation anew (S18): withdraw what waits, cancel what runs, raise the
        epoch.
        """

    @abstractmethod
    async def close_session(self, session_id: str) -> None:
        """Cancel what runs, withdraw what waits, close the session (S43)."""

    @abstractmethod
    async def set_queue(self, session_id: str, overrides: QueueOverrides) -> SessionRow:
        """Set the session's own queue settings (Q3). Raises BadRequest."""

    # -- messages -----------------------------------------------------------------------------

    @abstractmethod
    async def submit(
        self,
        session_id: str,
        content: Sequence[SaidBlock],
        *,
        message_id: str | None = None,
        connection: str | None = None,
        sender: Sender | None = None,
    ) -> Submitted:
        """Accept a message durably (D5, G4). A ``message_id`` of the client's choice makes it safe
        to repeat.

        Args:
            session_id: the session.
            content: what is said; at least one block. Bytes in it are kept as files, and so
                are long texts of resources, and what a `LocalFile` leads to.
            message_id: the client's name for the message, unique in the session.
            connection: who waits for the answer, for `cancel`.
            sender: the principal who says it (S36).

        Raises:
            QueueIsFull, BadRequest.
        """

    @abstractmethod
    async def outcome(self, message_id: str) -> Outcome:
        """Wait until a message has ended, and say how. Returns at once when it has.

        Survives restarts of the session's actor, since the row is the truth. May be cancelled at
        any time; the message is not touched by that.

        Raises:
            SessionBlocked: the message is kept, but nothing runs it before `reconnect`.
        """

    @abstractmethod
    async def cancel(
        self, session_id: str, *, connection: str | None = None, message_id: str | None = None
    ) -> bool:
        """Cancel the running turn, and withdraw the waiting messages of that connection (G11).

        With ``message_id`` only that message is meant: it is withdrawn if it waits, and the running
        turn is cancelled if it carries it.

        Returns:
            Whether there was anything to cancel.
        """

    @abstractmethod
    async def clear_queue(self, session_id: str) -> int:
        """Withdraw everything that waits, a turn without a first event included (H3); how many
        messages went.
        """

    @abstractmethod
    async def queue_status(self, session_id: str) -> QueueStatus:
        """What waits and what runs."""

    # -- watching -----------------------------------------------------------------------------

    @abstractmethod
    def watch(self, session_id: str, *, buffer: int = 1_000) -> Watch:
        """Watch a session from now on; at most ``buffer`` unread events are kept."""

    @abstractmethod
    async def snapshot(self, session_id: str) -> Snapshot:
        """The running turn so far. Open a watch first, then skip its events up to ``number``."""

    @abstractmethod
    async def journal(
        self, session_id: str, *, after: int = 0, limit: int = 500, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        """Transcript lines above ``after``, oldest first, of one epoch or all."""

    # -- files --------------------------------------------------------------------------------

    @property
    def max_file_bytes(self) -> int | None:
        """The largest file that a message may bring now; None when that is not known."""
        return None

    @abstractmethod
    def media_usage(self) -> MediaUsage:
        """What files of messages take; touches no disk."""

    @abstractmethod
    async def largest_media(self) -> tuple[SessionMedia, ...]:
        """The sessions whose files take most, the largest first, at most 10; touches no disk."""

    @abstractmethod
    async def sweep_media(self) -> MediaSwept:
        """Remove now what is to be removed: what nobody wants, what is over the cap (M5)."""

    # -- the runtime --------------------------------------------------------------------------

    @abstractmethod
    def readiness(self) -> Readiness:
        """Whether messages can be accepted now; touches no disk."""

    @abstractmethod
    def metrics(self) -> bytes:
        """Counters and gauges in Prometheus' text format."""

    @abstractmethod
    def tree(self) -> dict[str, Any]:
        """The tree of actors as JSON values (K9)."""

    @property
    @abstractmethod
    def agents(self) -> tuple[str, ...]:
        """The names of the configured agents, the default one first."""
