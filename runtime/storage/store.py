"""The interface of the store: operations, never SQL (D1).

Every writing operation returns after its transaction is durable, and is atomic: it happened as a
whole or not at all. From the moment that it is handed over, cancellation waits for the outcome: a
caller that was cancelled gets ``Cancelled`` only after the write is decided. Requests of many
callers share one commit, and one that fails does not fail its neighbours.

Reading operations may be cancelled at any time.

All may raise `StoreClosed`; writing ones `StoreUnavailable` (`DiskFull`, `StorageIOError`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from runtime.sessions.media import OutboxFile
from runtime.sessions.rows import (
    Draft,
    InboundRow,
    JournalEntry,
    MessageKey,
    OutboundRow,
    OutboundState,
    ReplyAddress,
    SessionRow,
    SessionSpec,
    SessionStatus,
    TurnRow,
)
from runtime.sessions.withdrawing import DropNotice
from runtime.storage.anew import StartAnew, StartedAnew
from runtime.storage.figures import Backlog, Health, StoreInfo
from runtime.storage.joining import JoinTurn, KeepCopy, LeaveTurn
from runtime.storage.media_store import MediaStore
from runtime.storage.requests import (
    Admitted,
    Awake,
    BeginTurn,
    ChannelOffset,
    Drop,
    DropPending,
    EndedTurn,
    EndTurn,
    FinishedPending,
    FinishPending,
    InterruptedPolicy,
    JournalExtent,
    MessageStatus,
    NewInbound,
    NewOutbound,
    Owner,
    Recovery,
    SaveDraft,
    SessionPage,
    SessionPatch,
    TurnProgress,
)


class Store(MediaStore):
    """Where the truth is kept."""

    # -- the store itself ---------------------------------------------------------------------

    @property
    @abstractmethod
    def info(self) -> StoreInfo:
        """What engine this is and where it keeps its data."""

    @abstractmethod
    def health(self) -> Health:
        """Whether the last write succeeded, and figures; touches no disk."""

    @abstractmethod
    async def probe(self) -> Health:
        """Try a small durable write and report; never raises `StoreUnavailable`."""

    @abstractmethod
    async def maintain(self) -> Health:
        """A bounded step of upkeep: checkpoint within a budget, refresh the figures (D3)."""

    @abstractmethod
    async def backlog(self) -> Backlog:
        """What waits, at a bounded cost."""

    @abstractmethod
    async def recover(self, instance: str, policy: InterruptedPolicy) -> Recovery:
        """Settle all that earlier instances left: running turns, deliveries in flight (D8, T5 d).

        Called once by an instance before it serves. What a cut-off turn had said until then becomes
        a transcript line marked ``interrupted``.
        """

    @abstractmethod
    async def last_recovery(self) -> Recovery | None:
        """What the newest start recovered."""

    # -- sessions -----------------------------------------------------------------------------

    @abstractmethod
    async def resolve(self, spec: SessionSpec) -> tuple[SessionRow, bool]:
        """The active session of this identity, and whether it was made just now (S6)."""

    @abstractmethod
    async def session(self, session_id: str) -> SessionRow | None:
        """One session by id."""

    @abstractmethod
    async def find_session(self, agent_id: str, key: str) -> SessionRow | None:
        """The active session of an identity, without making one."""

    @abstractmethod
    async def sessions(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: SessionStatus | None = SessionStatus.ACTIVE,
    ) -> SessionPage:
        """A page of sessions, most recently active first. Raises ValueError for a bad cursor."""

    @abstractmethod
    async def patch_session(self, session_id: str, patch: SessionPatch) -> SessionRow:
        """Set fields of a session. Raises `UnknownSession`, `RowTooLarge`."""

    @abstractmethod
    async def new_epoch(
        self, session_id: str, notice: DropNotice | None = None
    ) -> tuple[SessionRow, tuple[InboundRow, ...]]:
        """Begin a new epoch (S18): id and key stay, the agent's own session id is forgotten.

        The queue's generation rises; messages that wait are dropped (``reset``) and returned.
        Claimed ones are left to the turn that runs. The chats are owed the ``notice`` (S40).
        """

    @abstractmethod
    async def start_anew(self, request: StartAnew) -> StartedAnew | None:
        """Begin a new epoch with the message that asks for it, as a whole (S40).

        Returns:
            What became of it; None, and nothing is changed, when the message does not wait (any
                more).

        Raises `UnknownSession`.
        """

    @abstractmethod
    async def close_session(
        self, session_id: str, notice: DropNotice | None = None
    ) -> tuple[SessionRow, tuple[InboundRow, ...]]:
        """Close a session: its key is free for a new one, what waits is dropped (``closed``), the
        chats are owed the ``notice``.
        """

    # -- messages -----------------------------------------------------------------------------

    @abstractmethod
    async def admit(
        self, messages: Sequence[NewInbound], offset: ChannelOffset | None = None
    ) -> tuple[Admitted, ...]:
        """Admit messages, and a channel's offset with them, in one transaction (D5).

        Raises:
            UnknownSession: for a session given by id that does not exist or is not active.
            QueueFull: when one of them refuses a full queue; then none is admitted.
            RowTooLarge: a message over the budget of a row.
        """

    @abstractmethod
    async def known_messages(self, keys: Sequence[MessageKey]) -> frozenset[MessageKey]:
        """Those of messages that were admitted before: `admit` would call them duplicates (D5)."""

    @abstractmethod
    async def channel_offset(self, channel: str, account: str) -> str | None:
        """The offset stored last."""

    @abstractmethod
    async def record_drop(self, drop: Drop) -> None:
        """Record a message that was refused before it reached a session (S32)."""

    @abstractmethod
    async def message_status(self, message_id: str) -> MessageStatus | None:
        """Where a message stands."""

    @abstractmethod
    async def pending_messages(self, session_id: str) -> tuple[InboundRow, ...]:
        """All rows of a session that wait, in order, context rows and later ones included."""

    @abstractmethod
    async def drop_pending(self, request: DropPending) -> tuple[InboundRow, ...]:
        """Withdraw waiting messages and return those that were (H3).

        Without ``message_ids`` the queue's generation rises. The reason ``expired`` makes them
        ``expired``, any other ``dropped``. Their chats are owed the notice (Q4).
        """

    @abstractmethod
    async def finish_pending(self, request: FinishPending) -> FinishedPending:
        """Finish waiting messages that needed no turn, and owe what is said to them (S36).

        When none of them waits any more, nothing changes.
        """

    @abstractmethod
    async def sessions_with_due_messages(
        self, limit: int, *, after: str | None = None
    ) -> tuple[str, ...]:
        """Sessions that have a pending message whose time has come (D8), by id, from ``after`` on.

        Ids sort by time, so the oldest session comes first. Context rows (``trigger=0``) do not
        count.
        """

    # -- turns --------------------------------------------------------------------------------

    @abstractmethod
    async def wake(self, session_id: str, owner: Owner, policy: InterruptedPolicy) -> Awake:
        """Take a session for a new incarnation of its actor (D8).

        The fence rises, every older claim is settled (T5 d), and what waits is read. Raises
        `UnknownSession` also for a session that is not active.
        """

    @abstractmethod
    async def begin_turn(self, request: BeginTurn) -> TurnRow:
        """Claim messages for a turn, or change nothing; the same turn again answers the same.

        The turn takes over the draft of an earlier try of its messages.

        Raises:
            StaleFence: the session has a newer owner, or another epoch.
            NotPending: one of the messages does not wait in this session.
            TurnRunning: another turn of the session has not ended (T1).
            UnknownSession: there is none, or it is not active.
        """

    @abstractmethod
    async def join_turn(self, request: JoinTurn) -> TurnRow:
        """Claim one more message for a turn that runs, or change nothing (Q3); repeated, it answers
        the same.

        Raises:
            StaleFence: the session has a newer owner, or another epoch.
            NotPending: the message does not wait in this session, was carried by a turn before,
                or wakes nobody; or the turn has ended.
            UnknownTurn: it was not begun.
            UnknownSession: there is none, or it is not active.
        """

    @abstractmethod
    async def leave_turn(self, request: LeaveTurn) -> InboundRow | None:
        """Let a message that joined a turn wait again, as if it had never joined (Q3).

        Returns:
            The message as it is now; None when it is not of the turn (any more), or that has ended.

        Raises `StaleFence`, `UnknownTurn`, `UnknownSession`.
        """

    @abstractmethod
    async def keep_copy(self, request: KeepCopy) -> InboundRow | None:
        """Hand over the files of a waiting message, of which the agent of a running turn was told,
        and let the message wait without them (Q3, H8); repeated, it changes nothing.

        Returns:
            The message as it waits now; None when it does not.

        Raises `StaleFence`, `UnknownTurn`, `UnknownSession`.
        """

    @abstractmethod
    async def save_progress(self, progress: TurnProgress) -> None:
        """Keep what a running turn has said so far (T3); ignored when the turn has ended.

        Raises `StaleFence`, `UnknownTurn`.
        """

    @abstractmethod
    async def save_draft(self, request: SaveDraft) -> None:
        """Keep which message shows the answer in the making (R8); ignored when the turn has ended.

        Raises `StaleFence`, `UnknownTurn`.
        """

    @abstractmethod
    async def drafts_left_over(self, channel: str, account: str) -> tuple[tuple[str, Draft], ...]:
        """What is to be withdrawn from the chats of an account, with the ids of the turns, oldest
        first; of the newest turns (R6).
        """

    @abstractmethod
    async def draft_gone(self, turn_id: str) -> None:
        """The draft of a turn that has ended was withdrawn, or cannot be."""

    @abstractmethod
    async def end_turn(self, request: EndTurn) -> EndedTurn:
        """The turn commit (D7). The same turn again changes nothing and answers the same.

        Raises:
            StaleFence: the session has a newer owner, or the turn is of another epoch.
            UnknownTurn: it was not begun.
            ValueError: the messages are not exactly those that the turn claimed.
        """

    # -- transcript ---------------------------------------------------------------------------

    @abstractmethod
    async def journal(
        self, session_id: str, *, after: int = 0, limit: int = 500, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        """Transcript lines with a ``seq`` above ``after``, in order; of one epoch, or of all."""

    @abstractmethod
    async def journal_entry(self, session_id: str, entry_id: str) -> JournalEntry | None:
        """One transcript line by its id."""

    @abstractmethod
    async def journal_tail(
        self, session_id: str, *, limit: int, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        """The newest lines, in order."""

    @abstractmethod
    async def journal_extent(self, session_id: str, epoch: int) -> JournalExtent:
        """How many lines an epoch has, and the last ``seq``: what its projection holds (J2)."""

    # -- delivery -----------------------------------------------------------------------------

    @abstractmethod
    async def notify(self, session_id: str, outbound: NewOutbound) -> OutboundRow:
        """Owe a notice to a push channel, outside of any turn; the same id again answers the same.

        Raises `UnknownSession`.
        """

    @abstractmethod
    async def outbox_due(self, channel: str, account: str, limit: int) -> tuple[OutboundRow, ...]:
        """For each conversation of an account the first row not yet finished, if it is due (O3)."""

    @abstractmethod
    async def outbox_next_due(self, channel: str, account: str, after: int) -> int | None:
        """When the next pending head of a conversation is due, in ms, of those that are due later
        than ``after``; None without one.
        """

    @abstractmethod
    async def outbox_owes(self, address: ReplyAddress) -> bool:
        """Whether anything is still to be delivered to a conversation (O3)."""

    @abstractmethod
    async def outbox_attempt(self, outbound_id: str) -> OutboundRow | None:
        """``pending → attempting``, committed before the network call (O1); None if not pending."""

    @abstractmethod
    async def outbox_send_anew(self, outbound_id: str, text: str) -> OutboundRow | None:
        """It takes nothing's place any more: from here on the attempt sends this text (R8, O2).

        Committed before that send, since what is known of edits holds for it no more: it is not
        ambiguous yet. None when it is not ``attempting``.
        """

    @abstractmethod
    async def outbox_recover(self, channel: str, account: str) -> int:
        """Attempts of an account that nobody finished become pending and ambiguous; how many (O2).

        Called by a delivery actor that starts, when it has no attempt under way.
        """

    @abstractmethod
    async def outbox_delivered(self, outbound_id: str, platform_message_id: str | None) -> None:
        """``attempting → delivered``; in any other state nothing changes.

        Raises `UnknownMessage`.
        """

    @abstractmethod
    async def outbox_retry(
        self,
        outbound_id: str,
        *,
        not_before: int,
        error: str,
        ambiguous: bool,
        counts: bool = True,
    ) -> None:
        """``attempting → pending``: it is tried again, at ``not_before`` or later. The attempt is
        not one of the row's ``attempts`` unless it counts (O4).

        In any other state nothing changes. Raises `UnknownMessage`.
        """

    @abstractmethod
    async def outbox_failed(
        self, outbound_id: str, *, error: str, notices: tuple[NewOutbound, ...] = ()
    ) -> None:
        """``attempting → failed`` for good, with what the chat is told about it; in any other state
        nothing changes.

        Of a first part the later parts are abandoned; of a later part, or of a file, the others go
        on (R5, R7). Raises `UnknownMessage`.
        """

    @abstractmethod
    async def outbox_files(
        self, session_id: str, files: Sequence[OutboxFile]
    ) -> dict[OutboxFile, OutboundState]:
        """The state of the newest row of each of these files, of those that have one (R7)."""

    # -- end ----------------------------------------------------------------------------------

    @abstractmethod
    async def aclose(self) -> None:
        """Finish what was handed over and close. Safe to call twice."""
