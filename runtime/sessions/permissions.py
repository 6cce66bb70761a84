"""Requests for permission: what a policy answers, how a chat asks, what words mean as an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from runtime.sessions.updates import PermissionOption, PermissionRequest

PermissionPolicy: TypeAlias = Literal["ask", "allow", "deny"]

_ORDER: dict[PermissionPolicy, tuple[str, ...]] = {
    "ask": (),
    "allow": ("allow_once", "allow_always"),
    "deny": ("reject_once", "reject_always"),
}


def decided(policy: PermissionPolicy, options: Sequence[PermissionOption]) -> str | None:
    """The option that a policy chooses by itself; None when there is none of that kind.

    The narrowest one is taken: a policy may be changed later, "always" is for ever.
    """
    for kind in _ORDER[policy]:
        for option in options:
            if option.kind == kind:
                return option.option_id
    return None


def question(request: PermissionRequest) -> str:
    """The question as a chat reads it, with a number for each answer."""
    title = request.tool_call.title or "something"
    lines = [f"The agent asks for permission: {title}"]
    lines += [f"{number}. {option.name}" for number, option in enumerate(request.options, 1)]
    return "\n".join([*lines, "Answer with the number."])


def answer_in_words(text: str, options: Sequence[PermissionOption]) -> str | None:
    """The option that a message means: its number or its name, nothing else; None for neither."""
    said = text.strip().rstrip(".").casefold()
    if said.isascii() and said.isdigit() and 1 <= int(said[:9]) <= len(options):
        return options[int(said[:9]) - 1].option_id
    named = [option.option_id for option in options if option.name.strip().casefold() == said]
    return named[0] if len(named) == 1 else None
