"""How the runtime asks servers on the web. The library for that is loaded when it is needed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runtime.settings import is_loopback

if TYPE_CHECKING:
    import httpx2


def ssl_context() -> ssl.SSLContext:
    """Whom to trust. For a thread: it takes long, the first time most of all."""
    import httpx2

    return httpx2.create_ssl_context()


def client_for(url: str, context: ssl.SSLContext) -> httpx2.AsyncClient:
    """A client for requests to one address, without a limit of time, which its user has to set.

    Args:
        url: the address; the proxy of the environment is for those on other machines.
        context: whom to trust.
    """
    import httpx2

    elsewhere = not is_loopback(urlsplit(url).hostname or "")
    return httpx2.AsyncClient(verify=context, timeout=None, trust_env=elsewhere)
