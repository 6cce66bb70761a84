"""What ``acp`` does: pipes on one side, a runtime on the other, until one of them ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable

import trio

from runtime.cli.bridge import Bridge
from runtime.cli.bridge_hosting import Host
from runtime.cli.bridge_pipes import LineReader, LineTooLong, LineWriter, taken
from runtime.cli.errors import BROKEN_PIPE, INTERRUPTED, ungrouped
from runtime.cli.serving import heed
from runtime.cli.words import command_line
from runtime.endpoint import Endpoint
from runtime.log import Logs, get_logger
from runtime.protocol import jsonrpc
from runtime.protocol.jsonrpc import RpcError
from runtime.settings import Loaded

GOODBYE = 5.0
"""Seconds to give everything that was taken to the runtime, and again to the editor."""

log = get_logger(__name__)


async def run(
    loaded: Loaded, read: Callable[[], Loaded], logs: Logs, agent: str | None, url: str | None
) -> int:
    """Bridge until the editor is gone, or a signal comes.

    Args:
        loaded: the settings.
        read: reads them again when they changed.
        logs: go by them as well.
        agent: who answers in new sessions that name nobody.
        url: a runtime elsewhere, instead of the one of the data directory.

    Returns:
        The exit code.

    Raises:
        CommandError: the runtime cannot be reached any more.
        SettingsError, StoreCannotOpen, GatewayError: none runs, and none can be started.
    """
    if os.isatty(0):
        print(_for_people(), file=sys.stderr)
    stop, code = trio.Event(), INTERRUPTED
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        taken() as (source, sink),
        ungrouped(),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heed, signals, stop, nursery.cancel_scope, log)
            host, writer = Host(loaded, read, logs, nursery), LineWriter(sink)
            if url is None:
                bridge = Bridge(host.find, writer.send, agent)
            else:
                find = _finder(url, loaded.settings.gateway.token)
                bridge = Bridge(find, writer.send, agent, first_patience=0)
            reader = LineReader(source, loaded.settings.gateway.max_frame_bytes)
            code = await _bridge(host, bridge, reader, writer, stop)
            nursery.cancel_scope.cancel()
    return code


async def _bridge(
    host: Host,
    bridge: Bridge,
    reader: LineReader,
    writer: LineWriter,
    stop: trio.Event,
) -> int:
    """Bridge until ``stop``, then give everybody what is theirs. The exit code."""
    code, over = 0, trio.Event()

    async def stay_connected() -> None:
        try:
            await bridge.run()
        except Exception:
            await _say_goodbye(bridge, writer)
            raise
        over.set()

    async def write() -> None:
        nonlocal code
        try:
            await writer.write_forever()
        except BrokenPipeError:
            code = BROKEN_PIPE
            stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(stay_connected)
        nursery.start_soon(_read, reader, bridge, stop)
        await stop.wait()
        bridge.leave(at_once=not host.hosting)
        await host.stop()
        with trio.move_on_after(GOODBYE):
            await over.wait()
        await _say_goodbye(bridge, writer)
        nursery.cancel_scope.cancel()
    return code


async def _read(reader: LineReader, bridge: Bridge, stop: trio.Event) -> None:
    """Take what the editor says; when it is gone, stop as soon as the runtime has all of it."""
    while True:
        try:
            line = await reader.next()
        except LineTooLong:
            what = "The line is longer than gateway.max_frame_bytes."
            await bridge.refuse(RpcError(jsonrpc.INVALID_REQUEST, what))
            continue
        if line is None:
            break
        await bridge.take(line)
    await bridge.handed_over()
    stop.set()


async def _say_goodbye(bridge: Bridge, writer: LineWriter) -> None:
    with trio.move_on_after(GOODBYE):
        await bridge.give_up()
        await writer.flush()


def _finder(url: str, token: str | None) -> Callable[[], Awaitable[Endpoint]]:
    async def find() -> Endpoint:
        return Endpoint(url, token)

    return find


def _for_people() -> str:
    chat = command_line("chat")
    return f"This is for editors, which speak JSON here. To talk to an agent, type: {chat}"
