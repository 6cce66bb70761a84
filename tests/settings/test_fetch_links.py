"""Where links of clients may lead so that it is fetched, as the settings say it (G10)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.agents import agent_kinds
from runtime.settings import (
    MediaSettings,
    Settings,
    SettingsError,
    check,
    load_settings,
    settings_toml,
)

KINDS = {name: kind.options for name, kind in agent_kinds().items()}


def loaded(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "runtime.toml"
    path.write_text(text)
    return load_settings(config=path, environ=environ, overrides={}, agent_kinds=KINDS).settings


# G10
def test_there_are_none_by_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").media.fetch_links == MediaSettings().fetch_links == ()


# G10
def test_addresses_that_end_in_a_slash(tmp_path: Path) -> None:
    given = ("https://files.example.org/", "http://127.0.0.1:9000/kept/", "https://example.org")
    settings = loaded(tmp_path, f"[media]\nfetch_links = {json.dumps(given)}")
    assert settings.media.fetch_links == given
    assert loaded(tmp_path, settings_toml(settings)).media == settings.media
    in_text = loaded(tmp_path, "", RUNTIME_MEDIA__FETCH_LINKS=",".join(given))
    assert in_text.media.fetch_links == given


# G10
@pytest.mark.parametrize(
    "address",
    [
        "files.example.org/",
        "https://files.example.org/kept",
        "https://files.example.org/?kept=/",
        "https://files.example.org/kept/../",
        "https://me:secret@files.example.org/",
        "https://*.example.org/",
        "https:///kept/",
        "https://",
        "file:///home/",
        "",
    ],
)
def test_everything_else_is_named_and_not_shown(tmp_path: Path, address: str) -> None:
    given = ["https://example.org/", address]
    with pytest.raises(SettingsError) as raised:
        loaded(tmp_path, f"[media]\nfetch_links = {json.dumps(given)}")
    (problem,) = raised.value.problems
    assert problem.path == "media.fetch_links[1]"
    assert "a path that ends in a slash" in problem.expected
    assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match=r"media\.fetch_links\[1\]"):
        check(Settings(media=MediaSettings(fetch_links=tuple(given))))
