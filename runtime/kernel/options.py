"""How an actor is run."""

import msgspec

from runtime.kernel.mailbox import MailboxSpec
from runtime.kernel.policy import Backoff, Intensity, Restart


class Options(msgspec.Struct, frozen=True):
    """What `Actor.spawn` was told about an actor, apart from its factory and its name.

    Raises:
        ValueError: The grace is not a number of seconds.
    """

    restart: Restart = Restart.TRANSIENT
    mailbox: MailboxSpec = MailboxSpec()
    grace: float = 5.0
    intensity: Intensity = Intensity()
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if not self.grace >= 0:
            raise ValueError("a grace is a number of seconds, 0 or more")
