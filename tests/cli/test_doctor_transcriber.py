"""What ``doctor`` says of the transcriber (H5)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import CommandLine
from .test_doctor import findings

PROGRAM = Path(sys.executable)


@pytest.mark.parametrize(
    "toml, state, text",
    [
        (f'command = ["{PROGRAM}", "x"]', "ok", str(PROGRAM)),
        ('command = ["sh"]', "ok", "/sh"),
        ('command = ["no-such-whisper"]', "problem", "was not found on PATH"),
        ('command = ["bin/whisper"]', "problem", "in an empty folder"),
        ('url = "https://whisper.example/v1?key=abc"', "ok", "https://whisper.example"),
        ('url = "http://127.0.0.1:8000/v1"', "ok", "http://127.0.0.1:8000"),
        ('url = "http://whisper.example/v1"', "warning", "crosses the network in the clear"),
    ],
)
def test_the_transcriber_is_looked_at(
    cli: CommandLine, tmp_path: Path, toml: str, state: str, text: str
) -> None:
    settings = tmp_path / "runtime.toml"
    settings.write_text(f"[gateway]\nport = 0\n[media.transcriber]\n{toml}\n")
    found = findings(cli, tmp_path / "data")["transcriber"]
    assert found["state"] == state
    assert text in found["text"]
    assert "abc" not in found["text"]


def test_without_one_nothing_is_said(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text("[gateway]\nport = 0\n")
    assert "transcriber" not in findings(cli, tmp_path / "data")
