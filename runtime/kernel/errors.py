"""What the kernel raises."""

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from runtime.kernel.reasons import StopReason


class KernelError(Exception):
    """Base of every error that the kernel raises on its own account."""


class ActorStopped(KernelError):
    """The actor stopped, or is stopping, so that it will not answer or accept.

    Args:
        path: The actor's path.
        reason: Why it ended, as far as that was known.
    """

    def __init__(self, path: str, reason: "StopReason | None" = None) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        if self.reason is None:
            return f"{self.path} has stopped"
        return f"{self.path} has stopped: {self.reason}"


class AskTimeout(KernelError, trio.TooSlowError):
    """No reply came in time. The request may have been, or may still be, handled.

    Args:
        path: The actor that was asked.
        timeout: How long the asker waited, in seconds.
    """

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(path, timeout)
        self.path = path
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.path} gave no reply within {self.timeout:g} s"


class MailboxFull(KernelError):
    """The mailbox was full and its policy gave the message no place.

    Args:
        path: The actor whose mailbox it is.
        capacity: How many messages it holds.
    """

    def __init__(self, path: str, capacity: int) -> None:
        super().__init__(path, capacity)
        self.path = path
        self.capacity = capacity

    def __str__(self) -> str:
        return f"the mailbox of {self.path} is full ({self.capacity} messages)"


class UnhandledMessageError(KernelError, TypeError):
    """The message's type is not among those that the actor handles.

    Args:
        path: The actor that it was addressed to.
        message: The message.
    """

    def __init__(self, path: str, message: object) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.path} does not handle {type(self.message).__qualname__}"


class Deadlock(KernelError, RuntimeError):
    """Waiting would never end: the actor would wait, directly or in a circle, for itself."""
