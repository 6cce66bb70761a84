"""Keeps one session's agent open, and opens it again when it went away.

    Acquire   the open agent; opens it when there is none              → Lease
    Discard   that one is not to be used again: close it

The agent's context manager is entered in a helper task of this actor, so whatever it opens lives
and ends there.
"""

from __future__ import annotations

import trio

from runtime.kernel import Actor, Message, Request, StopReason
from runtime.log import get_logger
from runtime.ports.agent import Agent, AgentContext, AgentHandle

START_LIMIT = 10.0  # P2
CLOSE_LIMIT = 5.0  # P5
GIVE_UP = 1_000_000
"""A number of failures after which nobody tries again."""

log = get_logger(__name__)


class AgentStartFailed(Exception):
    """The agent could not be opened; ``failures`` counts how often in a row."""

    def __init__(self, message: str, failures: int) -> None:
        super().__init__(message)
        self.failures = failures


class Lease:
    """An open agent. ``lost`` is set when it is gone, by itself or because it was discarded."""

    def __init__(self) -> None:
        self.handle: AgentHandle | None = None
        self.error: Exception | None = None
        self.decided = trio.Event()
        self.lost = trio.Event()
        self.released = trio.Event()


class Acquire(Request[Lease], frozen=True):
    """Ask for the open agent. Fails with `AgentStartFailed`."""

    context: AgentContext


class Discard(Message, frozen=True):
    """Close this one; None closes whichever is open."""

    lease: Lease | None


class AgentActor(Actor[Acquire | Discard]):
    """One agent of one session."""

    def __init__(self, agent: Agent | None) -> None:
        self._agent = agent
        self._lease: Lease | None = None
        self._failures = 0

    async def on_message(self, message: Acquire | Discard) -> object:
        match message:
            case Acquire():
                reply = self.defer(message)
                try:
                    reply.set(await self._acquire(message.context))
                except AgentStartFailed as error:
                    reply.fail(error)
                return None
            case Discard():
                lease = message.lease if message.lease is not None else self._lease
                if lease is not None:
                    lease.released.set()
                return None

    async def on_stop(self, reason: StopReason) -> None:
        if self._lease is not None:
            self._lease.released.set()

    async def _acquire(self, context: AgentContext) -> Lease:
        if self._agent is None:
            raise AgentStartFailed(
                f"no agent {context.agent_id!r} is configured any more: "
                f"add [agents.{context.agent_id}] to the settings, or start a new session",
                failures=GIVE_UP,
            )
        lease = self._lease
        if lease is None or lease.lost.is_set() or lease.released.is_set():
            lease = self._lease = Lease()
            self.start(self._hold, self._agent, context, lease, name="agent")
            await lease.decided.wait()
        if lease.handle is None:
            self._lease = None
            self._failures += 1
            cause = lease.error
            text = f"{type(cause).__name__}: {cause}" if cause is not None else "no reason given"
            raise AgentStartFailed(f"the agent could not be started ({text})", self._failures)
        self._failures = 0
        return lease

    async def _hold(self, agent: Agent, context: AgentContext, lease: Lease) -> None:
        """Keep the agent open until it is released, is lost, or this actor ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._open, agent, context, lease)
            try:
                await lease.lost.wait()
            finally:
                lease.released.set()

    async def _open(self, agent: Agent, context: AgentContext, lease: Lease) -> None:
        """Enter the agent's context and leave it in good order: cancellation arrives as a
        release.
        """
        started = False
        with trio.CancelScope(shield=True) as scope:
            try:
                scope.deadline = trio.current_time() + START_LIMIT
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._limit, lease, scope)
                    async with agent.open(context) as handle:
                        started = _require_handle(handle)
                        scope.deadline = float("inf")
                        lease.handle = handle
                        lease.decided.set()
                        await lease.released.wait()
                        lease.handle = None
                    nursery.cancel_scope.cancel()
            except Exception as group:
                lease.error = error = _cause(group)
                log.warning(
                    "agent_lost", agent=context.agent_id, error=repr(error), started=started
                )
        if scope.cancelled_caught and lease.error is None and not started:
            lease.error = TimeoutError(f"it was not ready within {START_LIMIT:g} s")
        lease.handle = None
        lease.lost.set()
        lease.decided.set()

    async def _limit(self, lease: Lease, scope: trio.CancelScope) -> None:
        """Once it is released, closing has a deadline."""
        await lease.released.wait()
        scope.deadline = trio.current_time() + CLOSE_LIMIT


def _require_handle(handle: object) -> bool:
    if not isinstance(handle, AgentHandle):
        raise TypeError(f"Agent.open yields an AgentHandle, not {type(handle).__name__}")
    return True


def _cause(error: Exception) -> Exception:
    """The error itself, where a nursery wrapped a lone one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
