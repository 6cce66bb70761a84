"""What comes out: a table for people, JSON for programs, and where it was measured."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import apsw
import msgspec

from bench.harness import Result

ROOT = Path(__file__).parent.parent

_GIT_DEADLINE_SECONDS = 10.0


class Environment(msgspec.Struct, frozen=True):
    """Where and on what the figures were taken.

    Attributes:
        python: Version of the interpreter, with its implementation.
        system: Operating system and machine architecture.
        cpus: How many processors this process may use.
        sqlite: Version of the SQLite library that the store uses.
        trio: Version of Trio.
        revision: The commit, with ``-dirty`` when files were changed; none outside a checkout.
    """

    python: str
    system: str
    cpus: int
    sqlite: str
    trio: str
    revision: str | None


class Report(msgspec.Struct, frozen=True):
    """One run of ``python -m bench``."""

    environment: Environment
    rounds: int
    scale: float
    results: Sequence[Result]


def environment() -> Environment:
    """Describe this machine, this interpreter and this checkout."""
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
        cpus=_usable_processors(),
        sqlite=apsw.sqlite_lib_version(),
        trio=metadata.version("trio"),
        revision=_revision(),
    )


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _revision() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    described = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_GIT_DEADLINE_SECONDS,
        check=False,
    )
    return described.stdout.strip() or None


def as_json(report: Report) -> str:
    """Write a report as JSON, one readable key per line, with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def heading(where: Environment) -> str:
    """Write the environment in one line."""
    revision = where.revision or "no revision"
    return (
        f"{where.python}, Trio {where.trio}, SQLite {where.sqlite}, "
        f"{where.system}, {where.cpus} CPUs, {revision}"
    )


def table(result: Result) -> str:
    """Write one question as a table: median, range and ratio to the baseline per variant."""
    better = "higher" if result.higher_is_better else "lower"
    rows = [("variant", "median", "min - max", "ratio")]
    for variant, figures in result.samples.items():
        ratio = result.ratios[variant]
        rows.append(
            (
                variant,
                figure(result.medians[variant]),
                f"{figure(min(figures))} - {figure(max(figures))}",
                "-" if ratio is None else factor(ratio),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{result.question} [{result.unit}, {better} is better]"]
    for variant, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  " + "  ".join([variant.ljust(widths[0]), *right]))
    return "\n".join(lines)


def factor(ratio: float) -> str:
    """Write a ratio: ``1.02x``, ``658x``, ``0.0014x``, which would be nothing with two digits."""
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def figure(value: float) -> str:
    """Write a figure with about four significant digits: ``1 234 567``, ``12.3``, ``0.0456``."""
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if magnitude >= 1 or value == 0:
        return f"{value:.1f}"
    return f"{value:.3g}"
