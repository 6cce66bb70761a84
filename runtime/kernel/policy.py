"""How failures are answered: restart rules, intensity and backoff. Plain values and functions."""

import enum
import random
from collections import deque

import msgspec

from runtime.kernel.reasons import StopKind


class Restart(enum.Enum):
    """When an ended actor is started again. An actor that was told to stop never is."""

    PERMANENT = "permanent"
    """Always: after a crash and after it stopped by itself."""
    TRANSIENT = "transient"
    """After a crash."""
    TEMPORARY = "temporary"
    """Never."""

    def wants(self, kind: StopKind) -> bool:
        """Whether an actor that ended like this is to be started again."""
        if kind is StopKind.CRASHED:
            return self is not Restart.TEMPORARY
        return kind is StopKind.NORMAL and self is Restart.PERMANENT


class Strategy(enum.Enum):
    """Which static siblings are restarted together with one that failed."""

    ONE_FOR_ONE = "one for one"
    ONE_FOR_ALL = "one for all"
    REST_FOR_ONE = "rest for one"


class StopOrder(enum.Enum):
    """How an actor's children stop when it ends; they are always told in reverse start order."""

    REVERSE = "reverse"
    """One after another: each has ended before the one started before it is told."""
    TOGETHER = "together"
    """All are told at once: for thousands of children that do not need each other."""


class Intensity(msgspec.Struct, frozen=True):
    """How many restarts are tolerated within a sliding window.

    The rule is Erlang/OTP's: one more restart within the window than allowed, and the supervisor
    stops trying.

    Attributes:
        restarts: Restarts that are tolerated within the window.
        seconds: Length of the window.
    """

    restarts: int = 5
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.restarts < 0 or not self.seconds > 0:
            raise ValueError("an intensity needs restarts >= 0 and seconds > 0")


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before a restart: exponential, with jitter.

    The exponent is the number of earlier restarts within the intensity's window, so that a calm
    window resets it. Jitter keeps actors that failed together from coming back together.

    Attributes:
        initial: Seconds before the first restart; 0 restarts at once.
        maximum: Longest wait in seconds, before jitter.
        factor: What each further restart multiplies the wait by.
        jitter: Share of the wait that is added at random, 0 to 1.
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.initial < 0 or self.maximum < self.initial or self.factor < 1:
            raise ValueError("a backoff needs 0 <= initial <= maximum and factor >= 1")
        if not 0 <= self.jitter <= 1:
            raise ValueError("a backoff's jitter is between 0 and 1")

    def delay(self, earlier: int) -> float:
        """Seconds to wait before a restart.

        Args:
            earlier: Restarts within the window before this one.
        """
        # The exponent is capped because a float overflows long before a restart count does.
        wait = min(self.maximum, self.initial * self.factor ** min(earlier, 64))
        return wait * (1 + self.jitter * random.random())


class History:
    """The restarts within an intensity's window.

    Args:
        intensity: How many are tolerated.
    """

    __slots__ = ("_intensity", "_times")

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._times: deque[float] = deque()

    def record(self, now: float) -> int | None:
        """Count a restart.

        Args:
            now: The time, in seconds of any steady clock.

        Returns:
            The number of earlier restarts within the window, or None if this is one too many.
        """
        times = self._times
        while times and times[0] <= now - self._intensity.seconds:
            times.popleft()
        if len(times) >= self._intensity.restarts:
            return None
        times.append(now)
        return len(times) - 1
