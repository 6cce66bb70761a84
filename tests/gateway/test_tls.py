"""TLS from certificate files: who speaks it, who does not, and renewed certificates (G8)."""

from __future__ import annotations

import logging
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import acp
import pytest
import trio
from acp.client.connection import ClientSideConnection

from runtime.gateway import Gateway, GatewayConfig, GatewayError, serve_gateway
from runtime.gateway import certificate as certificate_module
from tests.e2e.stage import until
from tests.gateway import raw
from tests.gateway.client import connected
from tests.gateway.scripted import ScriptedFront
from tests.gateway.sdk import Listener, run_script


class Files(NamedTuple):
    """A certificate for this machine, and its key."""

    certificate: Path
    key: Path

    async def make(self, *options: str) -> None:
        """Make them, or make them anew."""
        await trio.run_process(
            [
                *("openssl", "req", "-x509", "-newkey", "ec"),
                *("-pkeyopt", "ec_paramgen_curve:P-256", "-days", "1", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(self.key), "-out", str(self.certificate)),
                *(options or ("-nodes",)),
            ],
            stderr=subprocess.DEVNULL,
        )

    def config(self, **others: float) -> GatewayConfig:
        return GatewayConfig(
            port=0,
            tls_certificate=self.certificate,
            tls_key=self.key,
            **others,  # type: ignore[arg-type]
        )

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


@pytest.fixture
async def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "certificate.pem", tmp_path / "key.pem")
    await made.make()
    return made


@pytest.fixture
async def secure(
    files: Files, front: ScriptedFront, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(certificate_module, "LOOK_EVERY", 0.01)
    gateway: Gateway = await nursery.start(serve_gateway, front, files.config(handshake_timeout=1))
    yield gateway
    await gateway.close()


async def serial(gateway: Gateway) -> int:
    """The number of the certificate that a new connection is shown."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    stream = trio.SSLStream(await raw.connect(gateway), unchecked, https_compatible=True)
    async with stream:
        await stream.do_handshake()
        shown: bytes = stream.getpeercert(binary_form=True)
        return hash(shown)


# G8
async def test_the_sdk_speaks_it(
    secure: Gateway, front: ScriptedFront, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.certificate))
    front.echo = True
    said: list[str] = []

    async def script(connection: ClientSideConnection, listener: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = await connection.new_session(cwd="/", mcp_servers=[])
        await connection.prompt(session_id=session.session_id, prompt=[acp.text_block("hello")])
        said.append(listener.text(session.session_id))

    await run_script(secure.url, script)
    assert said == ["hello "]


# G8
@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 9_000]
)
async def test_who_does_not_finish_the_handshake_is_let_go(
    secure: Gateway, files: Files, data: bytes
) -> None:
    async with await raw.connect(secure) as stream:
        await stream.send_all(data)
        assert b"HTTP" not in await raw.read_all(stream)
    async with connected(secure.url, ssl_context=files.trusted()) as client:
        assert await client.new_session() == "session-1"


async def refusal(front: ScriptedFront, config: GatewayConfig) -> str:
    with pytest.raises(GatewayError) as raised:
        await serve_gateway(front, config)
    return str(raised.value)


# G8: said at the start, with what is wrong
async def test_files_that_cannot_be_used(files: Files, front: ScriptedFront) -> None:
    other = Files(files.certificate.with_name("other.pem"), files.key.with_name("other-key.pem"))
    await other.make()
    mixed = files._replace(key=other.key)
    assert "mismatch" in (await refusal(front, mixed.config())).lower()
    missing = files._replace(key=files.key.with_name("missing.pem"))
    assert "No such file" in await refusal(front, missing.config())
    without_key = GatewayConfig(port=0, tls_certificate=files.certificate)
    assert "key" in await refusal(front, without_key)
    # Nobody is asked on the terminal for a password.
    await other.make("-passout", "pass:secret")
    assert "unencrypted key" in await refusal(front, other.config())


# G8: certificates run out while runtimes run
async def test_a_renewed_certificate_is_shown_to_new_connections(
    secure: Gateway, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runtime.gateway")
    async with connected(secure.url, ssl_context=files.trusted()) as old:
        before = await serial(secure)
        await files.make()
        with trio.fail_after(raw.LIMIT):
            while await serial(secure) == before:  # noqa: ASYNC110 - files are looked at
                await trio.sleep(0.01)
        async with connected(secure.url, ssl_context=files.trusted()) as new:
            assert await new.new_session() == "session-1"
        # The connection that was there goes on.
        assert await old.new_session() == "session-2"
    assert "changed certificate" in caplog.text


# G8
async def test_a_broken_renewal_changes_nothing(
    secure: Gateway, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    before = await serial(secure)
    whole = files.certificate.read_bytes()
    files.certificate.write_bytes(whole[:100])
    await until(lambda: "the certificate in use is kept" in caplog.text)
    assert await serial(secure) == before
    files.certificate.unlink()
    await until(lambda: caplog.text.count("the certificate in use is kept") == 2)
    assert await serial(secure) == before
    assert len(caplog.records) == 2
