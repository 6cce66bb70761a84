"""An agent that means harm, or is broken, until it was started so often; no packages needed.

    python -I -S villain.py TAG FOLDER CRIME TIMES

Each start is counted in FOLDER. Beyond TIMES, or once there is a file FOLDER/CRIME.mended, it says
back what it is told, as it does from its second prompt on. Whom it starts has TAG on the command
line as well.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

TAG, FOLDER, CRIME, TIMES = sys.argv[1:5]
SLEEPER = "import time; time.sleep(3600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


def write(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def say(message: dict[str, Any]) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}).encode())


def hear() -> dict[str, Any]:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit()
    message: dict[str, Any] = json.loads(line)
    return message


def chunk(text: str) -> None:
    content = {"type": "text", "text": text}
    update = {"sessionUpdate": "agent_message_chunk", "content": content}
    say({"method": "session/update", "params": {"sessionId": "villainy", "update": update}})


def sleep() -> NoReturn:
    while True:
        time.sleep(60)


def complain(code: int) -> NoReturn:
    print("this is how villains end", file=sys.stderr, flush=True)
    os._exit(code)


# -- at the start ----------------------------------------------------------------------------------


def exit_at_start() -> None:
    complain(7)


def hang_at_start() -> None:
    print("plotting", file=sys.stderr, flush=True)
    sleep()


def babble_at_start() -> None:
    for _ in range(2_000):
        write(b"Loading model, please wait ... " * 20)


def ignore_the_end() -> None:
    """Neither SIGTERM nor the end of its input."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def start_child(program: str, **how: Any) -> None:
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", "-c", program, TAG]
    subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, **how)


def bear_children() -> None:
    """In its group, in a session of their own, and daemons; some of them deaf to SIGTERM."""
    start_child(SLEEPER)
    start_child(STUBBORN, start_new_session=True)
    for program in (SLEEPER, STUBBORN):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                start_child(program, start_new_session=True, cwd="/")
            os._exit(0)
        os.wait()


def leave_pipe_open() -> None:
    """A grandchild in a session of its own that has the agent's standard output and error."""
    command = [sys.executable, "-I", "-S", "-c", STUBBORN, TAG]
    subprocess.Popen(command, start_new_session=True)


# -- at a prompt -----------------------------------------------------------------------------------


def exit_before() -> None:
    complain(3)


def exit_after() -> None:
    chunk("I have beg")
    complain(3)


def hang_before() -> None:
    sleep()


def hang_after() -> None:
    chunk("I have beg")
    sleep()


def fail() -> dict[str, Any]:
    details = {"details": "the model is on holiday"}
    return {"error": {"code": -32603, "message": "Internal error", "data": details}}


def flood() -> None:
    """Updates without end; nobody answers, nobody listens. Each is short, since whoever reads less
    than is said for long is a slow reader, however fast it is.
    """
    while True:
        chunk("and more ")


def flood_kinds() -> None:
    """Tool calls, plans and thoughts, each of them new, then an answer."""
    for number in range(1_000):
        tool = {"sessionUpdate": "tool_call", "toolCallId": f"t{number}", "title": "x" * 500}
        entry = {"content": "y" * 500, "priority": "high", "status": "pending"}
        for update in (tool, {"sessionUpdate": "plan", "entries": [entry]}):
            say({"method": "session/update", "params": {"sessionId": "villainy", "update": update}})
    chunk("done")


def flood_stderr() -> None:
    for _ in range(40):
        os.write(2, b"z" * 1_000_000 + b"\n")
    chunk("done")


def as_update(update: bytes) -> bytes:
    params = b'{"sessionId":"villainy","update":' + update + b"}"
    return b'{"jsonrpc":"2.0","method":"session/update","params":' + params + b"}"


def odd_updates(deep: bytes) -> Iterator[bytes]:
    """Well-formed but for one value."""
    call = b'{"sessionUpdate":"tool_call","toolCallId":"t","title":"x","rawInput":%b}'
    says = b'{"sessionUpdate":"agent_thought_chunk","content":{"type":"text","text":"%b"}}'
    for value in (deep, b"1e400", b"9" * 10_000, b'{"a":"\\ud800"}', b"{}" * 2):
        yield call % value
    for text in (b"\\ud800", b"\\u0000", b"\xff", b"x" * 1_000_000):
        yield says % text


def say_garbage() -> None:
    deep = b"[" * 100_000
    for line in (
        b"Welcome!",
        b"\xff\xfe\x00\x80",
        b"",
        b"{}",
        b"null",
        deep,
        b'{"jsonrpc":"2.0","method":"session/update","params":' + deep + b"]" * 100_000 + b"}",
        b'{"jsonrpc":"2.0","id":987654,"result":{"stopReason":"end_turn"}}',
        b'{"jsonrpc":"2.0","id":"1","error":{"code":1,"message":"unasked"}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","id":[1],"method":"initialize"}',
        *map(as_update, odd_updates(deep + b"]" * 100_000)),
    ):
        write(line)
    requests: list[tuple[str, Any]] = [
        ("session/request_permission", {"sessionId": 5, "options": "none"}),
        ("fs/write_text_file", {"sessionId": "villainy", "path": "/x", "content": "y"}),
        ("terminal/create", [1, 2, 3]),
        ("session/request_permission", None),
        ("no/such", {"deep": 1}),
    ]
    for number, (method, params) in enumerate(requests):
        say({"id": f"bad-{number}", "method": method, "params": params})
    refused = sum("error" in hear() for _ in requests)
    chunk(f"{refused} refused; done")


def say_long_line() -> None:
    write(b"x" * 50_000_000)
    chunk("done")


def answer_twice() -> None:
    chunk("done")
    for reason in ("refusal", "cancelled"):
        say({"id": Prompt.number, "result": {"stopReason": "end_turn"}})
        say({"id": Prompt.number, "result": {"stopReason": reason}})
        chunk("this was after the end")


def answer_nonsense() -> NoReturn:
    chunk("done")
    result = b"[" * 100_000 + b"]" * 100_000
    number = json.dumps(Prompt.number).encode()
    write(b'{"jsonrpc":"2.0","id":' + number + b',"result":' + result + b"}")
    sleep()


def close_output() -> None:
    os.close(1)
    sleep()


def close_input() -> None:
    """Nobody reads: what is written to it finds a pipe that is closed."""
    os.close(0)
    sleep()


class Prompt:
    number: Any = None


AT_START: dict[str, Callable[[], None]] = {
    "exits-at-start": exit_at_start,
    "exits-at-every-start": exit_at_start,
    "hangs-at-start": hang_at_start,
    "babbles-at-start": babble_at_start,
    "ignores-its-end": ignore_the_end,
    "bears-children": bear_children,
    "bears-children-quietly": bear_children,
    "leaves-pipes-open": leave_pipe_open,
}
AT_PROMPT: dict[str, Callable[[], dict[str, Any] | None]] = {
    "exits-before": exit_before,
    "exits-after": exit_after,
    "exits-always": exit_before,
    "hangs-before": hang_before,
    "hangs-after": hang_after,
    "ignores-its-end": hang_after,
    "bears-children": exit_after,
    "hangs-always": hang_before,
    "leaves-pipes-open": exit_after,
    "fails": fail,
    "floods": flood,
    "floods-with-kinds": flood_kinds,
    "floods-stderr": flood_stderr,
    "says-garbage": say_garbage,
    "says-a-long-line": say_long_line,
    "answers-twice": answer_twice,
    "answers-nonsense": answer_nonsense,
    "closes-output": close_output,
    "closes-input": close_input,
}


def answer(message: dict[str, Any], *, guilty: bool) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            remembers = CRIME == "forgets"
            able = {"loadSession": remembers}
            return {"result": {"protocolVersion": 1, "agentCapabilities": able}}
        case "session/new" if guilty and CRIME == "wants-a-login":
            return {"error": {"code": -32000, "message": "Authentication required"}}
        case "session/new":
            return {"result": {"sessionId": "villainy"}}
        case "session/prompt":
            Prompt.number = message["id"]
            if guilty and CRIME in AT_PROMPT:
                said = AT_PROMPT[CRIME]()
                if said is not None:
                    return said
            else:
                chunk("".join(block["text"] for block in message["params"]["prompt"]))
            return {"result": {"stopReason": "end_turn"}}
    return {"error": {"code": -32602, "message": "never heard of it"}}


def main() -> None:
    starts = Path(FOLDER, CRIME)
    with starts.open("ab") as file:
        file.write(b".")
    guilty = starts.stat().st_size <= int(TIMES) and not Path(FOLDER, f"{CRIME}.mended").exists()
    if guilty and CRIME in AT_START:
        AT_START[CRIME]()
    while True:
        message = hear()
        if "id" in message and "method" in message:
            say({"id": message["id"], **answer(message, guilty=guilty)})
            guilty = guilty and message["method"] != "session/prompt"


if __name__ == "__main__":
    main()
