"""The agents that can be configured: each module here, and each entry point of the group
``greenroom.agents``.

A module offers ``KIND`` (the name in the settings), ``Options`` (a frozen msgspec Struct) and
``create(name, options) -> Agent``. An entry point refers to such a module.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable
from typing import Any

import msgspec

from runtime.ports.agent import Agent

ENTRY_POINT_GROUP = "greenroom.agents"


class AgentKind(msgspec.Struct, frozen=True):
    """One kind of agent: its options and how to make one."""

    kind: str
    options: type[msgspec.Struct]
    create: Callable[[str, Any], Agent]


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
        kinds[module.KIND] = AgentKind(module.KIND, module.Options, module.create)
    return kinds
