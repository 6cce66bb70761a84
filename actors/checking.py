"""Nothing of a foreign agent enters unchecked: events have their types, texts can be written."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from runtime.sessions.content import storable
from runtime.sessions.rows import TurnError
from runtime.sessions.updates import AgentEvent

EVENT_TYPES: tuple[type, ...] = get_args(AgentEvent)
LONGEST_ERROR = 4_000
"""Characters of an error that are kept."""


class BadEvent(TypeError):
    """An agent yielded what is no event."""


def checked_event(event: Any) -> AgentEvent:
    """The event with every field of its declared type; what can be converted is.

    Raises:
        BadEvent: it is none, or a field is of another type.
    """
    kind = type(event)
    if kind not in EVENT_TYPES:
        raise BadEvent(f"an agent yields events such as AgentMessageChunk, not {kind.__name__}")
    try:
        checked: AgentEvent = msgspec.convert(msgspec.to_builtins(event), kind)
    except (TypeError, msgspec.ValidationError) as error:
        raise BadEvent(f"an agent yielded {kind.__name__} with a wrong field: {error}") from None
    return checked


def checked_error(error: TurnError | None) -> TurnError | None:
    """The error as it can be written down."""
    if error is None:
        return None
    return TurnError(storable(error.code)[:200], storable(error.message)[:LONGEST_ERROR])
