"""Every method that is served, in one table: the gateway serves it, the documentation prints it."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.protocol import acp, extensions, media
from runtime.sessions.principals import Role


class Method(msgspec.Struct, frozen=True):
    """A method of the protocol.

    Args:
        name: as on the wire.
        params: the struct of its parameters.
        result: the struct of its answer; None for a notification.
        summary: what it does, for people, in Markdown.
        role: who may call it (S36).
    """

    name: str
    params: Any
    result: Any
    summary: str
    role: Role = Role.MEMBER


FROM_CLIENT: tuple[Method, ...] = (
    Method(
        "initialize",
        acp.InitializeParams,
        acp.InitializeResult,
        "The first request on a connection: agrees on the protocol version.",
    ),
    Method(
        "session/new",
        acp.NewSessionParams,
        acp.NewSessionResult,
        "Makes a session and follows it. With `_meta.runtime.key` it answers the session of that "
        "key, and makes it only when there is none.",
    ),
    Method(
        "session/load",
        acp.AttachParams,
        acp.AttachResult,
        "Sends the conversation so far as `session/update` notifications, the running turn "
        "included, then answers; what happens from then on follows, without a gap and without "
        "repetition.",
    ),
    Method(
        "session/resume",
        acp.AttachParams,
        acp.AttachResult,
        "Follows a session from now on, without its history.",
    ),
    Method(
        "session/list",
        acp.ListSessionsParams,
        acp.ListSessionsResult,
        "Lists sessions, most recently active first, a page at a time.",
    ),
    Method(
        "session/prompt",
        acp.PromptParams,
        acp.PromptResult,
        "Accepts a message durably, streams the turn as `session/update` notifications and answers "
        "when it has ended. Prompts sent while a turn runs wait, are merged, join it or interrupt "
        "it, as the session's queue mode says; merged prompts all get the stop reason of their "
        "turn. With `_meta.runtime.messageId` a repeated prompt is accepted once and waits for the "
        "same turn. "
        "A turn that failed is answered with error -32603, whose `data` has a `code` and a "
        "`message`. When the agent went away before it had begun, a thought marked as a `notice` "
        "says when it is tried again. When the session is blocked, since its agent could not be "
        "started too often, the answer is error -32014 with `kept`: the message runs after "
        "`_runtime/session/reconnect`.",
    ),
    Method(
        "session/cancel",
        acp.SessionParams,
        None,
        "A notification. Cancels the running turn and withdraws this connection's waiting prompts; "
        "each of them is answered with stop reason `cancelled`. Going away cancels nothing.",
    ),
    Method(
        "$/cancel_request",
        acp.CancelRequestParams,
        None,
        "A notification, in both directions. From a client: the prompt with this id is withdrawn "
        "when it waits, and its turn is cancelled when it runs; it is answered with stop reason "
        "`cancelled`. Other requests are answered as if nothing had been said. From the runtime: "
        "the question with this id was answered elsewhere, or is void.",
    ),
    Method(
        "session/set_config_option",
        acp.SetConfigOptionParams,
        acp.SetConfigOptionResult,
        "Sets one of the settings that came with the session. `queue_mode` says what happens to a "
        "message that arrives while a turn runs; the others are the agent's, which is started when "
        "it sleeps. What it refuses is answered with error -32015.",
    ),
    Method(
        "session/set_mode",
        acp.SetModeParams,
        acp.Empty,
        "Sets the mode of the agent: the same as its setting of category `mode`, for older "
        "clients.",
    ),
    Method(
        "session/close",
        acp.SessionParams,
        acp.Empty,
        "Cancels what runs, withdraws what waits and closes the session.",
        Role.ADMIN,
    ),
    Method(
        "_runtime/session/send",
        extensions.SendParams,
        extensions.SendResult,
        "Accepts a message durably and answers at once, before any turn. With "
        "`_meta.runtime.messageId` it may be repeated safely.",
    ),
    Method(
        "_runtime/session/events",
        extensions.EventsParams,
        extensions.EventsResult,
        "Follows everything that happens in a session as `_runtime/session/event` notifications: "
        "the transcript after `after`, a snapshot of the running turn, then live events. A client "
        "that reconnects passes the last `seq` it saw, and the last live `number` with its `run`: "
        "when the runtime was restarted in between, a `reset` event comes first.",
    ),
    Method(
        "_runtime/session/reset",
        acp.SessionParams,
        extensions.ResetResult,
        "Begins the conversation anew: withdraws what waits, cancels what runs, raises the epoch.",
        Role.ADMIN,
    ),
    Method(
        "_runtime/session/reconnect",
        acp.SessionParams,
        acp.Empty,
        "Starts the session's agent anew, also when it could not be started too often and the "
        "session is blocked: what was kept runs then. A turn that runs keeps the agent it has.",
    ),
    Method(
        "_runtime/queue/status",
        acp.SessionParams,
        extensions.QueueStatusResult,
        "What runs in a session and what waits.",
    ),
    Method(
        "_runtime/queue/clear",
        acp.SessionParams,
        extensions.QueueClearResult,
        "Withdraws everything that waits in a session.",
        Role.ADMIN,
    ),
    Method(
        "_runtime/media/usage",
        acp.Empty,
        media.MediaUsageResult,
        "What the files that came with messages take on disk, in all and by session.",
        Role.ADMIN,
    ),
    Method(
        "_runtime/media/sweep",
        acp.Empty,
        media.MediaSweepResult,
        "Removes files now that are to be removed: those that nobody wants, those over the cap. "
        "It happens by itself all the time; this is for people who do not want to wait.",
        Role.ADMIN,
    ),
    Method(
        "_runtime/runtime/tree",
        acp.Empty,
        extensions.TreeResult,
        "The tree of actors, for people who look into a running system.",
        Role.ADMIN,
    ),
)

FROM_RUNTIME: tuple[Method, ...] = (
    Method(
        "session/update",
        acp.UpdateParams,
        None,
        "What the agent says and does, and what others say, in the protocol's own vocabulary. Sent "
        "to every connection that made, loaded or resumed the session or prompted in it; a "
        "connection does not get its own messages back. Updates with a `notice` in `_meta.runtime` "
        "are the runtime's words, and no part of an answer.",
    ),
    Method(
        "session/request_permission",
        acp.PermissionParams,
        acp.PermissionResult,
        "A request to every connection that follows the session: the agent wants to know whether "
        "it may. The first answer counts; to the others the request is withdrawn with "
        "`$/cancel_request`. An answer without an option that there is decides nothing. A client "
        "that answers with an error gets the question as text, marked as the notice `permission`, "
        "and may answer by a prompt with the number.",
    ),
    Method(
        "_runtime/session/event",
        extensions.EventParams,
        None,
        "Sent only to connections that asked with `_runtime/session/events`.",
    ),
)
