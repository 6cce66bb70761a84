"""The agents that can be configured: each module here, and each entry point of the group
``greenroom.agents``.

A module offers ``KIND`` (the name in the settings), ``Options`` (a frozen msgspec Struct) and
``create(name, options) -> Agent``. It may offer ``examine(name, options)``, which looks whether
such an agent could be started and gives an `AgentFinding` for each thing that it looked at. An
entry point refers to such a module.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from runtime.ports.agent import Agent

ENTRY_POINT_GROUP = "greenroom.agents"


class AgentFinding(msgspec.Struct, frozen=True):
    """What was found of an agent that is not started.

    Args:
        state: only a ``problem`` keeps it from answering.
        text: what was found.
        hint: what to do; None where nothing needs to be done.
    """

    state: Literal["ok", "warning", "problem"]
    text: str
    hint: str | None = None


class AgentKind(msgspec.Struct, frozen=True):
    """One kind of agent: its options and how to make one.

    Args:
        examine: looks whether one could be started, for ``doctor``; reads files at most. None when
            there is nothing to look at.
    """

    kind: str
    options: type[msgspec.Struct]
    create: Callable[[str, Any], Agent]
    examine: Callable[[str, Any], Iterable[AgentFinding]] | None = None


def agent_kinds() -> dict[str, AgentKind]:
    """All kinds that are installed, by name. The built-in ones win over entry points of the same
    name.

    Raises:
        TypeError: a module that is no agent kind; the text names it.
    """
    modules = [entry.load() for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)]
    modules += [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    ]
    kinds = {}
    for module in modules:
        missing = [name for name in ("KIND", "Options", "create") if not hasattr(module, name)]
        if missing:
            raise TypeError(
                f"{module.__name__} is no kind of agent: it has no {', '.join(missing)}"
            )
        kinds[module.KIND] = AgentKind(
            module.KIND, module.Options, module.create, getattr(module, "examine", None)
        )
    return kinds
