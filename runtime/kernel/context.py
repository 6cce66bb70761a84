"""Which actor the running code belongs to, for logs."""

from contextvars import ContextVar
from typing import Any, Protocol


class CurrentActor(Protocol):
    """What a log processor needs to know about the actor whose code runs."""

    @property
    def path(self) -> str:
        """The actor's path."""
        ...

    @property
    def log_context(self) -> dict[str, Any]:
        """What the actor wants to see in each of its log lines."""
        ...


current_actor: ContextVar[CurrentActor | None] = ContextVar("current_actor", default=None)
"""The actor whose handler, hook or helper is running; None elsewhere.

It is bound for each drain and in helpers. Tasks that a handler starts in nurseries of its own
inherit it, as any context variable.
"""
