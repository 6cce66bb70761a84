"""The questions with real servers and real files: each of them runs, and what it says can be."""

import math
import os
from mmap import mmap
from pathlib import Path

import pytest
import trio

from bench.clients import Gone, Refused, connected, initialized, said
from bench.harness import discover
from bench.processes import Server, program, resident, serving

SCALE = 0.002
FILES = ("acceptance", "connections", "library", "relay", "turns")
VARIANTS = {
    f"{name}: {variant}": measured
    for name, question in discover().items()
    if name.partition("/")[0] in FILES
    for variant, measured in question.variants.items()
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_gives_a_figure(name: str) -> None:
    figure = VARIANTS[name](SCALE)
    assert math.isfinite(figure)
    # So small a run may take less processor time than the clock of it can tell, and so few
    # connections fit into memory that the server has already, or gives back meanwhile.
    assert figure > 0 or (figure == 0 and "CPU" in name) or "memory" in name


def test_a_server_is_measured_and_does_not_live_on() -> None:
    with program("bench.bare", "tcp") as server:
        assert server.pid != os.getpid()
        assert server.resident() > 1_000_000
        used = server.used()
        assert used.loop > 0  # starting Python takes more than a tick
        assert used.total >= used.loop
        assert server.used().since(used).total > 0
    assert not Path(f"/proc/{server.pid}").exists()


def test_memory_that_is_taken_is_counted() -> None:
    before, size = resident(), 200_000_000
    with mmap(-1, size) as taken:  # not from what the process has already
        taken.write(bytes(size))
        assert resident() - before > size / 2


def test_a_program_that_does_not_listen_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not listen"), program("bench.nothing"):
        pass


def test_a_runtime_that_does_not_serve_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not serve"), serving("[nonsense]"):
        pass


async def test_a_client_says_what_went_wrong() -> None:
    with serving("") as server:
        async with initialized(server.url) as client:
            session = await client.new_session()
            await client.call("session/prompt", said(session, "x" * 100_000))
            with pytest.raises(Refused, match="-32601"):
                await client.call("no/such/method", {})
        with pytest.raises(Gone, match="404"):
            async with connected(server.url + "/nowhere"):
                pass


async def test_a_client_notices_that_the_server_is_gone() -> None:
    with program("bench.bare", "websocket") as server:
        async with connected(server.url) as client:
            _end(server)
            with trio.fail_after(20), pytest.raises((Gone, trio.BrokenResourceError)):
                await client.receive()


def _end(server: Server) -> None:
    os.kill(server.pid, 9)
