"""The least that is an agent: it speaks ACP over its standard input and output, and says the words
of a prompt one by one.

Works alone too: ``python -m bench.acp_agent``.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

_decoder = msgspec.json.Decoder()


def main() -> None:
    """Answer each line until there are no more."""
    for line in sys.stdin.buffer:
        message = _decoder.decode(line)
        if "id" not in message or "method" not in message:
            continue
        result = _answer(message["method"], message.get("params"))
        answer = {"result": result} if result is not None else {"error": _UNKNOWN}
        _write({"jsonrpc": "2.0", "id": message["id"], **answer})
        sys.stdout.buffer.flush()


_UNKNOWN = {"code": -32601, "message": "there is no such method"}


def _answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "initialize":
            return {"protocolVersion": 1, "agentCapabilities": {}}
        case "session/new":
            return {"sessionId": "only"}
        case "session/prompt":
            for block in params["prompt"]:
                for word in block.get("text", "").split():
                    _say(params["sessionId"], f"{word} ")
            return {"stopReason": "end_turn"}
        case _:
            return None


def _say(session: str, text: str) -> None:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    params = {"sessionId": session, "update": update}
    _write({"jsonrpc": "2.0", "method": "session/update", "params": params})
    sys.stdout.buffer.flush()


def _write(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")


if __name__ == "__main__":
    main()
