"""A disk that hangs does not hold up the runtime: neither while it works, nor when it stops."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from runtime.protocol.extensions import UNAVAILABLE
from tests.e2e.hanging_disk import SLOW
from tests.e2e.stage import QUICK, House, Said, client_of, ran, until
from tests.gateway.client import said

PROGRAM = "tests.e2e.hanging_disk"


def with_image(session_id: str, **more: Any) -> dict[str, Any]:
    """A message with a picture."""
    params = said(session_id, "look", **more)
    data = base64.b64encode(b"a picture").decode()
    params["prompt"].append({"type": "image", "data": data, "mimeType": "image/png"})
    return params


async def asked(house: House, *command: str) -> Said:
    """What another command says of the runtime."""
    return await ran(*command, "--data-dir", house.data_dir, cwd=house.data_dir.parent)


def unfinished(house: House) -> list[Path]:
    return [*(house.data_dir / "media").rglob(".unfinished-*")]


# M3 M8 G7 S45
@pytest.mark.parametrize("answered", [False, True])
async def test_words_are_answered_and_the_end_comes(house: House, answered: bool) -> None:
    process = await house.serve(QUICK, PROGRAM)
    async with client_of(process) as client, client_of(process) as other:
        session_id = await client.new_session()
        prompt = await client.request("session/prompt", with_image(session_id))
        await until(lambda: unfinished(house))
        for each in (client, other):  # the one that waits is not held up itself
            where = session_id if each is client else await other.new_session()
            answer = await each.call("session/prompt", said(where, "words"))
            assert answer["stopReason"] == "end_turn"
        if answered:
            error = (await client.answer(prompt))["error"]
            assert error["code"] == UNAVAILABLE
            assert "nothing was accepted" in error["message"]
            assert "the disk does not answer" in error["message"]
            usage = await client.call("_runtime/media/usage", {})
            assert usage["stuck"] == 1
            said_of_it = await asked(house, "media", "usage")
            assert "does not answer: 1 thread wait" in said_of_it.out
            found = await asked(house, "doctor")
            assert found.code == 1
            assert "problem  media disk: does not answer" in found.out
        process.tell_to_stop()
        # As documented: it did not work, and why.
        assert await process.ended() == 1
    assert "Traceback" not in house.log, house.log
    assert "disk_does_not_answer" in house.log
    assert f"error: The disk with {house.data_dir / 'media'} does not answer" in house.log
    assert len(unfinished(house)) == 1
    process = await house.serve()
    assert unfinished(house) == []
    async with client_of(process) as client:
        answer = await client.call("session/prompt", with_image(await client.new_session()))
        assert answer["stopReason"] == "end_turn"
    assert await process.stop() == 0


# G9 S45
async def test_a_disk_that_is_slow_when_it_stops_is_no_defect(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW, "1")
    process = await house.serve(QUICK, PROGRAM)
    async with client_of(process) as client:
        await client.request("session/prompt", with_image(await client.new_session()))
        await until(lambda: unfinished(house))
        process.tell_to_stop()
        assert await process.ended() == 0
    assert "farewell_cut_off" in house.log
    assert "error:" not in house.log, house.log
