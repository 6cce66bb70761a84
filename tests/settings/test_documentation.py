"""What people read about settings says what the settings are."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from actors.agents import agent_kinds
from runtime.settings import AgentEntry, ChannelSettings, Settings, load_settings
from runtime.settings.load import SECTIONS
from runtime.settings.sources import INNER_TABLES
from runtime.settings.write import is_section, written

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLE = DOCS / "runtime.example.toml"
GUIDE = DOCS / "operating.md"
AGENTS = DOCS / "agents.md"

TABLE = re.compile(
    r"^### `\[(?P<name>[\w.]+)\]`.*\n\n\| key \| default \| \|\n\|---\|---\|---\|\n", re.M
)
ROW = re.compile(r"\| `(?P<key>\w+)` \| (?P<default>.+?) \| \S.*? \|\n")
NO_FIXED_DEFAULT = {"storage.data_dir"}
INNER = {
    f"{name}.{key.name}": key.type
    for name, section in SECTIONS.items()
    for key in msgspec.structs.fields(section)
    if is_section(key.type)
}


def uncommented() -> str:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2] not in {"", " "} else line for line in lines
    )


def test_the_example_shows_every_key_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "runtime.toml"
    path.write_text(uncommented(), encoding="utf-8")
    kinds = {name: kind.options for name, kind in agent_kinds().items()}
    settings = load_settings(config=path, environ={}, overrides={}, agent_kinds=kinds).settings
    given = tomllib.loads(uncommented())
    assert list(given) == [field.name for field in msgspec.structs.fields(Settings)]
    for name, section in SECTIONS.items():
        keys = msgspec.structs.fields(section)
        assert list(given[name]) == [key.name for key in keys]
        for key in keys:
            if key.default not in (None, msgspec.NODEFAULT):
                assert getattr(getattr(settings, name), key.name) == key.default, key.name
    assert [*given["channels"]] == ["telegram"]
    assert list(given["channels"]["telegram"]) == list(ChannelSettings.__struct_fields__)
    assert None not in msgspec.structs.astuple(settings.channels["telegram"])
    assert list(given["agents"]) == list(settings.agents) == ["echo", "coder"]
    for name, agent in settings.agents.items():
        options = msgspec.structs.fields(kinds[agent.kind])
        assert list(given["agents"][name]) == ["kind", *(option.name for option in options)]
        for option in options:
            if option.default not in (None, msgspec.NODEFAULT):
                assert getattr(agent.options, option.name) == option.default, option.name
    assert settings.agents["echo"] == AgentEntry("echo", kinds["echo"]())


def test_the_example_changes_nothing_as_it_is() -> None:
    assert tomllib.loads(EXAMPLE.read_text(encoding="utf-8")) == {}


def test_the_inner_tables_are_known_where_settings_come_from() -> None:
    assert {".".join(place) for place in INNER_TABLES} == set(INNER)


def test_the_example_shows_the_inner_tables() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    for name, section in INNER.items():
        table = text.partition(f"\n#[{name}]\n")[2].partition("\n\n")[0]
        shown = [line.strip("# ").partition(" = ")[0] for line in table.splitlines() if "=" in line]
        assert shown == [key.name for key in msgspec.structs.fields(section)], name


def test_the_guide_lists_every_key_with_its_default() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    tables = {match["name"]: text[match.end() :] for match in TABLE.finditer(text)}
    assert set(tables) == {*SECTIONS, *INNER}
    for name, section in {**SECTIONS, **INNER}.items():
        rows = ROW.findall(tables[name].partition("\n\n")[0] + "\n")
        keys = msgspec.structs.fields(section)
        assert [key for key, _ in rows] == [key.name for key in keys]
        for key, (_, shown) in zip(keys, rows, strict=True):
            if f"{name}.{key.name}" in NO_FIXED_DEFAULT:
                continue
            value = key.default_factory() if key.default is msgspec.NODEFAULT else key.default
            default = None if is_section(key.type) else written(key.type, value)
            expected = "none" if default is None else f"`{json.dumps(default)}`"
            assert shown == expected, f"{name}.{key.name}"


def test_the_guide_lists_every_key_of_a_channel() -> None:
    _, _, table = GUIDE.read_text(encoding="utf-8").partition(
        "\n| key of a channel | default | |\n|---|---|---|\n"
    )
    rows = ROW.findall(table.partition("\n\n")[0] + "\n")
    assert rows == [
        (key.name, shown_default(key)) for key in msgspec.structs.fields(ChannelSettings)
    ]


@pytest.mark.parametrize("kind, page", [("echo", GUIDE), ("acp", AGENTS)])
def test_the_options_of_each_kind_are_listed_with_their_defaults(kind: str, page: Path) -> None:
    _, _, table = page.read_text(encoding="utf-8").partition(
        f"\n| option of `{kind}` | default | |\n|---|---|---|\n"
    )
    rows = ROW.findall(table.partition("\n\n")[0] + "\n")
    options = msgspec.structs.fields(agent_kinds()[kind].options)
    assert rows == [(option.name, shown_default(option)) for option in options]


def shown_default(option: msgspec.structs.FieldInfo) -> str:
    if option.required or option.default is None:
        return "none"
    return f"`{json.dumps(written(option.type, option.default))}`"
