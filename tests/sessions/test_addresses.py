"""Addresses on the web are compared by what they mean, by everybody in the same way (G10)."""

from __future__ import annotations

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.addresses import LONGEST_ADDRESS, address_below, web_address, web_prefix

HERE = "https://files.example.org/kept/"


# G10
@pytest.mark.parametrize(
    "text, url",
    [
        (HERE, HERE),
        (HERE + "a.pdf", HERE + "a.pdf"),
        ("HTTPS://Files.EXAMPLE.org/kept/a", HERE + "a"),
        ("https://files.example.org:443/kept/a", HERE + "a"),
        ("https://files.example.org:/kept/a", HERE + "a"),
        (HERE + "a?b=/../c&d=@e#f", HERE + "a?b=/../c&d=@e"),
        (HERE + "my notes.txt", HERE + "my%20notes.txt"),
        (HERE + "nöte", HERE + "n%C3%B6te"),
        (HERE + "100%25/..a/a..b/.a", HERE + "100%25/..a/a..b/.a"),
        (HERE + "a//b", HERE + "a//b"),
        (HERE + "a@b:c", HERE + "a@b:c"),
    ],
)
def test_what_lies_below(text: str, url: str) -> None:
    for prefix in (HERE, "https://files.example.org", "HTTPS://FILES.example.org:443/kept/"):
        found = address_below(text, ["https://other.example.org/", prefix])
        assert found is not None
        assert found.url == url


# G10
@pytest.mark.parametrize(
    "text",
    [
        "http://files.example.org/kept/a",
        "https://files.example.org/keptnot/a",
        "https://files.example.org/kept",
        "https://files.example.org/KEPT/a",
        "https://files.example.org/",
        "https://files.example.org:444/kept/a",
        "https://files.example.org.evil/kept/a",
        "https://evil.org/https://files.example.org/kept/a",
        "https://example.org/kept/a",
        "https://files.example.org@evil/kept/a",
        "https://files.example.org:x@evil/kept/a",
        "https://me@files.example.org/kept/a",
        "https://:@files.example.org/kept/a",
        "https://evil\\@files.example.org/kept/a",
        "https://files.example.org\\@evil/kept/a",
        "https://evil#@files.example.org/kept/a",
        "https://evil?@files.example.org/kept/a",
        "https://files.example.org%2fevil/kept/a",
        "https://files.example.org%00.evil/kept/a",
        "https://files.example.org.../kept/a",
        "https://files\u3002example.org/kept/a",
        "https://files.example.or\u0261/kept/a",
        "https:files.example.org/kept/a",
        "https:///files.example.org/kept/a",
        "//files.example.org/kept/a",
        " https://files.example.org/kept/a",
        "https://files.exam\tple.org/kept/a",
        "https://files.example.org/kept/a\n",
        "https://files.example.org/kept/\u2028a",
        "https://files.example.org:0443x/kept/a",
        "https://files.example.org:99999/kept/a",
        "https://files.example.org:-443/kept/a",
        "https://[files.example.org]/kept/a",
        "file://files.example.org/kept/a",
        "javascript://files.example.org/kept/a",
        "",
    ],
)
def test_what_lies_elsewhere(text: str) -> None:
    assert address_below(text, [HERE]) is None


# G10 M2
@pytest.mark.parametrize(
    "dots",
    [
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%252e%252e",
        "%25252525252525252e.",
        "..;x=1",
        "..%3b",
        "..%00",
        "..%00a",
        "..%20",
        "...",
        "..%5c..",
        "a%2f..%2f..",
        "..%2f..",
        "a%5c..",
    ],
)
def test_dots_lead_nowhere(dots: str) -> None:
    for path in (f"{dots}/secret", dots, f"a/{dots}/{dots}/secret"):
        assert web_address(HERE + path) is None, path
        assert address_below(HERE + path, ["https://files.example.org/"]) is None, path


def test_numbers_are_hosts_too() -> None:
    # G10: nothing is another way of writing an address, but those that everybody knows
    assert address_below("http://127.0.0.1:80/a", ["http://127.0.0.1/"])
    for text in ("http://127.1/a", "http://2130706433/a", "http://0x7f.1/a", "http://localhost/a"):
        assert address_below(text, ["http://127.0.0.1/"]) is None
    found = address_below("http://[0:0::0:1]:8080/a", ["http://[::1]:8080"])
    assert found is not None
    assert found.url == "http://[::1]:8080/a"
    for text in ("http://[::1%25eth0]/", "http://[::ffff:7f00:1]x/", "http://[::1", "http://::1/"):
        assert web_address(text) is None


def test_a_long_one_is_none() -> None:
    longest = HERE + "x" * (LONGEST_ADDRESS - len(HERE))
    assert web_address(longest) is not None
    assert web_address(longest + "x") is None


@pytest.mark.parametrize(
    "text, url",
    [
        ("https://example.org", "https://example.org/"),
        ("http://Example.org:8080", "http://example.org:8080/"),
        ("https://example.org/a/", "https://example.org/a/"),
        ("https://example.org/a", None),
        ("https://example.org/?", None),
        ("https://example.org/#", None),
        ("https://example.org/a/?b/", None),
        ("https://example.org/a/../", None),
        ("https://me:secret@example.org/", None),
        ("https:///a/", None),
        ("example.org", None),
        ("example.org/", None),
        ("ftp://example.org/", None),
        ("*", None),
        ("", None),
    ],
)
def test_what_others_may_lie_below(text: str, url: str | None) -> None:
    found = web_prefix(text)
    assert (found and found.url) == url


# G10: what is asked for is what was compared, whoever reads it
@given(
    st.lists(
        st.sampled_from([*string.printable, "..", "//", "%2e", "%2f", "%5c", "@", "\\", "ä", "。"])
    ).map("".join),
    st.sampled_from(["", "https://", HERE, HERE[:-1], "https://files.example.org"]),
)
def test_what_is_asked_for_is_below(text: str, start: str) -> None:
    found = address_below(start + text, [HERE])
    if found is None:
        return
    assert found.url.startswith(HERE)
    assert found.url.isascii()
    assert web_address(found.url) == found
    parts = urlsplit(found.url)
    assert (parts.scheme, parts.netloc) == ("https", "files.example.org")
    assert ".." not in parts.path.split("/")
