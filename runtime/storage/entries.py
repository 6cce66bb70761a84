"""Transcript lines of the usual kinds, the same whoever writes them."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.sessions.content import plain_text
from runtime.sessions.prompting import heard
from runtime.sessions.rows import InboundRow, TurnError
from runtime.storage.requests import NewEntry


def answer_id(turn_id: str) -> str:
    """The id of the line that holds a turn's answer."""
    return f"{turn_id}:answer"


def user_entry(message: InboundRow) -> NewEntry:
    """The line of a person's message. Its id is the message's, so that it is written once (J1)."""
    sender = message.sender
    return NewEntry(
        id=message.id,
        role="user",
        content=plain_text(heard(message).content),
        ts=message.admitted_at,
        data=None if sender is None else {"sender": msgspec.to_builtins(sender)},
    )


def interrupted_entry(turn_id: str, text: str, progress: list[dict[str, Any]]) -> NewEntry:
    """What a turn had said, and done, before the runtime cut it off (T3)."""
    data: dict[str, Any] = {"updates": progress, "interrupted": True}
    return NewEntry(id=answer_id(turn_id), role="assistant", content=text, data=data)


def error_entry(turn_id: str, error: TurnError) -> NewEntry:
    """Why a turn failed, for whoever reads the transcript."""
    return NewEntry(
        id=f"{turn_id}:error",
        role="system",
        content=error.message,
        data={"error": msgspec.to_builtins(error)},
    )
