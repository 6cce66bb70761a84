"""One measurement in a process of its own.

As a program, ``python -m bench.measure FILE/QUESTION VARIANT SCALE`` is that process: it runs the
variant once and writes the figure, and nothing else, to standard output.
"""

import contextlib
import importlib
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import bench
from bench.harness import MeasurementFailed, Question

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 300.0
"""How long one variant may take at full scale before it is taken for hung."""

_TAIL_CHARACTERS = 4000


def measure(full_name: str, variant: str, scale: float) -> float:
    """Run one variant once in a fresh process and return its figure.

    The process has a process group of its own, and what is left of the group is killed when this
    returns or raises, so that a bench that starts processes leaves none behind.

    Args:
        full_name: ``file/question``.
        variant: The name of the variant.
        scale: Amount of work, 1.0 being the full amount.

    Raises:
        MeasurementFailed: The process failed, took longer than `DEADLINE_SECONDS`, or wrote
            something that is no finite number.
    """
    command = [sys.executable, "-m", "bench.measure", full_name, variant, repr(scale)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired as expired:
            raise MeasurementFailed(
                f"{full_name}, {variant}: no figure within {DEADLINE_SECONDS:.0f} s"
            ) from expired
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise MeasurementFailed(
            f"{full_name}, {variant}: exit code {process.returncode}\n{errors[-_TAIL_CHARACTERS:]}"
        )
    return _figure(full_name, variant, output)


def _figure(full_name: str, variant: str, output: str) -> float:
    try:
        figure = float(output)
    except ValueError:
        figure = math.nan
    if not math.isfinite(figure):
        raise MeasurementFailed(f"{full_name}, {variant}: no figure: {output!r}")
    return figure


def find(full_name: str) -> Question:
    """Import one file of questions, and no other, and return the question.

    Raises:
        LookupError: The file has no such question.
    """
    file, _, name = full_name.partition("/")
    module = importlib.import_module(f"{bench.__name__}.{file}")
    for question in module.QUESTIONS:
        if isinstance(question, Question) and question.name == name:
            return question
    raise LookupError(full_name)


def main(arguments: Sequence[str]) -> None:
    """Run the variant that the arguments name and write its figure.

    What the variant prints goes to standard error.
    """
    full_name, variant, scale = arguments
    with contextlib.redirect_stdout(sys.stderr):
        figure = find(full_name).variants[variant](float(scale))
    print(repr(float(figure)))


if __name__ == "__main__":
    main(sys.argv[1:])
