"""One prompt that the agent works on: its events, its questions, its tools."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from actors.agents.acp.events import EventQueue
from runtime.protocol.acp_agent import CancelledOutcome, PermissionAnswer, SelectedOutcome
from runtime.protocol.agent_updates import ToolProgress
from runtime.protocol.peer import Outcome
from runtime.sessions.updates import (
    AgentEvent,
    PermissionOption,
    PermissionRequest,
    PermissionSettled,
    ToolCallUpdate,
)

MOST_OPTIONS = 20
LONGEST_NAME = 200
MOST_TOOLS = 256
"""Tool calls whose declared time is remembered."""


class Question:
    """A request for permission that is open until it is settled."""

    def __init__(self, request: PermissionRequest) -> None:
        self.request = request
        self.settled = trio.Event()
        self.chosen: str | None = None

    @property
    def answer(self) -> PermissionAnswer:
        """What the agent is told."""
        if self.chosen is None:
            return PermissionAnswer(CancelledOutcome())
        return PermissionAnswer(SelectedOutcome(self.chosen))


class RunningPrompt:
    """A prompt from when it is written until it is answered.

    ``events`` has what the agent says in the order of the wire, and its answer last.
    """

    def __init__(self, turn_id: str) -> None:
        self.events: EventQueue[AgentEvent | Outcome] = EventQueue()
        self.over = trio.Event()
        self.answered = False
        self._turn_id = turn_id
        self._cancelled = False
        self._asked = 0
        self._questions: dict[str, Question] = {}
        self._timeouts: dict[str, float] = {}

    def deliver(self, outcome: Outcome) -> None:
        """The agent has answered, or never will."""
        self.answered = True
        self.events.put_now(outcome)

    def close(self) -> None:
        """Nobody listens any more."""
        self.events.close()
        self._settle_all()
        self.over.set()

    # -- questions --------------------------------------------------------------------------------

    async def ask(
        self, tool_call: ToolCallUpdate, options: Sequence[PermissionOption], size: int
    ) -> Question:
        """Put a question among the events. Once the prompt is cancelled it is settled at once, as
        the protocol has it.
        """
        self._asked += 1
        by_id = {option.option_id: _bounded(option) for option in options}
        question = Question(
            PermissionRequest(
                request_id=f"{self._turn_id}-{self._asked}",
                tool_call=tool_call,
                options=tuple(by_id.values())[:MOST_OPTIONS],
            )
        )
        if self._cancelled or not await self.events.put(question.request, size):
            question.settled.set()
        else:
            self._questions[question.request.request_id] = question
        return question

    def settle(self, request_id: str, option_id: str | None) -> bool:
        """Settle a question; whether it was open, and has that answer."""
        question = self._questions.get(request_id)
        if question is None:
            return False
        known = {option.option_id for option in question.request.options}
        if option_id is not None and option_id not in known:
            return False
        del self._questions[request_id]
        question.chosen = option_id
        question.settled.set()
        self.events.put_now(PermissionSettled(request_id, option_id))
        return True

    def cancel(self) -> None:
        """The prompt is to end: nobody answers questions any more."""
        self._cancelled = True
        self._settle_all()

    def _settle_all(self) -> None:
        for request_id in list(self._questions):
            self.settle(request_id, None)

    # -- tools ------------------------------------------------------------------------------------

    def note_tool(self, progress: ToolProgress) -> None:
        """Remember for how long a tool may be silent, until it has ended."""
        if progress.status in ("completed", "failed"):
            self._timeouts.pop(progress.tool_call_id, None)
            return
        declared = progress.meta.runtime if progress.meta is not None else None
        if declared is None:
            return
        if len(self._timeouts) < MOST_TOOLS or progress.tool_call_id in self._timeouts:
            self._timeouts[progress.tool_call_id] = declared.timeout_ms / 1_000

    @property
    def declared_silence(self) -> float:
        """The longest time that a tool which runs may be silent, in seconds."""
        return max(self._timeouts.values(), default=0.0)


def _bounded(option: PermissionOption) -> PermissionOption:
    return PermissionOption(option.option_id, option.name[:LONGEST_NAME], option.kind)
