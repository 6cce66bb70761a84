"""Where a client may let an agent work, which servers it may connect it to, and which files it may
send by a link (G3, G10).

All name things on the runtime's machine, and the client may be elsewhere: a path that it was told
about, a command line that would run here. So they are used as far as the settings allow it; a
client that has shown that it is on this machine, of the same person, may do by this what it could
do without us.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec
import trio

from runtime.gateway.config import GatewayConfig
from runtime.protocol import jsonrpc
from runtime.sessions.content import LocalFile, ResourceLink, SaidBlock, SaidContent
from runtime.sessions.rows import Workplace

Roots: TypeAlias = tuple[Path, ...] | None
"""The folders that a client may name something in; None for all."""

LINKS_LIMIT = 5.0
"""Seconds for looking where links lead; a disk may not answer."""

LOOKS = trio.CapacityLimiter(4)
"""How many looks there are at once."""

MAX_SERVERS_SIZE = 65_536
"""Bytes, as JSON, of the servers that one client may name."""


class Variable(msgspec.Struct, frozen=True):
    """A variable of the environment, or a header."""

    name: str
    value: str


class StdioServer(msgspec.Struct, frozen=True):
    """A server that is started as a process."""

    name: str
    command: str
    args: list[str]
    env: list[Variable]


class HttpServer(msgspec.Struct, frozen=True, tag_field="type", tag="http"):
    """A server that is reached by HTTP."""

    name: str
    url: str
    headers: list[Variable]


class SseServer(msgspec.Struct, frozen=True, tag_field="type", tag="sse"):
    """A server that is reached by HTTP with server-sent events."""

    name: str
    url: str
    headers: list[Variable]


class Grant(msgspec.Struct, frozen=True):
    """What a client gets of what it asked for. ``workplace`` is None when nothing changes."""

    workplace: Workplace | None = None
    cwd_ignored: bool = False
    mcp_servers_ignored: bool = False


def is_local(config: GatewayConfig, key: str | None) -> bool:
    """Whether a client has shown the key that only those on this machine can read."""
    if config.local_key is None or key is None:
        return False
    expected, shown = (each.encode("utf-8", "replace") for each in (config.local_key, key))
    return hmac.compare_digest(expected, shown)


async def grant(
    config: GatewayConfig, *, local: bool, cwd: str, mcp_servers: list[dict[str, Any]] | None
) -> Grant:
    """What a client gets of what it asks for.

    Args:
        config: what the settings allow.
        local: whether the client is on this machine.
        cwd: the folder; ``/`` is no wish, since the member is required of those who have none.
        mcp_servers: the servers, None when it names none.

    Raises:
        RpcError: the servers are none.
    """
    servers = _checked(mcp_servers or [])
    allowed = servers if local or config.client_mcp_servers else ()
    folder = None
    if cwd != "/" and (local or config.workspace_roots):
        roots = None if local else config.workspace_roots
        folder = await trio.to_thread.run_sync(_folder, cwd, roots)
    wanted = folder is not None or bool(allowed)
    return Grant(
        workplace=Workplace(folder, allowed) if wanted else None,
        cwd_ignored=folder is None and cwd != "/",
        mcp_servers_ignored=bool(servers) and not allowed,
    )


async def with_files(
    config: GatewayConfig, content: SaidContent, *, local: bool
) -> Sequence[SaidBlock]:
    """What a client says, with the files that its links lead to, where it may have them read.

    Args:
        config: what the settings allow.
        content: what it says.
        local: whether it is on this machine.
    """
    if not (local or config.workspace_roots) or not any(map(_path_of, content)):
        return content
    look = partial(_with_files, content, None if local else config.workspace_roots)
    with trio.move_on_after(LINKS_LIMIT):
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=LOOKS)
    return content


def _with_files(content: SaidContent, roots: Roots) -> tuple[SaidBlock, ...]:
    return tuple(_with_file(block, roots) for block in content)


def _with_file(block: SaidBlock, roots: Roots) -> SaidBlock:
    path = _path_of(block)
    found = None if path is None else _resolved(path, roots, Path.is_file)
    return LocalFile(block, found) if found and isinstance(block, ResourceLink) else block


def _path_of(block: SaidBlock) -> str | None:
    """The path on this machine that a block links to."""
    if not isinstance(block, ResourceLink):
        return None
    try:
        scheme, host, path, _, _ = urlsplit(block.uri)
    except ValueError:
        return None
    return unquote(path) if scheme == "file" and host in ("", "localhost") else None


def _folder(cwd: str, roots: Roots) -> str | None:
    """A folder without symbolic links in its path, if it is there and in one of the roots."""
    folder = _resolved(cwd, roots, Path.is_dir)
    return None if folder is None else str(folder)


def _resolved(name: str, roots: Roots, is_right: Callable[[Path], bool]) -> Path | None:
    """A path without symbolic links in it, if the right thing is there, in one of the roots."""
    try:
        path = Path(name)
        if not path.is_absolute():
            return None
        found = path.resolve(strict=True)
        if not is_right(found):
            return None
        if roots is None or any(found.is_relative_to(root.resolve()) for root in roots):
            return found
    except (OSError, RuntimeError, ValueError):  # loops of links, characters that no path has
        pass
    return None


def _checked(servers: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The servers with the members that the protocol has for them."""
    checked = tuple(_server(server, f"$.mcpServers[{i}]") for i, server in enumerate(servers))
    if checked and len(msgspec.json.encode(checked)) > MAX_SERVERS_SIZE:
        jsonrpc.invalid_params(f"longer than {MAX_SERVERS_SIZE} bytes", "$.mcpServers")
    return checked


def _server(server: dict[str, Any], path: str) -> dict[str, Any]:
    kinds: dict[object, type[msgspec.Struct]] = {"http": HttpServer, "sse": SseServer}
    kind = server.get("type", "stdio")
    if kind == "stdio":
        return _converted(server, StdioServer, path)
    if not isinstance(kind, str) or kind not in kinds:
        jsonrpc.invalid_params("expected stdio, http or sse", f"{path}.type")
    return _converted(server, kinds[kind], path)


def _converted(server: dict[str, Any], kind: type[msgspec.Struct], path: str) -> dict[str, Any]:
    try:
        checked: dict[str, Any] = msgspec.to_builtins(msgspec.convert(server, kind))
    except msgspec.ValidationError as error:
        what, where = jsonrpc.located(str(error))
        jsonrpc.invalid_params(what, path + where.removeprefix("$"))
    return checked
