"""Addresses on the web, and which lie below which others.

They are compared by what they mean, never as texts, and whoever asks for one asks for what was
compared: two who read the same text may not agree where it leads. What is not understood by
everybody in the same way is no address here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from urllib.parse import quote, unquote, urlsplit

import msgspec

LONGEST_ADDRESS = 2_000
"""Characters."""

MOST_DECODINGS = 5
"""How often over the dots of a path may be encoded."""

LAST_PORT = 65_535

_PORTS = {"http": 80, "https": 443}
_SERVER = re.compile(
    r"(?:\[(?P<number>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*))"
    r"(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
_ENDS_OF_NAMES = re.compile(r"[/\\]")
_KEPT = "!#$%&'()*+,/:;=?@[]"
"""What is itself in an address, besides letters, digits and ``_.-~``."""


class WebAddress(msgspec.Struct, frozen=True):
    """Where something is on the web: what is asked for, by HTTP.

    Args:
        scheme: ``http`` or ``https``.
        host: in small letters; an address of version 6 has no brackets.
        port: the usual one of the scheme when none was said.
        path: begins with a slash; as it was written.
        query: as it was written; empty for none.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def origin(self) -> str:
        """Who is asked for it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self._is_usual else f":{self.port}")

    @property
    def url(self) -> str:
        """How it is written, in one way only."""
        return f"{self.origin}{self.path}" + (f"?{self.query}" if self.query else "")

    @property
    def name(self) -> str:
        """What its path calls it: for people only. May be empty."""
        return unquote(self.path).rpartition("/")[2]

    def is_below(self, prefix: WebAddress) -> bool:
        """Whether it lies below another one, whose path ends with a slash."""
        return (
            (self.scheme, self.host, self.port) == (prefix.scheme, prefix.host, prefix.port)
            and prefix.path.endswith("/")
            and self.path.startswith(prefix.path)
        )

    @property
    def _is_usual(self) -> bool:
        return self.port == _PORTS[self.scheme]


def web_address(text: str) -> WebAddress | None:
    """The address that a text is; None for one of something else, or that can be misunderstood.

    What nobody would ask a server for is left out of it: the fragment.
    """
    if len(text) > LONGEST_ADDRESS or not text.isprintable() or "\\" in text:
        return None
    try:
        parts = urlsplit(quote(text, safe=_KEPT))
        server = _SERVER.fullmatch(parts.netloc.lower())
        if parts.scheme not in _PORTS or server is None:  # a name and a password are none either
            return None
        host = server["name"] or str(IPv6Address(server["number"]))
    except ValueError:  # brackets that hold no number, halves of characters
        return None
    port = int(server["port"] or _PORTS[parts.scheme])
    path = parts.path or "/"
    if not 1 <= port <= LAST_PORT or _climbs(path):
        return None
    return WebAddress(parts.scheme, host, port, path, parts.query)


def web_prefix(text: str) -> WebAddress | None:
    """An address below which others may lie; None for one that is none."""
    address = web_address(text)
    if address is None or not address.path.endswith("/") or "?" in text or "#" in text:
        return None
    return address


def address_below(text: str, prefixes: Iterable[str]) -> WebAddress | None:
    """The address that a text is, if it lies below one of the prefixes."""
    given = [known for prefix in prefixes if (known := web_prefix(prefix)) is not None]
    address = web_address(text) if given else None
    return address if address is not None and any(map(address.is_below, given)) else None


def _climbs(path: str) -> bool:
    """Whether a path may lead out of itself for some server: by dots, however they are written."""
    for _ in range(MOST_DECODINGS):
        if any(map(_is_dots, _ENDS_OF_NAMES.split(path))):
            return True
        plain = unquote(path)
        if plain == path:
            return False
        path = plain
    return True


def _is_dots(name: str) -> bool:
    """Whether a name is one of a folder above for anybody: some end it at a semicolon, or a NUL,
    and some leave out blanks.
    """
    before = name.partition(";")[0].partition("\0")[0].strip()
    return bool(before) and not before.strip(". ")
