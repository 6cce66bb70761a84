"""The names of the queue modes (Q3)."""

import pytest

from runtime.sessions.modes import QueueMode, mode_named


# Q3
@pytest.mark.parametrize(
    "name, mode",
    [
        ("collect", QueueMode.COLLECT),
        (" Queue ", QueueMode.STEER),
        ("steer+backlog", QueueMode.STEER_BACKLOG),
    ],
)
def test_modes_have_several_names(name: str, mode: QueueMode) -> None:
    assert mode_named(name) is mode


def test_a_mode_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^collect, followup, steer, steer-backlog or interrupt$"):
        mode_named("nonsense")
