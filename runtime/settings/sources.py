"""Where settings come from: a TOML file, ``RUNTIME_SECTION__KEY`` variables, a caller."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from runtime.settings.problems import Problem, closest
from runtime.settings.structure import Given

FILE_NAME = "runtime.toml"
FILE_VARIABLE = "RUNTIME_CONFIG"
PREFIX = "RUNTIME_"

Place: TypeAlias = tuple[str, ...]
"""Tables and key of a setting: ``("gateway", "port")``, ``("agents", "mine", "kind")``."""

NAMED_TABLES = frozenset({("gateway", "principals")})
"""Keys whose value is a table of tables, each with a name of the person's choice."""

INNER_TABLES = frozenset({("media", "transcriber")})
"""Keys whose value is a table of fixed keys."""

_LARGEST_FILE = 1024 * 1024


def usual_places() -> tuple[Path, Path]:
    """Where a settings file that nobody has named is looked for; the first one there counts."""
    import platformdirs

    folder = Path(platformdirs.user_config_dir("greenroom", appauthor=False))
    return Path(FILE_NAME), folder / FILE_NAME


def find_file(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, str | None]:
    """Find the settings file.

    It is the one named, else ``$RUNTIME_CONFIG``, else ``runtime.toml`` in the current directory,
    else the one in the platform's place for a person's settings.

    Returns:
        The file, and what named it; the latter None when it was found without being named.
    """
    if config is not None:
        return config.expanduser(), "--config"
    if environ.get(FILE_VARIABLE):
        return Path(environ[FILE_VARIABLE]).expanduser(), FILE_VARIABLE
    return next((path for path in usual_places() if path.exists()), None), None


def read_file(path: Path, named_by: str | None, problems: list[Problem]) -> dict[Place, Given]:
    """What a settings file gives. What keeps it from being read is added to ``problems``."""

    def wrong(expected: str, given: str | None = None) -> dict[Place, Given]:
        source = str(path) if named_by is None else f"{path}, named by {named_by}"
        problems.append(Problem(path="", expected=expected, given=given, source=source))
        return {}

    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            return wrong("a settings file of at most 1 MiB")
        tree = tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        return wrong("a settings file; there is none of that name")
    except OSError as error:
        return wrong(f"a settings file that can be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return wrong("UTF-8 text", f"byte {error.object[error.start]:#04x} at {error.start}")
    except tomllib.TOMLDecodeError as error:
        return wrong(f"TOML: {error}")
    return {
        place: Given(value=value, source=str(path), folder=path.parent)
        for place, value in _flatten(tree)
    }


def read_environment(
    environ: Mapping[str, str], sections: Iterable[str], problems: list[Problem]
) -> dict[Place, Given]:
    """What variables give: ``RUNTIME_GATEWAY__PORT`` is ``gateway.port``; empty ones give nothing.

    Others that begin with ``RUNTIME_`` belong to somebody else, unless they look like a setting of
    ours with one underscore too few.
    """
    given: dict[Place, Given] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == FILE_VARIABLE or not environ[name]:
            continue
        place = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
        if len(place) > 1 and all(place):
            given[place] = Given(value=environ[name], source=name, is_text=True)
            continue
        section, _, key = name[len(PREFIX) :].lower().partition("_")
        if section in sections:
            meant = f"{PREFIX}{section}__{key.strip('_')}".upper()
            expected = "two underscores between the table and the key"
            problems.append(Problem(path="", expected=expected, source=name, suggestion=meant))
    return given


def read_overrides(overrides: Mapping[str, object]) -> dict[Place, Given]:
    """What a caller gives, by dotted path; None gives nothing."""
    return {
        tuple(path.split(".")): Given(value=_plain(value), source=_flag(path), is_text=True)
        for path, value in overrides.items()
        if value is not None
    }


def unknown_section(name: str, given: Given, sections: Iterable[str]) -> Problem:
    """The problem of a table that there is not."""
    known = tuple(sections)
    near = closest(name, known)
    return Problem(
        path=name,
        expected="one of the tables" if near else f"one of the tables {', '.join(known)}",
        given="an unknown table",
        source=given.source,
        suggestion=near,
    )


def _flatten(tree: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    for section, table in tree.items():
        if not isinstance(table, dict):
            yield (section,), table
            continue
        if not table:
            yield (section,), {}
        for key, value in table.items():
            if (section, key) in NAMED_TABLES and isinstance(value, dict) and value:
                for name, entry in value.items():
                    yield from _entries((section, key, name), entry)
            elif section in ("agents", "channels") or (section, key) in INNER_TABLES:
                yield from _entries((section, key), value)
            else:
                yield (section, key), value


def _entries(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    """The members of a table, so that variables can replace or add single ones."""
    if isinstance(value, dict) and value:
        yield from (((*place, key), given) for key, given in value.items())
    else:
        yield place, value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _flag(path: str) -> str:
    return f"--{path.rpartition('.')[2].replace('_', '-')}"
