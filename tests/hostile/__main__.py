"""A long siege: ``python -m tests.hostile --count 100 --seed 7``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from random import randrange

import trio

from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import House
from tests.hostile.siege import besieged


async def besiege(count: int, seed: int) -> None:
    """All attacks, so many times, on one runtime.

    Raises:
        AssertionError: somebody noticed.
        trio.TooSlowError: memory, or files, do not come back.
    """
    processes: list[RuntimeProcess] = []
    with tempfile.TemporaryDirectory() as name:
        try:
            house = House(Path(name) / "data", Path(name), processes)
            async with besieged(house) as siege, siege.witnessed():
                await siege.attack(seed)
                before = siege.memory
                for number in range(1, count):
                    await siege.attack(seed + number)
                    await siege.memory_is_back(before)
                    growth = (siege.memory - before) / 2**20
                    print(f"round {number + 1} of {count}: {growth:+.1f} MiB", flush=True)
        finally:
            for process in processes:
                process.end()
                await process.ended()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Attack a runtime while others talk to it.")
    parser.add_argument("--count", type=int, default=100, help="rounds of all attacks")
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    arguments = parser.parse_args()
    seed = randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    trio.run(besiege, arguments.count, seed)
    print("nobody noticed")


if __name__ == "__main__":
    main()
