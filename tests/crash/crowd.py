"""What people do, all at once, in dozens of sessions, each by a dice of its own.

The agents that are processes are in `tests.crash.agents`.
"""

from __future__ import annotations

import base64
import random
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from tests.crash.connections import PROMPT_LIMIT, Connection, Disconnected, Line, Refused
from tests.crash.ledger import Ledger, Sent
from tests.crash.media_accounting import TOLD_TWICE

AGENTS = (
    *("quick", "acp", "slow", "daemons", "shaky", "acp"),
    *("tools", "forgetful", "brittle", "acp", "rude", "late", "slow"),
    *("listener", "moody", "twice"),
)
MODES = ("collect", "followup", "collect", "followup", "interrupt")
STEERED = {"listener": "steer", "moody": "steer", TOLD_TWICE: "steer-backlog"}
"""Agents that are told of what is said while they work, and how (Q3)."""

SETTINGS = """
[gateway]
handshakes_per_second = 10000

[queue]
cap = 6

[sessions]
retry_delay = "100ms"
shutdown_grace = "5s"
hibernate_after = "700ms"
max_agent_processes = 5

[media]
free_space_floor = "0B"

[routing]
default_agent = "quick"

[log]
level = "warning"
format = "json"

[agents.quick]
kind = "echo"

[agents.slow]
kind = "echo"
delay = "200ms"
pace = "120ms"

[agents.tools]
kind = "echo"
tools = 3
pace = "30ms"

[agents.shaky]
kind = "echo"
delay = "50ms"
pace = "20ms"
fail = "before"
fail_times = 4

[agents.brittle]
kind = "echo"
pace = "20ms"
fail = "after"
fail_times = 4

[agents.rude]
kind = "echo"
pace = "20ms"
fail = "error"
fail_times = 3

[agents.late]
kind = "echo"
pace = "20ms"
fail = "start"
fail_times = 3

[agents.listener]
kind = "echo"
delay = "50ms"
pace = "80ms"

[agents.twice]
kind = "echo"
delay = "50ms"
pace = "70ms"

[agents.moody]
kind = "echo"
pace = "60ms"
fail = "after"
fail_times = 5
"""

QUEUE_FULL, UNAVAILABLE, TOO_MANY, BLOCKED, TURN_FAILED = -32010, -32011, -32012, -32014, -32603

ACTIONS = {
    "send": 40,
    "prompt": 30,
    "prompt without a name": 10,
    "repeat": 6,
    "cancel": 4,
    "clear": 3,
    "reset": 2,
}
PICTURES = (0.2, 0.1)
"""How many messages have a picture of their own, and how many one that others have as well."""

UNDECIDED_AT_ONCE = 8
BREATH = 0.1
PAUSE = (0.02, 0.6)


class Person:
    """One session and what is said in it."""

    def __init__(self, seed: int, number: int, line: Line, ledger: Ledger) -> None:
        self._choose = random.Random(f"{seed}/person/{number}")
        self._number = number
        self._line = line
        self._ledger = ledger
        self._serial = 0
        self._room = trio.Semaphore(UNDECIDED_AT_ONCE)
        self._agent = AGENTS[number % len(AGENTS)]
        self._mode = _mode(self._agent, number)
        self._followed: Connection | None = None
        self._undecided = 0
        self.session_id = ""

    @property
    def undecided(self) -> int:
        """How many things were said of which nobody knows what became of them."""
        return self._undecided

    async def talk(self, enough: trio.Event) -> None:
        """Say and do things until it is enough, then wait until everything is decided."""
        await self._insist(self._introduce)
        async with trio.open_nursery() as nursery:
            while not enough.is_set():
                (action,) = self._choose.choices([*ACTIONS], [*ACTIONS.values()])
                await self._act(action, nursery)
                with trio.move_on_after(self._choose.uniform(*PAUSE)):
                    await enough.wait()

    async def settled(self) -> list[dict[str, Any]]:
        """Wait until nothing runs and nothing waits; the transcript as a client gets it."""
        while True:
            connection = await self._line.connection()
            status = await connection.call("_runtime/queue/status", sessionId=self.session_id)
            if status["running"] is None and status["waiting"] == 0:
                break
            if status["blocked"] is not None:
                await self._reconnect(connection)
            await trio.sleep(BREATH)
        connection.journal[self.session_id].clear()
        await connection.call("_runtime/session/events", sessionId=self.session_id)
        return connection.journal[self.session_id]

    # -- one thing ----------------------------------------------------------------------------

    async def _act(self, action: str, nursery: trio.Nursery) -> None:
        match action:
            case "send" | "prompt" | "prompt without a name":
                await self._room.acquire()
                self._undecided += 1
                nursery.start_soon(self._say, action)
            case "repeat":
                await self._repeat()
            case _:
                await self._withdraw(action)

    async def _say(self, action: str) -> None:
        self._serial += 1
        token = f"m-{self._number}-{self._serial}"
        name = None if action == "prompt without a name" else f"client:{token}"
        sent = self._ledger.say(token, self.session_id, name, self._picture(token))
        deliver = self._send if action == "send" else self._prompt
        try:
            if name is None:
                # Said once: nobody can know whether it arrived, and nobody says it again.
                with suppress(Disconnected):
                    await deliver(await self._present(), sent)
            else:
                await self._insist(lambda connection: deliver(connection, sent))
        finally:
            self._undecided -= 1
            self._room.release()

    def _picture(self, token: str) -> bytes | None:
        own, shared = PICTURES
        dice = self._choose.random()
        if dice < own:
            return token.encode() * 1_000
        return b"the same again" * 1_000 if dice < own + shared else None

    async def _present(self) -> Connection:
        """The connection, with the session followed on it."""
        connection = await self._line.connection()
        if connection is not self._followed:
            await self._introduce(connection)
        return connection

    async def _insist(self, work: Any) -> None:
        """Try again for as long as the connection breaks, or the runtime has no time."""
        while True:
            try:
                await work(await self._line.connection())
            except Disconnected:
                await trio.sleep(BREATH / 10)
            except Refused as refusal:
                if refusal.code == BLOCKED:
                    await self._reconnect(await self._line.connection())
                elif refusal.code not in (UNAVAILABLE, TOO_MANY):
                    raise
                await trio.sleep(BREATH)
            else:
                return

    async def _reconnect(self, connection: Connection) -> None:
        """The agent was killed too often while it started: have it started all the same."""
        self._ledger.reconnects += 1
        with suppress(Disconnected, Refused):
            await connection.call("_runtime/session/reconnect", sessionId=self.session_id)

    async def _introduce(self, connection: Connection) -> None:
        key = {"runtime": {"key": f"crowd-{self._number}", "agent": self._agent}}
        new = await connection.call("session/new", cwd="/", mcpServers=[], _meta=key)
        session_id = new["sessionId"]
        if self.session_id not in ("", session_id):
            self._ledger.broken_promises.append(
                f"the session of {key} was {self.session_id} and is {session_id}"
            )
        self.session_id = session_id
        if self._mode == "interrupt":
            self._ledger.interrupting.add(session_id)
        await connection.call(
            "session/set_config_option",
            sessionId=session_id,
            configId="queue_mode",
            value=self._mode,
        )
        self._followed = connection

    async def _send(self, connection: Connection, sent: Sent) -> None:
        sent.attempts += 1
        try:
            answer = await connection.call("_runtime/session/send", **self._message(sent))
        except Refused as refusal:
            self._heed(sent, refusal)
        else:
            self._note(sent, answer)

    async def _prompt(self, connection: Connection, sent: Sent) -> None:
        sent.attempts += 1
        try:
            answer = await connection.call("session/prompt", PROMPT_LIMIT, **self._message(sent))
        except Refused as refusal:
            self._heed(sent, refusal)
        else:
            self._note(sent, answer["_meta"]["runtime"])
            sent.told = "cancelled" if answer["stopReason"] == "cancelled" else "end_turn"

    def _message(self, sent: Sent) -> dict[str, Any]:
        meta = {} if sent.message_id is None else {"messageId": sent.message_id}
        prompt = [{"type": "text", "text": sent.text}]
        if sent.image is not None:
            data = base64.b64encode(sent.image).decode()
            prompt.append({"type": "image", "data": data, "mimeType": "image/png"})
        return {
            "sessionId": sent.session_id,
            "prompt": prompt,
            "_meta": {"runtime": meta},
        }

    def _note(self, sent: Sent, answer: dict[str, Any]) -> None:
        sent.accepted.add(answer["messageId"])
        if answer.get("duplicate"):
            sent.duplicates += 1

    def _heed(self, sent: Sent, refusal: Refused) -> None:
        """Take a refusal for what it says; raises it when it is to be tried again."""
        if "messageId" in refusal.data:
            sent.accepted.add(refusal.data["messageId"])
        if refusal.code == TURN_FAILED and "messageId" in refusal.data:
            sent.told = "failed"
        elif refusal.code == QUEUE_FULL:
            sent.refused = True
        elif refusal.code == BLOCKED and sent.message_id is None:
            pass  # it is kept, and whoever says something by name has the agent started
        elif sent.message_id is not None or refusal.code not in (UNAVAILABLE, TOO_MANY):
            raise refusal

    async def _repeat(self) -> None:
        """Say something once more that the runtime has already."""
        known = [
            sent
            for sent in self._ledger.accepted()
            if sent.session_id == self.session_id and sent.message_id is not None
        ]
        if not known:
            return
        sent = self._choose.choice(known)
        before = sent.duplicates
        try:
            await self._send(await self._line.connection(), sent)
        except (Disconnected, Refused):
            return
        if sent.duplicates == before:
            self._ledger.broken_promises.append(f"{sent.token} was accepted a second time as new")

    async def _withdraw(self, action: str) -> None:
        connection = await self._line.connection()
        self._ledger.withdrawals[self.session_id].add(action)
        who: dict[str, Any] = {"sessionId": self.session_id}
        try:
            if action == "cancel":
                await connection.notify("session/cancel", **who)
            elif action == "clear":
                await connection.call("_runtime/queue/clear", **who)
            else:
                await connection.call("_runtime/session/reset", **who)
        except Disconnected:
            pass
        except Refused as refusal:
            if refusal.code not in (UNAVAILABLE, TOO_MANY):
                raise


def _mode(agent: str, number: int) -> str:
    """Another one for each of those who talk to the same agent."""
    return STEERED.get(agent) or MODES[(number + number // len(AGENTS)) % len(MODES)]


def gather(seed: int, people: int, lines: list[Line], ledger: Ledger) -> list[Person]:
    """The crowd, spread over the connections."""
    return [Person(seed, number, lines[number % len(lines)], ledger) for number in range(people)]


async def talk_all(crowd: list[Person], enough: trio.Event) -> None:
    """Everybody talks; ends when it is enough and all is decided."""
    async with trio.open_nursery() as nursery:
        for person in crowd:
            nursery.start_soon(partial(person.talk, enough))
