"""The settings that hold now, and the agents made from them: the one thing that may be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.agents import agent_kinds
from runtime.ports.agent import Agent
from runtime.settings import (
    GatewaySettings,
    Problem,
    Settings,
    SettingsError,
    StorageSettings,
    check,
)

AT_THE_START = (
    ("gateway", GatewaySettings.__struct_fields__),
    ("storage", StorageSettings.__struct_fields__),
    ("media", ("root",)),
)
"""Settings that take effect at a start only."""


@dataclass
class Configuration:
    """What new turns and new sessions go by. A running turn keeps what it began with.

    Args:
        settings: everything that can be set.
        agents: the agents by name.
        default_agent: who answers in a session that names no agent.
        given: whether the agents were passed in, which are none of the settings' then.

    Raises:
        TypeError: an agent is none.
    """

    settings: Settings
    agents: Mapping[str, Agent]
    default_agent: str
    given: bool

    def __post_init__(self) -> None:
        agents: Mapping[str, object] = self.agents
        for name, agent in agents.items():
            if isinstance(agent, type):
                raise TypeError(f"agent {name!r} is the class {agent.__name__}, not one of it")
            if not isinstance(agent, Agent):
                raise TypeError(f"agent {name!r} is {agent!r}, which is no runtime.Agent")

    @classmethod
    def of(cls, settings: Settings, given: Mapping[str, Agent] | None) -> Configuration:
        """What holds at a start.

        Args:
            settings: everything that can be set.
            given: agents instead of those of the settings.

        Raises:
            SettingsError: the settings cannot be used.
        """
        agents = dict(given) if given is not None else configured_agents(settings)
        default_agent = _default_agent(settings, agents)
        check(settings, agents)
        return cls(settings, agents, default_agent, given is not None)

    def change(self, settings: Settings) -> tuple[str, ...]:
        """Go by other settings from now on. Agents of the settings are made anew where they
        changed.

        Returns:
            The changed settings that take effect at the next start only, as ``gateway.port``.

        Raises:
            SettingsError: they cannot be used; the old ones stay.
        """
        agents = self.agents
        if not self.given and settings.agents != self.settings.agents:
            known = self.settings.agents
            agents = {
                name: self.agents[name] if known.get(name) == settings.agents[name] else agent
                for name, agent in configured_agents(settings).items()
            }
        default_agent = _default_agent(settings, agents)
        check(settings, agents)
        before = self.settings
        self.settings, self.agents, self.default_agent = settings, agents, default_agent
        return tuple(
            f"{table}.{key}"
            for table, keys in AT_THE_START
            for key in keys
            if getattr(getattr(before, table), key) != getattr(getattr(settings, table), key)
        )


def configured_agents(settings: Settings) -> dict[str, Agent]:
    """The agents of the settings, made. Raises SettingsError for a kind that is not installed."""
    kinds = agent_kinds()
    problems = []
    made = {}
    for name, entry in settings.agents.items():
        kind = kinds.get(entry.kind)
        if kind is None:
            known = ", ".join(sorted(kinds))
            problems.append(
                Problem(
                    path=f"agents.{name}.kind", given=repr(entry.kind), expected=f"one of {known}"
                )
            )
            continue
        made[name] = kind.create(
            name, entry.options if entry.options is not None else kind.options()
        )
    if problems:
        raise SettingsError(problems)
    return made


def _default_agent(settings: Settings, agents: Mapping[str, Agent]) -> str:
    chosen = settings.routing.choose(tuple(agents))
    if chosen is None:
        known = ", ".join(sorted(agents)) or "there is none"
        raise SettingsError(
            [
                Problem(
                    path="routing.default_agent",
                    given=repr(settings.routing.default_agent),
                    expected=f"the name of an agent ({known})",
                )
            ]
        )
    return chosen
