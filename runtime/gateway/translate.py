"""From the session's records and events to the protocol's messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from runtime.protocol import extensions
from runtime.protocol.acp import AskedToolCall, PermissionParams, UpdateParams
from runtime.protocol.extensions import (
    EventParams,
    JournalEvent,
    QuestionMark,
    RuntimeMark,
    SnapshotEvent,
    TurnSnapshot,
    UpdateMark,
    WireEvent,
)
from runtime.sessions import events
from runtime.sessions.content import Content, TextBlock
from runtime.sessions.events import LiveEvent, RunningTurn, SessionEvent, Snapshot
from runtime.sessions.permissions import question
from runtime.sessions.rows import JournalEntry, TurnError
from runtime.sessions.updates import (
    AgentMessageChunk,
    AgentThoughtChunk,
    PermissionRequest,
    UserMessageChunk,
)

RETRY_DUE = "retry_due"
"""Marks that a turn is tried again."""

PERMISSION = "permission"
"""Marks a question of the agent, for a client that shows no dialog."""

SYSTEM = "system"
"""Marks a line of the runtime in the transcript that says nothing more precise."""

_WIRE: dict[type[SessionEvent], type[WireEvent]] = {
    events.MessageAccepted: extensions.MessageAcceptedEvent,
    events.MessageDropped: extensions.MessageDroppedEvent,
    events.TurnStarted: extensions.TurnStartedEvent,
    events.MessageSteered: extensions.MessageSteeredEvent,
    events.TurnUpdate: extensions.TurnUpdateEvent,
    events.TurnEnded: extensions.TurnEndedEvent,
    events.PermissionAsked: extensions.PermissionAskedEvent,
    events.PermissionAnswered: extensions.PermissionAnsweredEvent,
    events.AgentAnnounced: extensions.AgentAnnouncedEvent,
    events.Notice: extensions.NoticeEvent,
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
        notice=_kind_of_notice(entry) if entry.role == "system" else None,
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
    mark = UpdateMark(turn_id=ended.turn_id, number=number, notice=RETRY_DUE)
    text = events.retry_notice(ended.error, ended.retry_at)
    return update(session_id, AgentThoughtChunk(TextBlock(text)), mark)


def failure(session_id: str, turn_id: str, error: TurnError, number: int) -> UpdateParams:
    """Why a turn has failed (T5), as it is replayed from the transcript."""
    mark = UpdateMark(turn_id=turn_id, number=number, notice=error.code)
    return update(session_id, AgentMessageChunk(TextBlock(error.message)), mark)


def notice(session_id: str, said: events.Notice, number: int) -> UpdateParams:
    """What the runtime says to everyone in a session."""
    mark = UpdateMark(message_id=said.message_id, number=number, notice=said.code)
    return update(session_id, AgentMessageChunk(TextBlock(said.text)), mark)


def permission(session_id: str, turn_id: str, asked: PermissionRequest) -> PermissionParams:
    """The question of an agent as a request, for a client with a dialog."""
    return PermissionParams(
        session_id=session_id,
        tool_call=AskedToolCall(**msgspec.structs.asdict(asked.tool_call)),
        options=asked.options,
        meta=RuntimeMark(QuestionMark(turn_id, asked.request_id)),
    )


def permission_in_words(session_id: str, turn_id: str, asked: PermissionRequest) -> UpdateParams:
    """The question of an agent as text: the answer is a number, said in a prompt."""
    mark = UpdateMark(turn_id=turn_id, notice=PERMISSION)
    return update(session_id, AgentMessageChunk(TextBlock(question(asked))), mark)


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
            questions=snapshot.running.questions,
        )
    event = SnapshotEvent(snapshot.number, snapshot.journal_seq, running)
    return EventParams(session_id, event)


def _kind_of_notice(entry: JournalEntry) -> str:
    """The code of an error that is in the transcript."""
    data = entry.data or {}
    error = data.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else SYSTEM
