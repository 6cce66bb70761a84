"""One life of the runtime, whose power can go at a chosen instant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeVar, cast

import trio

from actors.disk import Disk, Inline
from actors.removing import remove_all
from runtime.app import Runtime
from runtime.storage.errors import StoreUnavailable
from runtime.storage.media_errors import MediaFailed
from runtime.storage.store import Store

T = TypeVar("T")

SCRIPTED = "a bug, as scripted"
LATE = 50
"""Steps of the loop."""

ONLY_READ = frozenset(
    [
        "session",
        "message_status",
        "pending_messages",
        "journal",
        "blobs",
        "untold_evictions",
        "maintain",
    ]
)


class PowerIsGone(StoreUnavailable, MediaFailed):
    """What is tried after the end has no effect any more, on the rows or on the disk."""


class Life:
    """The runtime from its start to its end.

    With a *fuse* the power goes before the operation on rows or disk of that number: nothing after
    that instant leaves a trace, as when the process is killed. The answers of the *late* operation
    come some steps of the loop after the commit, as those of a thread may.
    """

    def __init__(self) -> None:
        self.power = trio.CancelScope()
        self.stop = trio.Event()
        self.ended = trio.Event()
        self.dead = False
        self.fuse: int | None = None
        self.late = ""
        self.removals: Literal["work", "are refused", "fall over"] = "work"
        self.runtime: Runtime | None = None
        self.disk: Disk = _MortalDisk(self)

    @property
    def rt(self) -> Runtime:
        """The runtime, once it is open."""
        assert self.runtime is not None
        return self.runtime

    def cut(self) -> None:
        """The power goes now."""
        self.dead = True
        self.power.cancel()

    def spend(self) -> None:
        """Something is about to leave a trace."""
        if self.fuse is not None and not self.dead:
            self.fuse -= 1
            if self.fuse < 0:
                self.cut()
        if self.dead:
            raise PowerIsGone("the power is gone")

    def mortal(self, store: Store) -> Store:
        """The store as this life can use it."""
        return cast("Store", _Mortal(store, self))


class _MortalDisk(Inline):
    def __init__(self, life: Life) -> None:
        self._life = life

    async def __call__(self, work: Callable[[], T], /, **how: Any) -> T:
        """Work on the disk in the calling task; the lock of the folder goes with the process."""
        life = self._life
        if getattr(work, "__name__", "") != "release":
            life.spend()
        if life.removals != "work" and getattr(work, "func", None) is remove_all:
            return await super().__call__(partial(self._not_removed, work))
        return await super().__call__(work, **how)

    def _not_removed(self, work: Callable[[], Any]) -> Any:
        if self._life.removals == "fall over":
            raise RuntimeError(SCRIPTED)
        return ["the disk refuses, as scripted"] * len(cast("partial[Any]", work).args[-1])


class _Mortal:
    def __init__(self, store: Store, life: Life) -> None:
        self._store = store
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in ONLY_READ or not inspect.iscoroutinefunction(found):
            return found

        async def operation(*args: Any, **kwargs: Any) -> Any:
            self._life.spend()
            answer = await found(*args, **kwargs)
            with trio.CancelScope(shield=True):
                for _ in range(LATE if name == self._life.late else 0):
                    await trio.lowlevel.checkpoint()
            return answer

        return operation
