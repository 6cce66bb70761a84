"""An agent that speaks ACP over its standard input and output, well or badly; no packages needed.

    python hostile_agent.py MODE [ARGUMENT]

It answers `initialize`, `session/new`, `session/load`, `session/resume`, `session/set_mode` and
`session/set_config_option`, and prompts with the text that it was given, unless the mode says
otherwise:

    well                answers every prompt with what it was told
    exit-at-start CODE  ends at once, with a line on standard error
    exit-on-new         ends when a conversation is to be opened
    exit-on-prompt      ends before it says anything to a prompt
    exit-after-event    ends after its first piece of the answer
    exit-after-answer   ends right after its answer
    exit-when-idle      ends 50 ms after an answer
    hang-at-start       never answers anything
    hang-on-prompt      never says anything to a prompt; answers it when it is cancelled
    hang-after-event    falls silent after its first piece; answers when it is cancelled
    deaf-on-prompt      falls silent after its first piece, and is not cancelled either
    error-on-prompt     answers a prompt with an error that has data
    error-on-load       knows no conversation; ends on `session/load` with an argument
    busy-on-load        refuses `session/load` without saying that it knows none
    auth-on-new         wants a login before a conversation, in three ways
    auth-on-prompt      wants a login before a prompt
    version NUMBER      speaks another version
    garbage             says all kinds of nonsense before each answer
    long-line BYTES     says a line of so many bytes (50 million) before each answer
    flood COUNT         answers with so many pieces (10000)
    flood-requests COUNT  asks for permission so often at once (1000), waits for all answers
    stubborn            ignores SIGTERM and the end of its input
    orphans             starts a process in a session of its own and tells its number
    offers              has modes, settings, commands, and knows its conversations
    modes               has modes of the older form only
    late                says things after its answer
    foreign             says things about another conversation
    updates             says what a prompt holds as JSON: a list of updates
    calls               calls what a prompt holds as JSON, [[method, params], ...], tells answers
    cancels-question    asks for permission, takes the question back, answers with what it was told
    asks-when-idle      asks for permission after its answer; the next one says what it was told
    stderr              writes a line of each prompt to standard error
    closes-output       closes its output when it is prompted, and lives on
    environment         answers with its variables, its folder and its arguments, as JSON
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

MODE = sys.argv[1] if len(sys.argv) > 1 else "well"
ARGUMENT = sys.argv[2] if len(sys.argv) > 2 else ""
OUTPUT = os.fdopen(os.dup(1), "wb", buffering=0)


def say(message: dict[str, Any]) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}).encode())


def write(line: bytes) -> Any:
    rest = memoryview(line + b"\n")
    while rest:
        rest = rest[OUTPUT.write(rest) or 0 :]


def hear() -> dict[str, Any]:
    line = sys.stdin.buffer.readline()
    if not line:
        if MODE == "stubborn":
            forever()
        sys.exit(0)
    message: dict[str, Any] = json.loads(line)
    return message


def forever() -> NoReturn:
    while True:
        time.sleep(60)


def update(body: Any, session: str | None = None) -> None:
    params = {"sessionId": session or Session.current, "update": body}
    say({"method": "session/update", "params": params})


def chunk(text: str, session: str | None = None) -> Any:
    content = {"type": "text", "text": text}
    update({"sessionUpdate": "agent_message_chunk", "content": content}, session)


class Session:
    current = "conversation-1"
    values: ClassVar[dict[str, Any]] = {"model": "small", "fast": False}
    mode = "plan"
    heard: Any = None
    calls = 0


def ask(method: str, params: dict[str, Any]) -> str:
    """Call a method without waiting for the answer."""
    Session.calls += 1
    identity = f"call-{Session.calls}"
    say({"id": identity, "method": method, "params": {"sessionId": Session.current, **params}})
    return identity


def answer_to(identity: str) -> Any:
    """Wait for the answer to a call. Whatever else comes is taken care of."""
    while True:
        message = hear()
        if message.get("id") == identity and "method" not in message:
            return message.get("result", message.get("error"))
        serve(message)


PERMISSION: dict[str, Any] = {
    "toolCall": {"toolCallId": "tool-1", "title": "Remove everything", "kind": "delete"},
    "options": [
        {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
        {"optionId": "no", "name": "Reject", "kind": "reject_once"},
    ],
}


def config_options() -> list[dict[str, Any]]:
    sizes = [{"value": value, "name": value.title()} for value in ("small", "large")]
    return [
        setting("model", category="model", type="select", options=sizes),
        setting("fast", type="boolean"),
    ]


def setting(identity: str, **more: Any) -> dict[str, Any]:
    value = Session.values[identity]
    return {"id": identity, "name": identity.title(), "currentValue": value, **more}


def modes() -> dict[str, Any]:
    plan = {"id": "plan", "name": "Plan", "description": "Only thinks"}
    return {"currentModeId": Session.mode, "availableModes": [plan, {"id": "code", "name": "Code"}]}


def opened() -> dict[str, Any]:
    if MODE == "offers":
        return {"configOptions": config_options(), "modes": modes()}
    if MODE == "modes":
        return {"modes": modes()}
    return {}


KEY = {
    "vars": [{"name": "HOSTILE_KEY"}, {"name": "HOSTILE_URL", "optional": True}],
    "link": "https://example.com/keys",
}


def initialize(_: Any) -> dict[str, Any]:
    remembers = MODE in ("offers", "error-on-load", "busy-on-load")
    return {
        "protocolVersion": int(ARGUMENT) if MODE == "version" else 1,
        "agentCapabilities": {
            "loadSession": remembers,
            "promptCapabilities": {"embeddedContext": MODE == "offers"},
        },
        "authMethods": [
            {"id": "browser", "name": "Browser", "description": "Opens a page"},
            {"id": "shell", "name": "Shell", "type": "terminal", "args": ["login", "--now"]},
            {"id": "key", "name": "Key", "type": "env_var", **KEY},
        ],
    }


def new_session(_: Any) -> dict[str, Any]:
    if MODE == "exit-on-new":
        print("no conversation today", file=sys.stderr)
        sys.exit(4)
    if MODE == "auth-on-new":
        raise Refused(-32000, "Authentication required")
    return {"sessionId": Session.current, **opened()}


def load_session(params: dict[str, Any]) -> dict[str, Any] | None:
    if MODE == "busy-on-load":
        raise Refused(-32603, "Internal error", {"details": "the database is locked"})
    if MODE == "error-on-load":
        if ARGUMENT:
            sys.exit(5)
        raise Refused(-32002, "Resource not found", {"uri": params["sessionId"]})
    Session.current = params["sessionId"]
    chunk("said long ago")
    update({"sessionUpdate": "available_commands_update", "availableCommands": COMMANDS})
    return opened() or None


COMMANDS = [{"name": "review", "description": "Looks at it again"}]


def set_mode(params: dict[str, Any]) -> dict[str, Any]:
    if params["modeId"] == "code":
        Session.mode = "code"
        return {}
    raise Refused(-32602, "no such mode")


def set_option(params: dict[str, Any]) -> dict[str, Any]:
    if params["configId"] == "fast" and params.get("type") != "boolean":
        raise Refused(-32602, "a boolean says so")
    Session.values[params["configId"]] = params["value"]
    return {"configOptions": config_options()}


class Refused(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": data}


def prompt(params: dict[str, Any]) -> dict[str, Any]:
    text = "".join(block.get("text", f"<{block['type']}>") for block in params["prompt"])
    action = PROMPTS.get(MODE, chunk)
    stop = action(text)
    return {"stopReason": stop if isinstance(stop, str) else "end_turn", **USAGE}


USAGE = {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7, "thoughtTokens": None}}


def exit_on_prompt(_: str) -> NoReturn:
    print("it is all too much", file=sys.stderr)
    sys.exit(3)


def until_cancelled(_: str) -> str:
    while True:
        message = hear()
        if message.get("method") == "session/cancel":
            return "cancelled"
        serve(message)


def hang_after_event(text: str) -> str:
    chunk(text[:5])
    return until_cancelled(text)


def fail(_: str) -> NoReturn:
    code = -32000 if MODE == "auth-on-prompt" else -32603
    raise Refused(code, "Internal error", {"details": "the model is on holiday"})


def garbage(text: str) -> None:
    for line in (
        b"Welcome to the agent!",
        b"\xff\xfe\x00",
        b"",
        b"[]",
        b"[" * 5_000,
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":999999,"result":{}}',
        b'{"jsonrpc":"2.0","id":{},"method":"x"}',
        b'{"jsonrpc":"2.0","method":"session/update"}',
        b'{"jsonrpc":"2.0","method":"session/update","params":[]}',
        b'{"jsonrpc":"2.0","method":"_their/own","params":{}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":7}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":[]}}',
    ):
        write(line)
    for body in (
        {"sessionUpdate": "hologram", "beam": 1},
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "tool_call", "toolCallId": 4},
        {"sessionUpdate": 5},
        {},
    ):
        update(body)
    for method in ("session/request_permission", "fs/read_text_file", "terminal/create", "nothing"):
        refused = answer_to(ask(method, {"options": "none", "path": 3}))
        if "code" not in refused:
            sys.exit(9)
    chunk(text)


def flood_requests(_: str) -> None:
    asked = [ask("session/request_permission", PERMISSION) for _ in range(int(ARGUMENT or 1_000))]
    missing = set(asked)
    refused = 0
    while missing:
        message = hear()
        missing.discard(message.get("id"))
        refused += "error" in message
    chunk(str(refused))


def say_updates(text: str) -> None:
    for body in json.loads(text):
        update(body)


def make_calls(text: str) -> None:
    answers = [answer_to(ask(method, params)) for method, params in json.loads(text)]
    chunk(json.dumps(answers))


def cancel_question(_: str) -> None:
    identity = ask("session/request_permission", PERMISSION)
    answer_to(ask("nothing", {}))
    say({"method": "$/cancel_request", "params": {"requestId": identity}})
    chunk(json.dumps(answer_to(identity)))


def say_late(text: str) -> None:
    chunk(text)
    after_answer.append(lambda: chunk("and another thing"))
    after_answer.append(lambda: update({"sessionUpdate": "usage_update", "used": 5, "size": 10}))


def start_orphan(_: str) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    chunk(str(subprocess.Popen(command, start_new_session=True).pid))


def close_output(_: str) -> NoReturn:
    OUTPUT.close()
    os.close(1)
    forever()


def surroundings() -> dict[str, Any]:
    return {"env": dict(os.environ), "cwd": str(Path.cwd()), "argv": sys.argv}


def announce_all(text: str) -> None:
    update({"sessionUpdate": "available_commands_update", "availableCommands": COMMANDS})
    update({"sessionUpdate": "current_mode_update", "currentModeId": "code"})
    update({"sessionUpdate": "config_option_update", "configOptions": config_options()})
    update({"sessionUpdate": "session_info_update", "title": "A talk"})
    update({"sessionUpdate": "usage_update", "used": 5, "size": 10})
    chunk(text)


after_answer: list[Callable[[], None]] = []
PROMPTS: dict[str, Callable[[str], Any]] = {
    "exit-on-prompt": exit_on_prompt,
    "exit-after-event": lambda text: (chunk(text[:5]), exit_on_prompt(text)),
    "hang-on-prompt": until_cancelled,
    "hang-after-event": hang_after_event,
    "deaf-on-prompt": lambda text: (chunk(text[:5]), forever()),
    "error-on-prompt": fail,
    "auth-on-prompt": fail,
    "garbage": garbage,
    "long-line": lambda text: (write(b"x" * int(ARGUMENT or 50_000_000)), chunk(text)),
    "flood": lambda text: [chunk(text) for _ in range(int(ARGUMENT or 10_000))],
    "flood-requests": flood_requests,
    "updates": say_updates,
    "calls": make_calls,
    "cancels-question": cancel_question,
    "asks-when-idle": lambda _: chunk(json.dumps(Session.heard)),
    "late": say_late,
    "foreign": lambda text: (chunk("not for you", "conversation-99"), chunk(text)),
    "orphans": start_orphan,
    "stderr": lambda text: (print(text, file=sys.stderr, flush=True), chunk(text)),
    "closes-output": close_output,
    "environment": lambda _: chunk(json.dumps(surroundings())),
    "offers": announce_all,
    "modes": announce_all,
}
METHODS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "initialize": initialize,
    "session/new": new_session,
    "session/load": load_session,
    "session/resume": load_session,
    "session/set_mode": set_mode,
    "session/set_config_option": set_option,
    "session/prompt": prompt,
}


def serve(message: dict[str, Any]) -> None:
    if "method" not in message or "id" not in message:
        return
    try:
        answer = {"result": METHODS[message["method"]](message["params"])}
    except Refused as refused:
        answer = {"error": refused.error}
    except KeyError as missing:
        answer = {"error": {"code": -32601, "message": f"nothing like {missing}"}}
    say({"id": message["id"], **answer})
    while after_answer:
        after_answer.pop(0)()
    if message["method"] == "session/prompt":
        if MODE == "exit-after-answer":
            sys.exit(0)
        if MODE == "exit-when-idle":
            time.sleep(0.05)
            sys.exit(6)
        if MODE == "asks-when-idle":
            Session.heard = answer_to(ask("session/request_permission", PERMISSION))
            update({"sessionUpdate": "session_info_update", "title": "I have heard"})


def main() -> None:
    if MODE == "exit-at-start":
        print("I cannot work under these conditions", file=sys.stderr)
        sys.exit(int(ARGUMENT or 2))
    if MODE == "hang-at-start":
        print("thinking about it", file=sys.stderr, flush=True)
        forever()
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        serve(hear())


if __name__ == "__main__":
    main()
