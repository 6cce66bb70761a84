"""Bytes that come as text, in base64 (A1)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator

PIECE = 1_398_100
"""Characters that are decoded at a time, a megabyte of bytes: no other thread runs meanwhile."""


def size_of(data: str) -> int:
    """How many bytes there are in base64, if it is any; costs nothing."""
    return max(0, len(data) // 4 * 3 - data[-2:].count("="))


def pieces_of(data: str) -> Iterator[int]:
    """Where each of its pieces begins."""
    return iter(range(0, len(data), PIECE))


def piece_of(data: str, start: int) -> bytes:
    """The bytes of one piece. Raises ValueError when it is not base64, or ends before the last."""
    piece = data[start : start + PIECE]
    if piece.endswith("=") and start + PIECE < len(data):
        raise ValueError("there is more after its end")
    return b64decode(piece, validate=True)


def is_base64(data: str) -> bool:
    """Whether all of it is base64: the standard alphabet, padded, and nothing else. Takes time."""
    try:
        for start in pieces_of(data):
            piece_of(data, start)
    except ValueError:
        return False
    return True
