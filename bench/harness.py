"""The harness: what a question is, how its rounds are run, and what is reported.

A question compares variants of doing one thing: ours against a plainer way, one mailbox policy
against another. The variants take turns round by round (A B A B …), so that a machine that slows
down half-way slows all of them, and each measurement runs in a process of its own, so that no
variant inherits the caches, the threads or the heap of the one before. What is reported is the
median, because the noise of a shared machine is one-sided, with the range beside it.

To add a question, add one file to ``bench/`` that has a module-level ``QUESTIONS``::

    QUESTIONS = (
        Question(
            name="tell",
            unit="messages/s",
            higher_is_better=True,
            variants={"kernel": tell_kernel, "memory channel": tell_channel},
        ),
    )

Each variant is a callable that takes a scale and returns one figure in the question's unit. The
scale multiplies the amount of work: 1.0 for a measurement, 0.1 for a quick look.
"""

import importlib
import pkgutil
import statistics
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import msgspec

import bench

Variant = Callable[[float], float]
"""Does the work once at the given scale and returns the figure in the question's unit."""


class UnknownQuestion(LookupError):
    """A name on the command line is neither a question nor a file of questions."""


class MeasurementFailed(Exception):
    """The process that ran a variant failed, ran too long, or gave no figure."""


class Question:
    """Something to measure, and the ways of doing it that are compared.

    Args:
        name: Unique within its file; words, not an identifier.
        unit: What the figure counts, such as ``messages/s`` or ``ms``.
        higher_is_better: Whether the larger figure wins.
        variants: Variant name to callable. Iterated in this order.
        baseline: The variant that the others are compared with; the first one by default.

    Raises:
        ValueError: There is no variant, or the baseline is not one of them.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        higher_is_better: bool,
        variants: Mapping[str, Variant],
        baseline: str | None = None,
    ) -> None:
        if not variants:
            raise ValueError(f"question {name!r} has no variants")
        chosen = next(iter(variants)) if baseline is None else baseline
        if chosen not in variants:
            raise ValueError(f"question {name!r} has no variant {chosen!r} to compare with")
        self.name = name
        self.unit = unit
        self.higher_is_better = higher_is_better
        self.variants: Mapping[str, Variant] = MappingProxyType(dict(variants))
        self.baseline = chosen


class Result(msgspec.Struct, frozen=True):
    """The figures of one question, in the order in which they were taken.

    Attributes:
        question: The full name, ``file/question``.
        unit: What the figures count.
        higher_is_better: Whether the larger figure wins.
        baseline: The variant that the ratios compare with.
        samples: Every figure of each variant, one per round.
        medians: The median figure of each variant.
        ratios: Each variant's median divided by the baseline's.
    """

    question: str
    unit: str
    higher_is_better: bool
    baseline: str
    samples: dict[str, list[float]]
    medians: dict[str, float]
    ratios: dict[str, float | None]


Measure = Callable[[str, str, float], float]
"""Takes one figure: full question name, variant name, scale."""


def discover() -> dict[str, Question]:
    """Find every question in the files of ``bench/``.

    Returns:
        Full name (``file/question``) to question, in alphabetical order of the files.

    Raises:
        ValueError: Two questions of one file have the same name.
    """
    questions: dict[str, Question] = {}
    for file in pkgutil.iter_modules(bench.__path__):
        if file.name == "__main__":
            continue
        module = importlib.import_module(f"{bench.__name__}.{file.name}")
        for question in getattr(module, "QUESTIONS", ()):
            name = f"{file.name}/{question.name}"
            if name in questions:
                raise ValueError(f"two questions are called {name!r}")
            questions[name] = question
    return questions


def select(questions: Mapping[str, Question], names: Iterable[str]) -> dict[str, Question]:
    """Choose questions by full name, by the name alone, or a whole file by its name.

    Args:
        questions: What `discover` found.
        names: What was asked for; none means all.

    Raises:
        UnknownQuestion: A name matches nothing.
    """
    wanted = list(names)
    if not wanted:
        return dict(questions)
    chosen: set[str] = set()
    for name in wanted:
        matches = {full for full in questions if name in (full, *full.split("/", 1))}
        if not matches:
            raise UnknownQuestion(name)
        chosen |= matches
    return {full: question for full, question in questions.items() if full in chosen}


def run(
    full_name: str,
    question: Question,
    *,
    rounds: int,
    scale: float,
    measure: Measure,
) -> Result:
    """Measure a question, its variants taking turns.

    Args:
        full_name: The name to report and to hand to `measure`.
        question: What to measure.
        rounds: How often each variant is measured; at least 1.
        scale: Amount of work per measurement, 1.0 being the full amount.
        measure: Takes one figure; `bench.measure.measure` starts a process for it.

    Raises:
        MeasurementFailed: A measurement gave no figure.
    """
    samples: dict[str, list[float]] = {variant: [] for variant in question.variants}
    for _ in range(rounds):
        for variant, figures in samples.items():
            figures.append(measure(full_name, variant, scale))
    medians = {variant: statistics.median(figures) for variant, figures in samples.items()}
    reference = medians[question.baseline]
    return Result(
        question=full_name,
        unit=question.unit,
        higher_is_better=question.higher_is_better,
        baseline=question.baseline,
        samples=samples,
        medians=medians,
        ratios={
            variant: median / reference if reference else None
            for variant, median in medians.items()
        },
    )
