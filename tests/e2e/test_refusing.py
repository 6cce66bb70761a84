"""What keeps the runtime from starting is said once, and nothing is changed on disk."""

from __future__ import annotations

import socket
from pathlib import Path

import apsw
import pytest

from runtime.storage.opening import DATABASE
from tests.e2e.stage import (
    House,
    Said,
    client_of,
    everything_in,
    serve_in_vain,
    small_disk,
)
from tests.gateway.client import said


@pytest.fixture
async def used(house: House) -> Path:
    """A data directory in which somebody has talked."""
    return await talked_in(house)


async def talked_in(house: House) -> Path:
    process = await house.serve()
    async with client_of(process) as client:
        await client.call("session/prompt", said(await client.new_session(), "hello"))
    assert await process.stop() == 0
    return house.data_dir


async def refused(data_dir: Path, *arguments: str, around: Path | None = None) -> Said:
    """Start it in vain, and see that nothing was changed."""
    folder = around if around is not None else data_dir
    before = everything_in(folder)
    result = await serve_in_vain(
        *("--port", "0", "--data-dir", data_dir, *arguments), cwd=data_dir.parent
    )
    after = everything_in(folder)
    assert after.keys() == before.keys()
    for found in (before, after):
        found.pop(str(data_dir / "lock"), None)  # it names the process that took it last
    assert after == before
    assert result.code == 1
    assert result.out == ""
    assert "Traceback" not in result.err
    assert result.err.startswith("error: ")
    assert result.err.count("error: ") == 1
    return result


# D3 S23
async def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.write_text("dear diary")
    result = await refused(data_dir, around=tmp_path)
    assert f"{data_dir} is not a directory" in result.err
    assert "--data-dir" in result.err


# D3 S23
@pytest.mark.parametrize("empty", [True, False])
async def test_a_disk_that_can_only_be_read(tmp_path: Path, empty: bool) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        data_dir = disk.root / "data"
        data_dir.mkdir(mode=0o700)
        if not empty:
            await talked_in(House(data_dir, tmp_path, []))
        disk.forbid_writing()
        result = await refused(data_dir, around=disk.root)
    assert str(data_dir) in result.err
    assert "--data-dir" in result.err


# D1 D3
@pytest.mark.parametrize("empty", [True, False])
async def test_a_full_disk(tmp_path: Path, empty: bool) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        data_dir = disk.root / "data"
        data_dir.mkdir(mode=0o700)
        if not empty:
            await talked_in(House(data_dir, tmp_path, []))
        disk.fill()
        result = await refused(data_dir, around=disk.root)
    assert "No space is left" in result.err
    assert "free some space" in result.err


# G8
async def test_a_taken_port(used: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = await refused(used, "--port", port)
    assert f"port {port} is taken" in result.err
    assert "--port" in result.err or "gateway.port" in result.err


# D4
async def test_a_newer_database(used: Path) -> None:
    connection = apsw.Connection(str(used / DATABASE))
    connection.pragma("user_version", 999)
    connection.close()
    result = await refused(used)
    assert "has schema 999" in result.err
    assert "Install" in result.err


# D4 S23
async def test_a_database_that_is_none(used: Path) -> None:
    (used / DATABASE).write_text("dear diary")
    result = await refused(used)
    assert "it is not an SQLite database" in result.err
    assert "doctor" in result.err


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ("[gateway\n", "TOML"),
        ("[gateway]\nprot = 1\n", "port"),
        ("[agents.pal]\nkind = 'gone'\n", "agents.pal.kind"),
    ],
)
async def test_broken_settings(used: Path, settings: str, complaint: str) -> None:
    file = used.parent / "broken.toml"
    file.write_text(settings)
    result = await refused(used, "--config", str(file))
    assert complaint in result.err
    assert "hint: " in result.err


# D3
async def test_a_second_runtime(house: House) -> None:
    process = await house.serve()
    async with client_of(process) as client:
        await client.call("session/prompt", said(await client.new_session(), "hello"))
        with process.paused():
            result = await refused(house.data_dir)
        assert "Another runtime" in result.err
        assert "--data-dir" in result.err
        answer = await client.call("session/prompt", said(await client.new_session(), "again"))
        assert answer["stopReason"] == "end_turn"
    assert await process.stop() == 0
