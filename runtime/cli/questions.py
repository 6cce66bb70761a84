"""What the agent asks permission for, before a person or a script.

A person is asked with numbered answers, one question at a time; what they type that is no answer
stays a message. Somebody else who watches may answer first. A script, or a person who wishes so,
has decided beforehand, for the turns that answer their own messages; whatever is asked in a turn
of somebody else is not theirs to decide.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from runtime.cli.client import Request
from runtime.cli.screen import Screen
from runtime.cli.words import shortened
from runtime.cli.working import changes, described
from runtime.protocol.acp import AskedToolCall, PermissionParams
from runtime.protocol.extensions import PermissionAnsweredEvent
from runtime.sessions.permissions import PermissionPolicy, answer_in_words, decided
from runtime.sessions.updates import PermissionOption

_TITLE = 200


class Question(msgspec.Struct, frozen=True):
    """A question that waits for an answer.

    Args:
        identity: of the request, for the answer to it.
        turn_id: the turn in which it is asked.
        request_id: how the events of the session call it.
        title: what the agent wants to do.
        tool_call: more of it.
        options: the possible answers.
    """

    identity: int | str
    turn_id: str
    request_id: str
    title: str
    tool_call: AskedToolCall
    options: tuple[PermissionOption, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by, in whatever connection."""
        return self.turn_id, self.request_id

    def name_of(self, option_id: str | None) -> str | None:
        """How an answer reads."""
        return next((each.name for each in self.options if each.option_id == option_id), None)


class Asking(msgspec.Struct, frozen=True):
    """How questions are dealt with.

    Args:
        policy: who decides about the turns of this person: ``ask`` them, or the answer beforehand.
        dialog: whether a person can answer here.
    """

    policy: PermissionPolicy = "ask"
    dialog: bool = False


class Questions:
    """The open questions of one session, on one connection.

    Args:
        screen: where they are shown.
        asking: how they are dealt with.
        is_own: whether a turn answers something that this person said.
        title_of: what a tool call of a turn is named, if it has begun.
        reply: answers a request with an option, or with None for none; does not wait.
    """

    def __init__(
        self,
        screen: Screen,
        asking: Asking,
        is_own: Callable[[str], bool],
        title_of: Callable[[str, str], str | None],
        reply: Callable[[int | str, str | None], None],
    ) -> None:
        self._screen = screen
        self._asking = asking
        self._is_own = is_own
        self._title_of = title_of
        self._reply = reply
        self._open: dict[tuple[str, str], Question] = {}
        self._shown: dict[tuple[str, str], Question] = {}
        self._given: dict[tuple[str, str], str | None] = {}
        self._lost: Question | None = None

    @property
    def current(self) -> Question | None:
        """The one that this person is asked now."""
        shown = (each for each in self._open.values() if each.key in self._shown)
        return next(shown, None) if self._asking.dialog else None

    def heard(self, request: Request) -> None:
        """The agent asks; `put` shows it.

        Raises:
            msgspec.DecodeError: the question is not understood.
        """
        asked = msgspec.json.decode(request.params, type=PermissionParams)
        mark = asked.meta.runtime
        if mark is None:
            raise msgspec.ValidationError("the question has no name")
        title = asked.tool_call.title or self._title_of(mark.turn_id, asked.tool_call.tool_call_id)
        question = Question(
            identity=request.id,
            turn_id=mark.turn_id,
            request_id=mark.request_id,
            title=shortened(title or "something", _TITLE),
            tool_call=asked.tool_call,
            options=asked.options,
        )
        self._open[question.key] = question

    def put(self) -> None:
        """Decide what is decided, and show what this person is to decide next."""
        self._lost = None
        for question in list(self._open.values()):
            own = self._is_own(question.turn_id)
            if own and self._asking.policy != "ask":
                self._decide(question)
            elif own and not self._asking.dialog and question.key not in self._shown:
                self._shown[question.key] = question
                waits = "waiting for an answer from whoever else watches"
                self._screen.note(f"The agent asks for permission: {question.title}; {waits}")
        if self._asking.dialog and self._open and self.current is None:
            question = next(iter(self._open.values()))
            self._shown[question.key] = question
            self._screen.question(in_words(question))

    def answer(self, text: str) -> bool:
        """Take a line for an answer to the current question; False when it is none.

        When the connection was lost meanwhile, an answer is for nobody: said later as a message, it
        might answer another question.
        """
        question = self.current or self._lost
        option_id = answer_in_words(text, question.options) if question is not None else None
        if question is None or option_id is None:
            return False
        if question is self._lost:
            self._screen.aside("There is no connection just now: what is open is asked again then.")
            return True
        self._give(question, option_id)
        self._screen.aside(f"Your answer: {question.name_of(option_id)}")
        self.put()
        return True

    def withdraw(self, identity: int | str | None) -> None:
        """The runtime wants no answer any more; why is said by an event."""
        for question in list(self._open.values()):
            if question.identity == identity:
                del self._open[question.key]

    def settled(self, event: PermissionAnsweredEvent) -> None:
        """A question is closed, by whomever."""
        key = (event.turn_id, event.request_id)
        self._open.pop(key, None)
        question = self._shown.pop(key, None)
        as_given = key in self._given and self._given.pop(key) == event.option_id
        if question is not None and not as_given:
            chosen = question.name_of(event.option_id)
            how = "nobody has chosen" if chosen is None else f"somebody else chose: {chosen}"
            self._screen.note(f"No longer asked: {question.title} ({how})")

    def connection_lost(self) -> None:
        """What is still open will be asked again on the next connection."""
        self._lost = self.current or self._lost
        self._open.clear()
        self._shown.clear()
        self._given.clear()

    def _decide(self, question: Question) -> None:
        policy = self._asking.policy
        option_id = decided(policy, question.options)
        self._give(question, option_id)
        answer = question.name_of(option_id) or "no answer"
        self._screen.note(
            f"The agent asks for permission: {question.title}\n"
            f"Answered: {answer} (--permissions {policy})"
        )

    def _give(self, question: Question, option_id: str | None) -> None:
        del self._open[question.key]
        self._shown[question.key] = question
        self._given[question.key] = option_id
        self._reply(question.identity, option_id)


def in_words(question: Question) -> str:
    """A question as a person reads it, with a number for each answer."""
    call = question.tool_call
    lines = [f"The agent asks for permission: {question.title}"]
    details = [call.kind or "", described(call, question.title), *changes(call.content)]
    detail = ", ".join(part for part in details if part and part != "other")
    if detail:
        lines.append(f"  {detail}")
    lines += [f"  {number}. {each.name}" for number, each in enumerate(question.options, 1)]
    return "\n".join([*lines, "Answer with the number or the name; Ctrl-C cancels the turn."])
