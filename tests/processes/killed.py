"""A runtime to be killed: starts one child, and says which processes there are then.

Args: the folder, and how the grandchild behaves. Run with ``python -m tests.processes.killed``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from runtime.processes import ProcessSpec, open_processes

FAMILY = """
import os, signal, sys, time
child = os.getpid()
if os.fork() == 0:
    if sys.argv[1] != "group":
        os.setsid()
    if sys.argv[1] == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(child, os.getpid(), flush=True)
time.sleep(120)
"""


async def main(folder: Path, kind: str) -> None:
    """Start the child, pass on what it says, and wait to be killed."""
    async with open_processes(folder) as processes:
        print(processes.reaped)
        spec = ProcessSpec((sys.executable, "-I", "-S", "-c", FAMILY, kind), folder)
        async with processes.run(spec) as child:
            # Worker threads come and go meanwhile; the one that starts children stays.
            await trio.to_thread.run_sync(lambda: None)
            line = await child.read_record() or b""
            print(line.decode(), flush=True)
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
