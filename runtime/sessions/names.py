"""Names of files made from keys (S17)."""

from __future__ import annotations

import hashlib
import re

MAX_LENGTH = 120
"""How long a name may be, in bytes: leaves room for suffixes where 255 are allowed."""

_HASH_LENGTH = 16  # not 12: the last group of a UUID must not look like one of ours
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_LOOKS_HASHED = re.compile(rf"-[0-9a-f]{{{_HASH_LENGTH}}}$")


def file_name(key: str) -> str:
    """The name of the file or folder that belongs to a key.

    Letters, digits, ``_`` and ``-`` of ASCII stay; anything else becomes ``_``. Whenever the name
    is not the key itself, the first 64 bits of the key's SHA-256 are appended, so that two keys do
    not share a file. A key that only looks as if it had such an ending gets one too, and so does
    one that is empty or too long.

    Args:
        key: Any text.

    Returns:
        A name of 1 to `MAX_LENGTH` bytes that is safe on every file system.
    """
    name = _UNSAFE.sub("_", key)
    if name == key and 0 < len(key) <= MAX_LENGTH and not _LOOKS_HASHED.search(key):
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{name[: MAX_LENGTH - _HASH_LENGTH - 1]}-{digest}"
