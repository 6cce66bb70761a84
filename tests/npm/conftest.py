"""Node.js with the published SDK, and a real runtime in a process of its own."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.cli.conftest import environment
from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import LIMIT, House

HERE = Path(__file__).parent
INSTALL_LIMIT = 300.0

Node = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
def packages() -> Path:
    """What `package-lock.json` names, installed once for all processes that run tests.

    Beside the scripts, since Node.js looks for packages from there upwards.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js with npm is not installed")
    installed = HERE / "node_modules"
    stamp, wanted = installed / "installed-from", (HERE / "package-lock.json").read_text()
    with (HERE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            command = [npm, "ci", "--no-audit", "--no-fund", "--no-progress"]
            done = subprocess.run(
                command, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_LIMIT
            )
            assert done.returncode == 0, done.stderr
            stamp.write_text(wanted)
    return installed


@pytest.fixture
def node(packages: Path, tmp_path: Path) -> Node:
    """Runs a script of this folder; the JSON that it prints."""

    async def run(script: str, *arguments: object) -> Any:
        with trio.fail_after(LIMIT):
            done = await trio.run_process(
                ["node", str(packages.parent / script), *map(str, arguments)],
                cwd=tmp_path,
                env=environment(tmp_path),
                capture_stdout=True,
            )
        return json.loads(done.stdout)

    return run


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A place to start runtimes in."""
    processes: list[RuntimeProcess] = []
    yield House(tmp_path / "data", tmp_path, processes)
    for process in processes:
        process.end()
        await process.ended()
