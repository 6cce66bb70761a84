"""The handlers of the Agent Client Protocol's own methods (G1–G3, G10, G11)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from runtime import __version__
from runtime.gateway.connection import Call, Handler
from runtime.gateway.failures import from_outcome, unknown_outcome
from runtime.ports.front import Front, Outcome, SessionInfo, Unavailable
from runtime.protocol import acp, jsonrpc
from runtime.protocol.catalogue import FROM_CLIENT
from runtime.protocol.extensions import (
    ListedMark,
    NewMeta,
    PromptMark,
    RuntimeMark,
    ServerMark,
    SessionMark,
)
from runtime.sessions.events import Snapshot
from runtime.sessions.rows import InboundState, SessionRow

LIST_PAGE = 50
"""Sessions in one page of `session/list`."""

QUEUE_MODE = "queue_mode"

_QUEUE_MODES = (
    acp.SelectOption("collect", "Collect", "What arrives during a turn becomes one next turn."),
    acp.SelectOption("followup", "Follow up", "What arrives during a turn gets turns of its own."),
    acp.SelectOption("interrupt", "Interrupt", "What arrives cancels the turn and runs at once."),
)
_EXTENSIONS = tuple(each.name for each in FROM_CLIENT if each.name.startswith("_runtime/"))


async def initialize(params: acp.InitializeParams, call: Call) -> acp.InitializeResult:
    """Agree on version 1, the only one spoken, and say what there is (G1)."""
    mark = ServerMark(
        run=call.client.run_id,
        connection_id=call.client.connection_id,
        principal=call.client.principal.name,
        role=call.client.principal.role,
        agents=call.client.front.agents,
        methods=_EXTENSIONS,
    )
    return acp.InitializeResult(
        protocol_version=acp.PROTOCOL_VERSION,
        agent_capabilities=acp.AgentCapabilities(),
        agent_info=acp.Implementation("greenroom", __version__, "Greenroom"),
        meta=RuntimeMark(mark),
    )


# -- sessions ---------------------------------------------------------------------------------


async def new_session(params: acp.NewSessionParams, call: Call) -> acp.NewSessionResult:
    """Make or find a session, and follow it (G2)."""
    asked = (params.meta.runtime if params.meta is not None else None) or NewMeta()
    row = await call.client.front.open_session(key=asked.key, agent=asked.agent)
    with call.client.view(row.id) as view:
        snapshot = await view.follow()
    return acp.NewSessionResult(
        session_id=row.id,
        config_options=await _config_options(call.client.front, row.id),
        meta=_session_mark(row, snapshot, call),
    )


async def load_session(params: acp.AttachParams, call: Call) -> acp.AttachResult:
    """Replay a session, and follow it (G2)."""
    with call.client.view(params.session_id) as view:
        snapshot = await view.replay()
    return await _attached(params.session_id, snapshot, call)


async def resume_session(params: acp.AttachParams, call: Call) -> acp.AttachResult:
    """Follow a session without its history (G2)."""
    with call.client.view(params.session_id) as view:
        snapshot = await view.follow()
    return await _attached(params.session_id, snapshot, call)


async def list_sessions(params: acp.ListSessionsParams, call: Call) -> acp.ListSessionsResult:
    """A page of sessions (G2)."""
    page = await call.client.front.list_sessions(cursor=params.cursor, limit=LIST_PAGE)
    return acp.ListSessionsResult(tuple(map(_listed, page.sessions)), page.next_cursor)


async def close_session(params: acp.SessionParams, call: Call) -> acp.Empty:
    """Close a session (G2)."""
    await call.client.front.close_session(params.session_id)
    return acp.Empty()


async def set_config_option(
    params: acp.SetConfigOptionParams, call: Call
) -> acp.SetConfigOptionResult:
    """Set the queue mode of a session (G2, Q3)."""
    if params.config_id != QUEUE_MODE:
        jsonrpc.invalid_params(f"there is no setting {params.config_id!r}", "$.configId")
    if params.value not in {option.value for option in _QUEUE_MODES}:
        jsonrpc.invalid_params(f"{params.value!r} is no queue mode", "$.value")
    front = call.client.front
    info = await front.session_info(params.session_id)
    overrides = msgspec.structs.replace(info.row.queue, mode=params.value)
    await front.set_queue(params.session_id, overrides)
    return acp.SetConfigOptionResult(await _config_options(front, params.session_id))


# -- prompts ----------------------------------------------------------------------------------


async def prompt(params: acp.PromptParams, call: Call) -> acp.PromptResult:
    """Submit a message, and answer when its turn has ended and all of it was sent (G3, G11)."""
    client = call.client
    with client.view(params.session_id) as view:
        await view.follow_if_new()
    submitted = await client.submit(params.session_id, params.prompt, params.meta)
    async with view.expecting(submitted):
        call.let_next_go()
        try:
            outcome = await client.front.outcome(submitted.message_id)
        except Unavailable as error:
            raise unknown_outcome(submitted, error) from None
    mark = PromptMark(
        message_id=submitted.message_id,
        sequence=submitted.sequence,
        duplicate=submitted.duplicate,
        turn_id=outcome.turn_id,
        text=outcome.text if submitted.duplicate else None,
    )
    return acp.PromptResult(_stop_reason(outcome), RuntimeMark(mark))


async def cancel(params: acp.SessionParams, call: Call) -> None:
    """Cancel the running turn and this connection's waiting prompts (G11)."""
    front = call.client.front
    await front.cancel(params.session_id, connection=call.client.connection_id)


HANDLERS: dict[str, Handler] = {
    "initialize": initialize,
    "session/new": new_session,
    "session/load": load_session,
    "session/resume": resume_session,
    "session/list": list_sessions,
    "session/close": close_session,
    "session/prompt": prompt,
    "session/cancel": cancel,
    "session/set_config_option": set_config_option,
}


# -- helpers ----------------------------------------------------------------------------------


async def _attached(session_id: str, snapshot: Snapshot, call: Call) -> acp.AttachResult:
    info = await call.client.front.session_info(session_id)
    return acp.AttachResult(
        config_options=await _config_options(call.client.front, session_id),
        meta=_session_mark(info.row, snapshot, call),
    )


def _session_mark(row: SessionRow, snapshot: Snapshot, call: Call) -> RuntimeMark[SessionMark]:
    return RuntimeMark(
        SessionMark(
            key=row.key,
            agent=row.agent_id,
            epoch=row.epoch,
            run=call.client.run_id,
            journal_seq=snapshot.journal_seq,
            live=snapshot.number,
        )
    )


async def _config_options(front: Front, session_id: str) -> tuple[acp.ConfigOption, ...]:
    status = await front.queue_status(session_id)
    option = acp.ConfigOption(
        id=QUEUE_MODE,
        name="Queue mode",
        current_value=status.mode,
        options=_QUEUE_MODES,
        description="What happens to a message that arrives while a turn runs.",
    )
    return (option,)


def _listed(info: SessionInfo) -> acp.ListedSession:
    row = info.row
    active = row.last_active_at if row.last_active_at is not None else row.updated_at
    return acp.ListedSession(
        session_id=row.id,
        cwd="/",
        meta=RuntimeMark(ListedMark(row.key, row.agent_id, row.epoch, info.run_state)),
        title=row.label or row.display_name,
        updated_at=datetime.fromtimestamp(active / 1000, UTC).isoformat(),
    )


def _stop_reason(outcome: Outcome) -> acp.StopReason:
    for reason in acp.STOP_REASONS:
        if reason == outcome.stop_reason and (outcome.error is None or reason == "cancelled"):
            return reason
    if outcome.state is InboundState.DONE and outcome.error is None:
        return "end_turn"
    raise from_outcome(outcome)
