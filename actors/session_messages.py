"""What can be said to a session: the messages of `actors.session.SessionActor`."""

from __future__ import annotations

from actors.agent_messages import AgentReady, AgentTrouble, Announced
from actors.queue import Arrived, InterruptTurn, Offered, SteerTurn
from runtime.kernel import Message, Request
from runtime.ports.agent import Offers
from runtime.sessions.events import QueueStatus, Snapshot
from runtime.sessions.rows import QueueOverrides, SessionRow, Workplace


class Cancel(Request[bool], frozen=True):
    """End the running turn and withdraw messages; see `Front.cancel`."""

    connection: str | None = None
    message_id: str | None = None


class Clear(Request[int], frozen=True):
    """Withdraw everything that has not begun (H3)."""


class GetStatus(Request[QueueStatus], frozen=True):
    """Ask what waits and what runs."""


class GetSnapshot(Request[Snapshot], frozen=True):
    """Ask for the session as it is at this instant."""


class Reset(Request[SessionRow], frozen=True):
    """Begin a new epoch (S18)."""


class Close(Request[None], frozen=True):
    """Close the session (S43)."""


class SetQueue(Request[SessionRow], frozen=True):
    """Set the session's own queue settings (Q3)."""

    overrides: QueueOverrides


class SetWorkplace(Request[SessionRow], frozen=True):
    """Where the agent works from its next start on (G10)."""

    workplace: Workplace


class GetOffers(Request[Offers], frozen=True):
    """Ask what can be chosen of the agent."""


class Choose(Request[Offers], frozen=True):
    """Choose one of the agent's settings; see `Front.choose`."""

    option_id: str
    value: str | bool


class Answer(Request[bool], frozen=True):
    """Answer a question of the agent; see `Front.answer_permission`."""

    request_id: str
    option_id: str | None


class Reconnect(Request[None], frozen=True):
    """Start the agent again, whatever failed before (P3)."""


class Reconfigure(Message, frozen=True):
    """The settings have changed: the queue goes by the new ones."""


class Drain(Message, frozen=True):
    """Stop: no new turn, and the running one has ``grace`` seconds (S45)."""

    grace: float


class GraceOver(Message, frozen=True):
    """The grace of a drain is used up."""


class Recheck(Message, frozen=True):
    """Read what waits from the store: a word of it may have been lost (D8)."""


class Rest(Message, frozen=True):
    """Look whether there is nothing to do."""


class MayStop(Request[bool], frozen=True):
    """To the parent: may this session hibernate now?"""

    session_id: str


SessionMessage = (
    Arrived
    | Recheck
    | Offered
    | InterruptTurn
    | SteerTurn
    | Cancel
    | Clear
    | GetStatus
    | GetSnapshot
    | Reset
    | Close
    | SetQueue
    | SetWorkplace
    | GetOffers
    | Choose
    | Answer
    | Reconnect
    | AgentReady
    | AgentTrouble
    | Announced
    | Reconfigure
    | Drain
    | GraceOver
    | Rest
)
