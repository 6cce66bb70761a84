"""The documentation of the protocol, made from the structs that are served.

python -m runtime.protocol.document > docs/protocol.md
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import msgspec

from runtime.protocol import acp, extensions, jsonrpc
from runtime.protocol.catalogue import FROM_CLIENT, FROM_RUNTIME, Method
from runtime.sessions.principals import Role

INTRODUCTION = """\
# The protocol

Clients speak the [Agent Client Protocol](https://agentclientprotocol.com), version 1: JSON-RPC
2.0, one message per WebSocket text frame, at `ws://HOST:PORT/acp`. To a client the runtime is an
agent whose sessions survive everything: a client that goes away cancels nothing, and one that
comes back misses nothing. Published SDKs work unmodified; with the Python one
(`pip install "agent-client-protocol[http]"`):

<!-- no-run -->
```python
import asyncio

import acp
from acp.ws import create_websocket_stream


class Terminal(acp.Client):
    async def session_update(self, session_id, update, **meta):
        if update.session_update == "agent_message_chunk":
            print(update.content.text, end="", flush=True)


async def main():
    stream = await create_websocket_stream("ws://127.0.0.1:8765/acp")
    connection = acp.connect_to_agent(Terminal(), stream)
    await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
    session = await connection.new_session(cwd="/", mcp_servers=[])
    await connection.prompt(session_id=session.session_id, prompt=[acp.text_block("hello")])
    await connection.close()


asyncio.run(main())
```

What the runtime adds is in methods that begin with `_runtime/` and in the member `_meta.runtime`
of the protocol's own messages. A client that knows none of it loses nothing of the protocol. The
Python SDK has a place for each: what goes into `_meta` is a keyword argument, what came in it is
`field_meta` of an answer and the keyword arguments of `session_update`. `ext_method` puts the
underscore before a method's name by itself, and takes it off before `ext_notification`:

<!-- no-run -->
```python
import asyncio

import acp
from acp.ws import create_websocket_stream


class Follower(acp.Client):
    async def session_update(self, session_id, update, **meta):
        print(update.session_update, "of turn", meta["runtime"]["turnId"])

    async def ext_notification(self, method, params):
        print(method, params["event"]["type"])


async def main():
    stream = await create_websocket_stream("ws://127.0.0.1:8765/acp")
    connection = acp.connect_to_agent(Follower(), stream)
    await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
    session = await connection.new_session(cwd="/", mcp_servers=[], runtime={"key": "diary"})
    target = {"sessionId": session.session_id}
    cursor = session.field_meta["runtime"]["journalSeq"]
    await connection.ext_method("runtime/session/events", {**target, "after": cursor})
    answer = await connection.prompt(
        session_id=session.session_id,
        prompt=[acp.text_block("hello")],
        runtime={"messageId": "diary-1"},
    )
    print("answered by turn", answer.field_meta["runtime"]["turnId"])
    status = await connection.ext_method("runtime/queue/status", target)
    print("still waiting:", status["waiting"])
    await connection.close()


asyncio.run(main())
```

This page is made from the code by `python -m runtime.protocol.document`.

## Connecting

By default the port is open to this machine only, and no token is needed. Any other address needs
one; a client presents it as

- the header `Authorization: Bearer TOKEN`, or
- for browsers, which cannot set headers on a WebSocket, the two subprotocols `acp` and `bearer.`
  followed by the token in URL-safe base64 without padding. The answer names `acp` alone.

```javascript
const token = btoa("TOKEN").replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const socket = new WebSocket("wss://chat.example.com/acp", ["acp", `bearer.${token}`]);
```

Who presents `gateway.token` is the owner, and so is everybody while no token is set. Further names,
each with a token and a role, are in `[gateway.principals]`. A `member` may call every method that
does not say otherwise; `admin` and `owner` may do what those before them may, and more. The answer
to `initialize` says in `_meta.runtime` who the client is taken for. A method that its role does not
allow is answered with an error, and nothing else happens: no session is touched, no agent wakes.

A page may connect when its origin is in `gateway.allowed_origins`, or is this machine at the
gateway's own port. The `Host` must be a loopback name, the configured host or the host of an
allowed origin, and may be any address when every address is listened on; `/healthz` alone answers
whatever the `Host`, and never wants a token. The upgrade's answer has the header
`Acp-Connection-Id`.

| refused with | because |
|---|---|
| 401 | the token is missing or wrong |
| 403 | the page's origin is not allowed |
| 421 | the `Host` is none that is served here |
| 426 | this is no WebSocket handshake of version 13 |
| 429 | too many handshakes from one address |
| 503 | too many connections, in all or from one address |

The runtime pings; a client that does not answer is let go. It closes with these codes:

| code | because | what to do |
|---|---|---|
| 1001 | the runtime stops, or a ping was not answered | connect again, go on from the cursor |
| 1009 | a message longer than `gateway.max_frame_bytes`, or in over 4096 fragments | send less |
| 1011 | an error inside the gateway | connect again |
| 1013 | the client did not read what it was sent | connect again, go on from the cursor |

Binary frames are ignored. Who is refused for a token, an origin, a `Host`, too many handshakes or
too many connections is in the log, with the address and at most one line a second for each reason.

The same port answers `GET /healthz` (200 as long as the process lives), `GET /readyz` (200 when
messages can be accepted, else 503, with the problems as JSON) and `GET /metrics` (Prometheus).

## A conversation

1. `initialize` comes first.
2. `session/new` makes a session, or finds the one of `_meta.runtime.key`. `session/load` and
   `session/resume` come back to one.
3. `session/prompt` says something. It is kept before anything else happens: from then on a crash
   loses nothing. The turn streams as `session/update` notifications, all of them before the answer
   with its stop reason.
4. Another prompt may be sent while a turn runs, by this client or another. The session's queue
   mode decides: `collect` makes one next turn of all that waits, `followup` one turn each, `steer`
   hands it to the running one where the agent can take it in, `steer-backlog` does that and gives
   it a turn of its own as well, `interrupt` cancels the running one.

Requests to one session take effect in the order in which they were sent; a prompt lets the next
request go when it was accepted. What others say in a session arrives as `user_message_chunk`, with
the ids of the message and its turn in `_meta.runtime`; a client's own words are not sent back to
it.

**States.** `session/list` says in `_meta.runtime.state` what each session does at that moment:
`running` means that a turn runs, `idle` that it is in memory and none does, `blocked` that its
agent could not be started too often, `stopped` that it is asleep on disk. A stopped session is as
good as any other: whatever is said to it wakes it. The `state` of a `turn_ended` event is another
thing: what became of that turn.

**Sending again.** A client that lost its connection does not know whether its message was
accepted. With a `_meta.runtime.messageId` of its own choice it sends the message once more, by
`session/prompt` or `_runtime/session/send`: it is accepted once, and a prompt waits for the same
turn. When that has ended already, `_meta.runtime.text` of the answer has the whole reply.

**What can be said.** A prompt has any of the protocol's blocks. Images, sounds and resources with
a `blob` are kept as files of the session before the prompt is accepted; the agent gets a link to
each, and the image or the sound itself when it takes such. The text of a resource is text; one of
more than 64 KiB is kept as a file, too. A sound with `_meta.runtime.voice` is a voice note: where
there is a transcriber the agent is given its words in its place, and the prompt waits for them
when it was accepted. A `file:` link is kept in the same way if the client may name the file: one
that is on this machine may name any, others those in `gateway.workspace_roots`. The agent's link
says of what it is a copy. A link into the folder where the agent works stays a link, and so does
one to something that is no file or is too large. A link to the web stays one, too, unless it lies
below an address of `media.fetch_links`: then what it leads to is fetched while the prompt waits,
and a notice says so if it is not to be had. Those
who watch see a link with an address `attachment:…` that names the file and leads nowhere. What is
too large, or finds no room, is refused with the whole prompt. An agent may say all of the blocks,
too. They are relayed live as they are; of more than 65536 characters of base64 the transcript
keeps words only, as in
`[image: image/png] (too large to be kept)`, and this is what is replayed. Whoever reads only text,
as in the `text` of a `turn_ended` event, finds words for all of them.

**Words of the runtime.** Updates with a `notice` in `_meta.runtime` are said by the runtime. They
are no part of an answer, and the notice says what they are:

| notice | said |
|---|---|
| `retry_due` | a turn came to nothing and is tried again; a thought, as it is no answer |
| `permission` | a question of the agent, for a client that shows no dialog |
| `agent_start_failed` | the agent could not be started, and when it is tried again |
| `agent_blocked` | it could not be started too often: messages are kept until `/reconnect` |
| `agent_forgot` | the agent does not know the conversation any more and begins anew |
| `command` | what came of a command, as `/reconnect` |
| `not_taken` | what a link leads to could not be fetched, and why |
| the code of an error | why a turn has failed: to those whose prompt is not answered with it |
| `system` | another line of the transcript, when history is replayed |

There may be others. Who follows events gets a `notice` event for those that are said live.

**Commands.** A prompt that is nothing but `/reconnect` (start the agent again), `/status` (what
runs and waits), `/stop` (withdraw what waits and end the running turn) or `/queue …` (say or set
how the queue works, clear it) is for the runtime: it is carried out at its place among the
messages, also when the queue is full, and answered with a notice. `/new` and `/reset` begin a new
conversation; what follows them in the same prompt is its first message, and the prompt is answered
when that is. What takes away from others, or sets the queue, needs the role `admin`, as the methods
do. Where the agent has a command of that name, the agent gets it, and the runtime's is
`/runtime reconnect`. Everything else, whatever it begins with, goes to the agent.

**Permissions.** When the agent asks whether it may, everybody who follows the session is asked by
`session/request_permission`, and so is who comes while the question is open. The first answer
counts, and the turn goes on. Who has no dialog answers by a prompt with the number that the
question gives, or sees others answer. The outcome `cancelled` means that nobody chose.

**Settings.** `configOptions` in the answers to `session/new`, `session/load` and `session/resume`
are the session's `queue_mode` and what its agent lets one choose; as long as the agent has not been
started they may be few. What the agent announces later comes as `config_option_update`, with the
queue mode among it, as `current_mode_update` for older clients, and as `available_commands_update`.

**Where the agent works.** `cwd` is used when it is an existing folder inside one of
`gateway.workspace_roots`, links resolved; the agent works there from its next start on. `/` is no
wish. `mcpServers` are passed on when `gateway.client_mcp_servers` is set. A client that shows
`_meta.runtime.localKey` in `initialize` is on this machine and of the same person: it may have any
folder, and servers. What a client may not have is ignored, and the answer says so:
`_meta.runtime.cwdIgnored`, `mcpServersIgnored`, and in `workspace` where the agent works.

**Coming back.** `session/load` replays the conversation. A program that keeps its own copy goes on
from a cursor instead: the number of the last transcript line that it has, with
`_runtime/session/events`. Live events have numbers too; they mean something only together with
`run`, which names one start of the runtime. A cursor of another run is answered with a `reset`
event: go by the transcript.
"""

ERRORS: tuple[tuple[int, str], ...] = (
    (jsonrpc.PARSE_ERROR, "the frame is not JSON"),
    (jsonrpc.INVALID_REQUEST, "it is no JSON-RPC 2.0 request, a batch, or not yet its time"),
    (jsonrpc.METHOD_NOT_FOUND, "there is no such method"),
    (
        jsonrpc.INVALID_PARAMS,
        "a parameter is wrong; `data.path` names it: `$.prompt[0].text`",
    ),
    (jsonrpc.INTERNAL_ERROR, "the turn failed; `data.code` and `data.message` name the cause"),
    (acp.RESOURCE_NOT_FOUND, "there is no such session, or it is closed"),
    (extensions.QUEUE_FULL, "the session's queue is full; the message was not accepted"),
    (
        extensions.UNAVAILABLE,
        "the runtime stops or cannot write; with `data.accepted` a prompt is kept all the same",
    ),
    (extensions.TOO_MANY_REQUESTS, "too many unanswered requests, or followed sessions"),
    (
        extensions.SESSION_BLOCKED,
        "the agent could not be started; with `data.kept` the prompt runs after `reconnect`",
    ),
    (extensions.REFUSED, "the agent refused what was asked of it, in its own words"),
    (extensions.FORBIDDEN, "the client's role is not enough; `data.needed` names the one that is"),
)

_MARK = "RuntimeMark_"
_REFERENCE = re.compile(r'"\$ref": "#/\$defs/(\w+)"')
_structs = [
    struct
    for method in (*FROM_CLIENT, *FROM_RUNTIME)
    for struct in (method.params, method.result)
    if struct is not None
]
_, _schemas = msgspec.json.schema_components(_structs)


def document() -> str:
    """The whole page, in Markdown."""
    referenced = set(_REFERENCE.findall(json.dumps(_schemas)))
    others = sorted(name for name in referenced if not name.startswith(_MARK))
    return "\n".join(
        [
            INTRODUCTION,
            _errors(),
            "## Methods of the runtime\n",
            *map(_method, FROM_CLIENT),
            "## Requests and notifications to clients\n",
            *map(_method, FROM_RUNTIME),
            "## Types\n",
            *(f"### {name}\n\n{_prose(name)}\n\n{_table('Members', name)}" for name in others),
            "## JSON Schemas\n",
            _json_schemas(),
        ]
    )


def _errors() -> str:
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in ERRORS)
    return f"## Errors\n\n| code | when |\n|---|---|\n{rows}\n"


def _method(method: Method) -> str:
    parts = [f"### `{method.name}`\n", f"{method.summary}\n"]
    if method.role is not Role.MEMBER:
        parts.append(f"Needs the role `{method.role}`.\n")
    parts.append(_table("Parameters", method.params.__name__))
    if method.result is not None:
        parts.append(_table("Answer", method.result.__name__))
    return "\n".join(parts)


def _prose(name: str) -> str:
    return str(_schemas[name].get("description", "")).replace("``", "`")


def _table(title: str, name: str) -> str:
    schema = _schemas[name]
    properties: dict[str, Any] = schema.get("properties", {})
    if not properties:
        return f"{title}: an empty object.\n"
    required = set(schema.get("required", ()))
    lines = [f"{title}:\n", "| member | type | |", "|---|---|---|"]
    for member, member_schema in properties.items():
        notes = [_note(member_schema)]
        if member not in required:
            notes.insert(0, _default(member_schema))
        text = "; ".join(note for note in notes if note)
        lines.append(f"| `{member}` | {_kind(member_schema)} | {text} |")
    return "\n".join([*lines, ""])


def _note(schema: dict[str, Any]) -> str:
    for each in (schema, *schema.get("anyOf", ())):
        if "description" in each:
            return str(each["description"])
    return ""


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "optional" if default in (None, [], {}) else f"default `{json.dumps(default)}`"


def _kind(schema: dict[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.startswith(_MARK):
            name = name.removeprefix(_MARK).strip("_")
            return f"`runtime`: [{name}](#{name.lower()})"
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each != {"type": "null"})
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'])}" if schema.get("items") else "array"
    return str(schema.get("type", "any"))


def _json_schemas() -> str:
    methods = {
        method.name: {"params": _reference(method.params), "result": _reference(method.result)}
        for method in (*FROM_CLIENT, *FROM_RUNTIME)
    }
    whole = {"methods": methods, "$defs": dict(sorted(_schemas.items()))}
    lines = ["{"]
    for key, members in whole.items():
        lines.append(f"  {json.dumps(key)}: {{")
        rows = [f"    {json.dumps(name)}: {json.dumps(each)}" for name, each in members.items()]
        lines.append(",\n".join(rows))
        lines.append("  }," if key == "methods" else "  }")
    text = "\n".join([*lines, "}"])
    return f"For programs: the same once more, whole.\n\n```json\n{text}\n```\n"


def _reference(struct: Any) -> dict[str, str] | None:
    return None if struct is None else {"$ref": f"#/$defs/{struct.__name__}"}


if __name__ == "__main__":
    sys.stdout.write(document())
