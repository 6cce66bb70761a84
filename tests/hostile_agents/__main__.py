"""Villains for longer: ``python -m tests.hostile_agents --count 20``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import trio

from tests.hostile_agents.den import Den
from tests.hostile_agents.scenes import let_loose


async def run(count: int, folder: Path) -> None:
    """All crimes, so many times, behind one runtime. Raises when somebody noticed."""
    den = Den(folder)
    try:
        async with den.runtime() as process:
            for number in range(1, count + 1):
                den.forget_crimes()
                await let_loose(den, process)
                den.is_well(process)
                print(f"round {number} of {count}: {den.memory(process) >> 20} MiB", flush=True)
            assert await process.stop() == 0
    finally:
        den.end()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Let hostile agents loose, again and again.")
    parser.add_argument("--count", type=int, default=10, help="rounds of all crimes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="villains-") as folder:
        trio.run(run, arguments.count, Path(folder))
    print("nobody was hurt, and nobody is left")


if __name__ == "__main__":
    main()
