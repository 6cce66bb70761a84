import pytest
import trio
import trio.testing

from actors.agents.acp.pace import Pace


async def test_a_burst_goes_through_and_then_so_many_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pace, began = Pace(3, per_second=10), trio.current_time()
    for _ in range(3):
        await pace.take()
    assert trio.current_time() == began
    for _ in range(10):
        await pace.take()
    assert trio.current_time() - began == pytest.approx(1)
    await trio.sleep(60)
    began = trio.current_time()
    for _ in range(4):
        await pace.take()
    assert trio.current_time() - began == pytest.approx(0.1)
