"""How figures and tables are written."""

import pytest

from bench.harness import Result
from bench.report import environment, factor, figure, heading, table

RESULT = Result(
    question="kernel/tell",
    unit="messages/s",
    higher_is_better=True,
    baseline="ours",
    samples={"ours": [2_000_000.0, 1_900_000.0, 2_100_000.0], "memory channel": [0.0, 0.0, 0.0]},
    medians={"ours": 2_000_000.0, "memory channel": 0.0},
    ratios={"ours": 1.0, "memory channel": None},
)


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0.0"),
        (0.04563, "0.0456"),
        (12.34, "12.3"),
        (999.4, "999.4"),
        (1234567.8, "1 234 568"),
    ],
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    "ratio, text",
    [(1.0, "1.00x"), (29.936, "29.94x"), (657.5, "658x"), (0.00142, "0.0014x"), (0, "0x")],
)
def test_a_small_ratio_is_not_nothing(ratio: float, text: str) -> None:
    assert factor(ratio) == text


def test_a_table_names_the_unit_and_aligns_its_columns() -> None:
    assert table(RESULT).splitlines() == [
        "kernel/tell [messages/s, higher is better]",
        "  variant            median              min - max  ratio",
        "  ours            2 000 000  1 900 000 - 2 100 000  1.00x",
        "  memory channel        0.0              0.0 - 0.0      -",
    ]


def test_the_heading_names_versions() -> None:
    where = environment()
    assert where.python in heading(where)
    assert f"SQLite {where.sqlite}" in heading(where)
