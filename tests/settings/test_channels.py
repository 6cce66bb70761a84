"""What holds for one channel only (Q3)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from actors.agents import agent_kinds
from runtime.settings import (
    ChannelSettings,
    QueueSettings,
    Settings,
    SettingsError,
    load_settings,
    settings_of_no_channel,
    settings_schema,
    settings_table,
    settings_toml,
)

KINDS = {name: kind.options for name, kind in agent_kinds().items()}
TWO = """
[queue]
cap = 30

[channels.telegram]
mode = "queued"
debounce = "3s"

[channels.client]
cap = 5
"""


def loaded(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "runtime.toml"
    path.write_text(text)
    return load_settings(config=path, environ=environ, overrides={}, agent_kinds=KINDS).settings


# Q3
def test_a_channel_wins_over_the_general_settings(tmp_path: Path) -> None:
    found = loaded(tmp_path, TWO)
    telegram = QueueSettings(mode="steer", debounce=3.0, cap=30)
    assert found.queue_of("telegram") == telegram
    assert found.queue_of("client") == QueueSettings(cap=5)
    assert found.queue_of("slack") == QueueSettings(cap=30)


def test_variables_may_say_it_as_well(tmp_path: Path) -> None:
    environ = {"RUNTIME_CHANNELS__TELEGRAM__CAP": "7", "RUNTIME_CHANNELS__SLACK__DROP": "new"}
    found = loaded(tmp_path, TWO, **environ)
    assert found.channels["telegram"] == ChannelSettings(mode="steer", debounce=3.0, cap=7)
    assert found.channels["slack"] == ChannelSettings(drop="new")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[channels.a]\nmode = 'fifo'", r'channels.a.mode .*"fifo" was given, expected collect'),
        ("[channels.a]\ndebounce = 1", r"channels.a.debounce .*expected a unit as well"),
        ("[channels.a]\ncap = 0", r"channels.a.cap .*expected a whole number from 1 to 10000"),
        ("[channels.a]\ncapp = 1", r"channels.a.capp .*an unknown key .*cap"),
        ("[channels.a]\ndebounce_max = '1s'\ndebounce = '2s'", r"at least channels.a.debounce"),
        ("[channels.A]\ncap = 1", r"channels.A.* lower-case"),
        ("[channels]\na = 5", r"channels.a .*expected a table: \[channels.a\]"),
        ("channels = 5", r"channels.* expected a table: \[channels\]"),
        ("[channels.a.b]\nc = 1", r"channels.a.b"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        loaded(tmp_path, text)


SHOWN = {"drafts": True, "typing": True}


def test_they_are_written_as_they_are_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, TWO)
    written = settings_toml(found)
    assert tomllib.loads(written)["channels"] == {
        "telegram": {"mode": "steer", "debounce": "3s"} | SHOWN,
        "client": {"cap": 5} | SHOWN,
    }
    assert loaded(tmp_path, written).channels == found.channels
    assert settings_table(found)["channels"]["client"]["cap"] == 5
    schema = settings_schema(KINDS)["properties"]["channels"]["additionalProperties"]
    assert set(schema["properties"]) == set(ChannelSettings.__struct_fields__)


# Q3
def test_a_table_for_a_channel_that_is_not_there_is_told(tmp_path: Path) -> None:
    found = loaded(tmp_path, TWO.replace("telegram", "telegrm"))
    assert settings_of_no_channel(found, ["telegram", "telegram", "telegrm"]) == ()
    (unused,) = settings_of_no_channel(found, ["telegram", "telegram"])
    assert str(unused) == (
        "channels.telegrm: expected the name of a channel that is there: client or telegram; "
        "did you mean telegram?"
    )
    (unused,) = settings_of_no_channel(found)
    assert unused.suggestion is None
    assert settings_of_no_channel(Settings()) == ()
