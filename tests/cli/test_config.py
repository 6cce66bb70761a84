"""``config show | check | schema`` and ``version``."""

import json
import tomllib
from pathlib import Path

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
    said = cli("config", "check", "--json", "--config", path)
    assert said.code == 1
    report = json.loads(said.out)
    assert not report["valid"]
    assert [problem["path"] for problem in report["problems"]] == ["queue.cap", "queue.mod"]


def test_schema_is_json(cli: CommandLine) -> None:
    schema = json.loads(cli("config", "schema").out)
    assert schema["properties"]["gateway"]["properties"]["port"]["default"] == 8765
    (echo,) = schema["properties"]["agents"]["additionalProperties"]["oneOf"]
    assert echo["properties"]["kind"] == {"const": "echo"}


def test_version_for_programs(cli: CommandLine) -> None:
    report = json.loads(cli("version", "--json").out)
    assert report["name"] == "greenroom"
    assert report["version"] == __version__
