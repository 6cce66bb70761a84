"""Fetches what links to the web lead to, as far as the settings allow it (M3, N3).

Nothing is asked for but what lies below ``media.fetch_links``, wherever a server sends one on to.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import trio

from actors.disk import Disk
from actors.web import client_for, ssl_context
from runtime.ports.channel import PermanentFailure, TransientFailure
from runtime.sessions.addresses import address_below
from runtime.storage.media_errors import FileTooLarge, NoAnswer

if TYPE_CHECKING:
    import httpx2

MOST_REDIRECTS = 5
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}
MOVED = (301, 302, 303, 307, 308)
NOT_NOW = (408, 425, 429)
"""Answers that another time may be others, besides those of a server that has failed."""


async def fetched(
    url: str, prefixes: Callable[[], Sequence[str]], limit: int, disk: Disk
) -> AsyncGenerator[bytes, None]:
    """The bytes that a link leads to, as they come.

    Nobody is told who asks: there are no cookies and no names in the request. Whoever reads sets
    the limit of time, and closes the generator.

    Args:
        url: what the link says.
        prefixes: where it may lead, itself and by redirects, as it is allowed just now.
        limit: bytes; one that says that it is larger is not read.
        disk: where it is looked up whom to trust.

    Raises:
        PermanentFailure: it is not to be had.
        TransientFailure: not now. Neither says more of what a server answers than its status.
        FileTooLarge: it says that it is larger.
    """
    import httpx2

    try:
        context = await disk(ssl_context, abandon=True)
    except NoAnswer as error:
        raise TransientFailure(str(error)) from error
    for hop in range(MOST_REDIRECTS + 1):
        address = address_below(url, prefixes())
        if address is None:
            raise PermanentFailure(
                "it leads to where nothing is fetched from"
                if hop
                else "nothing is fetched from there any more"
            )
        try:
            async with _asked(address.url, context) as response:
                target = _target(response, address.url)
                if target is None:
                    _check(response, limit)
                    chunks = response.aiter_raw()
                    try:
                        async for chunk in chunks:
                            yield chunk
                    finally:
                        await _end(chunks)
                    return
                url = target
        except httpx2.InvalidURL as error:
            raise PermanentFailure("its address is none") from error
        except httpx2.HTTPError as error:
            raise TransientFailure("the server does not answer") from error
    raise PermanentFailure("it leads from one place to the next without an end")


@asynccontextmanager
async def _asked(url: str, context: ssl.SSLContext) -> AsyncIterator[httpx2.Response]:
    """The answer, of which the body is not read yet. Each request has a client of its own, which
    knows nothing of the others.
    """
    async with (
        client_for(url, context) as client,
        client.stream("GET", url, headers=HEADERS, follow_redirects=False) as response,
    ):
        yield response


def _target(response: httpx2.Response, url: str) -> str | None:
    """Where the server sends one on to; None when it does not. Whether that is allowed is asked
    where it is gone to.
    """
    if response.status_code not in MOVED:
        return None
    try:
        return urljoin(url, response.headers["Location"])
    except (KeyError, ValueError):
        raise _refused(response) from None


def _check(response: httpx2.Response, limit: int) -> None:
    """Whether there is a file in an answer, as far as its head says so."""
    if not response.is_success:
        raise _refused(response)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise PermanentFailure("the server packs it, although it was asked not to")
    size = _number(response.headers.get("Content-Length", ""))
    if size is not None and size > limit:
        raise FileTooLarge(f"it is larger than {limit} bytes")


def _refused(response: httpx2.Response) -> PermanentFailure | TransientFailure:
    status = response.status_code
    words = f"the server answered {status}"
    if status not in NOT_NOW and status < 500:
        return PermanentFailure(words)
    return TransientFailure(words, _number(response.headers.get("Retry-After", "")))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


async def _end(chunks: AsyncIterator[bytes]) -> None:
    """Cancelled rather than left: the generators below it then end from the innermost outwards."""
    with trio.CancelScope() as over:
        over.cancel()
        async for _ in chunks:
            pass
