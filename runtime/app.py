"""The composition root: settings in, a tree of actors out.

    async with open_runtime(settings, agents={"mine": MyAgent()}) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")

Works inside any Trio program: no signal handlers, no global state, no port unless asked for.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from actors.channel import Channels
from actors.configuration import Configuration
from actors.disk import Disk, Threads
from actors.front import ActorFront
from actors.janitor import Janitor
from actors.janitor_messages import SweepAgain
from actors.library import Library
from actors.library_opening import open_library
from actors.monitor import Monitor
from actors.outbox import Finish, Outbox
from actors.outboxes import Inboxes, Outboxes
from actors.router import Router
from actors.scheduler import Scheduler
from actors.services import Services
from actors.sessions import Drain, Reconfigured, Sessions
from actors.upkeep import Upkeep
from actors.watch import Watchers
from runtime.embedding import Session
from runtime.endpoint import Endpoint, published, websocket_url
from runtime.kernel import (
    Actor,
    ActorRef,
    ActorStopped,
    AskTimeout,
    ChildSpec,
    MailboxSpec,
    Restart,
    System,
    open_system,
)
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.ports.agent import Agent
from runtime.ports.channel import Channel
from runtime.ports.front import Front
from runtime.ports.transcriber import Transcriber
from runtime.processes import Slots, open_processes
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.names import file_name
from runtime.settings import (
    Settings,
)
from runtime.storage.media_tree import MediaTree
from runtime.storage.requests import Recovery
from runtime.storage.sqlite import open_sqlite
from runtime.storage.store import Store
from runtime.storage.transcript import NoTranscripts, Transcripts, session_folder

if TYPE_CHECKING:
    from actors.channels.gateway import Port

BUSY_MAILBOX = MailboxSpec(capacity=100_000)
"""For the actors through which every message goes; each message in it has its row already."""

USUAL_MAILBOX = MailboxSpec()
FAREWELL_LIMIT = 10.0

FETCHED_AT_ONCE = 16
"""How many files of one channel account, or of one server on the web, are fetched at the same time
(Q7).
"""

TRANSCRIBED_AT_ONCE = 2
"""How many voice notes become text at the same time: it is heavy work."""

log = get_logger(__name__)


class Runtime:
    """A running runtime. Made by `open_runtime`."""

    def __init__(
        self,
        front: Front,
        system: System,
        recovery: Recovery,
        address: tuple[str, int] | None,
        reconfigure: Callable[[Settings], tuple[str, ...]],
    ) -> None:
        self._reconfigure = reconfigure
        self.front = front
        self.system = system
        self.recovery = recovery
        self.address = address

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents, the default one first."""
        return self.front.agents

    def reconfigure(self, settings: Settings) -> tuple[str, ...]:
        """Go by other settings from now on: new turns and new sessions do, running turns keep
        theirs.

        Agents of the settings are made anew where they changed; agents that you passed stay.

        Args:
            settings: complete settings, not only what changed.

        Returns:
            The changed settings that take effect at the next start only, as ``gateway.port``.

        Raises:
            SettingsError: they cannot be used; the old ones stay.
        """
        return self._reconfigure(settings)

    async def session(self, key: str | None = None, *, agent: str | None = None) -> Session:
        """The session of a key, made when it is not there; without a key a new one.

        Args:
            key: a name of your choice, unique per agent.
            agent: who answers; the default agent when it is not given.

        Raises:
            NoSuchAgent, BadRequest, Unavailable.
        """
        return Session(self.front, await self.front.open_session(key=key, agent=agent))

    async def session_by_id(self, session_id: str) -> Session:
        """A session that exists. Raises NoSuchSession."""
        return Session(self.front, (await self.front.session_info(session_id)).row)


@asynccontextmanager
async def open_runtime(
    settings: Settings | None = None,
    *,
    agents: Mapping[str, Agent] | None = None,
    channels: Sequence[Channel] = (),
    serve: bool = False,
    store: Store | None = None,
    clock: Callable[[], int] = wall_clock_ms,
    disk: Disk | None = None,
    transcriber: Transcriber | None = None,
) -> AsyncIterator[Runtime]:
    """Start a runtime; it runs for as long as the block.

    When the block ends, nothing new is accepted, running turns get ``sessions.shutdown_grace`` to
    finish, what waits stays stored and runs after the next start (S45). When the block raises or is
    cancelled, turns are cut off at once and run again after the next start (T5 d).

    Args:
        settings: everything that can be set; safe defaults without.
        agents: agents made by you, by name, instead of those in the settings.
        channels: chat networks.
        serve: open the port for clients (``settings.gateway``); the data directory says where, so
            that the commands find it.
        store: a store that is open already and stays open, such as
            `runtime.storage.sqlite.open_memory`; without one ``settings.storage.data_dir`` is
            opened.
        clock: the wall clock in milliseconds since 1970.
        disk: where work on files of messages and of outboxes is done; without one in threads, in
            others for each kind. `actors.disk.inline` for tests that jump in time.
        transcriber: makes text of voice notes, instead of that of the settings.

    Raises:
        SettingsError: the settings cannot be used.
        StoreCannotOpen: the data directory cannot be used; nothing in it was changed.
        MediaError: the folder for files must not be used, or another runtime uses it.
        GatewayError: the port cannot be opened; nothing was changed on disk.
    """
    settings = settings if settings is not None else Settings()
    configuration = Configuration.of(settings, agents)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(_port(settings)) if serve else None
        folder: Path | None = None
        ids, metrics = IdSource(clock), Metrics()
        if store is None:
            folder = settings.storage.data_dir.absolute()  # agents work elsewhere
            store = await stack.enter_async_context(
                open_sqlite(folder, clock, observe=metrics.committed)
            )
        root = settings.media.root or _within(folder, "media")
        library = Library(
            store,
            MediaTree(root) if root is not None else None,
            disk if disk is not None else Threads(),
            lambda: configuration.settings.media,
            metrics,
            ids,
            clock,
            Outboxes(folder),
            Inboxes(folder),
        )
        await stack.enter_async_context(open_library(library, store))
        processes = await stack.enter_async_context(open_processes(_within(folder, "processes")))
        services = Services(
            configuration=configuration,
            store=store,
            transcripts=Transcripts(folder, store) if folder is not None else NoTranscripts(),
            watchers=Watchers(metrics),
            metrics=metrics,
            ids=ids,
            instance=ids.new(),
            now=clock,
            channels={(channel.name, channel.account): channel for channel in channels},
            folder_of=partial(_folder_of, folder),
            log_of=partial(_log_of, folder),
            processes=processes,
            slots=Slots(lambda: configuration.settings.sessions.max_agent_processes),
            library=library,
            fetching=defaultdict(partial(trio.CapacityLimiter, FETCHED_AT_ONCE)),
            transcribing=trio.CapacityLimiter(TRANSCRIBED_AT_ONCE),
            given_transcriber=transcriber,
            sending=disk if disk is not None else Threads("uploads"),
            hearing=disk if disk is not None else Threads("transcriber"),
        )
        recovery = await _recover(services)
        runtime = await stack.enter_async_context(_tree(services, port, recovery))
        if port is not None and folder is not None:
            await stack.enter_async_context(published(folder, _endpoint(port)))
        yield runtime


async def _recover(services: Services) -> Recovery:
    """Settle what earlier runs left, and say so by turn (D8)."""
    recovery = await services.store.recover(services.instance, services.interrupted_policy)
    services.metrics.recovered.inc(len(recovery.settled))
    for settled in recovery.settled:
        log.warning(
            "turn_recovered",
            turn=settled.turn_id,
            session=settled.session_id,
            again=len(settled.requeued),
            failed=len(settled.failed),
        )
    return recovery


@asynccontextmanager
async def _tree(
    services: Services, port: Port | None, recovery: Recovery
) -> AsyncIterator[Runtime]:
    """The actors, in the order in which they need each other."""
    async with open_system("runtime") as system:

        async def member(
            name: str, factory: Callable[[], Actor[Any]], mailbox: MailboxSpec = USUAL_MAILBOX
        ) -> ActorRef[Any]:
            (ref,) = await system.spawn_all(
                [ChildSpec(factory=factory, name=name, restart=Restart.PERMANENT, mailbox=mailbox)]
            )
            return ref

        await member("monitor", lambda: Monitor(services))
        await member("store", lambda: Upkeep(services))
        janitor = await member("janitor", lambda: Janitor(services), BUSY_MAILBOX)
        outbox = await member("outbox", lambda: Outbox(services), BUSY_MAILBOX)
        sessions = await member("sessions", lambda: Sessions(services, outbox), BUSY_MAILBOX)
        router = await member("router", lambda: Router(services, sessions, outbox), BUSY_MAILBOX)
        await member("scheduler", lambda: Scheduler(services, sessions))
        front = ActorFront(services, system, router, sessions, janitor)
        farewell = _no_farewell
        if port is not None:
            from actors.channels.gateway import Farewell, GatewayActor

            gateway = await member("gateway", lambda: GatewayActor(front, port, services.metrics))

            async def farewell() -> None:
                try:
                    await gateway.ask(Farewell(), FAREWELL_LIMIT)
                except AskTimeout:  # a client's request may wait for a slow disk
                    log.warning("farewell_cut_off")

        await member("channels", lambda: Channels(services, router))
        address = port.address if port is not None else None
        try:
            reconfigure = partial(_reconfigure, services, sessions, janitor)
            yield Runtime(front, system, recovery, address, reconfigure)
            front.refuse_new()
            grace = services.settings.sessions.shutdown_grace
            await sessions.ask(Drain(grace), timeout=grace + 3 * FAREWELL_LIMIT)
            await outbox.ask(Finish(), timeout=3 * FAREWELL_LIMIT)
            services.watchers.close()
            await farewell()
        except ActorStopped:
            await trio.lowlevel.checkpoint_if_cancelled()  # they were cancelled just before us
            raise
        finally:
            front.refuse_new()
            services.watchers.close()


def _reconfigure(
    services: Services, sessions: ActorRef[Any], janitor: ActorRef[Any], settings: Settings
) -> tuple[str, ...]:
    """Change the settings, and tell those who have something to do about it."""
    at_the_next_start = services.configuration.change(settings)
    services.slots.reconsider()
    sessions.tell(Reconfigured())
    janitor.tell(SweepAgain())  # the cap may be lower
    return at_the_next_start


def _port(settings: Settings) -> AbstractAsyncContextManager[Port]:
    """The open port. Imported here: a program without one needs neither HTTP nor WebSockets."""
    from actors.channels.gateway import open_port
    from runtime.gateway import GatewayConfig

    names = (name for name in GatewayConfig.__struct_fields__ if name != "local_key")
    fields = {name: getattr(settings.gateway, name) for name in names}
    return open_port(GatewayConfig(**fields, local_key=secrets.token_urlsafe()))


def _endpoint(port: Port) -> Endpoint:
    config = port.config
    certificate = config.tls_certificate
    url = websocket_url(*port.address, tls=certificate is not None)
    shown = None if certificate is None else str(certificate.absolute())
    return Endpoint(url, config.token, os.getpid(), config.local_key, shown)


async def _no_farewell() -> None:
    """Nobody is connected."""


def _within(data_dir: Path | None, name: str) -> Path | None:
    return None if data_dir is None else data_dir / name


def _log_of(data_dir: Path | None, agent_id: str, session_id: str) -> Path | None:
    """Beside the session's folder, which is the agent's own."""
    if data_dir is None:
        return None
    return data_dir / "logs" / file_name(agent_id) / f"{file_name(session_id)}.log"


def _folder_of(data_dir: Path | None, agent_id: str, session_id: str) -> Path | None:
    return None if data_dir is None else session_folder(data_dir, agent_id, session_id)
