"""An agent that speaks ACP: a process for each session that is awake."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from actors.agents.acp.client import Client, Method
from actors.agents.acp.connection import Connection
from actors.agents.acp.files import FileMethods, Folder, MediaFolder
from actors.agents.acp.handle import AcpHandle
from actors.agents.acp.oddities import Oddities
from actors.agents.acp.offers import OfferBook
from actors.agents.acp.opening import START_LIMIT, Opening, UnclearRefusal
from actors.agents.acp.options import Options
from actors.agents.acp.terminals import Terminals
from actors.disk import Disk, Threads
from runtime.log import get_logger
from runtime.ports.agent import (
    Agent,
    AgentContext,
    AgentGone,
    AgentRefused,
    AgentUnusable,
    Offers,
)
from runtime.processes import ChildProcess, Processes, ProcessGone, ProcessSpec
from runtime.protocol.acp_agent import AgentCapabilities
from runtime.storage.media_errors import NoAnswer
from runtime.storage.transcript import make_session_folder

MOST_UNCLEAR = 1_000
"""Sessions of which it is remembered that the agent refused to resume them."""

MEDIA_VARIABLE = "GREENROOM_MEDIA"
"""Tells the agent where the files are that people sent."""

OUTBOX_VARIABLE = "GREENROOM_OUTBOX"
"""Tells the agent where to put files that are to be sent to the chat (R7)."""

REMOVE_LIMIT = 5.0
"""Seconds to remove a temporary folder."""

log = get_logger(__name__)


class AcpAgent(Agent):
    """An agent that speaks ACP.

    Args:
        name: under which it is configured.
        options: its settings.
    """

    uses_process = True

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options
        self._last_offers = OfferBook()
        self._disk = Threads(f"agent {name}")
        self._unclear: dict[str, None] = {}  # an ordered set of sessions

    @property
    def idle_limit(self) -> float:
        return self._options.idle_limit

    @property
    def offers(self) -> Offers:
        return self._last_offers.current

    def works_in(self, folder: Path | None, workspace: Path | None) -> Path | None:
        given = self._options.cwd or super().works_in(folder, workspace)
        return None if given is None else given.absolute()

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AcpHandle]:
        if context.processes is None:
            raise AgentUnusable("no processes can be started here")
        if self._options.cwd is not None:
            await self._prepare(partial(_must_be_there, self._options.cwd))
        if context.outbox is not None:
            await self._prepare(partial(_make_outbox, context.outbox))
        async with _folder(self.works_in(context.folder, context.workspace), self._disk) as cwd:
            spec = ProcessSpec(
                command=self._options.command,
                cwd=cwd,
                env=_environment(self._options, context),
                pass_env=self._options.pass_env,
                log=context.log,
                max_record=self._options.max_record,
            )
            with _as_one_error():
                async with (
                    context.processes.run(spec) as process,
                    self._conversation(context, context.processes, process, cwd) as handle,
                ):
                    yield handle

    async def _prepare(self, work: Callable[[], None]) -> None:
        try:
            await self._disk(work, abandon=True)
        except NoAnswer as error:
            raise AgentGone(f"a folder of the agent cannot be made ready: {error}") from error

    async def _opened(
        self,
        connection: Connection,
        client: Client,
        context: AgentContext,
        cwd: str,
        latest: float,
    ) -> AgentCapabilities:
        """Open or resume. A conversation that is refused for unclear reasons is asked for once
        more, at the next start, before it is given up (P4).
        """
        session = context.session_id
        gives_up = self._unclear.pop(session, False) is None
        opening = Opening(connection, client, context, self._options, cwd, gives_up=gives_up)
        try:
            return await opening.run(latest)
        except UnclearRefusal:
            self._unclear[session] = None
            if len(self._unclear) > MOST_UNCLEAR:
                del self._unclear[next(iter(self._unclear))]
            raise

    @asynccontextmanager
    async def _conversation(
        self, context: AgentContext, processes: Processes, process: ChildProcess, cwd: Path
    ) -> AsyncIterator[AcpHandle]:
        options, offers = self._options, OfferBook()
        oddities = Oddities(self._name, context.session_id)
        latest = trio.current_time() + START_LIMIT
        try:
            async with trio.open_nursery() as nursery:
                sent = None if context.media is None else MediaFolder(context.media.absolute())
                folder = Folder(cwd, None if sent is None else sent.root.parent)
                terminals = Terminals(processes, folder, self._disk, nursery)
                methods = _methods(options, FileMethods(folder, self._disk, sent), terminals)
                client = Client(context, offers, oddities, methods)
                connection = Connection(
                    process, client, oddities, name=self._name, command=options.command
                )
                nursery.start_soon(_listen, connection, client)
                can = await self._opened(connection, client, context, str(cwd), latest)
                self._last_offers = offers
                handle = AcpHandle(
                    connection,
                    client,
                    can,
                    offers=offers,
                    oddities=oddities,
                    policy=options.permissions,
                )
                await _choose_again(handle, context, latest)
                yield handle
                nursery.cancel_scope.cancel()
        finally:
            oddities.sum_up()


def _methods(options: Options, files: FileMethods, terminals: Terminals) -> dict[str, Method]:
    """What the agent may call."""
    methods: dict[str, Method] = {}
    if options.files != "off":
        methods["fs/read_text_file"] = files.read
    if options.files == "write":
        methods["fs/write_text_file"] = files.write
    if options.terminals:
        methods.update(terminals.methods)
    return methods


async def _listen(connection: Connection, client: Client) -> None:
    """Take what the agent says, until it ends; the prompt that runs, if any, is told first."""
    await connection.run()
    if client.running is not None:
        await client.running.over.wait()
    raise await connection.gone()


async def _choose_again(handle: AcpHandle, context: AgentContext, latest: float) -> None:
    """Set what was chosen in the session before. What the agent does not take is left."""
    now = {option["id"]: option["currentValue"] for option in handle.offers.config_options}
    with trio.move_on_at(latest) as limit:
        for option_id, value in context.choices.items():
            if now.get(option_id) == value:
                continue
            try:
                await handle.choose(option_id, value)
            except AgentRefused as error:
                log.warning(
                    "choice_not_restored", agent=context.agent_id, option=option_id, code=error.code
                )
    if limit.cancelled_caught:
        log.warning("choices_not_restored", agent=context.agent_id)


@contextmanager
def _as_one_error() -> Iterator[None]:
    """What a nursery made a group of, as the error that it is about."""
    try:
        yield
    except ProcessGone as gone:
        raise (AgentUnusable if gone.for_good else AgentGone)(str(gone)) from gone
    except ExceptionGroup as group:
        raise _single(group) from None


def _single(group: ExceptionGroup[Exception]) -> Exception:
    """The same end of the agent may be told twice, by who listens and by who asked something."""
    _, rest = group.split(AgentGone)
    error: Exception = group if rest is None else rest
    while isinstance(error, ExceptionGroup) and (rest is None or len(error.exceptions) == 1):
        error = error.exceptions[0]
    return error


def _make_outbox(outbox: Path) -> None:
    """Have a place for files that go out; an agent works without one, too."""
    try:
        make_session_folder(outbox.parent)
    except OSError as error:
        log.warning("outbox_not_made", reason=str(error))


def _environment(options: Options, context: AgentContext) -> dict[str, str]:
    """The variables that are set for the agent. What the settings say wins: in a container, paths
    are others.
    """
    folders = {MEDIA_VARIABLE: context.media, OUTBOX_VARIABLE: context.outbox}
    ours = {name: str(path.absolute()) for name, path in folders.items() if path is not None}
    return {**ours, **(options.env or {})}


def _must_be_there(cwd: Path) -> None:
    """A folder that settings name is not made: a slip would have the agent work in an empty one."""
    if not cwd.is_dir():
        raise AgentUnusable(f"it is to work in {cwd}, which is no folder; make it, or set cwd")


@asynccontextmanager
async def _folder(given: Path | None, disk: Disk) -> AsyncIterator[Path]:
    """Where the agent works; a new folder for as long as it works when there is none."""
    if given is not None:
        yield given
        return
    made: list[str] = []
    remove = partial(_remove, made)
    try:
        await disk(lambda: made.append(tempfile.mkdtemp(prefix="greenroom-")), after=remove)
    except NoAnswer as error:
        raise AgentGone(f"a folder for the agent cannot be made: {error}") from error
    try:
        yield Path(made[0])
    finally:
        with suppress(NoAnswer):  # which is logged; the thread goes on with it
            await disk(remove, limit=REMOVE_LIMIT)


def _remove(folders: list[str]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
