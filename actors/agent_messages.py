"""What can be said to the actor of a session's agent, and what it hands out."""

from __future__ import annotations

import trio

from runtime.kernel import Message, Request
from runtime.ports.agent import Agent, AgentHandle, Offers
from runtime.processes import Place
from runtime.sessions.updates import Announcement


class Lease:
    """An agent that is open, or being opened.

    ``lost`` is set when it is gone, by itself or because it was released.
    """

    def __init__(self, agent: Agent, epoch: int) -> None:
        self.agent = agent
        self.epoch = epoch
        self.handle: AgentHandle | None = None
        self.ready: AgentReady | None = None
        self.error: Exception | None = None
        self.place: Place | None = None
        self.decided = trio.Event()
        self.lost = trio.Event()
        self.released = trio.Event()
        self.queueing = trio.CancelScope()
        self._users = 0

    @property
    def usable(self) -> bool:
        """Whether it can be given to a turn."""
        return self.handle is not None and not self.released.is_set() and not self.lost.is_set()

    @property
    def in_use(self) -> bool:
        """Whether somebody uses it: then it is not closed for another session (P6)."""
        return self._users > 0

    @property
    def loss(self) -> str:
        """Why it is gone, for people."""
        return str(self.error) if self.error is not None else "it ended in the middle of the turn"

    def take(self) -> None:
        """Begin to use it."""
        self._users += 1
        if self.place is not None:
            self.place.busy()

    def give_back(self) -> None:
        """Use it no more."""
        self._users -= 1
        self.rest()

    def rest(self) -> None:
        """Its place may go to another session, unless it is in use."""
        if self.place is not None and not self.in_use:
            self.place.idle()

    def release(self) -> None:
        """It is not used any more: whoever keeps it open closes it."""
        self.released.set()
        self.queueing.cancel()


class Claim:
    """What a turn has of the agent: nothing yet, a lease that is taken for it, nothing any more.

    Shared by the turn and the agent's actor, so that a lease which is given at the very moment in
    which the turn goes away is in use by nobody.
    """

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.left = False

    def fill(self, lease: Lease) -> None:
        """Here it is."""
        lease.take()
        self.lease = lease

    def leave(self) -> None:
        """It is not needed any more, whether it came or not."""
        self.left = True
        if self.lease is not None:
            self.lease.give_back()
            self.lease = None


class Acquire(Request[Lease], frozen=True):
    """Ask for the open agent; answered when there is one, however long that takes."""

    claim: Claim


class Discard(Message, frozen=True):
    """Close this one; None closes whichever is open."""

    lease: Lease | None


class Unblock(Message, frozen=True):
    """Forget failed starts, close an agent that is idle, and start it when somebody waits."""


class Refresh(Message, frozen=True):
    """The settings have changed: an agent that was made anew is opened anew."""


class GetOffers(Request[Offers], frozen=True):
    """Ask what can be chosen."""


class Choose(Request[Offers], frozen=True):
    """Set one of the agent's settings. Fails with `AgentRefused`."""

    option_id: str
    value: str | bool


class Decided(Message, frozen=True):
    """A start has succeeded or failed, or was called off."""

    lease: Lease


class StartAgain(Message, frozen=True):
    """The wait after a failed start is over."""


class AgentReady(Message, frozen=True):
    """To the session: the agent is open for an epoch.

    ``agent_session_id`` is its own id of the conversation, ``offers`` what can be chosen.
    """

    epoch: int
    agent_session_id: str | None
    offers: Offers


class AgentTrouble(Message, frozen=True):
    """To the session: the agent could not be started.

    Args:
        text: why, for people.
        retry_in: seconds until it is started again; None: not before `Unblock` (P3).
    """

    text: str
    retry_in: float | None


class Announced(Message, frozen=True):
    """To the session: the agent said something that is not of a turn."""

    announcement: Announcement


AgentMessage = Acquire | Discard | Unblock | Refresh | GetOffers | Choose | Decided | StartAgain
ToSession = AgentReady | AgentTrouble | Announced
