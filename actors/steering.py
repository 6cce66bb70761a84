"""Messages for the agent of a running turn, handed to it one at a time (Q3, H8).

Before the agent is asked, the message is claimed for the turn, durably; when the agent does not
take it, it goes back to where it waited. So at any instant either the turn has it or the queue has,
and a message of a turn that nobody runs any more is settled with that turn (T5 d).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from actors.giving import given_to_agent
from actors.persistence import decided, until_written
from actors.services import Services
from runtime.log import get_logger
from runtime.ports.agent import AgentHandle
from runtime.sessions.content import StoredContent
from runtime.sessions.media import Media
from runtime.sessions.queueing import Heard
from runtime.sessions.rows import DropReason, InboundRow, InboundState, SessionRow
from runtime.sessions.withdrawing import DropNotice
from runtime.storage.errors import NotPending, StoreError
from runtime.storage.joining import JoinTurn, KeepCopy, LeaveTurn
from runtime.storage.media_requests import HandOver

STEER_LIMIT = 5.0
"""Seconds within which an agent has to confirm that it has taken a message."""

log = get_logger(__name__)


class Steering:
    """The messages that one turn is told of while it runs.

    Args:
        services: what all actors share.
        session: the session as it was when the turn began.
        turn_id: the turn.
        ends: whether the turn has its result, or was asked to end: it does not answer what is
            confirmed from then on.
        taken: called when the agent has confirmed a message that is the turn's from then on.
        heard: told of each message what became of it.
    """

    def __init__(
        self,
        services: Services,
        session: SessionRow,
        turn_id: str,
        ends: Callable[[], bool],
        taken: Callable[[InboundRow], None],
        heard: Callable[[InboundRow, Heard], Awaitable[None]],
    ) -> None:
        self._services = services
        self._session = session
        self._turn_id = turn_id
        self._ends = ends
        self._taken = taken
        self._heard = heard
        self._one_at_a_time = trio.Lock()
        self._offer: InboundRow | None = None
        self._joined: InboundRow | None = None
        self._withdrawn: DropReason | None = None
        self._notice: DropNotice | None = None
        self._scope = trio.CancelScope()

    def offer(
        self, row: InboundRow, handle: AgentHandle, nursery: trio.Nursery, *, keep: bool
    ) -> None:
        """Hand this over; the one before it has been decided.

        Args:
            row: a message that waits.
            handle: the agent.
            nursery: of the turn; when it is cancelled, a message that the agent has not confirmed
                is left to `settle`.
            keep: it is to wait all the same (``steer-backlog``): it does not join the turn.
        """
        self._offer, self._withdrawn, self._notice = row, None, None
        self._scope = trio.CancelScope()
        nursery.start_soon(self._decide, row, handle, keep)

    def withdraw(
        self,
        meant: Callable[[InboundRow], bool],
        reason: DropReason,
        notice: DropNotice | None = None,
    ) -> str | None:
        """Drop the message that is being handed over, if it is meant; its id then.

        One that the agent has confirmed is the turn's and is not withdrawn.
        """
        if self._offer is None or not meant(self._offer):
            return None
        self._withdrawn, self._notice = reason, notice
        self._scope.cancel()
        return self._offer.id

    async def settle(self) -> None:
        """The turn is over: a message that its agent has not confirmed is none of its messages."""
        if self._joined is not None:
            await self._leave(self._joined)
        self._offer = None

    async def ask(self, handle: AgentHandle, content: StoredContent, media: Media = ()) -> bool:
        """Give the agent something to read in the middle of its turn; whether it confirmed."""
        library = self._services.library
        with trio.move_on_after(STEER_LIMIT):
            async with self._one_at_a_time:
                try:
                    can = handle.capabilities
                    given = await given_to_agent(library, self._session, content, media, can)
                    return can.steer and await handle.steer(given) is True
                except Exception:
                    log.exception("agent_steer_raised", turn=self._turn_id)
        return False

    async def _decide(self, row: InboundRow, handle: AgentHandle, keep: bool) -> None:
        """Hand over what is offered, and say what became of it."""
        heard = await self._hand_over(row, handle, keep=keep)
        if heard in (Heard.TAKEN, Heard.TOLD) and row.media:
            row = await decided(self._files_of(row, heard))
        self._offer = None
        await decided(self._heard(row, heard))

    async def _hand_over(self, row: InboundRow, handle: AgentHandle, *, keep: bool) -> Heard:
        confirmed = False
        with self._scope:
            if not keep:
                refused = await self._join(row)
                if refused is not None:
                    return refused
            confirmed = await self.ask(handle, row.content, row.media) and not self._ends()
        if not confirmed or self._withdrawn is not None:
            if not keep:
                return await self._leave(row)
            return Heard.REFUSED if self._withdrawn is None else Heard.GONE
        if keep:
            return Heard.TOLD
        self._joined = None
        self._taken(row)
        return Heard.TAKEN

    async def _files_of(self, row: InboundRow, heard: Heard) -> InboundRow:
        """The files of a message that the agent has taken are the session's (H8).

        When the disk refuses, the end of the turn writes it down; a copy that waits keeps its files
        then.

        Returns:
            The message as it is now: a copy that waits has no files.
        """
        session, store, now = self._session, self._services.store, self._services.now()
        place = self._turn_id, session.id, session.fence
        try:
            if heard is Heard.TOLD:
                return await store.keep_copy(KeepCopy(*place, row.id, now)) or row
            await store.hand_over(HandOver(*place, now, (row.id,)))
        except StoreError as error:
            log.warning("handover_not_written", turn=self._turn_id, reason=str(error))
        return row

    async def _join(self, row: InboundRow) -> Heard | None:
        """Claim a message for the turn; what became of it when that cannot be."""
        session = self._session
        request = JoinTurn(self._turn_id, session.id, session.epoch, session.fence, row.id)
        self._joined = row  # also when cancelled: then the write is decided, but nobody says how
        try:
            await self._services.store.join_turn(request)
        except StoreError as error:
            self._joined = None
            log.info("message_not_joined", message_id=row.id, reason=str(error))
            return Heard.GONE if isinstance(error, NotPending) else Heard.REFUSED
        return None

    async def _leave(self, row: InboundRow) -> Heard:
        """Let a message wait again; one that was withdrawn meanwhile is dropped instead."""
        session, store = self._session, self._services.store

        async def write() -> InboundRow | None:
            place = self._turn_id, session.id, session.fence
            return await store.leave_turn(LeaveTurn(*place, row.id, self._withdrawn, self._notice))

        left = await until_written(write)
        self._joined = None
        if left is None or left.state is InboundState.PENDING:
            return Heard.REFUSED
        reason = DropReason(left.reason or DropReason.CLEARED)
        self._services.watchers.dropped(session.id, (left,), reason)
        return Heard.GONE
