"""Control commands: what a person types to the runtime and not to the agent (S36, S40, Q5).

=========================  =====================================================  ======
typed                      what it does                                           needs
=========================  =====================================================  ======
``/reconnect``             starts the agent again, after it could not be started
``/status``                says what runs and what waits
``/stop``                  withdraws what waits and cancels the running turn
``/queue``, with status    says how the queue is and works
``/queue clear``           withdraws what waits                                   admin
``/queue steer cap:25`` …  sets the session's own queue settings                  admin
``/queue default``         forgets them; also ``/queue reset``                    admin
``/new``, ``/reset``       begin a new conversation; what follows is its first    admin
                           message
=========================  =====================================================  ======

All but the last are the whole message, of text only. Where the agent has a command of the same
name, the agent's wins, and ours is ``/runtime reconnect``. What begins a new conversation can be
set; ``/runtime new`` and ``/runtime reset`` always do.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec

from runtime.sessions.content import StoredContent, TextBlock
from runtime.sessions.principals import Role

PREFIX = "runtime"
LONGEST = 100
"""Characters of a message that can be a command."""

RESET_TRIGGERS = ("/new", "/reset")

ANEW = "A new conversation begins."
"""What people are told then."""


class Command(StrEnum):
    """What can be commanded."""

    RECONNECT = "reconnect"
    STATUS = "status"
    STOP = "stop"
    QUEUE = "queue"
    CLEAR = "clear"
    CONFIGURE = "configure"
    DEFAULT = "default"
    RESET = "reset"

    @property
    def role(self) -> Role:
        """Who may give it."""
        return Role.ADMIN if self in _FOR_ADMINS else Role.MEMBER


_FOR_ADMINS = frozenset((Command.CLEAR, Command.CONFIGURE, Command.DEFAULT, Command.RESET))
_ALONE = {
    "reconnect": Command.RECONNECT,
    "status": Command.STATUS,
    "stop": Command.STOP,
}
_OF_QUEUE = {
    "": Command.QUEUE,
    "status": Command.QUEUE,
    "clear": Command.CLEAR,
    "default": Command.DEFAULT,
    "reset": Command.DEFAULT,
}


class Typed(msgspec.Struct, frozen=True):
    """A command as somebody typed it.

    Args:
        command: which.
        words: what is to be configured, in lower case.
        first: the first message of the new conversation; empty when there is none.
    """

    command: Command
    words: tuple[str, ...] = ()
    first: StoredContent = ()


def command_in(
    content: StoredContent,
    taken: Collection[str] = (),
    triggers: Collection[str] = RESET_TRIGGERS,
) -> Typed | None:
    """The command that a message is; None for a message to the agent.

    Args:
        content: what was said.
        taken: names of the agent's own commands.
        triggers: what begins a new conversation.
    """
    if not content or not isinstance(content[0], TextBlock):
        return None
    text, others = content[0].text.strip(), content[1:]
    name, rest = _first_word(text)
    if name.lower() == f"/{PREFIX}":
        name, rest = _first_word(rest)
        triggers, taken, name = RESET_TRIGGERS, (), f"/{name}"
    if name.lower() in {trigger.lower() for trigger in triggers}:
        if name.lower().removeprefix("/") in taken and name.startswith("/"):
            return None
        return Typed(Command.RESET, first=(*_text(rest), *others))
    if others or len(content[0].text) > LONGEST or not name.startswith("/"):
        return None
    words = f"{name[1:]} {rest}".lower().split()
    if not words or words[0] in taken:
        return None
    return _of_words(words[0], tuple(words[1:]))


def _of_words(name: str, words: tuple[str, ...]) -> Typed | None:
    if name == "queue":
        command = _OF_QUEUE.get(" ".join(words), Command.CONFIGURE)
        return Typed(command, words if command is Command.CONFIGURE else ())
    return None if words or name not in _ALONE else Typed(_ALONE[name])


def _first_word(text: str) -> tuple[str, str]:
    """The first word of a text and what follows it, without the blanks around."""
    name, *rest = text.split(maxsplit=1) or [""]
    return name, rest[0] if rest else ""


def _text(text: str) -> tuple[TextBlock, ...]:
    return (TextBlock(text),) if text else ()
