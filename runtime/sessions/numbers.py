"""Numbers in sentences for people."""

from __future__ import annotations


def number_of(count: int, singular: str, plural: str | None = None) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"
