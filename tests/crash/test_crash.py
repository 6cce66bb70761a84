"""A short run of the whole thing; `make crash` does the long ones."""

from pathlib import Path

import pytest

from tests.crash.drive import Plan, run


# D1 D5 D7 D8 G3 G4 J1 J2 Q8 T2 T5
@pytest.mark.crash
@pytest.mark.slow
async def test_every_accepted_message_is_accounted_for(tmp_path: Path) -> None:
    report = await run(Plan(seed=2, kills=3, people=8), tmp_path, print)
    assert report.violations == ()
    assert report.accepted > 0
    ends = report.answered + report.cancelled + report.failed + report.withdrawn
    assert ends >= report.accepted
