"""Load settings: file, variables and flags become one structure, which is validated as a whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from runtime.settings.check import problems_between
from runtime.settings.problems import Problem, SettingsError, closest, listed, shown
from runtime.settings.sources import (
    INNER_TABLES,
    NAMED_TABLES,
    Place,
    find_file,
    read_environment,
    read_file,
    read_overrides,
    unknown_section,
    usual_places,
)
from runtime.settings.structs import (
    AgentEntry,
    ChannelSettings,
    Section,
    Settings,
    default_agents,
)
from runtime.settings.structure import Given, structure

_NO_OPTIONS = msgspec.defstruct("NoOptions", [], frozen=True)

SECTIONS: Mapping[str, type[Section]] = {
    field.name: field.type
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.type, type) and issubclass(field.type, Section)
}
"""The tables with fixed keys, by name; ``agents`` and ``channels`` are those besides them."""

_TABLES = tuple(field.name for field in msgspec.structs.fields(Settings))


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, and where they came from.

    Args:
        settings: complete and valid; the options of each agent are made.
        source_files: the files that were read.
        places: the files that change these settings when they change or appear.
        origins: what gave a setting that does not have its default: a file, a variable, a flag; by
            path.
    """

    settings: Settings
    source_files: tuple[Path, ...]
    places: tuple[Path, ...]
    origins: Mapping[str, str]

    @property
    def summary(self) -> str:
        """The files, variables and flags in force, for people."""
        files = [str(path) for path in self.source_files]
        others = sorted(set(self.origins.values()) - set(files))
        sources = ", ".join((*(files or ["no settings file"]), *others))
        return sources if files or others else f"{sources}, the defaults hold"


def load_settings(
    *,
    config: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    agent_kinds: Mapping[str, type[msgspec.Struct]],
) -> Loaded:
    """Load and validate settings: flags win over variables, and they over the file.

    Args:
        config: the settings file; None looks for it as `find_file` says.
        environ: environment variables.
        overrides: values by path, as in ``{"gateway.port": 0}``; None values are left out.
        agent_kinds: the kinds of agents that there are, each with the struct of its options.

    Raises:
        SettingsError: with every problem of every source.
    """
    problems: list[Problem] = []
    path, named_by = find_file(config, environ)
    given: dict[Place, Given] = {}
    if path is not None:
        given |= read_file(path, named_by, problems)
    given |= read_environment(environ, _TABLES, problems)
    given |= read_overrides(overrides)

    tables, agents, channels = _sort(given, problems)
    values: dict[str, Any] = {
        name: structure(struct, tables[name], name, problems) for name, struct in SECTIONS.items()
    }
    values["channels"] = _channels(channels, problems)
    values["agents"] = _agents(agents, agent_kinds, problems)
    sources = {
        ".".join(place): value.source
        for place, value in given.items()
        if value.source and len(place) > 1
    }
    usable = {name: value for name, value in values.items() if value is not None}
    # Agents with mistakes of their own are still there to be the default one.
    declared = {"agents": {name: AgentEntry(kind="") for name in agents}}
    problems.extend(problems_between(Settings(**(declared | usable)), sources=sources))
    if problems:
        raise SettingsError(problems)
    files = () if path is None else (path,)
    return Loaded(
        settings=Settings(**usable),
        source_files=files,
        places=files or usual_places(),
        origins=sources,
    )


def check_files(loaded: Loaded) -> None:
    """Check that the files that settings name can be read.

    Loading does not look at them: most commands can do without.

    Raises:
        SettingsError: with every one that cannot.
    """
    if problems := list(_unreadable_files(loaded)):
        raise SettingsError(problems)


def _unreadable_files(loaded: Loaded) -> Iterator[Problem]:
    gateway = loaded.settings.gateway
    for key, path in (
        ("tls_certificate", gateway.tls_certificate),
        ("tls_key", gateway.tls_key),
    ):
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            yield Problem(
                path=f"gateway.{key}",
                given=shown(str(path)),
                expected=f"a file that can be read: {error.strerror or error}",
                source=loaded.origins.get(f"gateway.{key}"),
            )


class _Sorted(NamedTuple):
    """What was given, by the tables that it is for."""

    tables: dict[str, dict[str, Any]]
    agents: dict[str, dict[str, Given]]
    channels: dict[str, dict[str, Given]]


def _sort(given: Mapping[Place, Given], problems: list[Problem]) -> _Sorted:
    tables: dict[str, dict[str, Any]] = defaultdict(dict)
    agents: dict[str, dict[str, Given]] = defaultdict(dict)
    channels: dict[str, dict[str, Given]] = defaultdict(dict)
    for place, value in given.items():
        match place:
            case (section,) if section in _TABLES and value.value == {}:
                pass
            case ("agents", name) if value.value == {}:
                agents[name] = {}
            case ("agents", name, option):
                agents[name][option] = value
            case ("channels", name) if value.value == {}:
                channels[name] = {}
            case ("channels", name, key):
                channels[name][key] = value
            case (section, key) if section in SECTIONS:
                tables[section][key] = value
            case (section, key, name) if (section, key) in NAMED_TABLES | INNER_TABLES:
                _named(tables[section], key)[name] = value
            case (section, key, name, option) if (section, key) in NAMED_TABLES:
                _named(_named(tables[section], key), name)[option] = value
            case (section, *_) if section not in _TABLES:
                problems.append(unknown_section(section, value, _TABLES))
            case _:
                problems.append(_misplaced(place, value))
    return _Sorted(tables, agents, channels)


def _named(table: dict[str, Any], name: str) -> dict[str, Any]:
    """The table of a name; what was no table gives way to one."""
    if not isinstance(table.get(name), dict):
        table[name] = {}
    found: dict[str, Any] = table[name]
    return found


def _misplaced(place: Place, given: Given) -> Problem:
    if len(place) == 1:
        expected = f"a table: [{place[0]}]"
    elif place[0] == "channels" and len(place) == 2:
        expected = f"a table: [channels.{place[1]}]"
    elif place[0] == "agents" and len(place) == 2:
        expected = f'a table: [agents.{place[1]}] with kind = "..."'
    else:
        expected = "a setting; none is so deep"
    # A text is not shown: it may be a secret that stands one place beside its own.
    harmless = isinstance(given.value, (bool, int, float))
    value = shown(given.value) if harmless else None
    return Problem(path=".".join(place), expected=expected, given=value, source=given.source)


def _agents(
    given: Mapping[str, Mapping[str, Given]],
    kinds: Mapping[str, type[msgspec.Struct]],
    problems: list[Problem],
) -> dict[str, AgentEntry] | None:
    before = len(problems)
    entries = {name: _agent(name, options, kinds, problems) for name, options in given.items()}
    if len(problems) > before:
        return None
    made = {name: entry for name, entry in entries.items() if entry is not None}
    return made or {
        name: AgentEntry(entry.kind, kinds.get(entry.kind, _NO_OPTIONS)())
        for name, entry in default_agents().items()
    }


def _channels(
    given: Mapping[str, Mapping[str, Given]], problems: list[Problem]
) -> dict[str, ChannelSettings] | None:
    made = {
        name: structure(ChannelSettings, keys, f"channels.{name}", problems)
        for name, keys in given.items()
    }
    usable = {name: channel for name, channel in made.items() if channel is not None}
    return usable if len(usable) == len(made) else None


def _agent(
    name: str,
    given: Mapping[str, Given],
    kinds: Mapping[str, type[msgspec.Struct]],
    problems: list[Problem],
) -> AgentEntry | None:
    options = dict(given)
    kind = options.pop("kind", None)
    if kind is None or not isinstance(kind.value, str) or kind.value not in kinds:
        problems.append(
            Problem(
                path=f"agents.{name}.kind",
                expected=f"what sort of agent it is: {listed(kinds)}",
                given=None if kind is None else shown(kind.value),
                source=None if kind is None else kind.source,
                suggestion=None if kind is None else closest(str(kind.value), kinds),
            )
        )
        return None
    made = structure(kinds[kind.value], options, f"agents.{name}", problems)
    return None if made is None else AgentEntry(kind.value, made)
