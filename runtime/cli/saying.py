"""What a person says and how they want to talk, as the runtime is told it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import trio

from runtime.cli.client import FOREVER
from runtime.cli.questions import Asking
from runtime.cli.words import amount
from runtime.protocol.extensions import SessionMark


class Attachment(msgspec.Struct, frozen=True):
    """A file that goes with a message: its size in bytes, and itself as a block of the protocol."""

    name: str
    mime_type: str
    size: int
    block: dict[str, Any]

    @property
    def weight(self) -> int:
        """Bytes of a message that it takes, and a few more."""
        return self.size // 3 * 4 + 1_024

    def __str__(self) -> str:
        return f"{self.name} ({self.mime_type}, {amount(self.size)})"


class Message:
    """What the person said, until it is known what became of it."""

    def __init__(self, text: str, files: Sequence[Attachment] = ()) -> None:
        self.id = f"cli-{uuid.uuid4()}"
        self.text = text
        self.files = tuple(files)
        self.named = False
        self.done = trio.Event()
        self.outcome: Literal["waiting", "answered", "cancelled", "failed"] = "waiting"

    @property
    def shown(self) -> str:
        """What was said, with the names of the files."""
        return " ".join(filter(None, (self.text, *(f"[{file.name}]" for file in self.files))))

    def prompt(self, session_id: str) -> dict[str, Any]:
        """The parameters that say it in a session."""
        words = [{"type": "text", "text": self.text}] if self.text else []
        return {
            "sessionId": session_id,
            "prompt": [*words, *(file.block for file in self.files)],
            "_meta": {"runtime": {"messageId": self.id}},
        }


class Talk(msgspec.Struct, frozen=True):
    """How somebody wants to talk.

    Args:
        key: the session's key.
        agent: who answers in it, when it is made.
        workspace: the folder that the agent is to work in, None for one of its own.
        asking: how requests for permission are dealt with.
        thoughts: whether the agent's reasoning is shown.
        patience: seconds for which a lost runtime is looked for, `FOREVER` for no limit.
        recall: how many lines of the session's past are shown in short.
    """

    key: str
    agent: str | None = None
    workspace: str | None = None
    asking: Asking = Asking()
    thoughts: bool = False
    patience: float = FOREVER
    recall: int = 0


def elsewhere(folder: str, mark: SessionMark) -> str:
    """That the agent does not work where it was asked to (G10)."""
    where = mark.workspace or "a folder of its own"
    return (
        f"The agent does not work in {folder} but in {where}: such a folder is not there, or not"
        " in `gateway.workspace_roots` of the runtime."
    )
