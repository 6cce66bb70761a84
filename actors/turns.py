"""The turns of one session, one after the other: what each is given and what it leaves (T1, T2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from actors import projecting
from actors.agent_messages import Acquire
from actors.conversation import Conversation
from actors.dealings import Dealings
from actors.ending import TurnHooks
from actors.outbox import Due
from actors.queue import Batch, Ended, FirstEvent, QueueMessage, Steered
from actors.reception import Reception
from actors.services import Services
from actors.turn import Turn
from actors.withdrawals import Withdrawals
from runtime.kernel import ActorRef, ActorStopped, Helper
from runtime.ports.front import Outcome
from runtime.sessions.events import TurnEnded
from runtime.sessions.queueing import Heard
from runtime.sessions.rows import InboundRow, InboundState
from runtime.sessions.updates import PermissionRequest
from runtime.storage.requests import EndedTurn, Owner


class Turns:
    """Starts turns, as tasks of the session's actor, and makes their ends known.

    Args:
        services: what all actors share.
        conversation: the session.
        owner: this incarnation of the session's actor.
        agent: whoever looks after the session's agent.
        queue: the session's queue.
        outbox: delivers what is owed.
        reception: puts the agent's questions to people.
        dealings: knows how it is with the agent.
        withdrawals: takes messages back.
        start: starts a task of the session's actor, by its name.
        over: called when nothing runs any more.
    """

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        owner: Owner,
        agent: ActorRef[Acquire],
        queue: ActorRef[QueueMessage],
        outbox: ActorRef[Due],
        reception: Reception,
        dealings: Dealings,
        withdrawals: Withdrawals,
        start: Callable[[Callable[[], Awaitable[object]], str], Helper],
        over: Callable[[], None],
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._owner = owner
        self._agent = agent
        self._queue = queue
        self._outbox = outbox
        self._reception = reception
        self._dealings = dealings
        self._withdrawals = withdrawals
        self._start = start
        self._over = over
        self.task: Helper | None = None
        """The task of the turn that there is, or was last."""

    def run(self, batch: Batch) -> None:
        """Start the turn of a batch. There is at most one, since the queue offers one at a time
        (T1).
        """
        self._dealings.hold_up(batch.rows)

        async def first_event(at: int) -> None:
            row = self._conversation.row
            event = FirstEvent(batch.turn_id, row.id, row.fence, at, turn.steerable)
            await self._tell_queue(event)
            await self._dealings.keep_id()

        async def ask(request: PermissionRequest) -> None:
            await self._reception.ask(request, turn.batch.rows[0].reply_to)

        async def heard(row: InboundRow, heard: Heard) -> None:
            if heard is Heard.GONE and row.reply_to is not None:  # its chat may be owed a word
                self._outbox.tell(Due(row.reply_to.channel, row.reply_to.account))
            await self._tell_queue(Steered(batch.turn_id, row, heard))

        async def over(again: tuple[InboundRow, ...], overflow: tuple[InboundRow, ...]) -> None:
            self._conversation.turn = None
            await self._tell_queue(Ended(batch.turn_id, again, overflow))
            self._over()

        withdrawn = self._withdrawals.withdrawn
        turn = Turn(
            self._services,
            self._conversation.row,
            self._owner,
            self._agent,
            batch,
            TurnHooks(first_event, self._committed, withdrawn, over, ask, heard, self._start),
        )
        self._conversation.turn = turn
        self.task = self._start(turn.run, f"turn-{batch.turn_id}")

    async def _tell_queue(self, message: QueueMessage) -> None:
        """The queue ends with the session; what is settled then is in the rows."""
        with suppress(ActorStopped):
            await self._queue.send(message)

    def _committed(self, ended: EndedTurn, event: TurnEnded) -> None:
        """The end of a turn is durable: from this step on it is no longer running, but written
        down.
        """
        conversation, watchers = self._conversation, self._services.watchers
        conversation.learn(ended.session)
        conversation.turn, conversation.settled = None, event.turn_id
        watchers.publish(conversation.id, event)
        if event.message_state is not InboundState.PENDING:
            for message_id in event.message_ids:
                watchers.ended_so(Outcome.of(event, message_id))
        for address in {(row.reply_to.channel, row.reply_to.account) for row in ended.outbound}:
            self._outbox.tell(Due(*address))

        row = conversation.row

        async def project() -> None:
            await projecting.project(self._services, row, event.epoch, ended.journal)

        with suppress(ActorStopped):  # when it wakes again, the file is brought in step
            self._start(project, "transcript")
