"""The handlers of our own methods (G4, G12)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from runtime.gateway.connection import Call, Handler
from runtime.ports.front import MediaUsage, SessionMedia
from runtime.protocol import acp
from runtime.protocol.extensions import (
    EventsParams,
    EventsResult,
    QueueClearResult,
    QueueStatusResult,
    ResetResult,
    SendParams,
    SendResult,
    TreeResult,
)
from runtime.protocol.media import MediaSweepResult, MediaUsageResult, SessionMediaResult


async def send(params: SendParams, call: Call) -> SendResult:
    """Submit a message, and answer when it is kept."""
    submitted = await call.client.submit(params.session_id, params.prompt, params.meta)
    return SendResult(submitted.message_id, submitted.sequence, submitted.duplicate)


async def events(params: EventsParams, call: Call) -> EventsResult:
    """Follow all events of a session from a cursor on."""
    client = call.client
    known = await client.front.snapshot(params.session_id)
    reset = params.live is not None and (
        params.live > known.number or params.run not in (None, client.run_id)
    )
    with client.view(params.session_id) as view:
        snapshot = await view.follow_events(params.after, reset=reset)
    return EventsResult(client.run_id, snapshot.journal_seq, snapshot.number)


async def reset(params: acp.SessionParams, call: Call) -> ResetResult:
    """Begin the conversation anew (S18)."""
    row = await call.client.front.reset_session(params.session_id)
    return ResetResult(row.id, row.epoch)


async def reconnect(params: acp.SessionParams, call: Call) -> acp.Empty:
    """Start the session's agent anew, and run what was kept while it was blocked (P3)."""
    await call.client.front.reconnect(params.session_id)
    return acp.Empty()


async def queue_status(params: acp.SessionParams, call: Call) -> QueueStatusResult:
    """What runs and what waits (Q5)."""
    status = await call.client.front.queue_status(params.session_id)
    return QueueStatusResult(
        status.mode, status.running, status.waiting, status.oldest, status.blocked
    )


async def queue_clear(params: acp.SessionParams, call: Call) -> QueueClearResult:
    """Withdraw what waits (Q5)."""
    return QueueClearResult(await call.client.front.clear_queue(params.session_id))


async def media_usage(params: acp.Empty, call: Call) -> MediaUsageResult:
    """What files take (M5)."""
    front = call.client.front
    return usage_result(front.media_usage(), await front.largest_media())


def usage_result(usage: MediaUsage, largest: Sequence[SessionMedia]) -> MediaUsageResult:
    """What files take, as it is told to clients."""
    sessions = (SessionMediaResult(*msgspec.structs.astuple(each)) for each in largest)
    return MediaUsageResult(**msgspec.structs.asdict(usage), largest=tuple(sessions))


async def media_sweep(params: acp.Empty, call: Call) -> MediaSweepResult:
    """Remove what is to be removed (M5)."""
    swept = await call.client.front.sweep_media()
    return MediaSweepResult(swept.files, swept.size, swept.problems)


async def tree(params: acp.Empty, call: Call) -> TreeResult:
    """The tree of actors (K9)."""
    return TreeResult(call.client.front.tree())


HANDLERS: dict[str, Handler] = {
    "_runtime/session/send": send,
    "_runtime/session/events": events,
    "_runtime/session/reset": reset,
    "_runtime/session/reconnect": reconnect,
    "_runtime/queue/status": queue_status,
    "_runtime/queue/clear": queue_clear,
    "_runtime/media/usage": media_usage,
    "_runtime/media/sweep": media_sweep,
    "_runtime/runtime/tree": tree,
}
