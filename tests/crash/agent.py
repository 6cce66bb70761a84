"""An agent as a process, which says back what it is told; to be killed at any moment.

    python -I -S agent.py TAG MODE

It speaks the Agent Client Protocol and knows every conversation again, so that it is resumed.
``daemons`` leaves a process in a session of its own behind, with the tag on its command line,
``forgetful`` knows no conversation of an earlier time.
"""

import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TAG, MODE = sys.argv[1:3]
DELAY = 0.05
PACE = 0.02

heard: "queue.SimpleQueue[dict[str, Any] | None]" = queue.SimpleQueue()


def say(message: dict[str, Any]) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def listen() -> None:
    """Read until the input ends."""
    for line in sys.stdin:
        heard.put(json.loads(line))
    heard.put(None)


def cancelled_within(seconds: float) -> bool:
    """Wait; whether the turn is to end."""
    try:
        message = heard.get(timeout=seconds)
    except queue.Empty:
        return False
    if message is None:
        sys.exit()
    return message.get("method") == "session/cancel"


def words(block: dict[str, Any]) -> str:
    """A block, or what there is of a file."""
    if block["type"] != "resource_link":
        return str(block["text"])
    try:
        size = len(Path(unquote(urlsplit(block["uri"]).path)).read_bytes())
    except OSError:
        size = -1
    return "readable" if size == block["size"] else "cannot be read"


def prompt(params: dict[str, Any]) -> dict[str, Any]:
    """Say every word again, and of a file whether it can be read."""
    text = " ".join(map(words, params["prompt"]))
    pause = DELAY
    for word in text.split():
        if cancelled_within(pause):
            return {"stopReason": "cancelled"}
        content = {"type": "text", "text": f"{word} "}
        update = {"sessionUpdate": "agent_message_chunk", "content": content}
        params_of_update = {"sessionId": params["sessionId"], "update": update}
        say({"method": "session/update", "params": params_of_update})
        pause = PACE
    return {"stopReason": "end_turn"}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """What a request is answered with."""
    match message["method"]:
        case "initialize":
            return {"result": {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}}
        case "session/new":
            return {"result": {"sessionId": "conversation"}}
        case "session/load" if MODE != "forgetful":
            return {"result": None}
        case "session/prompt":
            return {"result": prompt(message["params"])}
    return {"error": {"code": -32602, "message": "unheard of"}}


def main() -> None:
    """Answer, one request after the other."""
    if MODE == "daemons":
        wait = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)", TAG]
        quiet = subprocess.DEVNULL
        subprocess.Popen(wait, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
    threading.Thread(target=listen, daemon=True).start()
    while (message := heard.get()) is not None:
        if "id" in message:
            say({"id": message["id"], **answer(message)})


if __name__ == "__main__":
    main()
