"""The agent port: what the runtime asks of an agent, and what an agent answers.

An agent is opened once per live session and prompted one turn at a time. Whoever writes one
implements `Agent.open`, an async context manager, and `AgentHandle.prompt`, an async generator; the
rest has defaults. See ``docs/agents.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec

from runtime.processes import Processes
from runtime.sessions.content import PromptContent
from runtime.sessions.permissions import PermissionPolicy
from runtime.sessions.updates import AgentEvent, Announcement


class AgentCapabilities(msgspec.Struct, frozen=True):
    """What an agent can do beyond answering text.

    ``inbox``: it sees nothing of the runtime's disk but the folder of its session, as one in a
    container does: files are put into ``inbox/`` there, and links lead there (M5).
    """

    steer: bool = False
    images: bool = False
    audio: bool = False
    resume: bool = False
    permissions: bool = False
    inbox: bool = False


class Offers(msgspec.Struct, frozen=True):
    """What an agent lets its sessions choose from, as the JSON of the protocol.

    Args:
        config_options: its settings with their current values. Modes of the older form are one of
            them, with category ``mode``.
        commands: what may be typed with a slash before it.
    """

    config_options: tuple[dict[str, Any], ...] = ()
    commands: tuple[dict[str, Any], ...] = ()


def _announce_to_nobody(announcement: Announcement) -> None:
    """For an agent that is opened outside of a session."""


class AgentContext(msgspec.Struct, frozen=True):
    """The session an agent is opened for.

    Args:
        session_id: the runtime's id of the session.
        agent_id: the name under which the agent is configured.
        key: the session's key.
        epoch: which conversation of the session this is (S18).
        folder: where the agent may work; not there until somebody makes it. None without a data
            directory.
        resume: the agent's own id of the conversation, from an earlier `Result` or handle.
        workspace: a folder of the person's where the agent is to work instead (G10).
        mcp_servers: what the client wants passed on to the agent, as the protocol's JSON (G10).
        choices: what was chosen of the agent's `Offers` in this session, by id.
        announce: to be called with what the agent says outside of a turn; does not block.
        log: a file for what the agent's process writes to standard error; None for nowhere.
        processes: where processes are started; None when there are none.
        media: the folder with the files that people sent, for reading; None when none are kept.
        outbox: a folder; files that are in it when a turn has ended are sent to the chat, and
            removed (R7). Not there until somebody makes it. None without a data directory.
    """

    session_id: str
    agent_id: str
    key: str
    epoch: int
    folder: Path | None = None
    resume: str | None = None
    workspace: Path | None = None
    mcp_servers: tuple[dict[str, Any], ...] = ()
    choices: Mapping[str, str | bool] = {}
    announce: Callable[[Announcement], None] = _announce_to_nobody
    log: Path | None = None
    processes: Processes | None = None
    media: Path | None = None
    outbox: Path | None = None


class PromptTurn(msgspec.Struct, frozen=True):
    """One prompt. ``content`` is complete: what people said, with the runtime's own lines before
    it. A file is a link to where it is on disk (for an agent with an ``inbox``, to where it is in
    there), followed by an image or a sound when the agent takes such.
    """

    turn_id: str
    content: PromptContent
    message_ids: tuple[str, ...]


class AgentGone(Exception):
    """The agent vanished: its process ended, its connection broke. Not an answer (T5 a, c)."""


class AgentUnusable(AgentGone):
    """The agent cannot be started before somebody changes something: it is not installed, it wants
    a login. It is not started again by itself: the session is blocked at once (P3).
    """


class AgentRefused(Exception):
    """The agent answered the prompt with an error (T5 b).

    Args:
        message: for the person who asked.
        code: stable, for programs.
    """

    def __init__(self, message: str, code: str = "agent_error") -> None:
        super().__init__(message)
        self.code = code


class AgentHandle(ABC):
    """An open agent: one conversation."""

    capabilities: AgentCapabilities = AgentCapabilities()
    permission_policy: PermissionPolicy = "ask"
    """Who answers when the agent asks for permission: people, or the runtime by itself."""

    @property
    def offers(self) -> Offers:
        """What can be chosen now."""
        return Offers()

    @property
    def agent_session_id(self) -> str | None:
        """The agent's own id of the conversation, when it has one. Once the agent has begun to
        answer, it comes back as ``context.resume`` when it is opened for this conversation again.
        """
        return None

    @abstractmethod
    def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        """Run one turn and yield what the agent says, a `Result` last.

        The iterator is closed when it has ended, failed or been cancelled. Nothing else is asked of
        the handle meanwhile but `steer`, `cancel`, `answer_permission` and `choose`.

        Raises:
            AgentGone: the agent vanished. It is closed and opened again for the next turn.
            AgentRefused: the agent answered with an error; so does any other exception count.
        """

    def declared_silence(self) -> float:
        """For how many seconds the agent has declared to stay quiet, while a long tool runs; else 0
        (T4).
        """
        return 0.0

    async def steer(self, content: PromptContent) -> bool:
        """Hand what people said meanwhile to the running turn (Q3).

        Asked only of an agent with the capability ``steer``, one at a time, after its first event,
        and cancelled after 5 s.

        Returns:
            True only when the agent has confirmed that it reads it in this turn, before its result;
                whatever else happens, the message is kept and runs after the turn.
        """
        return False

    async def answer_permission(self, request_id: str, option_id: str | None) -> bool:
        """Answer a `PermissionRequest` of the running turn; None: nobody chose.

        Returns:
            Whether the question was still open. Then `PermissionSettled` is among the next events.
        """
        return False

    async def choose(self, option_id: str, value: str | bool) -> None:
        """Set one of the agent's settings; `offers` has the new value afterwards.

        Raises:
            AgentRefused: there is no such setting or value.
            AgentGone: the agent vanished.
        """
        raise AgentRefused(f"the agent has no setting {option_id!r}", code="no_such_option")

    async def cancel(self) -> None:  # noqa: B027 - an agent without a way to be asked is just cancelled
        """Ask the agent to end the running turn; `prompt` then yields a `Result` soon,
        ``cancelled``.

        An agent that has not answered after 5 s is cancelled and closed (T6).
        """


class Agent(ABC):
    """An agent as configured: makes a handle for each session that wakes.

    An agent that starts a process for each session sets ``uses_process``: then at most
    ``sessions.max_agent_processes`` are open, sessions wait for one in order, and those that were
    idle for longest are closed for them (P6).
    """

    uses_process: bool = False

    @property
    def idle_limit(self) -> float | None:
        """Seconds after which an open agent that nobody prompts is closed and its session
        hibernates; None for ``sessions.hibernate_after`` (S42).
        """
        return None

    @property
    def offers(self) -> Offers:
        """What its sessions can choose from, as far as it is known before one is open."""
        return Offers()

    def works_in(self, folder: Path | None, workspace: Path | None) -> Path | None:
        """Where it works: what people link to in there stays a link, of everything else it is given
        a copy.

        Args:
            folder: the session's own folder, as `AgentContext.folder`.
            workspace: the folder that a client named, as `AgentContext.workspace`.
        """
        return workspace or folder

    @abstractmethod
    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentHandle]:
        """Start the agent for a session: an async context manager that yields its handle.

        Whatever the handle needs (a client, a process, a nursery with readers) is opened inside and
        closed on the way out; the way out runs in a shielded scope with a deadline. When the block
        is left by itself, because a task in its nursery failed, the agent counts as gone.

        Raises:
            AgentUnusable: it cannot be started before somebody changes something.
            AgentGone: it could not be started; so does any other exception count.
        """
