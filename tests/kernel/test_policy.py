"""Backoff and intensity, as plain values."""

import pytest

from runtime.kernel import Backoff, Intensity
from runtime.kernel.policy import History

# K5


def test_jitter_stays_within_its_share() -> None:
    backoff = Backoff(initial=2, maximum=8, factor=2, jitter=0.5)
    assert all(2 <= backoff.delay(0) <= 3 for _ in range(100))
    assert all(8 <= backoff.delay(10_000) <= 12 for _ in range(100))


@pytest.mark.parametrize(
    "values", [{"initial": -1}, {"initial": 9, "maximum": 8}, {"factor": 0.5}, {"jitter": 2}]
)
def test_a_backoff_makes_sense(values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Backoff(**values)


@pytest.mark.parametrize("restarts, seconds", [(-1, 1), (1, 0)])
def test_an_intensity_makes_sense(restarts: int, seconds: float) -> None:
    with pytest.raises(ValueError):
        Intensity(restarts, seconds)


def test_the_window_of_an_intensity_slides() -> None:
    history = History(Intensity(restarts=2, seconds=10))
    assert [history.record(now) for now in (0, 1, 2)] == [0, 1, None]
    assert history.record(10.5) == 1
    assert history.record(10.6) is None
    assert history.record(100) == 0
