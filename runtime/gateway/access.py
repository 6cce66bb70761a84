"""Who may talk to the gateway: the token, the ``Origin`` and the ``Host`` of a request (G8, S36).

Three questions, each against another danger:

===========  ===========================================================  ==============
question     danger                                                       refused with
===========  ===========================================================  ==============
``Host``     a web page whose own name is made to resolve to this         421
             machine (DNS rebinding)
``Origin``   a web page of somebody else that opens a WebSocket from the  403
             browser of a user
token        anybody else who reaches the port                            401
===========  ===========================================================  ==============

A program is no web page and sends no ``Origin``; that is allowed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from runtime.gateway.config import GatewayConfig, is_loopback
from runtime.sessions.principals import LOCAL, TOKEN_HOLDER, Principal

SUBPROTOCOL = "acp"
TOKEN_PREFIX = "bearer."  # noqa: S105 - the name of a subprotocol, not a secret

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Access:
    """The rules of one gateway.

    Args:
        config: its settings.
        port: the port it listens on.
    """

    def __init__(self, config: GatewayConfig, port: int) -> None:
        self._holders = _holders(config)
        self._port = port
        self._host = config.host.lower()
        self._wildcard = _is_unspecified(config.host)
        self._origins = frozenset(
            origin for text in config.allowed_origins if (origin := _origin(text))
        )

    def principal(
        self, authorization: str | None, subprotocols: Iterable[str] = ()
    ) -> Principal | None:
        """Who sends a request, by the token that it carries; None when it carries no right one.

        Browsers cannot set headers on a WebSocket; they offer two subprotocols instead, ``acp`` and
        ``bearer.`` followed by the token in URL-safe base64 without padding.
        """
        if not self._holders:
            return LOCAL
        presented = _presented(authorization, subprotocols)
        # All are compared, whichever is right: the time that it takes says nothing.
        found = [
            principal
            for token, principal in self._holders
            for each in presented
            if hmac.compare_digest(each, token)
        ]
        return found[0] if found else None

    def origin_is_allowed(self, origin: str | None) -> bool:
        """Whether the page that a request comes from may connect."""
        if origin is None:
            return True
        parsed = _origin(origin)
        if parsed is None:
            return False
        _, host, port = parsed
        return parsed in self._origins or (is_loopback(host) and port == self._port)

    def host_is_ours(self, header: str | None) -> bool:
        """Whether the name in ``Host`` is one that no stranger can have pointed here.

        That is a loopback name, the configured host, a host of an allowed origin and, when every
        address is listened on, any address: an address cannot be rebound.
        """
        host = _host(header)
        if host is None:
            return False
        if is_loopback(host) or host == self._host:
            return True
        if any(host == allowed for _, allowed, _ in self._origins):
            return True
        return self._wildcard and _is_address(host)


def has_token(authorization: str | None, subprotocols: Iterable[str]) -> bool:
    """Whether a request carries a token, right or wrong."""
    return bool(_presented(authorization, subprotocols))


def _holders(config: GatewayConfig) -> tuple[tuple[bytes, Principal], ...]:
    """Each token with whom it stands for."""
    own = () if config.token is None else ((config.token.encode(), TOKEN_HOLDER),)
    others = (
        (settings.token.encode(), Principal(name, settings.role))
        for name, settings in config.principals.items()
    )
    return (*own, *others)


def _presented(authorization: str | None, subprotocols: Iterable[str]) -> list[bytes]:
    candidates = [_bearer(authorization), *map(_from_subprotocol, subprotocols)]
    return [token for token in candidates if token]


def _bearer(authorization: str | None) -> bytes | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _from_subprotocol(offered: str) -> bytes | None:
    if not offered.startswith(TOKEN_PREFIX):
        return None
    encoded = offered.removeprefix(TOKEN_PREFIX)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _origin(text: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.scheme not in _DEFAULT_PORTS:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def _host(header: str | None) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname if header else None
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    try:
        return not host or ip_address(host).is_unspecified
    except ValueError:
        return False
