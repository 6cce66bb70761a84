"""What makes text of voice notes, as the settings say it (H5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.agents import agent_kinds
from runtime.settings import (
    MediaSettings,
    Settings,
    SettingsError,
    TranscriberSettings,
    check,
    load_settings,
    secrets_of,
    settings_schema,
    settings_table,
    settings_toml,
)

KINDS = {name: kind.options for name, kind in agent_kinds().items()}
URL = "http://127.0.0.1:8000/v1/audio/transcriptions"
SERVICE = f"""
[media]
max_media_bytes = "1GiB"

[media.transcriber]
url = "{URL}"
model = "whisper-1"
token = "the-service-s"
timeout = "90s"
"""


def loaded(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "runtime.toml"
    path.write_text(text)
    return load_settings(config=path, environ=environ, overrides={}, agent_kinds=KINDS).settings


def mistakes(folder: Path, text: str, **environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as raised:
        loaded(folder, text, **environ)
    assert "-s" not in str(raised.value)  # no secret is shown
    return {problem.path: problem.expected for problem in raised.value.problems}


# H5
def test_there_is_none_by_default(tmp_path: Path) -> None:
    transcriber = loaded(tmp_path, "[media.transcriber]\n").media.transcriber
    assert transcriber == TranscriberSettings() == MediaSettings().transcriber
    assert (transcriber.command, transcriber.url) == ((), None)


def test_a_service_or_a_command(tmp_path: Path) -> None:
    media = loaded(tmp_path, SERVICE).media
    assert media.max_media_bytes == 1024**3
    assert media.transcriber == TranscriberSettings(
        url=URL, model="whisper-1", token="the-service-s", timeout=90.0
    )
    command = loaded(tmp_path, '[media.transcriber]\ncommand = ["whisper-cli", "{file}"]')
    assert command.media.transcriber.command == ("whisper-cli", "{file}")


def test_variables_replace_or_add_single_keys(tmp_path: Path) -> None:
    transcriber = loaded(
        tmp_path,
        SERVICE,
        RUNTIME_MEDIA__TRANSCRIBER__TOKEN="another",
        RUNTIME_MEDIA__TRANSCRIBER__TIMEOUT="5s",
    ).media.transcriber
    assert transcriber == TranscriberSettings(
        url=URL, model="whisper-1", token="another", timeout=5.0
    )
    alone = loaded(tmp_path, "", RUNTIME_MEDIA__TRANSCRIBER__COMMAND="whisper-cli,{file}")
    assert alone.media.transcriber.command == ("whisper-cli", "{file}")


def test_every_mistake_is_found_with_its_path(tmp_path: Path) -> None:
    path = "media.transcriber"
    wrong = '[media.transcriber]\ncommand = ["", "x"]\nurl = 7\ntimeout = 60\ntokn = "x-s"\n'
    found = mistakes(tmp_path, wrong)
    assert set(found) == {f"{path}.command[0]", f"{path}.url", f"{path}.timeout", f"{path}.tokn"}
    assert 'unit as well, as in "60s"' in found[f"{path}.timeout"]
    assert mistakes(tmp_path, '[media]\ntranscriber = "x-s"') == {path: "a table"}
    assert mistakes(tmp_path, "", RUNTIME_MEDIA__TRANSCRIBER="x-s") == {path: "a table"}
    both = SERVICE + 'command = ["whisper-cli"]'
    assert "media.transcriber.command, and not" in mistakes(tmp_path, both)[f"{path}.url"]
    alone = '[media.transcriber]\nmodel = "m"\ntoken = "t-s"\n'
    assert set(mistakes(tmp_path, alone)) == {f"{path}.model", f"{path}.token"}
    blank = '[media.transcriber]\nurl = "http://x"\ntoken = "with blanks-s"\n'
    assert set(mistakes(tmp_path, blank)) == {f"{path}.token"}


@pytest.mark.parametrize(
    "url",
    [
        "whisper.example/v1",
        "ftp://whisper.example/",
        "http:///v1",
        "http://me:secret-s@whisper.example/",
        "http://me-s@whisper.example/",
        "http://whisper.example/a b",
        "http://[::1/",
        "http://whisper.example:99999/",
        "http://whisper.example:0/",
    ],
)
def test_only_the_address_of_a_service_is_one(tmp_path: Path, url: str) -> None:
    text = f"[media.transcriber]\nurl = {json.dumps(url)}"
    assert set(mistakes(tmp_path, text)) == {"media.transcriber.url"}
    with pytest.raises(SettingsError, match=r"media\.transcriber\.url"):
        check(Settings(media=MediaSettings(transcriber=TranscriberSettings(url=url))))


# No log and nothing that is printed shows a secret
def test_its_token_is_never_shown(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SERVICE)
    assert "the-service-s" in secrets_of(settings, {})
    table = json.loads(json.dumps(settings_table(settings)))
    assert table["media"]["transcriber"] == {
        "command": [],
        "url": URL,
        "model": "whisper-1",
        "token": "***",
        "timeout": "90s",
    }
    text = settings_toml(settings, {"media.transcriber.url": "a.toml"})
    assert f'\n\n[media.transcriber]\ncommand = []\nurl = "{URL}"  # a.toml\n' in text
    assert "# token is set, and not shown" in text
    for shown in (repr(settings), text, json.dumps(table)):
        assert "the-service-s" not in shown
    again = loaded(tmp_path, text, RUNTIME_MEDIA__TRANSCRIBER__TOKEN="the-service-s")
    assert again.media == settings.media


def test_the_schema_knows_its_keys() -> None:
    table = settings_schema(KINDS)["properties"]["media"]["properties"]["transcriber"]
    assert table["additionalProperties"] is False
    assert set(table["properties"]) == set(TranscriberSettings.__struct_fields__)
    assert table["properties"]["timeout"]["default"] == "1m"
