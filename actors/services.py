"""What the actors of one runtime share: made once by the composition root, handed down, never
global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio

from actors.configuration import Configuration
from actors.disk import Disk
from actors.library import Library
from actors.transcribers import configured_transcriber
from actors.watch import Watchers
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.ports.agent import Agent, AgentContext
from runtime.ports.channel import Channel, ChannelCapabilities
from runtime.ports.transcriber import Transcriber
from runtime.processes import Processes, Slots
from runtime.sessions.drafting import Pauses
from runtime.sessions.ids import IdSource
from runtime.sessions.marks import room_for_mark
from runtime.sessions.modes import QueueMode
from runtime.sessions.principals import LOCAL, TOKEN_HOLDER, Role
from runtime.sessions.queueing import QueuePolicy
from runtime.sessions.rows import CLIENTS, InboundRow, SessionRow
from runtime.sessions.split import Counting
from runtime.sessions.updates import Announcement
from runtime.settings import Settings
from runtime.storage.attachments import OUTBOX
from runtime.storage.requests import InterruptedPolicy, QueueLimit
from runtime.storage.store import Store
from runtime.storage.transcript import Transcripts

log = get_logger(__name__)


@dataclass(frozen=True)
class Services:
    """The parts that are not actors.

    Args:
        instance: the id of this run of the runtime (D8).
        now: the wall clock in milliseconds since 1970.
        folder_of: where a session's agent may work; None without a data directory.
        log_of: where its process' standard error goes; None without a data directory.
        processes: starts processes.
        slots: how many agents may run as processes (P6).
        library: the files that come with messages.
        fetching: how many of them are fetched at the same time, by channel account, and by origin
            for what links lead to; made as they are needed, for places that the settings name.
        transcribing: how many voice notes become text at the same time.
        sending: where files on their way to a chat are read; a disk that hangs under an agent's
            outbox holds up no file that comes.
        hearing: where voice notes are read for the transcriber.
        given_transcriber: the one that was passed in, which goes before that of the settings.
        pauses: what networks asked to wait, before more is shown of an answer in the making.
        announced: the names of the commands that each agent announced last, in whichever session.
    """

    configuration: Configuration
    store: Store
    transcripts: Transcripts
    watchers: Watchers
    metrics: Metrics
    ids: IdSource
    instance: str
    now: Callable[[], int]
    channels: Mapping[tuple[str, str], Channel]
    folder_of: Callable[[str, str], Path | None]
    log_of: Callable[[str, str], Path | None]
    processes: Processes
    slots: Slots
    library: Library
    fetching: Mapping[tuple[str, str], trio.CapacityLimiter]
    transcribing: trio.CapacityLimiter
    sending: Disk
    hearing: Disk
    given_transcriber: Transcriber | None = None
    pauses: Pauses = field(default_factory=Pauses)
    announced: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings that hold now."""
        return self.configuration.settings

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents that there are now."""
        return self.configuration.agents

    @property
    def default_agent(self) -> str:
        """Who answers in a new session that names no agent."""
        return self.configuration.default_agent

    @property
    def transcriber(self) -> Transcriber | None:
        """What makes text of voice notes now; None when nothing does."""
        if self.given_transcriber is not None:
            return self.given_transcriber
        return configured_transcriber(self.settings.media.transcriber, self.processes, self.hearing)

    @property
    def stuck(self) -> int:
        """How many threads hang in work on files, so that nobody waits for them any more."""
        return sum(disk.stuck for disk in {self.library.disk, self.sending, self.hearing})

    @property
    def interrupted_policy(self) -> InterruptedPolicy:
        """What becomes of messages whose turn the runtime cut off (T5 d)."""
        sessions = self.settings.sessions
        return InterruptedPolicy(
            retry=sessions.on_interrupted == "retry", max_tries=sessions.max_tries
        )

    def queue_policy(self, row: SessionRow) -> tuple[QueuePolicy, int]:
        """When messages become a turn, and the cap: the session's own settings first, then those
        of its channel (Q3).
        """
        settings, own = self.settings.queue_of(row.channel), row.queue
        debounce = settings.debounce if own.debounce is None else own.debounce
        longest = settings.debounce_max if own.debounce_max is None else own.debounce_max
        policy = QueuePolicy(
            mode=QueueMode(own.mode or settings.mode),
            debounce=debounce,
            debounce_max=max(debounce, longest),
            prompts_wait=self._asked_to_wait(row),
        )
        return policy, own.cap or settings.cap

    @property
    def queue_limit(self) -> QueueLimit:
        """The cap of a queue and what goes when it is full, whichever session it turns out to be
        (Q3, Q4).
        """
        general, settings = self.settings.queue, self.settings
        of = {name: settings.queue_of(name) for name in settings.channels}
        channels = {name: (each.cap, each.drop) for name, each in of.items()}
        return QueueLimit(general.cap, general.drop, channels)

    def _asked_to_wait(self, row: SessionRow) -> bool:
        """Whether whole prompts are debounced: only when that was set for them (Q1)."""
        clients = self.settings.channels.get(CLIENTS)
        return row.queue.debounce is not None or (
            clients is not None and clients.debounce is not None
        )

    def role_of(self, row: InboundRow) -> Role:
        """What whoever wrote a message may do (S36). In a chat there are no principals yet, and a
        program that embeds the runtime may do everything.
        """
        if row.reply_to is not None or row.sender is None:
            return Role.OWNER
        name = row.sender.id
        if name in (LOCAL.name, TOKEN_HOLDER.name):
            return Role.OWNER
        known = self.settings.gateway.principals.get(name)
        return known.role if known is not None else Role.MEMBER

    def agent_context(
        self, row: SessionRow, announce: Callable[[Announcement], None]
    ) -> AgentContext:
        """What an agent is told about a session when it is opened for it."""
        workplace = row.overrides.workplace
        folder, workspace = self._folders_of(row)
        return AgentContext(
            session_id=row.id,
            agent_id=row.agent_id,
            key=row.key,
            epoch=row.epoch,
            folder=folder,
            resume=row.agent_session_id,
            workspace=workspace,
            mcp_servers=workplace.mcp_servers,
            choices=row.overrides.choices,
            announce=announce,
            log=self.log_of(row.agent_id, row.id),
            processes=self.processes,
            media=self.library.folder(row.id),
            outbox=None if folder is None else folder / OUTBOX,
        )

    def place_of_work(self, row: SessionRow) -> Path | None:
        """Where the agent of a session works; None when that is not known."""
        agent = self.agents.get(row.agent_id)
        if agent is None:
            return None
        try:
            return agent.works_in(*self._folders_of(row))
        except Exception:
            log.exception("agent_raised", agent=row.agent_id)
            return None

    def _folders_of(self, row: SessionRow) -> tuple[Path | None, Path | None]:
        """A session's own folder, and the one that a client named."""
        named = row.overrides.workplace.folder
        own = self.folder_of(row.agent_id, row.id)
        return own, Path(named) if named is not None else None

    def download_limit(self, channel: str, account: str) -> int:
        """The largest file of a channel that is taken, in bytes; 0 for none (N1, M3)."""
        known = self.channels.get((channel, account))
        if known is None or self.library.tree is None:
            return 0
        return min(known.capabilities.max_download_bytes, self.settings.media.max_file_bytes)

    def text_limit(self, channel: str, account: str) -> tuple[int, Counting]:
        """How long one part of an answer may be, and how that is counted (N1): what the channel
        takes, less the mark that a part may need.
        """
        known = self.channels.get((channel, account))
        able = known.capabilities if known is not None else ChannelCapabilities()
        unmarked = able.idempotent_sends and not able.drafts  # a draft may stay beside its answer
        room = 0 if unmarked else room_for_mark(able.text_limit)
        return able.text_limit - room, able.counting
