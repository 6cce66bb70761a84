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

    Raises:
        TypeError: an agent is none.
    """

    settings: Settings
    agents: Mapping[str, Agent]
    default_agent: str

    def __post_init__(self) -> None:
        agents: Mapping[str, object] = self.agents
        for name, agent in agents.items():
            if isinstance(agent, type):
                raise TypeError(f"agent {name!r} is the class {agent.__name__}, not one of it")
            if not isinstance(agent, Agent):
                raise TypeError(f"agent {name!r} is {agent!r}, which is no runtime.Agent")
