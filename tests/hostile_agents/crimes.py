"""What becomes of a message whose agent is a villain, and what people are told of it."""

from __future__ import annotations

from typing import NamedTuple

TEXT = "first, please"


class Crime(NamedTuple):
    """One crime.

    Args:
        times: how many starts of the agent are bad ones.
        answer: how the answer to the message ends; None when it fails.
        error: code and words of the error, when it fails.
        notices: codes and words of what the chat is told meanwhile.
        seconds: that may pass, for the deadlines that apply, until the message behind it is
            answered; 5 more are allowed by the rules, and some for a busy machine.
    """

    times: int = 1
    answer: str | None = TEXT
    error: tuple[str, str] = ("", "")
    notices: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


FIRST_EVENT = SILENCE = 4.0
CANCEL = 5.0
START = 9.0

BAD_END = "ended with exit code 3; it said:\nthis is how villains end"
BAD_START = ("agent_start_failed", "ended with exit code 7; it said:\nthis is how villains end")
STALLED = ("agent_stalled", "fell silent in the middle of its answer")
SILENT = ("retry_due", "did not answer in time")

CRIMES = {
    "exits-at-start": Crime(times=2, notices=(BAD_START,)),
    "hangs-at-start": Crime(
        notices=(
            ("agent_start_failed", "did not answer initialize within 9 s; it wrote: plotting"),
        ),
        seconds=START,
    ),
    "babbles-at-start": Crime(),
    "exits-before": Crime(notices=(("retry_due", BAD_END),)),
    "exits-always": Crime(times=2, answer=None, error=("agent_gone", BAD_END)),
    "exits-after": Crime(answer=None, error=("agent_gone", BAD_END)),
    "hangs-before": Crime(notices=(SILENT,), seconds=FIRST_EVENT + CANCEL),
    "hangs-always": Crime(
        times=2,
        answer=None,
        error=("agent_silent", "did not answer in time. That was try 2"),
        notices=(SILENT,),
        seconds=2 * (FIRST_EVENT + CANCEL),
    ),
    "hangs-after": Crime(answer=None, error=STALLED, seconds=SILENCE + CANCEL),
    "ignores-its-end": Crime(answer=None, error=STALLED, seconds=SILENCE + CANCEL),
    "bears-children": Crime(answer=None, error=("agent_gone", BAD_END)),
    "leaves-pipes-open": Crime(answer=None, error=("agent_gone", BAD_END)),
    "fails": Crime(answer=None, error=("agent_error", "the model is on holiday")),
    "floods-with-kinds": Crime(answer="done"),
    "floods-stderr": Crime(answer="done"),
    "says-garbage": Crime(answer="5 refused; done"),
    "says-a-long-line": Crime(answer="done"),
    "answers-twice": Crime(answer="done"),
    "answers-nonsense": Crime(answer=None, error=STALLED, seconds=SILENCE + CANCEL),
    "closes-output": Crime(notices=(("retry_due", "closed its output"),)),
    "closes-input": Crime(notices=(SILENT,), seconds=FIRST_EVENT + CANCEL),
}
