"""The transcriber port: what turns a voice note into text (H5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path


class TranscriptionFailed(Exception):
    """There is no text. The words say why, for people; no secret is in them."""


class Transcriber(ABC):
    """Turns recorded speech into text. One object for all sessions; two files at a time."""

    @abstractmethod
    async def transcribe(self, file: Path, mime_type: str | None) -> str:
        """What is said in a file.

        The deadline is the caller's. Cancelled, it leaves nothing behind.

        Args:
            file: where it is; it stays for as long as this runs, and is not to be changed.
            mime_type: what it is, as far as is known.

        Raises:
            TranscriptionFailed: there is no text.
        """
