"""Connecting to a runtime, and what to do when that does not work."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
import trio
import trio_websocket

from runtime import __version__
from runtime.cli.client import LARGEST_MESSAGE, Client, Listener, NotAllowed, NotReachable
from runtime.cli.errors import CommandError, ungrouped
from runtime.cli.words import command_line
from runtime.endpoint import Endpoint
from runtime.protocol.extensions import RuntimeMark

CONNECT_TIMEOUT = 10.0
"""Seconds for the connection and the handshake."""

CLOSE_TIMEOUT = 1.0
"""Seconds for the other end to answer a goodbye."""

_CERTIFICATE_BEGINS = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE_ENDS = "-----END CERTIFICATE-----"
_LARGEST_MESSAGE = 256 * 1024 * 1024
_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class _Limits(msgspec.Struct, rename="camel"):
    max_frame_bytes: int = LARGEST_MESSAGE
    max_file_bytes: int | None = None


class _Hello(msgspec.Struct):
    """What is wanted of the answer to `initialize`; versions before this one say less."""

    meta: RuntimeMark[_Limits] | None = msgspec.field(default=None, name="_meta")


@asynccontextmanager
async def connect(endpoint: Endpoint, listener: Listener | None = None) -> AsyncIterator[Client]:
    """Connect, and agree on the protocol.

    When the connection breaks, calls raise `ConnectionLost` and `Client.notifications` ends.

    Args:
        endpoint: where the runtime is.
        listener: takes the notifications; without one they are in `Client.notifications`.

    Raises:
        NotReachable: nothing listens there, or it does not answer in time.
        NotAllowed: it refuses this client.
        CallFailed: it does not speak our version of the protocol.
    """
    with ungrouped():
        async with trio.open_nursery() as nursery:
            client: Client = await nursery.start(_host, endpoint, listener)
            hello = _introduction(endpoint)
            answer = await client.call("initialize", hello, _Hello, CONNECT_TIMEOUT)
            if answer.meta is not None and answer.meta.runtime is not None:
                client.largest_message = answer.meta.runtime.max_frame_bytes
                client.largest_file = answer.meta.runtime.max_file_bytes
            yield client
            client.leave()


def _introduction(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "protocolVersion": 1,
        "clientCapabilities": {"session": {"configOptions": {"boolean": {}}}},
        "clientInfo": {"name": "greenroom-cli", "version": __version__},
        "_meta": {"runtime": {"localKey": endpoint.local_key}},
    }


async def _host(
    endpoint: Endpoint, listener: Listener | None, task_status: trio.TaskStatus[Client]
) -> None:
    """Run one connection. What its reader raises ends this connection and nothing else."""
    client: Client | None = None
    try:
        async with open_socket(endpoint) as socket:
            client = Client(endpoint, socket, listener)
            task_status.started(client)
            await client.serve()
    except Exception as error:
        if client is None:
            raise
        client.end(f"{type(error).__name__}: {error}")


@asynccontextmanager
async def open_socket(endpoint: Endpoint) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """Connect, without a word of the protocol; closed at the end of the block, in good order.

    What the reader of the socket raises comes out of the block.

    Raises:
        NotReachable: nothing listens there, or it does not answer in time.
        NotAllowed: it refuses this client.
    """
    opened = False
    stream: _Stream | None = None
    try:
        with ungrouped():
            async with trio.open_nursery() as reader:
                with trio.fail_after(CONNECT_TIMEOUT):
                    stream = await _open_stream(endpoint)
                    if isinstance(stream, trio.SSLStream):
                        await stream.do_handshake()
                    socket = await _wrap(reader, stream, endpoint)
                opened = True
                yield socket
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await socket.aclose()
                reader.cancel_scope.cancel()
    except Exception as error:
        if opened:
            raise
        raise _not_open(endpoint, error) from None
    finally:
        if stream is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


async def _open_stream(endpoint: Endpoint) -> _Stream:
    parts = urlsplit(endpoint.url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("it is no ws:// or wss:// address")
    if parts.scheme == "ws":
        return await trio.open_tcp_stream(parts.hostname, parts.port or 80)
    context = await trio.to_thread.run_sync(trusting, endpoint)
    return await trio.open_ssl_over_tcp_stream(
        parts.hostname, parts.port or 443, ssl_context=context, https_compatible=True
    )


def trusting(endpoint: Endpoint) -> ssl.SSLContext:
    """What a client trusts there. Reads files; not for the loop.

    The certificate of a runtime on this machine is known from its file, so that it need be neither
    made out to the loopback address nor signed by anybody.
    """
    if endpoint.certificate is not None:
        try:
            text = Path(endpoint.certificate).read_text(encoding="ascii", errors="replace")
            begin = text.index(_CERTIFICATE_BEGINS)
            end = text.index(_CERTIFICATE_ENDS, begin) + len(_CERTIFICATE_ENDS)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            # It alone, not those that have signed it: they sign others as well.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=text[begin:end])
        except (OSError, ValueError):
            pass
        else:
            return context
    return ssl.create_default_context()


async def _wrap(
    reader: trio.Nursery, stream: _Stream, endpoint: Endpoint
) -> trio_websocket.WebSocketConnection:
    parts = urlsplit(endpoint.url)
    headers = []
    if endpoint.token is not None:
        headers.append((b"Authorization", b"Bearer " + endpoint.token.encode()))
    return await trio_websocket.wrap_client_stream(
        reader,
        stream,
        parts.netloc,
        parts.path or "/",
        extra_headers=headers,
        message_queue_size=64,
        max_message_size=_LARGEST_MESSAGE,
    )


def _not_open(endpoint: Endpoint, error: Exception) -> Exception:
    """What a person can do about a connection that did not come about; a defect as it is."""
    look = f"`{command_line('doctor')}` looks for the cause"
    match error:
        case trio_websocket.ConnectionRejected():
            return _rejected(endpoint, error)
        case trio.TooSlowError():
            silence = f"{endpoint.url} does not answer within {CONNECT_TIMEOUT:g} s"
            if endpoint.url.startswith("ws:"):
                look += "; where TLS is spoken the address begins with wss://"
            return NotReachable(silence, look)
        case trio.BrokenResourceError(__cause__=ssl.SSLError() as cause):
            return _not_secure(endpoint, cause)
        case OSError():
            start = f"start it with `{command_line('serve')}`"
            return NotReachable(f"nothing listens at {endpoint.url}", start)
        case trio_websocket.ConnectionClosed() | trio.BrokenResourceError():
            return NotReachable(f"{endpoint.url} closes the connection at once", look)
        case ValueError() | trio_websocket.HandshakeError():
            why = str(error) or type(error).__name__
            usual = "the address looks like ws://127.0.0.1:8765/acp"
            return NotAllowed(f"{endpoint.url} is no runtime: {why}", usual)
    return error


def _not_secure(endpoint: Endpoint, error: ssl.SSLError) -> CommandError:
    match error:
        case ssl.SSLCertVerificationError():
            return NotAllowed(
                f"the certificate of {endpoint.url} is not trusted: {error.verify_message}",
                "name it, or that of its authority, in SSL_CERT_FILE; the address has to be one"
                " that it is made out to",
            )
        case ssl.SSLEOFError():
            hint = f"`{command_line('doctor')}` looks for the cause"
            return NotReachable(f"{endpoint.url} closes the connection at once", hint)
    return NotAllowed(
        f"{endpoint.url} does not speak TLS as it is spoken here: {error.reason or error}",
        "without TLS the address begins with ws://",
    )


def _rejected(endpoint: Endpoint, error: trio_websocket.ConnectionRejected) -> CommandError:
    said = (error.body or b"").decode(errors="replace").strip().partition("\n")[0]
    message = f"{endpoint.url} refuses the connection ({error.status_code})"
    message += f": {said}" if said else ""
    match error.status_code:
        case 401:
            return NotAllowed(message, "pass its token with --token, or in RUNTIME_GATEWAY__TOKEN")
        case 429 | 503:
            return NotReachable(message, "it may be busy or stopping; try again")
        case _:
            return NotAllowed(message, "compare --url with what the runtime printed at its start")
