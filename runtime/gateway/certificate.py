"""The certificate that the port shows, also after it was renewed (G8)."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TypeAlias

import trio

from runtime.gateway.config import GatewayConfig, GatewayError

LOOK_EVERY = 30.0
"""Seconds between two looks at whether the files were renewed."""

_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]

_log = logging.getLogger("runtime.gateway")


class Certificate:
    """The certificate of a gateway. Its files are followed, since certificates run out.

    Args:
        certificate: a PEM file with the chain.
        key: a PEM file with the key; None when it is in ``certificate``.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._stamp = self._stamped()
        self._context = self._loaded()

    @classmethod
    def of(cls, config: GatewayConfig) -> Certificate | None:
        """Read the configured files; None when TLS is not configured. To be called in a thread.

        Raises:
            GatewayError: the certificate or the key cannot be used.
        """
        if config.tls_certificate is None:
            return None
        return cls(config.tls_certificate, config.tls_key)

    @property
    def context(self) -> ssl.SSLContext:
        """How to speak TLS in a handshake that begins now."""
        return self._context

    async def follow(self) -> None:
        """Read the files again when they have changed, until cancelled.

        Files that cannot be used change nothing; the log says why.
        """
        while True:
            await trio.sleep(LOOK_EVERY)
            await trio.to_thread.run_sync(self._renew)

    def _renew(self) -> None:
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._context = self._loaded()
        except GatewayError as error:
            _log.warning("the certificate in use is kept: %s", error)
        else:
            _log.info("new connections get the changed certificate in %s", self._certificate)

    def _stamped(self) -> _Stamp:
        files = (self._certificate, *(() if self._key is None else (self._key,)))
        return tuple(map(_stamp_of, files))

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except OSError as error:
            raise GatewayError(
                f"gateway.tls_certificate {str(self._certificate)!r} cannot be used: {error}. "
                "It must be a readable PEM file, with an unencrypted key in it or in "
                "gateway.tls_key."
            ) from None
        return context


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _no_password() -> str:
    """Without this, OpenSSL would ask on the terminal."""
    return ""
