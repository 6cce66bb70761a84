"""``python -m bench`` as a program, on a copy of the harness with questions of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import measure
from bench.harness import MeasurementFailed

BENCH = Path(measure.__file__).parent
HARNESS = ("__init__.py", "__main__.py", "harness.py", "measure.py", "report.py")

QUESTIONS = """
import os, sys, time
from pathlib import Path

from bench.harness import Question

LOG = Path(__file__).with_suffix(".log")

def variant(name, figure):
    def measured(scale):
        print("noise on standard output")
        with LOG.open("a") as log:
            log.write(f"{name} {scale} {os.getpid()}\\n")
        return figure * scale
    return measured

def fails(scale):
    sys.exit("the disk is made of cheese")

QUESTIONS = (
    Question(
        "tell", "messages/s", True, {"ours": variant("ours", 40), "plain": variant("plain", 10)}
    ),
    Question("endless", "ms", False, {"ours": lambda scale: time.sleep(3600)}),
    Question("broken", "ms", False, {"ours": fails}),
    Question("wordy", "ms", False, {"ours": lambda scale: float("nan")}),
)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "bench"
    folder.mkdir()
    for name in HARNESS:
        shutil.copy(BENCH / name, folder)
    (folder / "pretend.py").write_text(QUESTIONS)
    return tmp_path


def bench(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def turns(checkout: Path) -> list[list[str]]:
    return [line.split() for line in (checkout / "bench" / "pretend.log").read_text().splitlines()]


def test_each_turn_is_a_process_of_its_own(checkout: Path) -> None:
    finished = bench(checkout, "tell", "--quick")
    assert finished.returncode == 0, finished.stderr
    taken = turns(checkout)
    assert [turn[:2] for turn in taken] == [["ours", "0.1"], ["plain", "0.1"]] * 2
    assert len({turn[2] for turn in taken}) == 4
    assert "pretend/tell [messages/s, higher is better]" in finished.stdout
    assert "0.25x" in finished.stdout


def test_json_holds_the_environment_and_every_sample(checkout: Path) -> None:
    finished = bench(checkout, "tell", "--rounds", "1", "--json", "-")
    report: dict[str, Any] = json.loads(finished.stdout)
    assert set(report) == {"environment", "rounds", "scale", "results"}
    assert set(report["environment"]) == {
        "python",
        "system",
        "cpus",
        "sqlite",
        "trio",
        "revision",
    }
    assert (report["rounds"], report["scale"]) == (1, 1.0)
    [result] = report["results"]
    assert result["samples"] == {"ours": [40.0], "plain": [10.0]}
    assert result["medians"] == {"ours": 40.0, "plain": 10.0}
    assert result["ratios"] == {"ours": 1.0, "plain": 0.25}
    assert result["baseline"] == "ours"


def test_a_failing_variant_is_reported_and_the_others_are_measured(checkout: Path) -> None:
    file = checkout / "report.json"
    finished = bench(checkout, "broken", "tell", "--quick", "--json", str(file))
    assert finished.returncode == 1
    assert "the disk is made of cheese" in finished.stderr
    assert [result["question"] for result in json.loads(file.read_text())["results"]] == [
        "pretend/tell"
    ]


def test_the_questions_are_listed(checkout: Path) -> None:
    finished = bench(checkout, "--list")
    assert finished.stdout.splitlines()[0] == "pretend/tell [messages/s]: ours, plain"
    assert len(finished.stdout.splitlines()) == 4


@pytest.mark.parametrize("arguments", [["nothing"], ["--rounds", "0"], ["--rounds", "many"]])
def test_a_wrong_command_line_is_a_usage_error(checkout: Path, arguments: list[str]) -> None:
    finished = bench(checkout, *arguments)
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "question, reason", [("endless", "no figure within"), ("wordy", "no figure: 'nan")]
)
def test_what_gives_no_figure_is_a_failure(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, question: str, reason: str
) -> None:
    monkeypatch.setattr(measure, "ROOT", checkout)
    if question == "endless":
        monkeypatch.setattr(measure, "DEADLINE_SECONDS", 1.0)
    with pytest.raises(MeasurementFailed, match=reason):
        measure.measure(f"pretend/{question}", "ours", 0.1)
