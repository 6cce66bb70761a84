"""The settings that hold now, and the agents made from them: the one thing that may be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.ports.agent import Agent
from runtime.settings import Settings


@dataclass
class Configuration:
    """What new turns and new sessions go by. A running turn keeps what it began with.

    Args:
        settings: everything that can be set.
        agents: the agents by name.
        default_agent: who answers in a session that names no agent.
    """

    settings: Settings
    agents: Mapping[str, Agent]
    default_agent: str
