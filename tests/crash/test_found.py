"""What the driver has found, without its dice."""

from __future__ import annotations

from pathlib import Path

from actors.agents.echo import Options
from runtime import Settings, open_runtime
from runtime.settings import AgentEntry, StorageSettings
from tests.crash.accounting import transcripts
from tests.crash.evidence import collect

RESETS = 20


# J2 S18
async def test_an_epoch_is_left_with_its_transcript_complete(tmp_path: Path) -> None:
    """Killed after two quick resets, nobody would look at the first epoch's file again."""
    slow = AgentEntry("echo", Options(pace=3_600))
    settings = Settings(storage=StorageSettings(data_dir=tmp_path), agents={"echo": slow})
    async with open_runtime(settings) as runtime:
        session = await runtime.session("demo")
        for number in range(1, RESETS + 1):
            turn = await session.prompt(f"m-0-{number} and more")
            await anext(turn)
            await session.reset()
            evidence = collect(tmp_path)
            assert len(evidence.journal[session.id]) == 2 * number
            assert list(transcripts(evidence)) == []
