"""Where a runtime is, said by every runtime that serves."""

from __future__ import annotations

import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

import runtime
from runtime.cli.client import NotAllowed, NotReachable
from runtime.cli.connect import connect
from runtime.endpoint import FILE_NAME, Endpoint, find, read
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


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that nobody but itself has signed, made out to a host elsewhere; its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("making certificates needs openssl")
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    files = ("-keyout", str(key), "-out", str(made))
    command = (openssl, "req", "-x509", *curve, "-days", "1", "-subj", "/CN=chat.example", *files)
    subprocess.run(command, check=True, capture_output=True)
    return made, key


# G8, D3
async def test_commands_on_this_machine_know_its_certificate(tmp_path: Path) -> None:
    shown, key = await trio.to_thread.run_sync(certificate, tmp_path, "own")
    other, _ = await trio.to_thread.run_sync(certificate, tmp_path, "other")
    gateway = GatewaySettings(port=0, token="sesame", tls_certificate=shown, tls_key=key)
    data_dir = tmp_path / "data"
    settings = Settings(storage=StorageSettings(data_dir=data_dir), gateway=gateway)
    async with runtime.open_runtime(settings, serve=True):
        endpoint = read(data_dir)
        assert endpoint is not None
        async with connect(endpoint):
            pass
        for unknown in (None, str(other), str(tmp_path / "missing.pem")):
            with pytest.raises(NotAllowed, match="not trusted: self-signed") as caught:
                async with connect(Endpoint(endpoint.url, "sesame", certificate=unknown)):
                    pass
            assert "SSL_CERT_FILE" in (caught.value.hint or "")


# G8
@pytest.mark.parametrize(
    "greeting, error", [(b"HTTP/1.1 400 Bad Request\r\n\r\n", NotAllowed), (b"", NotReachable)]
)
async def test_a_port_without_tls(greeting: bytes, error: type[Exception]) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if greeting:
            await stream.send_all(greeting)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, greet, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        with pytest.raises(error, match="TLS" if greeting else "at once"):
            async with connect(Endpoint(f"wss://127.0.0.1:{port}/acp")):
                pass
        nursery.cancel_scope.cancel()
