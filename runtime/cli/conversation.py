"""A conversation that survives restarts: what was sent and not answered is sent again.

Every message has an id of ours, so that one that is sent again is accepted once (G4). What became
of it is the answer to its ``session/prompt``. What is shown comes from the session's one ordered
stream of events, which goes on where it broke off (G5, G12).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

import msgspec
import trio

from runtime.cli.answers import Answers
from runtime.cli.choices import Choices
from runtime.cli.client import (
    CallFailed,
    CallTimedOut,
    Client,
    ConnectionLost,
    Notification,
    NotReachable,
    Request,
)
from runtime.cli.connect import connect
from runtime.cli.errors import CommandError
from runtime.cli.questions import Questions
from runtime.cli.saying import Attachment, Message, Talk, elsewhere
from runtime.cli.screen import Screen
from runtime.cli.words import shortened
from runtime.endpoint import Endpoint
from runtime.protocol.acp import (
    CancelRequestParams,
    NewSessionResult,
    PromptResult,
    SetConfigOptionResult,
    UpdateParams,
)
from runtime.protocol.extensions import (
    SESSION_BLOCKED,
    UNAVAILABLE,
    EventParams,
    EventsResult,
    PermissionAnsweredEvent,
    SendResult,
    SessionMark,
)
from runtime.sessions.numbers import number_of

ResultT = TypeVar("ResultT")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
"""Seconds before the first attempt to connect again, and at most; the pause doubles."""

REFUSED_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a message is offered again that the runtime cannot take just now."""


class Conversation:
    """One session as a person talks in it.

    Args:
        locate: where the runtime is; asked again for each attempt to connect.
        talk: how the person wants it.
        screen: where it is shown.
        greet: is told what the session is before anything of it is shown.

    Attributes:
        choices: what can be chosen in it.
    """

    def __init__(
        self,
        locate: Callable[[], Endpoint],
        talk: Talk,
        screen: Screen,
        greet: Callable[[SessionMark], None] | None = None,
    ) -> None:
        self._locate = locate
        self._talk = talk
        self._screen = screen
        self._greet = greet
        self.choices = Choices()
        self._answers = Answers(screen, talk.recall, thoughts=talk.thoughts)
        self._questions = Questions(
            screen, talk.asking, self._answers.is_own, self._answers.title_of, self._reply
        )
        self._unanswered: dict[str, Message] = {}
        self._session_id = ""
        self._mark = SessionMark(talk.key, "", 0, "", 0, 0)
        self._client: Client | None = None
        self._asking: trio.Nursery | None = None

    @property
    def unanswered(self) -> int:
        """How many messages of this person have not been answered."""
        return len(self._unanswered)

    @property
    def mark(self) -> SessionMark:
        """What the session is; there once `run` has started."""
        return self._mark

    @property
    def asked(self) -> bool:
        """Whether this person is asked something just now."""
        return self._questions.current is not None

    @property
    def connected(self) -> bool:
        """Whether the runtime is there just now."""
        return self._client is not None

    # -- the connection -----------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[SessionMark]) -> None:
        """Stay connected until cancelled. Started with what the session is, once it is there.

        Raises:
            NotReachable: no runtime is there, at the beginning or for longer than the patience.
            NotAllowed, CallFailed: it does not let this person talk in this session.
        """
        met, lost_at, pause = False, trio.current_time(), FIRST_PAUSE
        while True:
            try:
                async with connect(await self._find(), self._take) as client:
                    mark = await self._attach(client)
                    if met:
                        self._screen.note("Connected again.")
                    await self._follow(client)
                    if not met:
                        task_status.started(mark)
                    met, pause = True, FIRST_PAUSE
                    await self._go_on(client)
                    lost_at = trio.current_time()
                    self._screen.note("The connection is lost; trying again ...")
            except (NotReachable, ConnectionLost, CallTimedOut) as error:
                if not met:
                    raise
                if trio.current_time() - lost_at > self._talk.patience:
                    raise self._given_up(error) from error
            except CallFailed as error:
                if not met or error.rpc_code != UNAVAILABLE:
                    raise
            await trio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _find(self) -> Endpoint:
        return await trio.to_thread.run_sync(self._locate)

    async def _attach(self, client: Client) -> SessionMark:
        self.choices.forget()
        self._questions.connection_lost()
        client.serve_calls("session/request_permission", self._asked)
        wanted = {"key": self._talk.key, "agent": self._talk.agent}
        folder = self._talk.workspace or "/"
        session = await client.call(
            "session/new",
            {"cwd": folder, "mcpServers": [], "_meta": {"runtime": wanted}},
            NewSessionResult,
        )
        self.choices.attached(session.config_options)
        mark = session.meta.runtime
        if mark is None:
            raise CommandError(f"{client.endpoint.url} is not this runtime: it says no session key")
        self._mark = mark
        if self._session_id != session.session_id:
            if self._session_id:
                self._screen.note("The session was closed; this is a new one.")
            elif self._greet is not None:
                self._greet(mark)
            if mark.cwd_ignored:
                self._screen.note(elsewhere(folder, mark))
            self._answers.begin(mark)
            self._session_id = session.session_id
        return mark

    async def _follow(self, client: Client) -> None:
        """Go on with the stream of events from where it broke off."""
        for message in list(self._unanswered.values()):
            # Their ids in the runtime tell in the transcript which words are this person's.
            try:
                sent = await client.call(
                    "_runtime/session/send", message.prompt(self._session_id), SendResult
                )
            except CallFailed:
                continue  # its prompt is told the same, and deals with it
            self._answers.sent(message.id, sent.message_id)
            message.named = True
        params = {"sessionId": self._session_id, "after": self._answers.after}
        await client.call("_runtime/session/events", params, EventsResult)

    async def _go_on(self, client: Client) -> None:
        """Ask again what is not answered, then go on until the connection is gone."""
        async with trio.open_nursery() as nursery:
            try:
                asked: set[str] = set()
                # No checkpoint between the last look and the next line: no message slips through.
                while left := [each for each in self._unanswered.values() if each.id not in asked]:
                    await nursery.start(self._ask, client, left[0])
                    asked.add(left[0].id)
                self._client, self._asking = client, nursery
                self._put_questions()
                await client.ended()
            except ConnectionLost:
                pass
            finally:
                self._client = self._asking = None
                self._questions.connection_lost()
                self._answers.connection_lost()
                self._show_state()

    async def _take(self, notification: Notification) -> None:
        with suppress(msgspec.ValidationError):  # of a later version of the protocol
            match notification.method:
                case "_runtime/session/event":
                    self._happened(msgspec.json.decode(notification.params, type=EventParams))
                case "session/update":
                    told = msgspec.json.decode(notification.params, type=UpdateParams)
                    self.choices.take(told.update)
                case "$/cancel_request":
                    void = msgspec.json.decode(notification.params, type=CancelRequestParams)
                    self._questions.withdraw(void.request_id)

    def _happened(self, happened: EventParams) -> None:
        if happened.session_id != self._session_id:
            return
        if isinstance(happened.event, PermissionAnsweredEvent):
            self._questions.settled(happened.event)
            self._put_questions()
        else:
            self._answers.take(happened.event)

    # -- questions of the agent ---------------------------------------------------------------

    def answer(self, text: str) -> bool:
        """Take a line for an answer to what the agent asks; False when it is none."""
        answered = self._questions.answer(text)
        self._show_state()
        return answered

    def _asked(self, request: Request) -> None:
        self._questions.heard(request)
        self._put_questions()

    def _put_questions(self) -> None:
        """Ask what is to be asked, once everything before it is shown."""
        if self._asking is not None:
            self._questions.put()
        self._show_state()

    def _reply(self, identity: int | str, option_id: str | None) -> None:
        if self._asking is not None and self._client is not None:
            self._asking.start_soon(self._send_reply, self._client, identity, option_id)

    async def _send_reply(self, client: Client, identity: int | str, option_id: str | None) -> None:
        outcome = {"outcome": "selected", "optionId": option_id}
        with suppress(ConnectionLost):  # the question is put again on the next connection
            await client.reply(
                identity, {"outcome": {"outcome": "cancelled"} if option_id is None else outcome}
            )

    # -- messages -----------------------------------------------------------------------------

    async def say(self, text: str, files: Sequence[Attachment] = ()) -> Message:
        """Send a message; now, or as soon as the runtime is there again. Does not wait for it."""
        message = Message(text, files)
        self._unanswered[message.id] = message
        self._show_state()
        if self._asking is not None and self._client is not None:
            await self._asking.start(self._ask, self._client, message)
        return message

    async def _ask(
        self, client: Client, message: Message, task_status: trio.TaskStatus[None]
    ) -> None:
        """See one message through on one connection. Started when it is on its way.

        When the connection is lost it is left unanswered, and is asked again on the next one.
        """
        if not message.named:
            self._answers.sending(message.id, message.text)
        try:
            answer = await client.begin(
                "session/prompt", message.prompt(self._session_id), PromptResult
            )
        except ConnectionLost:
            return
        finally:
            task_status.started()
        for pause in (*REFUSED_PAUSES, None):
            try:
                result = await answer.wait()
            except ConnectionLost:
                return
            except CallFailed as error:
                if error.rpc_code != UNAVAILABLE or pause is None:
                    self._take_error(message, error)
                    return
            else:
                self._take_result(message, result)
                return
            with trio.move_on_after(pause):
                await client.ended()
            try:
                answer = await client.begin(
                    "session/prompt", message.prompt(self._session_id), PromptResult
                )
            except ConnectionLost:
                return

    def _take_result(self, message: Message, result: PromptResult) -> None:
        self._settle(message, "cancelled" if result.stop_reason == "cancelled" else "answered")
        mark = result.meta.runtime
        self._answers.sent(message.id, None if mark is None else mark.message_id)
        if mark is None:
            return
        if mark.turn_id is None and result.stop_reason == "cancelled":
            self._screen.aside(f"Withdrawn, the agent never got it: {shortened(message.shown)}")
        self._answers.answered(mark, result.stop_reason)

    def _take_error(self, message: Message, error: CallFailed) -> None:
        self._settle(message, "failed")
        if error.rpc_code != SESSION_BLOCKED:
            self._answers.sent(message.id, None)
            self._answers.failed(error)
            return
        name = error.data.get("messageId") if isinstance(error.data, dict) else None
        self._answers.sent(message.id, name if isinstance(name, str) else None)
        self._answers.kept(error)

    def _settle(
        self, message: Message, outcome: Literal["answered", "cancelled", "failed"]
    ) -> None:
        message.outcome = outcome
        self._unanswered.pop(message.id, None)
        self._show_state()
        message.done.set()

    # -- commands -----------------------------------------------------------------------------

    async def call(self, method: str, result: type[ResultT], **params: Any) -> ResultT:
        """Call a method about this session.

        Raises:
            ConnectionLost: there is no connection just now.
            CallFailed, CallTimedOut.
        """
        client = self._connected()
        return await client.call(method, {"sessionId": self._session_id, **params}, result)

    async def choose(self, option_id: str, value: str | bool) -> None:
        """Set one of the session's settings.

        Raises:
            ConnectionLost, CallFailed, CallTimedOut.
        """
        kind = {"type": "boolean"} if isinstance(value, bool) else {}
        chosen = await self.call(
            "session/set_config_option",
            SetConfigOptionResult,
            configId=option_id,
            value=value,
            **kind,
        )
        self.choices.set_options(chosen.config_options)

    async def cancel(self) -> None:
        """Cancel the running turn and withdraw what this person has said and waits (G11)."""
        await self._connected().notify("session/cancel", {"sessionId": self._session_id})

    def largest_message(self) -> int:
        """Bytes that the runtime reads at once. Raises ConnectionLost."""
        return self._connected().largest_message

    def largest_file(self) -> int | None:
        """Bytes of a file that the runtime takes; None when it did not say. Raises
        ConnectionLost.
        """
        return self._connected().largest_file

    def _connected(self) -> Client:
        if self._client is None:
            raise ConnectionLost("there is no connection just now", "try again in a moment")
        return self._client

    def _show_state(self) -> None:
        state = (
            "idle" if not self.unanswered else f"{number_of(self.unanswered, 'message')} in work"
        )
        if self.asked:
            state += ", the agent waits for an answer"
        self._screen.state(state if self.connected else f"not connected, {state}")

    def _given_up(self, error: CommandError) -> CommandError:
        if not self._unanswered:
            return NotReachable(str(error), error.hint)
        count = number_of(self.unanswered, "message")
        return NotReachable(
            f"{error}; {count} without an answer",
            "what the runtime accepted is kept and answered after its next start",
        )
