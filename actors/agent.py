"""Keeps one session's agent open: starts it, starts it again when it went away, and lets it rest.

    Acquire     the open agent, started when there is none           → Lease
    Discard     that one is not to be used again: close it
    Unblock     start again, whatever failed before                  (P3)
    Refresh     the settings have changed
    GetOffers   what can be chosen                                   → Offers
    Choose      set one of the agent's settings                      → Offers
    Decided     (to itself) a start has succeeded or failed
    StartAgain  (to itself) the wait after a failed start is over

To its session it says `AgentReady`, `AgentTrouble` and `Announced`.

    closed ──Acquire──> starting ──> open <──take, give back──> in use
      ^                    │ failed    │
      │<── wait 5 s · 2ⁿ ──┤           │ discarded, evicted for another session, gone by itself
      │                    └ 5 in a row: blocked, until Unblock
      └────────────────────────────────┘

Who waits for an agent waits through failed starts and while it is blocked: its messages are
pending rows, so nothing is lost meanwhile (T5 a). The agent's context manager is entered in a
helper task of this actor, so whatever it opens lives and ends there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import trio

from actors.agent_messages import (
    Acquire,
    AgentMessage,
    AgentReady,
    AgentTrouble,
    Announced,
    Choose,
    Claim,
    Decided,
    Discard,
    GetOffers,
    Lease,
    Refresh,
    StartAgain,
    ToSession,
    Unblock,
)
from actors.services import Services
from runtime.kernel import Actor, ActorRef, ActorStopped, Reply, StopReason, Timer
from runtime.log import get_logger
from runtime.ports.agent import (
    Agent,
    AgentContext,
    AgentGone,
    AgentHandle,
    AgentRefused,
    AgentUnusable,
    Offers,
)
from runtime.sessions.rows import SessionRow
from runtime.sessions.starting import delay_after
from runtime.sessions.updates import Announcement

START_LIMIT = 10.0  # P2
CLOSE_LIMIT = 8.0  # P5: asking, SIGTERM, 5 s, SIGKILL
CHOOSE_LIMIT = 10.0
"""Seconds for an agent to take over a setting."""

log = get_logger(__name__)


class AgentActor(Actor[AgentMessage]):
    """The agent of one session.

    Args:
        services: with the agents that are configured now.
        session: whom to tell.
        row: gives the session as it is now.
    """

    def __init__(
        self, services: Services, session: ActorRef[ToSession], row: Callable[[], SessionRow]
    ) -> None:
        self._services = services
        self._session = session
        self._row = row
        self._lease: Lease | None = None
        self._waiting: list[tuple[Claim, Reply[Lease]]] = []
        self._choices: list[tuple[Choose, Reply[Offers]]] = []
        self._failures = 0
        self._retry: Timer | None = None

    async def on_start(self) -> None:
        self.log_context["session"] = self._row().id

    async def on_message(self, message: AgentMessage) -> object:
        match message:
            case Acquire():
                self._waiting.append((message.claim, self.defer(message)))
            case Choose():
                self._choices.append((message, self.defer(message)))
            case Discard():
                self._discard(message.lease)
            case Unblock():
                self._unblock()
            case Refresh():
                if self._blocked:
                    self._unblock()
            case GetOffers():
                return self._offers()
            case Decided():
                self._decide(message.lease)
            case StartAgain():
                self._retry = None
        self._advance()
        return None

    async def on_stop(self, reason: StopReason) -> None:
        if self._lease is not None:
            self._lease.release()

    # -- states -------------------------------------------------------------------------------

    @property
    def _agent(self) -> Agent | None:
        return self._services.agents.get(self._row().agent_id)

    @property
    def _blocked(self) -> bool:
        return delay_after(self._failures) is None

    @property
    def _may_begin(self) -> bool:
        return not self._blocked and self._retry is None

    def _advance(self) -> None:
        """Do what can be done for those who wait."""
        lease = self._lease
        if lease is not None and lease.agent is not self._agent and not lease.in_use:
            lease.release()
        if lease is not None and lease.epoch != self._row().epoch:
            lease.release()  # it was opened while its conversation was being left (S18)
        self._waiting = [(claim, reply) for claim, reply in self._waiting if not claim.left]
        self._choices = [(each, reply) for each, reply in self._choices if reply.wanted]
        if not self._waiting and not self._choices:
            if lease is not None and lease.usable:
                lease.rest()
            return
        if lease is not None and lease.handle is not None and lease.usable:
            self._give(lease, lease.handle)
        elif (lease is None or lease.decided.is_set()) and self._may_begin:
            self._begin()

    def _give(self, lease: Lease, handle: AgentHandle) -> None:
        for claim, reply in self._waiting:
            claim.fill(lease)
            reply.set(lease)
        for choice, asked in self._choices:
            lease.take()
            self.start(self._choose, lease, handle, choice, asked, name="choose")
        self._waiting, self._choices = [], []

    def _begin(self) -> None:
        agent, row = self._agent, self._row()
        if agent is None:
            self._fail(
                f"no agent {row.agent_id!r} is configured any more: add [agents.{row.agent_id}] to"
                " the settings, or start a new session",
                for_good=True,
            )
            return
        context = self._services.agent_context(row, self._hear)
        lease = self._lease = Lease(agent, row.epoch)
        self.start(self._hold, agent, context, lease, name="agent")

    def _decide(self, lease: Lease) -> None:
        if lease.handle is not None and lease.ready is not None:
            self._failures = 0
            self._services.metrics.agent_starts.labels(outcome="started").inc()
            self._tell(lease.ready)
        elif lease.error is not None:
            self._services.metrics.agent_starts.labels(outcome="failed").inc()
            self._fail(_words(lease.error), for_good=isinstance(lease.error, AgentUnusable))

    def _fail(self, why: str, *, for_good: bool = False) -> None:
        """Count a failed start, and wait or give up (P3)."""
        self._failures += 1
        while for_good and not self._blocked:
            self._failures += 1
        delay = delay_after(self._failures)
        if delay is None:
            text = f"The agent could not be started: {why}."
            if not for_good:
                text = f"The agent could not be started {self._failures} times in a row: {why}."
            text += " What was said is kept: see to the agent, then type /reconnect."
        else:
            text = f"The agent could not be started: {why}. It is tried again in {delay:g} s."
            self._retry = self.after(delay, StartAgain())
        log.warning("agent_start_failed", failures=self._failures, reason=why)
        self._tell(AgentTrouble(text, delay))

    def _tell(self, news: ToSession) -> None:
        """Tell the session; when its mailbox is full, as soon as there is room."""
        if not self._session.tell(news):
            self.start(self._send_later, news, name="send-later")

    async def _send_later(self, news: ToSession) -> None:
        with suppress(ActorStopped):
            await self._session.send(news)

    def _unblock(self) -> None:
        self._failures = 0
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        lease = self._lease
        if lease is not None and lease.decided.is_set() and not lease.in_use:
            lease.release()

    def _discard(self, lease: Lease | None) -> None:
        lease = lease if lease is not None else self._lease
        if lease is not None:
            lease.release()

    def _hear(self, announcement: Announcement) -> None:
        """What an agent says outside of a turn; the newest of each kind counts, so a full mailbox
        may lose one.
        """
        self._session.tell(Announced(announcement))

    # -- choices ------------------------------------------------------------------------------

    def _offers(self) -> Offers:
        lease, agent = self._lease, self._agent
        try:
            if lease is not None and lease.handle is not None:
                return lease.handle.offers
            return agent.offers if agent is not None else Offers()
        except Exception:
            log.exception("agent_offers_raised")
            return Offers()

    async def _choose(
        self, lease: Lease, handle: AgentHandle, choice: Choose, reply: Reply[Offers]
    ) -> None:
        try:
            with trio.fail_after(CHOOSE_LIMIT):
                await handle.choose(choice.option_id, choice.value)
            reply.set(handle.offers)
        except trio.TooSlowError:
            reply.fail(AgentRefused(f"the agent did not answer within {CHOOSE_LIMIT:g} s"))
        except (AgentRefused, AgentGone) as error:
            reply.fail(AgentRefused(str(error)))
        except Exception as error:
            log.exception("agent_choose_raised")
            reply.fail(AgentRefused(_words(error)))
        lease.give_back()

    # -- the open agent -----------------------------------------------------------------------

    async def _hold(self, agent: Agent, context: AgentContext, lease: Lease) -> None:
        """Keep the agent open until it is released, is lost, or this actor ends."""
        async with AsyncExitStack() as stack:
            if agent.uses_process:
                with lease.queueing:
                    place = self._services.slots.place(lease.release)
                    lease.place = await stack.enter_async_context(place)
            if not lease.queueing.cancel_called:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._open, agent, context, lease)
                    try:
                        await lease.lost.wait()
                    finally:
                        lease.release()
            lease.place = None
        lease.lost.set()
        if not lease.decided.is_set():
            lease.decided.set()
            await self._note(lease)

    async def _open(self, agent: Agent, context: AgentContext, lease: Lease) -> None:
        """Enter the agent's context and leave it in good order: cancellation arrives as a
        release.
        """
        started = False
        scope = trio.CancelScope(shield=True, deadline=trio.current_time() + START_LIMIT)
        try:
            with scope:  # within the try: an error while it is cancelled comes with a Cancelled
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._limit, lease, scope)
                    async with _context_of(agent, context) as handle:
                        _require_handle(handle)
                        own_id, offers = handle.agent_session_id, handle.offers
                        lease.ready = AgentReady(context.epoch, own_id, offers)
                        started = True
                        scope.deadline = float("inf")
                        lease.handle = handle
                        lease.decided.set()
                        nursery.start_soon(self._note, lease)
                        await lease.released.wait()
                        lease.handle = None
                    nursery.cancel_scope.cancel()
        except Exception as group:
            error = _cause(group)
            if started:
                log.warning("agent_lost", agent=context.agent_id, error=repr(error))
            if started or not lease.released.is_set():  # a start that was called off has not failed
                lease.error = error
        if scope.cancelled_caught and not started and not lease.released.is_set():
            lease.error = lease.error or TimeoutError(f"it was not ready within {START_LIMIT:g} s")
        lease.handle = None
        lease.lost.set()

    async def _note(self, lease: Lease) -> None:
        with suppress(ActorStopped):  # the end of this actor may come at the same moment
            await self.ref.send(Decided(lease))

    async def _limit(self, lease: Lease, scope: trio.CancelScope) -> None:
        """Once it is released, a start is called off, and closing has a deadline."""
        await lease.released.wait()
        if lease.ready is None:
            scope.cancel()
        scope.deadline = trio.current_time() + CLOSE_LIMIT


def _context_of(agent: Agent, context: AgentContext) -> AbstractAsyncContextManager[AgentHandle]:
    opened: object = agent.open(context)
    if not isinstance(opened, AbstractAsyncContextManager):
        raise AgentUnusable(
            f"open of {type(agent).__name__} makes no asynchronous context manager: put"
            " @asynccontextmanager before it"
        )
    return opened


def _require_handle(handle: object) -> None:
    if not isinstance(handle, AgentHandle):
        raise AgentUnusable(f"Agent.open yields an AgentHandle, not {type(handle).__name__}")


def _cause(error: Exception) -> Exception:
    """The error itself, where a nursery wrapped a lone one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _words(error: Exception) -> str:
    """An error for people: the words of ours, the type with those of others."""
    text = str(error).strip().rstrip(".")
    if isinstance(error, AgentGone | AgentRefused | TimeoutError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
