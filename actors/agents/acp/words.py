"""What went wrong with an agent, for people."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from runtime.protocol.acp_agent import AUTH_REQUIRED, AuthMethod
from runtime.protocol.peer import CallFailed

LONGEST = 1_000
"""Characters of what an agent says about an error."""
MOST_METHODS = 10

AUTH_CODE = "auth_required"
"""The code of a refusal because somebody has to log in first."""


def shortened(text: str, limit: int = LONGEST) -> str:
    """The text, or its beginning."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def failure_words(failure: CallFailed) -> str:
    """What the agent said: its message, and what it added to that."""
    said = failure.message.strip() or f"error {failure.code}"
    more = failure.data
    if isinstance(more, dict) and len(more) == 1:
        (more,) = more.values()  # as in {"details": "..."}
    if more is not None and not isinstance(more, str):
        more = msgspec.json.encode(more).decode()
    if more and more not in said:
        said = f"{said}: {more}"
    return shortened(said)


def wants_login(failure: CallFailed) -> bool:
    """Whether somebody has to log in first."""
    return failure.code == AUTH_REQUIRED


def login_words(agent: str, command: Sequence[str], methods: Sequence[AuthMethod]) -> str:
    """How to log in, as far as the agent says. Names of variables are said, never values."""
    ways = [_way(agent, command, method) for method in methods[:MOST_METHODS]]
    if not ways:
        ways = [f"log in with the agent's own program: {_run(command)}"]
    lines = ["The agent wants you to log in. On the machine of the runtime:"]
    lines += [f"- {shortened(way, 400)}" for way in ways]
    return "\n".join([*lines, "Then type /reconnect."])


def _way(agent: str, command: Sequence[str], method: AuthMethod) -> str:
    named = method.name
    if method.description and method.description != method.name:
        named = f"{method.name} ({method.description})"
    match method.type:
        case "terminal":
            return f"{named}: run {_run([*command, *method.args])} in a terminal"
        case "env_var":
            needed = [each.name for each in method.vars if not each.optional]
            names = ", ".join(needed or [each.name for each in method.vars]) or "its variables"
            where = f"set {names} in env of [agents.{agent}], or name it in pass_env"
            return f"{named}: {where}{f'; see {method.link}' if method.link else ''}"
        case _:
            return f"{named}: log in with the agent's own program: {_run(command)}"


def _run(command: Sequence[str]) -> str:
    return f"`{shlex.join(command)}`"
