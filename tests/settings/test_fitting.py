"""Settings that are built in code are checked like those that are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.agents.echo import Options as EchoOptions
from runtime.sessions.modes import MODES_IN_WORDS
from runtime.settings import (
    AgentEntry,
    ChannelSettings,
    GatewaySettings,
    MediaSettings,
    PrincipalSettings,
    QueueSettings,
    SessionSettings,
    Settings,
    SettingsError,
    StorageSettings,
    TranscriberSettings,
    check,
)


@pytest.mark.parametrize(
    "given, said",
    [
        (
            {"queue": QueueSettings(mode="bogus", debounce="1s", cap=0)},  # type: ignore[arg-type]
            [
                f'queue.mode: "bogus" was given, expected {MODES_IN_WORDS}',
                'queue.debounce: "1s" was given, expected a number of seconds',
                "queue.cap: 0 was given, expected a whole number from 1 to 10000",
            ],
        ),
        (
            {"media": MediaSettings(max_media_bytes="2MiB")},  # type: ignore[arg-type]
            ['media.max_media_bytes: "2MiB" was given, expected a number of bytes'],
        ),
        (
            {"media": MediaSettings(transcriber=TranscriberSettings(command="whisper"))},  # type: ignore[arg-type]
            ['media.transcriber.command: "whisper" was given, expected a list, each item a text'],
        ),
        (
            {"storage": StorageSettings(data_dir="data")},  # type: ignore[arg-type]
            ['storage.data_dir: "data" was given, expected a pathlib.Path'],
        ),
        (
            {"channels": {"client": 3, "telegram": ChannelSettings(debounce="1s")}},  # type: ignore[arg-type]
            [
                "channels.client: 3 was given, expected a table",
                'channels.telegram.debounce: "1s" was given, expected a number of seconds',
            ],
        ),
        (
            {"sessions": QueueSettings(), "queue": QueueSettings(debounce=QueueSettings())},  # type: ignore[arg-type]
            ["queue.debounce: ", "sessions: "],
        ),
        ({"sessions": None}, ["sessions: null was given, expected a table"]),
    ],
)
def test_a_value_of_another_type_is_named(given: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(SettingsError) as raised:
        check(Settings(**given))
    found = [str(problem) for problem in raised.value.problems]
    assert [each[: len(start)] for each, start in zip(found, said, strict=True)] == said


def test_a_secret_of_another_type_is_not_shown() -> None:
    # G8
    principals = {"ada": PrincipalSettings(token=b"secret-of-ada")}  # type: ignore[arg-type]
    with pytest.raises(SettingsError) as raised:
        check(Settings(gateway=GatewaySettings(token=b"sesame", principals=principals)))  # type: ignore[arg-type]
    assert {problem.path for problem in raised.value.problems} == {
        "gateway.token",
        "gateway.principals.ada.token",
    }
    assert "ses" not in str(raised.value)
    assert "secret-" not in str(raised.value)


def test_what_the_types_allow_is_taken() -> None:
    check(
        Settings(
            gateway=GatewaySettings(workspace_roots=(Path("work"),)),
            queue=QueueSettings(debounce=1, debounce_max=2),
            media=MediaSettings(root=Path("media"), free_space_floor=None, idle=None),
            sessions=SessionSettings(max_message_age=3),
            agents={"echo": AgentEntry(kind="echo", options=EchoOptions())},
        )
    )
