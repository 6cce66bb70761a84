"""The published Python SDK, unmodified, across a ``kill -9``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trio

from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import LIMIT, House

CLIENT = Path(__file__).with_name("sdk_client.py")
SETTINGS = "[agents.echo]\nkind = 'echo'\npace = '20ms'\n"


async def sdk(process: RuntimeProcess, *arguments: str) -> dict[str, Any]:
    """Run the client; what it saw."""
    with trio.fail_after(LIMIT):
        done = await trio.run_process(
            [sys.executable, str(CLIENT), process.url, *arguments], capture_stdout=True
        )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


# G1 G2 G3 G11 D8 J2
async def test_a_conversation_survives_the_runtime(house: House) -> None:
    process = await house.serve(SETTINGS)
    seen = await sdk(process, "talk")
    assert "".join(seen["pieces"]).strip() == "hello there"
    assert len(seen["pieces"]) > 1
    assert seen["stop_reasons"] == ["end_turn", "cancelled"]
    await process.kill()
    process = await house.serve(SETTINGS)
    said = (await sdk(process, "load", seen["session"]))["said"]
    asked = [text for kind, text in said if kind == "user_message_chunk"]
    answered = [text for kind, text in said if kind == "agent_message_chunk"]
    assert asked == ["hello there", "word " * 1_000]
    assert answered[0].strip() == "hello there"
    assert "".join(answered[1:]).startswith("word ")
    assert await process.stop() == 0
