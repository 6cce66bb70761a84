"""Control commands: what a person types to the runtime and not to the agent (S36).

``/reconnect``  start the agent again, after it could not be started (P3)
``/status``     what runs and what waits
``/stop``       end the running turn

A command is the whole message. Where the agent has a command of the same name, the agent's wins,
and ours is ``/runtime reconnect``.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from runtime.sessions.content import StoredContent, TextBlock

PREFIX = "runtime"
LONGEST = 100
"""Characters of a message that can be a command."""


class Command(StrEnum):
    """What can be commanded."""

    RECONNECT = "reconnect"
    STATUS = "status"
    STOP = "stop"


def command_in(content: StoredContent, taken: Collection[str] = ()) -> Command | None:
    """The command that a message is; None for a message to the agent.

    Args:
        content: what was said.
        taken: names of the agent's own commands.
    """
    if len(content) != 1 or not isinstance(content[0], TextBlock):
        return None
    text = content[0].text
    if len(text) > LONGEST or not text.lstrip().startswith("/"):
        return None
    words = text.strip().lower()[1:].split()
    if words[:1] == [PREFIX]:
        words = words[1:]
    elif words and words[0] in taken:
        return None
    if len(words) != 1 or words[0] not in _NAMES:
        return None
    return Command(words[0])


_NAMES = frozenset(command.value for command in Command)
