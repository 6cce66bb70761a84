"""Where the runtime of a data directory can be reached while it runs: ``endpoint.json`` in it (D3).

The file is readable by its owner only, since it may hold the token. A process that was killed
leaves it behind; so what it says is true only while the process of its ``pid`` lives.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runtime.settings import GatewaySettings, Settings

FILE_NAME = "endpoint.json"

_LARGEST_FILE = 64 * 1024


class Endpoint(msgspec.Struct, frozen=True):
    """How to reach a runtime.

    Args:
        url: the WebSocket of the Agent Client Protocol.
        token: what to present there; None when nobody is asked.
        pid: the process; None when it is not known.
    """

    url: str
    token: str | None = None
    pid: int | None = None

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
    """The address of the protocol for clients on this machine: an unspecified host becomes
    loopback.
    """
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    bracketed = f"[{reachable}]" if ":" in reachable else reachable
    return f"{'wss' if tls else 'ws'}://{bracketed}:{port}/acp"


@contextlib.contextmanager
def published(data_dir: Path, endpoint: Endpoint) -> Iterator[None]:
    """Keep the endpoint file while the block runs; it replaces one that was left behind.

    Raises:
        OSError: it cannot be written.
    """
    path = data_dir / FILE_NAME
    handle, temporary = tempfile.mkstemp(dir=data_dir, prefix=f".{FILE_NAME}.")
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, mode 0600 from the start
            file.write(msgspec.json.encode(endpoint))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    try:
        yield
    finally:
        if read(data_dir) == endpoint:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def read(data_dir: Path) -> Endpoint | None:
    """The endpoint file of a data directory; None when there is none that can be read."""
    try:
        with (data_dir / FILE_NAME).open("rb") as file:
            return msgspec.json.decode(file.read(_LARGEST_FILE), type=Endpoint)
    except (OSError, msgspec.DecodeError):
        return None


def find(settings: Settings) -> Endpoint | None:
    """The runtime that works on the configured data directory, if one does."""
    endpoint = read(settings.storage.data_dir)
    return endpoint if endpoint is not None and endpoint.alive else None


def expected(gateway: GatewaySettings) -> Endpoint:
    """Where a runtime with these settings would listen."""
    tls = gateway.tls_certificate is not None
    return Endpoint(websocket_url(gateway.host, gateway.port, tls=tls), gateway.token)
