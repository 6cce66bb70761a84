"""The list of rules, its citations, and the report about both."""

from pathlib import Path

import pytest

from tests import rules

LIST = """\
# Prose about this file.

# Kernel
K1 first
K10 tenth

# Store
D1 only
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rule_ids.txt").write_text(LIST)
    return tmp_path


def cite(folder: Path, *comments: str) -> None:
    source = "".join(
        f"def test_{number}(): {text}\n    ...\n" for number, text in enumerate(comments)
    )
    (folder / "kernel").mkdir(exist_ok=True)
    (folder / "kernel" / "test_it.py").write_text(source)


def test_the_list_of_this_project_reads() -> None:
    listed = rules.read_rules()
    assert {rule.letter for rule in listed} == set("KSQTRHMADJXOPCGN")
    assert all(len(rule.title.split()) <= 9 for rule in listed)


def test_no_test_of_this_project_cites_an_unknown_rule() -> None:
    assert rules.compare(rules.read_rules(), rules.read_citations()).unknown == []


@pytest.mark.parametrize(
    "comment, cited",
    [
        ("# K1", ["K1"]),
        ("# K1, K10", ["K1", "K10"]),
        ("# K1 D1", ["K1", "D1"]),
        ("# K1 and D1", ["K1", "D1"]),
        ("# K1: the reason why", ["K1"]),
        ("# K1, D1. More words, K10", ["K1", "D1"]),
        ("#K1", ["K1"]),
        ("# see K1", []),
        ("# K1-like", []),
        ("# K", []),
        ("# UTF8", []),
    ],
)
def test_what_counts_as_a_citation(folder: Path, comment: str, cited: list[str]) -> None:
    cite(folder, comment)
    assert [citation.rule_id for citation in rules.read_citations(folder)] == cited


def test_a_rule_named_in_a_string_is_not_cited(folder: Path) -> None:
    (folder / "test_it.py").write_text('TEXT = "# K1"\n')
    assert rules.read_citations(folder) == []


def test_uncovered_rules_are_listed_by_area_with_a_total(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cite(folder, "# K1", "# K1, D1")
    assert rules.main([], folder) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Kernel: 1 of 2 cited",
        "  K10  tenth",
        "Store: 1 of 1 cited",
        "2 of 3 rules cited, 1 not",
    ]


@pytest.mark.parametrize("areas, code", [(["D"], 0), (["K"], 1), (["D", "K"], 1)])
def test_strict_areas_decide_the_exit_code(folder: Path, areas: list[str], code: int) -> None:
    cite(folder, "# K1, D1")
    assert rules.main(["--strict", *areas], folder) == code


def test_an_unknown_strict_area_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(SystemExit) as failure:
        rules.main(["--strict", "Z"], folder)
    assert failure.value.code == 2


def test_an_unknown_rule_is_an_error_with_its_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cite(folder, "# K1, K10, D1", "# K99")
    assert rules.main([], folder) == 1
    assert "test_it.py:3: there is no rule K99" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, place",
    [
        ("# Prose.\n\nK1 first\n", ":3:"),
        ("# Prose.\n\n# Kernel\nK1 first\nK1 again\n", ":5:"),
        ("# Prose.\n\n# Kernel\nK1\n", ":4:"),
    ],
)
def test_a_broken_list_is_refused_with_its_place(folder: Path, text: str, place: str) -> None:
    path = folder / "rule_ids.txt"
    path.write_text(text)
    with pytest.raises(rules.BrokenList, match=place):
        rules.read_rules(path)
