"""The children of one runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from runtime.processes.process import ChildProcess, ProcessSpec


class Processes(ABC):
    """Starts processes, and knows which ones live."""

    @property
    @abstractmethod
    def live(self) -> int:
        """How many processes run now."""

    @property
    @abstractmethod
    def reaped(self) -> int:
        """How many processes of earlier runs were found and ended at the start."""

    @abstractmethod
    def run(self, spec: ProcessSpec) -> AbstractAsyncContextManager[ChildProcess]:
        """Start a process that lives at most as long as the block.

        At the end of the block its standard input is closed, then SIGTERM and after 5 s SIGKILL go
        to its group and to whatever else it started (P5). The way out is shielded and takes at most
        about 6 s.

        Raises:
            ProcessGone: it cannot be started; the text says why and what to do.
        """


@asynccontextmanager
async def open_processes(folder: Path | None) -> AsyncIterator[Processes]:
    """Make ready to start processes; ends those that an earlier run left behind.

    Args:
        folder: where it is written down which processes run, so that a later run can find them.
            The caller holds the lock of the data directory that it belongs to. None: nothing is
            written, and nothing is found later.
    """
    raise NotImplementedError
    yield
