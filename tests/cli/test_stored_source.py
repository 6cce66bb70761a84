"""What the command line does in the store of a runtime that does not run."""

from __future__ import annotations

from pathlib import Path

from runtime.cli.sources import Entry, StoredSource
from runtime.cli.waiting import open_readers
from runtime.sessions.ids import wall_clock_ms
from runtime.sessions.withdrawing import WITHDRAWN
from runtime.settings import Settings
from runtime.storage.sqlite import open_sqlite
from tests.storage.stage import admit, message


async def test_a_chat_is_told_that_its_messages_were_withdrawn(tmp_path: Path) -> None:  # Q4, H3
    async with open_sqlite(tmp_path, wall_clock_ms) as store, open_readers(tmp_path) as readers:
        session = (await admit(store, message())).session
        await admit(store, message())
        source = StoredSource(store, readers, Settings())
        entry = Entry(session.id, session.key, session.agent_id, session.epoch, "stopped")
        assert await source.clear(entry) == 2
        assert await source.clear(entry) == 0
        (owed,) = await store.outbox_due("telegram", "bot", 10)
        assert (owed.text, owed.reply_to.message_id) == (WITHDRAWN, None)
