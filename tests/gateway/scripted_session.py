"""One session of the scripted front, and those who watch it."""

from __future__ import annotations

import msgspec
import trio

from runtime.ports.agent import Offers
from runtime.ports.front import Submitted, Watch, WatcherLagged
from runtime.sessions.content import (
    AgentResource,
    AudioBlock,
    Content,
    ContentBlock,
    EmbeddedResource,
    ImageBlock,
    LocalFile,
    ResourceLink,
    SaidBlock,
    TextResource,
)
from runtime.sessions.events import (
    LiveEvent,
    PermissionAnswered,
    PermissionAsked,
    RunningTurn,
    SessionEvent,
)
from runtime.sessions.rows import JournalEntry, Sender, SessionRow
from runtime.sessions.updates import PermissionOption, PermissionRequest, ToolCallUpdate


class ScriptedWatch(Watch):
    def __init__(self, buffer: int) -> None:
        self.send, self.receive = trio.open_memory_channel[LiveEvent](buffer)
        self.lagged = False

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> LiveEvent:
        try:
            return await self.receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            if self.lagged:
                raise WatcherLagged("lagged") from None
            raise StopAsyncIteration from None

    def close(self) -> None:
        self.send.close()


class ScriptedSession:
    """One session: its messages, its turn and its transcript."""

    def __init__(self, row: SessionRow) -> None:
        self.row = row
        self.number = 0
        self.watches: list[ScriptedWatch] = []
        self.journal: list[JournalEntry] = []
        self.waiting: dict[str, Content] = {}
        self.connections: dict[str, str | None] = {}
        self.senders: list[Sender | None] = []
        self.names: dict[str, Submitted] = {}
        self.sequence = 0
        self.running: RunningTurn | None = None
        self.turns = 0
        self.offers = Offers()
        self.blocked: str | None = None
        self.answers: list[tuple[str, str | None]] = []

    def publish(self, event: SessionEvent) -> None:
        self.number += 1
        for watch in list(self.watches):
            try:
                watch.send.send_nowait(LiveEvent(self.number, event))
            except trio.WouldBlock:
                watch.lagged = True
                watch.close()
                self.watches.remove(watch)
            except trio.ClosedResourceError:
                self.watches.remove(watch)

    def ask(self, request_id: str) -> None:
        """The agent of the running turn asks for permission."""
        assert self.running is not None
        options = (
            PermissionOption("yes", "Do it", "allow_once"),
            PermissionOption("no", "Leave it", "reject_once"),
        )
        call = ToolCallUpdate(f"call-{request_id}", "Delete everything", kind="delete")
        request = PermissionRequest(request_id, call, options)
        questions = (*self.running.questions, request)
        self.running = msgspec.structs.replace(self.running, questions=questions)
        self.publish(PermissionAsked(self.running.started.turn_id, request))

    def settle(self, request_id: str, option_id: str | None) -> None:
        """A question is answered, or void."""
        assert self.running is not None
        running = self.running
        questions = tuple(each for each in running.questions if each.request_id != request_id)
        self.running = msgspec.structs.replace(running, questions=questions)
        self.publish(PermissionAnswered(running.started.turn_id, request_id, option_id))


def as_shown(block: SaidBlock) -> ContentBlock:
    """A block as the runtime shows it: a file is a link that leads nowhere."""
    match block:
        case ImageBlock(mime_type=mime_type) | AudioBlock(mime_type=mime_type):
            return ResourceLink("file", "attachment:m/0", mime_type=mime_type)
        case AgentResource(resource=resource) if resource.text is not None:
            return EmbeddedResource(TextResource(resource.uri, resource.text, resource.mime_type))
        case AgentResource(resource=resource):
            return ResourceLink("file", "attachment:m/0", mime_type=resource.mime_type)
        case LocalFile(link=link):
            return ResourceLink(link.name, "attachment:m/0", mime_type=link.mime_type)
        case _:
            return block
