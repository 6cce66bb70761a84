"""Where a client may let an agent work, and which servers it may name (G10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from runtime.sessions.rows import Workplace
from tests.gateway.client import AcpClient, connected
from tests.gateway.scripted import ScriptedFront

KEY = "the key in a file"
STDIO = {"name": "files", "command": "/bin/files", "args": ["-v"], "env": []}
HTTP = {
    "type": "http",
    "name": "web",
    "url": "https://example.com/mcp",
    "headers": [{"name": "X-Key", "value": "1"}],
}


@asynccontextmanager
async def serving(front: ScriptedFront, **options: Any) -> AsyncIterator[Gateway]:
    async with trio.open_nursery() as nursery:
        config = GatewayConfig(port=0, **options)
        gateway: Gateway = await nursery.start(serve_gateway, front, config)
        yield gateway
        await gateway.close()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def served(front: ScriptedFront, **options: Any) -> AsyncIterator[AcpClient]:
    """A client that is not known to be on this machine."""
    async with serving(front, **options) as gateway, client_of(gateway) as client:
        yield client


@asynccontextmanager
async def client_of(gateway: Gateway, key: str | None = None) -> AsyncIterator[AcpClient]:
    async with connected(gateway.url, initialize=False) as client:
        params: dict[str, Any] = {"protocolVersion": 1}
        if key is not None:
            params["_meta"] = {"runtime": {"localKey": key}}
        result = await client.call("initialize", params)
        assert result["_meta"]["runtime"]["local"] is (key == KEY)
        yield client


async def workspace(
    client: AcpClient, cwd: str, servers: list[Any] | None = None, key: str | None = None
) -> tuple[str | None, bool, bool]:
    """What a new session's answer says: where the agent works, and what was ignored."""
    params = {"cwd": cwd, "mcpServers": servers or [], "_meta": {"runtime": {"key": key}}}
    mark = (await client.call("session/new", params))["_meta"]["runtime"]
    return mark["workspace"], mark["cwdIgnored"], mark["mcpServersIgnored"]


# G10
async def test_only_folders_in_the_roots(front: ScriptedFront, tmp_path: Path) -> None:
    root, other = (tmp_path / "root").resolve(), tmp_path / "root-of-another"
    (root / "project").mkdir(parents=True)
    other.mkdir()
    (root / "file").touch()
    (root / "out").symlink_to(other)
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "in").symlink_to(root / "project")
    project = str(root / "project")
    good = [
        (str(root), str(root)),
        (project, project),
        (f"{project}/../project/.", project),
        (str(tmp_path / "in"), project),
    ]
    bad = [
        str(other),
        str(tmp_path),
        str(root / "out"),
        str(root / "loop"),
        str(root / "file"),
        str(root / "missing"),
        f"{root}/..",
        f"{root}/project/../../root-of-another",
        "project",
        "",
        f"{project}\0",
        "/" + "x" * 10_000,
    ]
    async with serving(front, workspace_roots=(root,)) as gateway, client_of(gateway) as client:
        for cwd, folder in good:
            assert await workspace(client, cwd) == (folder, False, False), cwd
        for cwd in bad:
            assert await workspace(client, cwd) == (None, True, False), cwd
        # The member is required: who has no wish says this.
        assert await workspace(client, "/") == (None, False, False)


# G10
async def test_a_link_as_root(front: ScriptedFront, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with served(front, workspace_roots=(tmp_path / "link",)) as client:
        expected = str((tmp_path / "real").resolve())
        assert await workspace(client, str(tmp_path / "link")) == (expected, False, False)


# G10: over stdio, and wherever the key can be read, the client is on this machine
async def test_a_client_of_this_machine_may_name_any_folder(
    front: ScriptedFront, tmp_path: Path
) -> None:
    folder = str(tmp_path)
    async with serving(front, local_key=KEY) as gateway:
        async with client_of(gateway, KEY) as client:
            assert await workspace(client, folder, [STDIO]) == (folder, False, False)
            assert await workspace(client, "/") == (None, False, False)
            assert await workspace(client, str(tmp_path / "missing")) == (None, True, False)
        for wrong in (None, "", KEY + "x", KEY[:-1], "é"):
            async with client_of(gateway, wrong) as client:
                assert await workspace(client, folder, [STDIO]) == (None, True, True)
    assert front.sessions["session-1"].row.overrides.workplace == Workplace(folder, (STDIO,))


# G10: without a key nobody is local
async def test_no_key_is_no_key(front: ScriptedFront, tmp_path: Path) -> None:
    async with serving(front) as gateway:
        for key in ("", "None"):
            async with client_of(gateway, key) as client:
                assert await workspace(client, str(tmp_path)) == (None, True, False)


# G10
async def test_servers_when_the_settings_allow_them(front: ScriptedFront) -> None:
    sent = {**STDIO, "_meta": {"a": 1}, "unknown": True}
    async with serving(front, client_mcp_servers=True) as gateway, client_of(gateway) as client:
        assert await workspace(client, "/", [sent, HTTP]) == (None, False, False)
    # What the protocol does not know is not passed on.
    servers = front.sessions["session-1"].row.overrides.workplace.mcp_servers
    assert servers == (STDIO, HTTP)


# G10, G2: loading and resuming may move a session, and without a wish leave it
@pytest.mark.parametrize("method", ["session/load", "session/resume"])
async def test_coming_back_from_another_folder(
    front: ScriptedFront, tmp_path: Path, method: str
) -> None:
    first, second = (tmp_path / "a").resolve(), (tmp_path / "b").resolve()
    first.mkdir()
    second.mkdir()
    async with served(front, workspace_roots=(tmp_path,)) as client:
        assert (await workspace(client, str(first), key="k"))[0] == str(first)
        assert (await workspace(client, "/", key="k"))[0] == str(first)
        (listed,) = (await client.call("session/list"))["sessions"]
        assert listed["cwd"] == str(first)
        session = {"sessionId": listed["sessionId"]}
        for cwd, expected in (("/", first), ("/etc", first), (str(second), second)):
            result = await client.call(method, {**session, "cwd": cwd, "mcpServers": []})
            mark = result["_meta"]["runtime"]
            assert mark["workspace"] == str(expected)
            assert mark["cwdIgnored"] is (cwd == "/etc")
        await client.call("session/resume", {**session, "cwd": "/"})
        (listed,) = (await client.call("session/list"))["sessions"]
        assert listed["cwd"] == str(second)


# G10, G7
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize(
    "servers, path",
    [
        ([{}], "$.mcpServers[0].name"),
        ([STDIO, {**STDIO, "args": "x"}], "$.mcpServers[1].args"),
        ([{**STDIO, "env": [{"name": "A"}]}], "$.mcpServers[0].env[0].value"),
        ([{**HTTP, "headers": None}], "$.mcpServers[0].headers"),
        ([{**STDIO, "type": "acp"}], "$.mcpServers[0].type"),
        ([{**STDIO, "type": 5}], "$.mcpServers[0].type"),
        ([{**STDIO, "args": ["x" * 70_000]}], "$.mcpServers"),
        ([STDIO] * 65, "$.mcpServers"),
        (["x"], "$.mcpServers[0]"),
    ],
)
async def test_what_is_no_server(
    front: ScriptedFront, servers: list[Any], path: str, allowed: bool
) -> None:
    async with served(front, client_mcp_servers=allowed) as client:
        error = await client.error("session/new", {"cwd": "/", "mcpServers": servers})
    assert (error["code"], error["data"]["path"]) == (-32602, path)
    assert front.sessions == {}
