"""``config show | check | schema`` and ``version``."""

import json
import tomllib
from pathlib import Path

import pytest

from runtime import __version__

from .conftest import CommandLine


def test_show_prints_a_settings_file(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text("[queue]\ncap = 7\n[gateway]\ntoken = 'sesame'\n")
    said = cli("config", "show", "--data-dir", "here")
    assert said.code == 0
    assert tomllib.loads(said.out)["queue"]["cap"] == 7
    assert "cap = 7  # runtime.toml" in said.out
    assert 'data_dir = "here"  # --data-dir' in said.out
    assert "sesame" not in said.out
    shown = json.loads(cli("config", "show", "--json").out)
    assert shown["queue"]["cap"] == 7
    assert shown["gateway"]["token"] == "***"
    assert shown["agents"]["echo"]["kind"] == "echo"


def test_check_reports_every_problem(cli: CommandLine, tmp_path: Path) -> None:
    assert cli("config", "check").out == "ok: no settings file, the defaults hold\n"
    path = tmp_path / "other.toml"
    path.write_text("[queue]\ncap = 7")
    assert cli("config", "check", "--config", path).out == f"ok: {path}\n"
    path.write_text("[queue]\ncap = 0\nmod = 'x'")
    said = cli("config", "check", "--config", path)
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith("error: the settings cannot be used:\n  queue.cap ")
    assert "did you mean mode?" in said.err
    assert "\nhint: docs/runtime.example.toml shows every setting" in said.err
    said = cli("config", "check", "--json", "--config", path)
    assert said.code == 1
    report = json.loads(said.out)
    assert not report["valid"]
    assert [problem["path"] for problem in report["problems"]] == ["queue.cap", "queue.mod"]


def test_every_source_is_named(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_QUEUE__CAP", "7")
    said = cli("config", "show", "--data-dir", "here")
    sources = "no settings file, --data-dir, RUNTIME_QUEUE__CAP"
    assert said.out.startswith(f"# {sources}; ")
    assert cli("config", "check", "--data-dir", "here").out == f"ok: {sources}\n"


@pytest.mark.parametrize(
    "toml, message, hint",
    [
        ("[nosuch]", "nosuch (runtime.toml): an unknown table was given", "runtime.example.toml"),
        ("[queu]", "did you mean queue?", "runtime.example.toml"),
        (
            "[gateway]\ntls_certificate = 'nope.pem'",
            "gateway.tls_certificate (runtime.toml): ",
            "put the file there",
        ),
        ("[gateway\n", "runtime.toml: expected TOML", "put the line right"),
    ],
)
def test_mistakes_are_found(
    cli: CommandLine, tmp_path: Path, toml: str, message: str, hint: str
) -> None:
    (tmp_path / "runtime.toml").write_text(toml)
    said = cli("config", "check")
    assert said.code == 1
    assert message in said.err
    assert hint in said.err.partition("\nhint: ")[2]
    assert "schema" not in said.err


# Q3
def test_settings_of_a_channel_that_is_not_there_are_no_mistake_and_are_told(
    cli: CommandLine, tmp_path: Path
) -> None:
    settings = tmp_path / "runtime.toml"
    settings.write_text("[channels.client]\ncap = 5\n[channels.cleint]\ncap = 5\n")
    said = cli("config", "check")
    assert (said.code, said.out) == (0, "ok: runtime.toml\n")
    assert "warning: channels.cleint: " in said.err
    assert "did you mean client?" in said.err
    assert "under `serve`" in said.err.partition("\nhint: ")[2]
    report = json.loads(cli("config", "check", "--json").out)
    assert report["valid"]
    assert [each["path"] for each in report["warnings"]] == ["channels.cleint"]
    settings.write_text("[channels.client]\ncap = 5\n")
    said = cli("config", "check")
    assert (said.out, said.err) == ("ok: runtime.toml\n", "")


def test_an_empty_table_that_there_is_changes_nothing(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text("[agents]\n[queue]\n")
    assert cli("config", "check").out == "ok: runtime.toml\n"


def test_a_missing_file_is_not_a_question_of_keys(cli: CommandLine) -> None:
    said = cli("config", "check", "--config", "nope.toml")
    assert "there is none of that name" in said.err
    assert "config check` says" in said.err


def test_schema_is_json(cli: CommandLine) -> None:
    schema = json.loads(cli("config", "schema").out)
    assert schema["properties"]["gateway"]["properties"]["port"]["default"] == 8765
    kinds = schema["properties"]["agents"]["additionalProperties"]["oneOf"]
    assert {"const": "echo"} in [kind["properties"]["kind"] for kind in kinds]


def test_version_for_programs(cli: CommandLine) -> None:
    report = json.loads(cli("version", "--json").out)
    assert report["name"] == "greenroom"
    assert report["version"] == __version__
