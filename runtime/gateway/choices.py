"""What can be chosen in a session: the queue mode, which is ours, and the agent's settings (G2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from runtime.ports.front import Front
from runtime.protocol.acp import ConfigOption, ModeState, SelectOption, SessionMode
from runtime.sessions.modes import QueueMode

QUEUE_MODE = "queue_mode"

_DESCRIPTIONS = {
    QueueMode.COLLECT: ("Collect", "What arrives during a turn becomes one next turn."),
    QueueMode.FOLLOWUP: ("Follow up", "What arrives during a turn gets turns of its own."),
    QueueMode.STEER: (
        "Steer",
        "What arrives is handed to the running turn; where the agent cannot, it waits.",
    ),
    QueueMode.STEER_BACKLOG: (
        "Steer and keep",
        "What arrives is handed to the running turn, and gets a turn of its own after it.",
    ),
    QueueMode.INTERRUPT: ("Interrupt", "What arrives cancels the turn and runs at once."),
}

QUEUE_MODES = tuple(
    SelectOption(mode.value, name, description)
    for mode, (name, description) in _DESCRIPTIONS.items()
)


async def config_options(
    front: Front, session_id: str, offered: Iterable[Mapping[str, Any]], *, booleans: bool
) -> tuple[dict[str, Any], ...]:
    """All settings of a session as the protocol has them.

    Args:
        front: knows the queue mode.
        session_id: the session.
        offered: the settings of its agent.
        booleans: whether the client knows settings that are true or false.

    Raises:
        FrontError: there is no such session.
    """
    status = await front.queue_status(session_id)
    queue_mode = ConfigOption(
        id=QUEUE_MODE,
        name="Queue mode",
        current_value=status.mode,
        options=QUEUE_MODES,
        description="What happens to a message that arrives while a turn runs.",
    )
    theirs = (
        dict(option)
        for option in offered
        if option.get("id") != QUEUE_MODE and (booleans or option.get("type") != "boolean")
    )
    return msgspec.to_builtins(queue_mode), *theirs


def mode_option(offered: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The setting that older clients know as modes."""
    for option in offered:
        if option.get("category") == "mode" and isinstance(option.get("currentValue"), str):
            return option
    return None


def mode_state(offered: Iterable[Mapping[str, Any]]) -> ModeState | None:
    """The modes as older clients know them; None when the agent has none."""
    option = mode_option(offered)
    if option is None:
        return None
    modes = (_mode(value) for value in _values(option.get("options")))
    return ModeState(option["currentValue"], tuple(mode for mode in modes if mode is not None))


def _values(options: Any) -> Iterator[Mapping[str, Any]]:
    """The values of a setting, out of their groups."""
    for each in options if isinstance(options, list | tuple) else ():
        if not isinstance(each, dict):
            continue
        if "group" in each:
            yield from _values(each.get("options"))
        else:
            yield each


def _mode(value: Mapping[str, Any]) -> SessionMode | None:
    name, identity = value.get("name"), value.get("value")
    if not isinstance(name, str) or not isinstance(identity, str):
        return None
    description = value.get("description")
    return SessionMode(identity, name, description if isinstance(description, str) else None)
