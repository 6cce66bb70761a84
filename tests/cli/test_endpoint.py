"""Where a runtime is, said by every runtime that serves."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trio

import runtime
from runtime.cli.connect import connect
from runtime.endpoint import FILE_NAME, find, read
from runtime.settings import GatewaySettings, Settings, StorageSettings
from tests.gateway.client import connected

from .editor import editor


def settings_for(data_dir: Path) -> Settings:
    return Settings(
        storage=StorageSettings(data_dir=data_dir), gateway=GatewaySettings(port=0, token="sesame")
    )


# D3
async def test_a_program_that_embeds_it_is_found(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with runtime.open_runtime(settings, serve=True):
        path = tmp_path / FILE_NAME
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        endpoint = await trio.to_thread.run_sync(find, settings)
        assert endpoint is not None
        assert endpoint.token == "sesame"
        assert endpoint.local_key
        assert "sesame" not in repr(endpoint)
        assert endpoint.local_key not in repr(endpoint)
        async with connect(endpoint) as client:
            assert client.endpoint is endpoint
    assert not path.exists()
    async with runtime.open_runtime(settings, serve=True):
        again = read(tmp_path)
        assert again is not None
        assert again.local_key not in (None, endpoint.local_key)


# D3
async def test_one_that_serves_nobody_is_not(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with runtime.open_runtime(settings):
        assert read(tmp_path) is None


# G10
@pytest.mark.parametrize("over_pipes", [True, False])
async def test_the_folder_of_an_editor_on_this_machine_is_used(
    tmp_path: Path, over_pipes: bool
) -> None:
    (tmp_path / "project").mkdir()
    params = {"cwd": str(tmp_path / "project"), "mcpServers": []}
    async with editor(tmp_path / "data") as person:
        endpoint = read(tmp_path / "data")
        assert endpoint is not None
        if over_pipes:
            answer = await person.call("session/new", params)
        else:
            async with connected(endpoint.url) as client:
                answer = await client.call("session/new", params)
        mark = answer["_meta"]["runtime"]
        assert mark["cwdIgnored"] is not over_pipes
        assert mark["workspace"] == (params["cwd"] if over_pipes else None)
