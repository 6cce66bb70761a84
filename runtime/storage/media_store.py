"""The store's operations about files of messages; part of `runtime.storage.store.Store`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from runtime.sessions.media import BlobRow, Leased, MediaChange, OutboxFile
from runtime.sessions.outgoing import Standing
from runtime.sessions.rows import InboundRow
from runtime.storage.media_requests import Attach, BlobPage, BlobRef, HandOver

MediaListener: TypeAlias = Callable[[Sequence[MediaChange]], None]


class MediaStore(ABC):
    """Which files there are, who refers to them, and whose they are."""

    @abstractmethod
    def listen(self, listener: MediaListener) -> None:
        """From now on tell this one what has changed, in the order of the commits and before the
        writer of each change goes on. It must not raise or wait. There is one listener.
        """

    @abstractmethod
    async def hand_over(self, request: HandOver) -> None:
        """The agent has begun: the turn's files are the session's (H1).

        Nothing changes for a turn that has ended. Raises `StaleFence`, `UnknownSession`.
        """

    @abstractmethod
    async def attach(self, request: Attach) -> InboundRow | None:
        """Keep what became of fetching a file (Q7); None when the message does not wait for it any
        more: then the file is nobody's. After the last file the sender is owed a word of those that
        were not taken (Q4).
        """

    @abstractmethod
    async def media_in_flight(self) -> tuple[Leased, ...]:
        """All messages that are not at their end and refer to files (H6)."""

    @abstractmethod
    async def files_owed(self) -> tuple[MediaChange, ...]:
        """All files of outboxes that are to be delivered (H6), then which of their sessions are
        closed.
        """

    @abstractmethod
    async def outbox_standings(
        self, files: Sequence[tuple[str, OutboxFile]]
    ) -> tuple[Standing, ...]:
        """What is to become of files in outboxes, each given with the id of its session (M8)."""

    @abstractmethod
    async def blobs(self, *, after: int = 0, limit: int = 1_000) -> BlobPage:
        """A page of the files that are on disk."""

    @abstractmethod
    async def blobs_evicted(self, blobs: Sequence[BlobRef]) -> None:
        """These files go from disk now; the agent is to be told (M5, M9)."""

    @abstractmethod
    async def blobs_forgotten(self, blobs: Sequence[BlobRef]) -> None:
        """These files are gone and nobody refers to them: their rows go too."""

    @abstractmethod
    async def untold_evictions(self, session_id: str) -> tuple[BlobRow, ...]:
        """What was evicted of the session's present conversation without its agent knowing (M9)."""

    @abstractmethod
    async def sessions_with_untold_evictions(self) -> tuple[str, ...]:
        """Sessions whose agent does not know yet what was evicted."""

    @abstractmethod
    async def idle_blobs(self, before: int, *, after: int = 0, limit: int = 1_000) -> BlobPage:
        """Of a page of all files, those of sessions in which no person has spoken since ``before``,
        in ms since 1970 (S43).
        """

    @abstractmethod
    async def forget_old_evictions(
        self, before: int, *, after: int = 0, limit: int = 1_000
    ) -> int | None:
        """Of a page of all files, remove what is known of evictions before a time, in ms since
        1970. What an agent is still to be told of stays (M9).

        Returns:
            Where the next page begins; None after the last.
        """
