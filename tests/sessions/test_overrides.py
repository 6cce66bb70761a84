"""Queue settings of a session, as people type them (Q3, Q5)."""

import math
from typing import Any, get_args

import pytest

from runtime.sessions.durations import LONGEST_DURATION
from runtime.sessions.overrides import (
    LARGEST_CAP,
    BadOverride,
    checked_overrides,
    in_words,
    typed_overrides,
)
from runtime.sessions.rows import DropName, QueueOverrides
from runtime.settings import ChannelSettings
from runtime.settings.structs import DropPolicy

NONE = QueueOverrides()


@pytest.mark.parametrize(
    "typed, found",
    [
        ("collect", QueueOverrides(mode="collect")),
        ("queue", QueueOverrides(mode="steer")),
        ("debounce:2s", QueueOverrides(debounce=2.0)),
        ("debounce_max:1m30s", QueueOverrides(debounce_max=90.0)),
        ("cap:25", QueueOverrides(cap=25)),
        ("drop:old", QueueOverrides(drop="old")),
        ("mode:followup", QueueOverrides(mode="followup")),
        (
            "drop:new cap:1 steer_backlog debounce:500ms",
            QueueOverrides("steer-backlog", 0.5, 1, "new"),
        ),
    ],
)
def test_any_of_them_in_any_order(typed: str, found: QueueOverrides) -> None:
    assert typed_overrides(typed.split(), NONE) == found
    assert typed_overrides(in_words(found).split(), NONE) == found


def test_what_is_not_named_stays() -> None:
    before = QueueOverrides("collect", 2.0, 5, "old", 20.0)
    after = typed_overrides(["cap:6"], before)
    assert after == QueueOverrides("collect", 2.0, 6, "old", 20.0)
    assert in_words(after) == "collect debounce:2s debounce_max:20s cap:6 drop:old"
    assert in_words(NONE) == ""


@pytest.mark.parametrize(
    "typed, why",
    [
        ("fifo", "'fifo' is no queue mode; choose collect"),
        ("clear now", "/queue clear stands alone"),
        ("default steer", "/queue default stands alone"),
        ("steer reset", "/queue reset stands alone"),
        ("collect followup", "two values for mode"),
        ("cap:1 cap:2", "two values for cap"),
        ("cap:0", f"the cap is from 1 to {LARGEST_CAP}"),
        ("cap:many", "'many' is no cap"),
        ("cap:", "'' is no cap"),
        ("cap:²", "is no cap"),
        ("cap:9999999999", "is no cap"),
        ("debounce:2", "'2' is no duration"),
        ("debounce_max:-1s", "'-1s' is no duration"),
        ("drop:all", "drop is old, new or summarize"),
        ("clear", "'clear' is no queue mode"),
        ("size:3", "there is no queue setting 'size'"),
        (":", "there is no queue setting ''"),
    ],
)
def test_what_is_wrong_is_said(typed: str, why: str) -> None:
    with pytest.raises(BadOverride, match=why):
        typed_overrides(typed.split(), NONE)


@pytest.mark.parametrize(
    "field, good, bad",
    [
        ("mode", ["queue", "STEER+BACKLOG"], ["", "fifo", "clear"]),
        ("cap", [1, LARGEST_CAP], [0, -1, LARGEST_CAP + 1]),
        ("drop", ["old", "new", "summarize"], ["", "all", "OLD"]),
        ("debounce", [0.0, LONGEST_DURATION], [-0.001, 2 * LONGEST_DURATION, math.nan, math.inf]),
        ("debounce_max", [0.0, LONGEST_DURATION], [-0.001, 2 * LONGEST_DURATION, math.nan]),
    ],
)
def test_each_setting_has_its_bounds_and_its_name(
    field: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        checked_overrides(QueueOverrides(**{field: value}))
    for value in bad:
        with pytest.raises(BadOverride) as caught:
            checked_overrides(QueueOverrides(**{field: value}))
        assert caught.value.field == field
        assert str(caught.value)


def test_settings_agree_with_what_can_be_typed() -> None:
    assert get_args(DropPolicy) == get_args(DropName)
    assert set(QueueOverrides.__struct_fields__) <= set(ChannelSettings.__struct_fields__)
    checked_overrides(QueueOverrides(cap=LARGEST_CAP))
