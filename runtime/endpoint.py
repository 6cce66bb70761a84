"""Where the runtime of a data directory can be reached while it runs: ``endpoint.json`` in it (D3).

The file is readable by its owner only, since it holds the token and the key of local clients. A
process that was killed leaves it behind; so what it says is true only while the process of its
``pid`` lives.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from runtime.settings import GatewaySettings, Settings
from runtime.storage.lock import LOCK, is_held

FILE_NAME = "endpoint.json"

_LARGEST_FILE = 64 * 1024


class Endpoint(msgspec.Struct, frozen=True):
    """How to reach a runtime.

    Args:
        url: the WebSocket of the Agent Client Protocol.
        token: what to present there; None when nobody is asked.
        pid: the process; None when it is not known.
        local_key: shows that a client can read the file, and so is on this machine; another one
            for each start. None when it is not known.
        certificate: the file of the certificate that is shown there; None when it is not known, or
            TLS is not spoken.
    """

    url: str
    token: str | None = None
    pid: int | None = None
    local_key: str | None = None
    certificate: str | None = None

    def __repr__(self) -> str:
        token = None if self.token is None else "***"
        return f"Endpoint(url={self.url!r}, token={token}, pid={self.pid})"

    @property
    def alive(self) -> bool:
        """Whether its process lives. A process of somebody else lives as well."""
        if self.pid is None:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def websocket_url(host: str, port: int, *, tls: bool) -> str:
    """The address for clients on this machine: an unspecified host becomes loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    bracketed = f"[{reachable}]" if ":" in reachable else reachable
    return f"{'wss' if tls else 'ws'}://{bracketed}:{port}/acp"


@asynccontextmanager
async def published(data_dir: Path, endpoint: Endpoint) -> AsyncIterator[None]:
    """Keep the endpoint file while the block runs; it replaces one that was left behind.

    Called by the process that holds the lock of the directory. When cancelled the file is removed
    before this ends.

    Raises:
        OSError: it cannot be written.
    """
    await trio.to_thread.run_sync(_write, data_dir / FILE_NAME, endpoint)
    try:
        yield
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(OSError):
            await trio.to_thread.run_sync(_remove, data_dir / FILE_NAME)


def _write(path: Path, endpoint: Endpoint) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(msgspec.json.encode(endpoint))
    unfinished.replace(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def read(data_dir: Path) -> Endpoint | None:
    """The endpoint file of a data directory; None when there is none that can be read."""
    try:
        with (data_dir / FILE_NAME).open("rb") as file:
            return msgspec.json.decode(file.read(_LARGEST_FILE), type=Endpoint)
    except (OSError, msgspec.DecodeError):
        return None


def find(settings: Settings) -> Endpoint | None:
    """The runtime that works on the configured data directory, if one does.

    The lock of the directory decides; a process id may have gone to another process since.
    """
    endpoint = read(settings.storage.data_dir)
    if endpoint is None or not endpoint.alive:
        return None
    return endpoint if is_held(settings.storage.data_dir / LOCK) else None


def expected(gateway: GatewaySettings) -> Endpoint:
    """Where a runtime with these settings would listen."""
    tls = gateway.tls_certificate is not None
    return Endpoint(websocket_url(gateway.host, gateway.port, tls=tls), gateway.token)
