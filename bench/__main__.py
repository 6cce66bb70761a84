"""``python -m bench [QUESTION ...]``: measure, print tables, write JSON."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import harness, measure, report

ROUNDS = 5
QUICK_ROUNDS = 2
QUICK_SCALE = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the questions that were asked for.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code: 0, 1 if a measurement failed, 2 for an unknown question.
    """
    options = _parser().parse_args(arguments)
    try:
        questions = harness.select(harness.discover(), options.questions)
    except harness.UnknownQuestion as unknown:
        print(f"There is no question {unknown}; --list shows them.", file=sys.stderr)
        return 2
    if options.list:
        for name, question in questions.items():
            print(f"{name} [{question.unit}]: {', '.join(question.variants)}")
        return 0
    return _measure(
        questions,
        rounds=options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
        scale=QUICK_SCALE if options.quick else 1.0,
        destination=options.json,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure.")
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="file, name or file/name")
    parser.add_argument("--list", action="store_true", help="list the questions and stop")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"default {ROUNDS}")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a tenth of the work and, without --rounds, {QUICK_ROUNDS} rounds: a look, no result",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON; - for stdout")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _measure(
    questions: dict[str, harness.Question],
    *,
    rounds: int,
    scale: float,
    destination: str | None,
) -> int:
    # With JSON on standard output the tables would corrupt it.
    people = sys.stderr if destination == "-" else sys.stdout
    where = report.environment()
    print(report.heading(where), file=people)
    results: list[harness.Result] = []
    failures = 0
    for name, question in questions.items():
        try:
            result = harness.run(
                name, question, rounds=rounds, scale=scale, measure=measure.measure
            )
        except harness.MeasurementFailed as failed:
            print(f"\n{failed}", file=sys.stderr)
            failures += 1
        else:
            print(f"\n{report.table(result)}", file=people, flush=True)
            results.append(result)
    if destination is not None:
        text = report.as_json(report.Report(where, rounds, scale, results))
        if destination == "-":
            sys.stdout.write(text)
        else:
            Path(destination).write_text(text, encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
