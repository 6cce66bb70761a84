"""Why an actor ended, and how its supervisor was told to react."""

import enum

import msgspec


class StopKind(enum.Enum):
    """How an actor came to its end."""

    NORMAL = "normal"
    """It called `Actor.stop`."""
    SHUTDOWN = "shutdown"
    """It was told to: by `ActorRef.stop`, by its supervisor's end, or by the end of the system."""
    CANCELLED = "cancelled"
    """It was told to and did not finish its message within the grace, or a scope was cancelled."""
    CRASHED = "crashed"
    """A handler, a helper or `on_start` raised an exception."""
    GIVEN_UP = "given up"
    """It crashed more often than its intensity allows."""


class StopReason(msgspec.Struct, frozen=True):
    """Why an actor ended.

    Attributes:
        kind: How it came to its end.
        error: The exception behind it, if there is one.
    """

    kind: StopKind
    error: BaseException | None = None

    def __str__(self) -> str:
        return self.kind.value if self.error is None else f"{self.kind.value}: {self.error!r}"


class State(enum.Enum):
    """Where an actor is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    STOPPED = "stopped"
