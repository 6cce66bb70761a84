"""``python -m tests.crash``: kill the real runtime at random and account for every message."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

import trio

from tests.crash.drive import Plan, Report, run

SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run once; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how often it is killed")
    parser.add_argument("--seed", type=int, help="repeats the dice of an earlier run")
    parser.add_argument("--sessions", type=int, default=30, help="how many talk at once")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, which is kept")
    chosen = parser.parse_args(arguments)
    seed = chosen.seed if chosen.seed is not None else secrets.randbelow(1_000_000)
    plan = Plan(seed, chosen.count, chosen.sessions)
    say(f"seed {seed}: {plan.kills} kills, {plan.people} sessions")
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        return show(trio.run(run, plan, chosen.keep, say), plan)
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        return show(trio.run(run, plan, Path(folder), say), plan)


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


def show(report: Report, plan: Plan) -> int:
    """Print the report; the exit code."""
    for name in report.__struct_fields__:
        if name != "violations":
            print(f"  {name.replace('_', ' '):22} {getattr(report, name)}")
    for violation in report.violations[:SHOWN]:
        print(f"\nVIOLATION {violation}")
    if not report.violations:
        print("every accepted message is accounted for")
        return 0
    print(f"\n{len(report.violations)} violations. Again, with the same dice:")
    print(
        f"  python -m tests.crash --count {plan.kills} --seed {plan.seed}"
        f" --sessions {plan.people} --keep FOLDER"
    )
    sys.stdout.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main())
