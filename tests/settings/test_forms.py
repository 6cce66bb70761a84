"""How durations, sizes and modes are written and read."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.durations import LONGEST_DURATION
from runtime.sessions.modes import ModeName, QueueMode
from runtime.settings import (
    format_duration,
    format_size,
    parse_duration,
    parse_queue_mode,
    parse_size,
)
from runtime.settings.forms import LARGEST_SIZE


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("0s", 0),
        ("500ms", 0.5),
        ("1s", 1),
        ("1.5s", 1.5),
        ("10m", 600),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("0.25ms", 0.000_25),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "1", "s", "-1s", "1 s", "1S", "1sec", ".5s", "1.s", "1s ", "off", "infs", "1e3s", "٣s"],
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_a_duration_has_an_upper_limit() -> None:
    assert parse_duration("36500d") == LONGEST_DURATION
    with pytest.raises(ValueError, match="36500d"):
        parse_duration("36500d1ms")
    with pytest.raises(ValueError, match="36500d"):
        parse_duration("9" * 400 + "s")


@given(st.floats(min_value=0, max_value=LONGEST_DURATION, allow_subnormal=False))
def test_every_duration_survives_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "seconds, text", [(0.5, "500ms"), (90, "90s"), (60, "1m"), (86_400, "1d"), (1.25, "1.25s")]
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), LONGEST_DURATION * 2])
def test_what_is_no_duration_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError):
        format_duration(seconds)


@pytest.mark.parametrize(
    "text, size",
    [
        ("512B", 512),
        ("1kB", 1_000),
        ("1KiB", 1_024),
        ("200MiB", 200 * 1_024**2),
        ("200 mib", 200 * 1_024**2),
        ("1.5GB", 1_500_000_000),
        ("1TiB", 1_024**4),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1B", "1", "1 M", "0.5B", "1MiBs", "9999999999TiB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(st.integers(min_value=0, max_value=LARGEST_SIZE))
def test_every_size_survives_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text())
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (parse_duration, parse_size, parse_queue_mode):
        try:
            read(text)
        except ValueError:
            continue


# Q3
@pytest.mark.parametrize(
    "text, mode",
    [
        ("collect", "collect"),
        ("Coalesce", "collect"),
        ("FOLLOWUP", "followup"),
        ("follow-up", "followup"),
        ("Follow-Ups", "followup"),
        ("interrupts", "interrupt"),
        ("abort", "interrupt"),
        ("steer", "steer"),
        ("Queue", "steer"),
        ("queued", "steer"),
        ("steering", "steer"),
        ("steer-backlog", "steer-backlog"),
        ("STEER+backlog", "steer-backlog"),
        ("steer_backlog", "steer-backlog"),
    ],
)
def test_queue_modes_have_aliases(text: str, mode: str) -> None:
    assert parse_queue_mode(text) == mode


def test_the_names_for_code_are_the_modes() -> None:  # Q3
    assert get_args(ModeName) == tuple(mode.value for mode in QueueMode)
