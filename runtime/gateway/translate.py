"""From the session's records and events to the protocol's messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from runtime.protocol import extensions
from runtime.protocol.acp import UpdateParams
from runtime.protocol.extensions import (
    EventParams,
    JournalEvent,
    RuntimeMark,
    SnapshotEvent,
    TurnSnapshot,
    UpdateMark,
    WireEvent,
)
from runtime.sessions import events
from runtime.sessions.content import Content, TextBlock
from runtime.sessions.events import LiveEvent, RunningTurn, SessionEvent, Snapshot
from runtime.sessions.rows import JournalEntry
from runtime.sessions.updates import AgentMessageChunk, AgentThoughtChunk, UserMessageChunk

_WIRE: dict[type[SessionEvent], type[WireEvent]] = {
    events.MessageAccepted: extensions.MessageAcceptedEvent,
    events.MessageDropped: extensions.MessageDroppedEvent,
    events.TurnStarted: extensions.TurnStartedEvent,
    events.TurnUpdate: extensions.TurnUpdateEvent,
    events.TurnEnded: extensions.TurnEndedEvent,
    events.EpochStarted: extensions.EpochStartedEvent,
    events.SessionClosed: extensions.SessionClosedEvent,
}


def update(session_id: str, content: Any, mark: UpdateMark) -> UpdateParams:
    """A `session/update`."""
    return UpdateParams(session_id, content, RuntimeMark(mark))


def user_updates(session_id: str, content: Content, mark: UpdateMark) -> Iterator[UpdateParams]:
    """What a person said, a block at a time."""
    return (update(session_id, UserMessageChunk(block), mark) for block in content)


def replayed(session_id: str, entry: JournalEntry) -> Iterator[UpdateParams]:
    """A line of the transcript as updates: what the agent did in its order, when that was kept."""
    said = entry.role == "user"
    mark = UpdateMark(
        turn_id=entry.turn_id,
        message_id=entry.id if said else None,
        seq=entry.seq,
        at=entry.ts,
        notice=entry.role == "system",
    )
    kept = (entry.data or {}).get("updates") if entry.role == "assistant" else None
    if isinstance(kept, list) and kept:
        for content in kept:
            if isinstance(content, dict) and isinstance(content.get("sessionUpdate"), str):
                yield update(session_id, content, mark)
    elif entry.content:
        block = TextBlock(entry.content)
        yield update(
            session_id, UserMessageChunk(block) if said else AgentMessageChunk(block), mark
        )


def running_updates(session_id: str, running: RunningTurn) -> Iterator[UpdateParams]:
    """What a turn in mid-flight has said so far."""
    mark = UpdateMark(turn_id=running.started.turn_id)
    return (update(session_id, content, mark) for content in running.updates)


def retry_due(session_id: str, ended: events.TurnEnded, number: int) -> UpdateParams:
    """That a turn is tried again (T5 a): a thought, since it is no part of any answer."""
    mark = UpdateMark(turn_id=ended.turn_id, number=number, notice=True)
    text = events.retry_notice(ended.error, ended.retry_at)
    return update(session_id, AgentThoughtChunk(TextBlock(text)), mark)


def live_event(session_id: str, live: LiveEvent) -> EventParams:
    """A live event for those who follow all events."""
    wire = _WIRE[type(live.event)](**msgspec.structs.asdict(live.event))
    return EventParams(session_id, wire, live.number)


def journal_event(session_id: str, entry: JournalEntry) -> EventParams:
    """A line of the transcript for those who follow all events."""
    return EventParams(session_id, JournalEvent(**msgspec.structs.asdict(entry)))


def snapshot_event(session_id: str, snapshot: Snapshot) -> EventParams:
    """The running turn for those who follow all events."""
    running = None
    if snapshot.running is not None:
        started = snapshot.running.started
        running = TurnSnapshot(
            turn_id=started.turn_id,
            epoch=started.epoch,
            message_ids=started.message_ids,
            prompt=started.prompt,
            updates=snapshot.running.updates,
        )
    event = SnapshotEvent(snapshot.number, snapshot.journal_seq, running)
    return EventParams(session_id, event)
