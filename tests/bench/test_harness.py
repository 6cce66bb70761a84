"""Questions, their selection, and the order and the arithmetic of the rounds."""

from collections.abc import Callable

import pytest

from bench.harness import Question, UnknownQuestion, run, select


def question(name: str = "tell", **options: str) -> Question:
    variants: dict[str, Callable[[float], float]] = {"ours": lambda _: 1.0, "plain": lambda _: 2.0}
    return Question(name, "messages/s", True, variants, **options)


def test_the_first_variant_is_the_baseline() -> None:
    assert question().baseline == "ours"
    assert question(baseline="plain").baseline == "plain"


def test_a_question_without_variants_is_refused() -> None:
    with pytest.raises(ValueError, match="no variants"):
        Question("tell", "ms", False, {})


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match="'theirs'"):
        question(baseline="theirs")


@pytest.mark.parametrize(
    "names, chosen",
    [
        ([], ["kernel/tell", "kernel/ask", "store/tell"]),
        (["kernel"], ["kernel/tell", "kernel/ask"]),
        (["tell"], ["kernel/tell", "store/tell"]),
        (["store/tell"], ["store/tell"]),
        (["store", "ask"], ["kernel/ask", "store/tell"]),
    ],
)
def test_questions_are_chosen_by_file_by_name_or_by_both(
    names: list[str], chosen: list[str]
) -> None:
    found = {name: question(name) for name in ("kernel/tell", "kernel/ask", "store/tell")}
    assert list(select(found, names)) == chosen


def test_a_name_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(UnknownQuestion, match="nothing"):
        select({"kernel/tell": question()}, ["kernel", "nothing"])


def test_variants_take_turns_and_medians_are_compared() -> None:
    figures = {"ours": iter([30.0, 10.0, 20.0]), "plain": iter([1.0, 90.0, 5.0])}
    order: list[tuple[str, str, float]] = []

    def measure(full_name: str, variant: str, scale: float) -> float:
        order.append((full_name, variant, scale))
        return next(figures[variant])

    result = run("kernel/tell", question(), rounds=3, scale=0.5, measure=measure)

    assert order == [("kernel/tell", variant, 0.5) for variant in ("ours", "plain") * 3]
    assert result.samples == {"ours": [30.0, 10.0, 20.0], "plain": [1.0, 90.0, 5.0]}
    assert result.medians == {"ours": 20.0, "plain": 5.0}
    assert result.ratios == {"ours": 1.0, "plain": 0.25}


def test_nothing_is_compared_with_a_baseline_of_zero() -> None:
    result = run("kernel/tell", question(), rounds=1, scale=1.0, measure=lambda *_: 0.0)
    assert result.ratios == {"ours": None, "plain": None}
