"""A gateway on a free port, before a scripted front."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from tests.gateway.scripted import ScriptedFront


@pytest.fixture
def front() -> ScriptedFront:
    return ScriptedFront()


@pytest.fixture
async def gateway(front: ScriptedFront, nursery: trio.Nursery) -> AsyncIterator[Gateway]:
    config = GatewayConfig(port=0, handshakes_per_second=1_000.0)
    served: Gateway = await nursery.start(serve_gateway, front, config)
    yield served
    await served.close()
