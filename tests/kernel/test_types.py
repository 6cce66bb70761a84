"""What type checkers infer and refuse."""

import re
from pathlib import Path

import pytest
from mypy import api

# Not a Python file by name, because it holds mistakes that the project's own check would report.
PROGRAM = Path(__file__).with_name("typed.txt")
ROOT = Path(__file__).parent.parent.parent

# What `typed.txt` says about its lines, as mypy puts it.
REVEALED = {
    "Reply[int]": r"[\w.]*Reply\[(builtins\.)?int\]",
    "ActorRef[Hello | Count | Names]": (
        r"[\w.]*ActorRef\[[\w.]*Hello \| [\w.]*Count \| [\w.]*Names\]"
    ),
    "int": r"(builtins\.)?int",
    "list[str] | None": r"(builtins\.)?list\[(builtins\.)?str\] \| None",
}


def lines(pattern: str) -> dict[int, str]:
    """Line number to what its comment says."""
    found = {}
    for number, line in enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), start=1):
        if match := re.search(pattern, line):
            found[number] = match[1]
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What mypy says about each line."""
    program = tmp_path_factory.mktemp("typed") / "typed.py"
    program.write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    output, errors, _ = api.run(
        [
            *("--config-file", str(ROOT / "pyproject.toml")),
            *("--no-error-summary", "--no-pretty", "--follow-imports", "silent"),
            str(program),
        ]
    )
    assert not errors
    said: dict[int, str] = {}
    for line in output.splitlines():
        match = re.match(r".*?typed\.py:(?P<number>\d+): (?P<text>.*)", line)
        assert match, line
        said[int(match["number"])] = said.get(int(match["number"]), "") + match["text"]
    return said


# K11


def test_reply_types_are_inferred(report: dict[int, str]) -> None:
    expected = lines(r"reveal_type\(.*\)  # (.*)")
    assert len(expected) == 5
    for number, says in expected.items():
        assert re.search(f'Revealed type is "{REVEALED[says]}"', report[number]), report[number]


def test_mistakes_are_found_and_nothing_else(report: dict[int, str]) -> None:
    expected = set(lines(r"# error: (.*)"))
    assert len(expected) == 4
    assert {number for number, text in report.items() if "error" in text} == expected
