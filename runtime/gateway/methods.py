"""The handlers of the Agent Client Protocol's own methods (G1–G3, G10, G11)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from runtime import __version__
from runtime.gateway import choices, workplaces
from runtime.gateway.attachment import Attachment
from runtime.gateway.connection import Call, Handler
from runtime.gateway.failures import from_outcome, unknown_outcome
from runtime.gateway.workplaces import Grant
from runtime.ports.agent import Offers
from runtime.ports.front import Outcome, SessionInfo, Unavailable
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
from runtime.sessions.modes import MODE_NAMES
from runtime.sessions.rows import InboundState, SessionRow

LIST_PAGE = 50
"""Sessions in one page of `session/list`."""

_EXTENSIONS = tuple(each.name for each in FROM_CLIENT if each.name.startswith("_runtime/"))


async def initialize(params: acp.InitializeParams, call: Call) -> acp.InitializeResult:
    """Agree on version 1, the only one spoken, and say what there is (G1)."""
    client = call.client
    key = params.meta.runtime.local_key if params.meta and params.meta.runtime else None
    client.is_local = workplaces.is_local(client.config, key)
    client.knows_booleans = _knows_booleans(params.client_capabilities)
    mark = ServerMark(
        run=client.run_id,
        connection_id=client.connection_id,
        principal=client.principal.name,
        role=client.principal.role,
        agents=client.front.agents,
        methods=_EXTENSIONS,
        local=client.is_local,
        max_frame_bytes=client.config.max_frame_bytes,
        max_file_bytes=client.front.max_file_bytes,
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
    granted = await _granted(params, call)
    row = await call.client.front.open_session(
        key=asked.key, agent=asked.agent, workplace=granted.workplace
    )
    with call.client.view(row.id) as view:
        snapshot = await view.follow()
        offers = await _offers(row.id, view, call)
    return acp.NewSessionResult(
        session_id=row.id,
        config_options=await _config_options(row.id, offers, call),
        meta=_session_mark(row, snapshot, granted, call),
        modes=choices.mode_state(offers.config_options),
    )


async def load_session(params: acp.AttachParams, call: Call) -> acp.AttachResult:
    """Replay a session, and follow it (G2)."""
    granted = await _granted(params, call)
    with call.client.view(params.session_id) as view:
        snapshot = await view.replay()
        return await _attached(params.session_id, view, snapshot, granted, call)


async def resume_session(params: acp.AttachParams, call: Call) -> acp.AttachResult:
    """Follow a session without its history (G2)."""
    granted = await _granted(params, call)
    with call.client.view(params.session_id) as view:
        snapshot = await view.follow()
        return await _attached(params.session_id, view, snapshot, granted, call)


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
    """Set the queue mode of a session, or what its agent lets one choose (G2, Q3)."""
    if isinstance(params.value, bool) is not (params.type == "boolean"):
        expected = "true or false" if params.type == "boolean" else "a string"
        jsonrpc.invalid_params(f"expected {expected} for this type of setting", "$.value")
    front = call.client.front
    if params.config_id == choices.QUEUE_MODE:
        await _set_queue_mode(params, call)
        offers = await front.offers(params.session_id)
    else:
        offers = await front.choose(params.session_id, params.config_id, params.value)
    return acp.SetConfigOptionResult(await _config_options(params.session_id, offers, call))


async def set_mode(params: acp.SetModeParams, call: Call) -> acp.Empty:
    """Set the mode of the agent: its setting of that category, for older clients (G2)."""
    front = call.client.front
    offers = await front.offers(params.session_id)
    option = choices.mode_option(offers.config_options)
    if option is None:
        jsonrpc.invalid_params("the agent of this session has no modes", "$.modeId")
    await front.choose(params.session_id, option["id"], params.mode_id)
    return acp.Empty()


# -- prompts ----------------------------------------------------------------------------------


async def prompt(params: acp.PromptParams, call: Call) -> acp.PromptResult:
    """Submit a message, and answer when its turn has ended and all of it was sent (G3, G11)."""
    client = call.client
    with client.view(params.session_id) as view:
        await view.follow_if_new()
    submitted = await client.submit(params.session_id, params.prompt, params.meta)
    async with view.expecting(submitted):
        call.let_next_go()
        withdraw = partial(client.front.cancel, params.session_id, message_id=submitted.message_id)
        await call.can_be_cancelled(withdraw)
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


async def cancel_request(params: acp.CancelRequestParams, call: Call) -> None:
    """Cancel one request of this connection: a prompt is withdrawn, or its turn cancelled."""
    await call.client.cancel_request(params.request_id)


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
    "session/set_mode": set_mode,
    "$/cancel_request": cancel_request,
}


# -- helpers ----------------------------------------------------------------------------------


async def _attached(
    session_id: str, view: Attachment, snapshot: Snapshot, granted: Grant, call: Call
) -> acp.AttachResult:
    front = call.client.front
    if granted.workplace is not None:
        row = await front.set_workplace(session_id, granted.workplace)
    else:
        row = (await front.session_info(session_id)).row
    offers = await _offers(session_id, view, call)
    return acp.AttachResult(
        config_options=await _config_options(session_id, offers, call),
        meta=_session_mark(row, snapshot, granted, call),
        modes=choices.mode_state(offers.config_options),
    )


async def _granted(params: acp.NewSessionParams | acp.AttachParams, call: Call) -> Grant:
    client = call.client
    return await workplaces.grant(
        client.config, local=client.is_local, cwd=params.cwd, mcp_servers=params.mcp_servers
    )


async def _offers(session_id: str, view: Attachment, call: Call) -> Offers:
    """What the agent offers; its commands, and its questions, are said when the client knows the
    session.
    """
    offers = await call.client.front.offers(session_id)
    call.after_the_answer(view.ask_what_is_open)
    if offers.commands:
        call.after_the_answer(partial(view.announce_commands, offers.commands))
    return offers


def _session_mark(
    row: SessionRow, snapshot: Snapshot, granted: Grant, call: Call
) -> RuntimeMark[SessionMark]:
    return RuntimeMark(
        SessionMark(
            key=row.key,
            agent=row.agent_id,
            epoch=row.epoch,
            run=call.client.run_id,
            journal_seq=snapshot.journal_seq,
            live=snapshot.number,
            workspace=row.overrides.workplace.folder,
            cwd_ignored=granted.cwd_ignored,
            mcp_servers_ignored=granted.mcp_servers_ignored,
        )
    )


async def _config_options(
    session_id: str, offers: Offers, call: Call
) -> tuple[dict[str, Any], ...]:
    client = call.client
    return await choices.config_options(
        client.front, session_id, offers.config_options, booleans=client.knows_booleans
    )


async def _set_queue_mode(params: acp.SetConfigOptionParams, call: Call) -> None:
    if not isinstance(params.value, str) or params.value.strip().lower() not in MODE_NAMES:
        jsonrpc.invalid_params(f"{params.value!r} is no queue mode", "$.value")
    front = call.client.front
    info = await front.session_info(params.session_id)
    overrides = msgspec.structs.replace(info.row.queue, mode=params.value)
    await front.set_queue(params.session_id, overrides)


def _knows_booleans(capabilities: dict[str, Any] | None) -> bool:
    """Whether a client knows settings that are true or false; it says so by an object."""
    found: Any = capabilities
    for name in ("session", "configOptions", "boolean"):
        found = found.get(name) if isinstance(found, dict) else None
    return isinstance(found, dict)


def _listed(info: SessionInfo) -> acp.ListedSession:
    row = info.row
    active = row.last_active_at if row.last_active_at is not None else row.updated_at
    return acp.ListedSession(
        session_id=row.id,
        cwd=row.overrides.workplace.folder or "/",
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
