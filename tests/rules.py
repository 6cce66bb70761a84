"""Which numbered rules no test cites: ``python -m tests.rules [--strict AREA ...]``.

A test cites a rule in a comment of its own or at the end of a line, ``# K4`` or ``# K4, K5``; words
may follow after a colon or a full stop. The rules are listed in ``tests/rule_ids.txt`` under a
heading per area. The command informs: it exits with 1 only for a citation of a rule that does not
exist, or for an uncovered rule of an area that was named after ``--strict``.
"""

import argparse
import re
import sys
import tokenize
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
RULE_IDS = HERE / "rule_ids.txt"

_ID = r"[A-Z]\d+"
_LISTED = re.compile(rf"({_ID}) (\S.*)")
_CITATION = re.compile(rf"# ?({_ID}(?:(?:, ?| and | )(?:{_ID}))*)(?![\w-])")


class Rule(NamedTuple):
    """One rule of the list."""

    id: str
    area: str
    title: str

    @property
    def letter(self) -> str:
        """The letter that begins every id of the area."""
        return self.id[0]


class Citation(NamedTuple):
    """One id in one comment."""

    rule_id: str
    path: Path
    line: int


class Coverage(NamedTuple):
    """What the citations say about the list."""

    rules: Sequence[Rule]
    uncovered: Sequence[Rule]
    unknown: Sequence[Citation]


class BrokenList(ValueError):
    """The list of rules cannot be read; the message says where."""


def read_rules(path: Path = RULE_IDS) -> list[Rule]:
    """Read the list of rules.

    Args:
        path: A text file: ``# Heading``, then lines of id and title; prose comments come before the
            first blank line.

    Raises:
        BrokenList: A line is no rule, a rule stands before any heading, or an id occurs twice.
    """
    preamble, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    rules: dict[str, Rule] = {}
    area = ""
    for number, line in enumerate(body.splitlines(), start=preamble.count("\n") + 3):
        if line.startswith("# "):
            area = line.removeprefix("# ")
        elif line.strip():
            match = _LISTED.fullmatch(line)
            if match is None or not area or match[1] in rules:
                raise BrokenList(f"{path}:{number}: not a new rule under a heading: {line!r}")
            rules[match[1]] = Rule(match[1], area, match[2])
    return list(rules.values())


def read_citations(folder: Path = HERE) -> list[Citation]:
    """Collect the citations in the comments of every Python file below a folder."""
    return [
        Citation(rule_id, path, token.start[0])
        for path in sorted(folder.rglob("*.py"))
        for token in _comments(path)
        if (match := _CITATION.match(token.string))
        for rule_id in re.findall(_ID, match[1])
    ]


def _comments(path: Path) -> Iterable[tokenize.TokenInfo]:
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type == tokenize.COMMENT:
                yield token


def compare(rules: Sequence[Rule], citations: Sequence[Citation]) -> Coverage:
    """Find the rules without a citation and the citations without a rule."""
    listed = {rule.id for rule in rules}
    cited = {citation.rule_id for citation in citations}
    return Coverage(
        rules=rules,
        uncovered=[rule for rule in rules if rule.id not in cited],
        unknown=[citation for citation in citations if citation.rule_id not in listed],
    )


def report(coverage: Coverage) -> str:
    """Write the uncovered rules by area, and the totals."""
    lines: list[str] = []
    for area in dict.fromkeys(rule.area for rule in coverage.rules):
        of_area = [rule for rule in coverage.rules if rule.area == area]
        uncovered = [rule for rule in coverage.uncovered if rule.area == area]
        lines.append(f"{area}: {len(of_area) - len(uncovered)} of {len(of_area)} cited")
        lines += [f"  {rule.id:<4} {rule.title}" for rule in uncovered]
    lines += [
        f"{citation.path}:{citation.line}: there is no rule {citation.rule_id}"
        for citation in coverage.unknown
    ]
    cited = len(coverage.rules) - len(coverage.uncovered)
    lines.append(f"{cited} of {len(coverage.rules)} rules cited, {len(coverage.uncovered)} not")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, folder: Path = HERE) -> int:
    """Print the report.

    Args:
        arguments: The command line without the program's name.
        folder: Where the tests and their ``rule_ids.txt`` are.

    Returns:
        The exit code: 1 for an unknown id or an uncovered rule of a strict area, else 0.
    """
    rules = read_rules(folder / RULE_IDS.name)
    parser = argparse.ArgumentParser(prog="python -m tests.rules", description="Uncovered rules.")
    parser.add_argument(
        "--strict",
        nargs="+",
        default=[],
        choices=sorted({rule.letter for rule in rules}),
        metavar="AREA",
        help="letters of areas in which every rule must be cited, such as K D",
    )
    strict = parser.parse_args(arguments).strict
    coverage = compare(rules, read_citations(folder))
    print(report(coverage))
    failed = coverage.unknown or any(rule.letter in strict for rule in coverage.uncovered)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
