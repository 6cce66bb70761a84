"""What ``sessions`` prints."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import trio

from runtime.cli.client import CallFailed, CallTimedOut, ConnectionLost, NotReachable
from runtime.cli.conversation import FIRST_PAUSE, LONGEST_PAUSE
from runtime.cli.screen import printable
from runtime.cli.sources import Entry, RunningSource, Source, open_source, place, running_source
from runtime.cli.words import moment, print_json
from runtime.protocol.extensions import (
    UNAVAILABLE,
    EpochStartedEvent,
    JournalEvent,
    MessageAcceptedEvent,
    MessageDroppedEvent,
    MessageSteeredEvent,
    QueueStatusResult,
    SessionClosedEvent,
    TurnEndedEvent,
    TurnStartedEvent,
    WireEvent,
)
from runtime.sessions.content import plain_text
from runtime.sessions.ids import wall_clock_ms
from runtime.sessions.numbers import number_of
from runtime.settings import Settings


async def print_list(settings: Settings, limit: int, as_json: bool) -> None:
    """Print the sessions that were active last."""
    async with open_source(settings) as source:
        entries = await source.entries(limit)
        states = {entry.id: _state(source, entry) for entry in entries}
    if as_json:
        print_json(msgspec.to_builtins(entries))
    elif entries:
        rows = [
            (entry.id, entry.key, entry.agent, states[entry.id], _local(entry.updated_at))
            for entry in entries
        ]
        print_table(("id", "key", "agent", "state", "last active"), rows)
    else:
        print("No sessions yet.", file=sys.stderr)


async def print_session(settings: Settings, name: str, as_json: bool) -> None:
    """Print one session and what waits in it."""
    async with open_source(settings) as source:
        entry = await source.find(name)
        queue = await source.queue(entry)
        state = _state(source, entry)
    if as_json:
        print_json({**msgspec.to_builtins(entry), "queue": msgspec.to_builtins(queue)})
        return
    facts = {
        "id": entry.id,
        "key": entry.key,
        "title": entry.title,
        "agent": entry.agent,
        "epoch": entry.epoch,
        "state": state,
        "last active": _local(entry.updated_at),
        "queue": _queue(queue),
        "blocked": queue.blocked,
    }
    for label, fact in facts.items():
        if fact is not None:
            print(f"{label:<12} {_in_a_line(fact)}")


async def print_queue(settings: Settings, name: str, as_json: bool) -> None:
    """Print what waits in a session, and what runs."""
    async with open_source(settings) as source:
        queue = await source.queue(await source.find(name))
    if as_json:
        print_json(msgspec.to_builtins(queue))
        return
    print(_queue(queue))
    if queue.blocked is not None:
        print(printable(queue.blocked))


async def clear_queue(settings: Settings, name: str, as_json: bool) -> None:
    """Withdraw what waits in a session, and print how much that was."""
    async with open_source(settings) as source:
        cleared = await source.clear(await source.find(name))
    if as_json:
        print_json({"cleared": cleared})
    else:
        print(f"{number_of(cleared, 'message')} withdrawn")


async def print_tail(
    settings: Settings, name: str, lines: int, follow: bool, as_json: bool
) -> None:
    """Print the newest lines of a transcript, and what happens from then on."""
    if follow:
        await _follow(settings, name, lines, as_json)
        return
    async with open_source(settings) as source:
        entry = await source.find(name)
        async for event in source.events(entry, lines):
            _print_event(event, as_json)


async def _follow(settings: Settings, name: str, lines: int, as_json: bool) -> None:
    """Print until cancelled. A runtime that goes is waited for, as ``chat`` does.

    Raises:
        NotReachable: none runs at the beginning.
    """
    entry: Entry | None = None
    seen, pause = 0, FIRST_PAUSE
    while True:
        try:
            async with running_source(settings) as source:
                if entry is None:
                    entry = await source.find(name)
                    seen = max(0, await source.attach(entry) - lines)
                else:
                    await source.attach(entry)
                    print("Connected again.", file=sys.stderr)
                pause = FIRST_PAUSE
                async for event in source.follow(entry, seen):
                    seen = max(seen, place(event))
                    _print_event(event, as_json)
        except ConnectionLost:
            print("The connection is lost; trying again ...", file=sys.stderr, flush=True)
        except (NotReachable, CallTimedOut):
            if entry is None:
                raise
        except CallFailed as error:
            if entry is None or error.rpc_code != UNAVAILABLE:
                raise
        await trio.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, LONGEST_PAUSE)


def _print_event(event: WireEvent, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(event).decode(), flush=True)
    elif (text := _line(event)) is not None:
        print(text, flush=True)


def _line(event: WireEvent) -> str | None:
    now = moment(wall_clock_ms())
    match event:
        case JournalEvent():
            return _spoken(moment(event.ts), event.role, event.content)
        case MessageAcceptedEvent():
            return _spoken(now, "user", plain_text(event.content))
        case MessageDroppedEvent():
            return _spoken(now, "-", f"a message was dropped: {event.reason}")
        case TurnStartedEvent():
            count = number_of(len(event.message_ids), "message")
            return _spoken(now, "-", f"a turn begins with {count}")
        case MessageSteeredEvent():
            return _spoken(now, "-", "the running turn has taken in a message")
        case TurnEndedEvent() if event.text:
            return _spoken(now, "assistant", event.text)
        case TurnEndedEvent():
            why = event.error.message if event.error is not None else event.stop_reason
            return _spoken(now, "-", f"the turn ended: {event.state} ({why})")
        case EpochStartedEvent():
            return _spoken(now, "-", "the conversation begins anew")
        case SessionClosedEvent():
            return _spoken(now, "-", "the session was closed")
    return None


def _spoken(when: str, role: str, text: str) -> str:
    first, *rest = printable(text).splitlines() or [""]
    indented = [f"{when:<19}  {role:<9}  {first}", *(f"{'':<32}{line}" for line in rest)]
    return "\n".join(indented)


def _state(source: Source, entry: Entry) -> str:
    """A session without an actor is no fault while the runtime runs: the next message wakes it."""
    asleep = isinstance(source, RunningSource) and entry.state == "stopped"
    return "asleep" if asleep else entry.state


def _queue(queue: QueueStatusResult) -> str:
    text = f"{queue.mode}, {number_of(queue.waiting, 'message')} waiting"
    if queue.oldest is not None:
        text += f" since {moment(queue.oldest)}"
    return text if queue.running is None else f"{text}, turn {queue.running} runs"


def _local(iso: str | None) -> str:
    if iso is None:
        return "-"
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _in_a_line(fact: object) -> str:
    """As text that neither steers the terminal nor leaves its line."""
    return " ".join(printable(str(fact)).split())


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns, each as wide as what is in it."""
    rows = [[_in_a_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in itertools.chain((head,), rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
