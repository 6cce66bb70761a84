"""The settings as the runtime sees them: frozen, complete, in seconds and bytes.

What is built in code is not checked by building it: `runtime.settings.check` does that, and loading
does. Each key is documented in ``docs/operating.md``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from runtime.sessions.commands import RESET_TRIGGERS
from runtime.sessions.principals import Role
from runtime.sessions.rows import DropName
from runtime.settings.forms import (
    QUEUE_MODE,
    OptionalPath,
    OptionalQueueMode,
    OptionalSeconds,
    PathField,
    PathList,
    PositiveSeconds,
    QueueMode,
    RequiredSecret,
    Seconds,
    SecondsOrOff,
    Secret,
    is_secret,
    size_form,
)

Cap: TypeAlias = Annotated[int, Meta(ge=1, le=10_000)]
DropPolicy: TypeAlias = DropName
Trigger: TypeAlias = Annotated[str, Meta(pattern=r"^\S{1,100}$")]
InterruptedPolicy: TypeAlias = Literal["retry", "notify"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]
LogFormat: TypeAlias = Literal["auto", "text", "json"]

DEFAULT_AGENT = "echo"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the tables of the settings file. Its representation leaves secrets out."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = (
            (field, getattr(self, field.name)) for field in msgspec.structs.fields(type(self))
        )
        return [
            (field.name, "***" if is_secret(field.type) and value is not None else value)
            for field, value in values
        ]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({values})"


class PrincipalSettings(Section, frozen=True, kw_only=True):
    """Somebody who may connect with a token of their own (G8, S36).

    Args:
        token: what they present; no two principals share one.
        role: what they may do: ``member``, ``admin`` or ``owner``.
    """

    token: RequiredSecret
    role: Role = Role.MEMBER


class GatewaySettings(Section, frozen=True, kw_only=True):
    """The port for clients (G7, G8).

    Args:
        host: the address to listen on; other than loopback only with a token.
        port: 0 takes any free one.
        token: what the owner's clients have to present; None asks nobody for anything.
        allowed_origins: web pages that may connect, besides those served by the runtime itself.
        max_frame_bytes: the largest message from a client.
        tls_certificate: a PEM file with the certificate chain; serves TLS when set.
        tls_key: a PEM file with the key, when it is not in ``tls_certificate``.
        workspace_roots: folders in which a client may let an agent work (G10).
        client_mcp_servers: whether the MCP servers that a client names are passed on (G10).
        max_connections: clients at once.
        max_connections_per_address: clients at once from one address other than loopback.
        handshakes_per_second: new connections from one address.
        handshake_timeout: seconds for a client to say what it wants.
        principals: who else may connect, by name; only beside ``token``, which stays the owner's.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8_765
    token: Secret = None
    allowed_origins: tuple[str, ...] = ()
    max_frame_bytes: Annotated[int, Meta(extra={"form": size_form(1_024)})] = 32 * 1_024**2
    tls_certificate: OptionalPath = None
    tls_key: OptionalPath = None
    workspace_roots: PathList = ()
    client_mcp_servers: bool = False
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    max_connections_per_address: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    handshakes_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 50.0
    handshake_timeout: PositiveSeconds = 10.0
    principals: dict[str, PrincipalSettings] = {}


def default_data_dir() -> Path:
    """Where the platform keeps a person's application data."""
    import platformdirs

    return Path(platformdirs.user_data_dir("greenroom", appauthor=False))


class StorageSettings(Section, frozen=True, kw_only=True):
    """Where the data is kept (D3)."""

    data_dir: PathField = msgspec.field(default_factory=default_data_dir)


class QueueSettings(Section, frozen=True, kw_only=True):
    """What becomes of messages that arrive while a turn runs (Q1–Q5). Durations in seconds.

    Args:
        mode: ``collect``, ``followup``, ``steer``, ``steer-backlog`` or ``interrupt``.
        debounce: how long a chat network must be quiet before its messages become a turn. A client
            that submits a whole prompt does not wait.
        debounce_max: how long a message waits for quiet at most.
        cap: how many messages may wait in one session.
        drop: which message goes when there are more; ``summarize`` drops the oldest and keeps a
            line of it.
    """

    mode: Annotated[QueueMode, Meta(extra={"form": QUEUE_MODE})] = "collect"
    debounce: Seconds = 1.0
    debounce_max: Seconds = 10.0
    cap: Cap = 20
    drop: DropPolicy = "summarize"


class ChannelSettings(Section, frozen=True, kw_only=True):
    """What holds for one channel instead of the general settings; None: those (Q3, R3, R4).

    Args:
        mode, debounce, debounce_max, cap, drop: as in `QueueSettings`.
        drafts: an answer is shown while it is written, where the network can.
        draft_interval: seconds between two changes of what is shown; None: what the network takes.
        typing: the chat shows that somebody is typing, where the network can.
    """

    mode: OptionalQueueMode = None
    debounce: OptionalSeconds = None
    debounce_max: OptionalSeconds = None
    cap: Cap | None = None
    drop: DropPolicy | None = None
    drafts: bool = True
    draft_interval: OptionalSeconds = None
    typing: bool = True


class SessionSettings(Section, frozen=True, kw_only=True):
    """How long things may take in a session, and how often they are tried. Durations in seconds.

    Args:
        hibernate_after: an idle session without an agent process gives up its actor (S42).
        shutdown_grace: what running turns get when the runtime stops (S45).
        first_event_limit: an agent that has said nothing by then has failed (T4).
        turn_silence_limit: so has one that falls silent for so long in mid-turn (T4).
        on_interrupted: what becomes of messages whose turn was cut off by the runtime (T5 d):
            ``retry`` runs them again, ``notify`` says so and leaves it to the person.
        max_tries: how often a message is tried again before it has failed (T5 a, d).
        retry_delay: before the second try; it doubles with each further one.
        max_message_age: an older message is not run any more (Q6); None: however old.
        permission_limit: how long a person may take to answer when an agent asks for permission;
            then nobody has chosen.
        max_agent_processes: how many agents may run as processes at a time (P6).
        reset_triggers: words that begin a new conversation, alone or before its first message
            (S40).
    """

    hibernate_after: Seconds = 60.0
    shutdown_grace: Seconds = 10.0
    first_event_limit: PositiveSeconds = 300.0
    turn_silence_limit: PositiveSeconds = 1_800.0
    on_interrupted: InterruptedPolicy = "retry"
    max_tries: Annotated[int, Meta(ge=1, le=1_000)] = 5
    retry_delay: Seconds = 5.0
    max_message_age: SecondsOrOff = None
    permission_limit: PositiveSeconds = 600.0
    max_agent_processes: Annotated[int, Meta(ge=1, le=100_000)] = 32
    reset_triggers: tuple[Trigger, ...] = RESET_TRIGGERS


class TranscriberSettings(Section, frozen=True, kw_only=True):
    """What makes text of voice notes: a command, or a service that is asked over HTTP (H5).

    Without either, voice notes are handed over as they are.

    Args:
        command: the program and its arguments, ``{file}`` standing for the file; it prints the
            text.
        url: the service, with the form of OpenAI's ``/v1/audio/transcriptions``.
        model: which of the service's models.
        token: what the service asks for, sent as ``Authorization: Bearer``.
        timeout: seconds for one voice note.
    """

    command: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    url: Annotated[str, Meta(min_length=1)] | None = None
    model: Annotated[str, Meta(min_length=1)] | None = None
    token: Secret = None
    timeout: PositiveSeconds = 60.0


class MediaSettings(Section, frozen=True, kw_only=True):
    """Files that come and go with messages (M3, M5, M7).

    Args:
        root: where they are kept; None for ``media`` in the data directory.
        max_media_bytes: what all of them may take on disk together, those in outboxes too.
        max_file_bytes: the largest that is taken.
        free_space_floor: bytes of the disk that are left free; None for the smaller of 1 GiB and a
            twentieth of the disk.
        idle: seconds without a person's message after which the files of a session go; None keeps
            them until the room is needed (S43).
        fetch_timeout: seconds for a chat network, or a server on the web, to deliver one file.
        fetch_links: addresses that end in a slash; what a client's link below one of them leads to
            is fetched and kept. Without any, links to the web stay links.
        transcriber: what makes text of voice notes.
    """

    root: OptionalPath = None
    max_media_bytes: Annotated[int, Meta(extra={"form": size_form(0)})] = 200 * 1_024**2
    max_file_bytes: Annotated[int, Meta(extra={"form": size_form(1)})] = 20 * 1_024**2
    free_space_floor: Annotated[int | None, Meta(extra={"form": size_form(0, auto=True)})] = None
    idle: SecondsOrOff = 86_400.0
    fetch_timeout: PositiveSeconds = 120.0
    fetch_links: tuple[str, ...] = ()
    transcriber: TranscriberSettings = msgspec.field(default_factory=TranscriberSettings)


class AgentEntry(msgspec.Struct, frozen=True):
    """One configured agent.

    Args:
        kind: what sort of agent it is.
        options: the settings of that kind; None stands for its defaults.
    """

    kind: str
    options: msgspec.Struct | None = None


def default_agents() -> dict[str, AgentEntry]:
    """What there is when no agent is configured."""
    return {DEFAULT_AGENT: AgentEntry(kind=DEFAULT_AGENT)}


class RoutingSettings(Section, frozen=True, kw_only=True):
    """Who answers.

    Args:
        default_agent: the agent of a session that names none; None leaves it to `choose`.
    """

    default_agent: str | None = None

    def choose(self, names: Collection[str]) -> str | None:
        """The default among these agents: the one set, else ``echo``, else the only one.

        None when that says nothing: the one set is not there, or there are several.
        """
        if self.default_agent is not None:
            return self.default_agent if self.default_agent in names else None
        if DEFAULT_AGENT in names:
            return DEFAULT_AGENT
        return next(iter(names)) if len(names) == 1 else None


class LogSettings(Section, frozen=True, kw_only=True):
    """What is logged to standard error, and how.

    Args:
        level: the least that is worth a line.
        format: ``text`` for people, ``json`` for programs; ``auto``: text on a terminal.
    """

    level: LogLevel = "info"
    format: LogFormat = "auto"


class Settings(Section, frozen=True, kw_only=True):
    """Everything that can be set. `Settings()` is complete and safe."""

    gateway: GatewaySettings = GatewaySettings()
    storage: StorageSettings = msgspec.field(default_factory=StorageSettings)
    queue: QueueSettings = QueueSettings()
    channels: dict[str, ChannelSettings] = {}
    sessions: SessionSettings = SessionSettings()
    media: MediaSettings = MediaSettings()
    agents: dict[str, AgentEntry] = msgspec.field(default_factory=default_agents)
    routing: RoutingSettings = RoutingSettings()
    log: LogSettings = LogSettings()

    def queue_of(self, channel: str) -> QueueSettings:
        """What holds for the queues of a channel: its own settings before the general ones (Q3)."""
        own = self.channels.get(channel)
        if own is None:
            return self.queue
        given = {
            name: value
            for name in QueueSettings.__struct_fields__
            if (value := getattr(own, name)) is not None
        }
        return msgspec.structs.replace(self.queue, **given)
