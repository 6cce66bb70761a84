"""Tables within tables: every mistake is found, with its path."""

from __future__ import annotations

import msgspec

from runtime.settings.problems import Problem
from runtime.settings.structure import Given, structure


class Inner(msgspec.Struct, frozen=True):
    url: str
    tries: int = 3


class Outer(msgspec.Struct, frozen=True):
    inner: Inner
    pace: float = 0.0


def test_all_mistakes_of_a_nested_table_are_reported_with_their_paths() -> None:
    problems: list[Problem] = []
    given = {
        "inner": Given(value={"url": 3, "tries": "many", "tires": 1}, source="a.toml"),
        "pace": Given(value="fast", source="--pace"),
    }
    assert structure(Outer, given, "agents.c", problems) is None
    assert {problem.path: problem.source for problem in problems} == {
        "agents.c.inner.url": "a.toml",
        "agents.c.inner.tries": "a.toml",
        "agents.c.inner.tires": "a.toml",
        "agents.c.pace": "--pace",
    }
    (unknown,) = [problem for problem in problems if problem.path.endswith("tires")]
    assert unknown.suggestion == "tries"


def test_a_value_where_a_table_is_wanted_is_one_mistake() -> None:
    problems: list[Problem] = []
    assert structure(Outer, {"inner": Given(value=7)}, "agents.c", problems) is None
    assert [(problem.path, problem.expected) for problem in problems] == [
        ("agents.c.inner", "a table")
    ]


def test_a_nested_table_is_made() -> None:
    problems: list[Problem] = []
    made = structure(Outer, {"inner": Given(value={"url": "u"})}, "agents.c", problems)
    assert made == Outer(Inner("u"))
    assert problems == []
