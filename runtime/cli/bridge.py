"""Between an editor that speaks the Agent Client Protocol over pipes and a runtime (D3, G2, G12).

Frames go through as they are, with these exceptions: ``initialize`` gets the key of local clients,
``session/new`` the default agent, and each prompt a message id where it has none, so that it may be
sent again (G4). Questions of the runtime get ids that no other connection has used.

When the connection breaks, the runtime is looked for again, the sessions of the editor are resumed,
what it missed of them is sent (`runtime.cli.bridge_sessions`), and what was not answered is asked
again if that is safe (`runtime.cli.bridge_requests`); else it is answered with an error.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
import trio

from runtime.cli import bridge_frames as frames
from runtime.cli.bridge_frames import NOTHING, Frame
from runtime.cli.bridge_link import TOO_BIG, Link
from runtime.cli.bridge_requests import EVENTS, INITIALIZE, PROMPT, Request, Requests
from runtime.cli.bridge_sessions import Followed
from runtime.cli.bridge_views import CANCEL, Questions, Views
from runtime.cli.client import CallFailed, CallTimedOut, ConnectionLost, NotReachable
from runtime.cli.connect import open_socket
from runtime.cli.errors import CommandError
from runtime.endpoint import Endpoint
from runtime.log import get_logger
from runtime.protocol import jsonrpc
from runtime.protocol.acp import RESOURCE_NOT_FOUND, AttachResult, Empty
from runtime.protocol.extensions import UNAVAILABLE, EventsResult, SendResult
from runtime.protocol.jsonrpc import RpcError

FIRST_PATIENCE = 30.0
PATIENCE = 60.0
"""Seconds for which a runtime is looked for: at the start, and when the connection was lost."""

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds before the first attempt to connect again, and at most; the pause doubles."""

REFUSED_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a request is made again that the runtime cannot take just now."""

MAX_NOTES = 100
"""Notifications that are kept while there is no connection."""

log = get_logger(__name__)


class Bridge:
    """One editor, and the runtime behind whatever connection there is.

    Args:
        find: finds a runtime, or starts one. Raises NotReachable when there is none just now.
        write: takes a frame for the editor.
        agent: who answers in new sessions that name nobody.
        first_patience: seconds for which a runtime is looked for at the start.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Endpoint]],
        write: Callable[[bytes], Awaitable[None]],
        agent: str | None = None,
        first_patience: float = FIRST_PATIENCE,
    ) -> None:
        self._find = find
        self._patience = first_patience
        self._write = write
        self._agent = agent
        self._greeting: msgspec.Raw | None = None
        self._requests = Requests()
        self._notes: list[bytes] = []
        self._views = Views()
        self._questions = Questions()
        self._held: list[Callable[[], Awaitable[None]]] = []
        self._link: Link | None = None
        self._leaving = trio.Event()
        self._at_once = False
        self._changed = trio.Event()

    # -- the editor ---------------------------------------------------------------------------

    async def take(self, line: bytes) -> None:
        """A line of the editor. Lines are given one at a time, in their order."""
        if not line.strip():
            return
        try:
            text = line.decode()
            message = jsonrpc.parse(text)
            frame = frames.frame_of(text)
            if isinstance(message, jsonrpc.Request):
                await self._ask(Request(frame, self._agent))
            elif isinstance(message, jsonrpc.Notification):
                await self._note(line)
            else:
                await self._answer_question(frame)
        except UnicodeDecodeError:
            await self.refuse(RpcError(jsonrpc.PARSE_ERROR, "Not UTF-8."))
        except RpcError as error:
            await self.refuse(error)

    async def refuse(self, error: RpcError) -> None:
        """Answer the editor with an error of our own."""
        await self._write(jsonrpc.failure(error.request, error))

    async def handed_over(self) -> None:
        """Wait until everything that was taken has been sent to a runtime, and prompts are kept."""
        while self._link is None or self._notes or any(self._requests.to_be_sent(self._link)):
            await self._changed.wait()
        with suppress(CommandError):
            for request in self._requests:
                if request.method == PROMPT and self._link is not None:
                    # Answered after the prompt was accepted: it is the same message.
                    await self._link.call("_runtime/session/send", request.params, SendResult)

    async def give_up(self) -> None:
        """Tell the editor that what it asked is not answered by this bridge."""
        for request in self._requests:
            self._requests.remove(request)
            what = "The bridge to the runtime ends. A prompt that was accepted is kept."
            await self._write(request.error(UNAVAILABLE, what))

    async def _ask(self, request: Request) -> None:
        self._requests.add(request)
        self._views.asked(request)
        if self._link is not None:
            await self._send(request, self._link)

    async def _send(self, request: Request, link: Link) -> None:
        request.link = link
        request.attempts += 1
        try:
            await link.send(request.frame(link.local_key))
        except ConnectionLost:
            return  # `_lose` decides what becomes of it

    async def _note(self, note: bytes) -> None:
        frame = frames.frame_of(note)
        if frame.method == "session/cancel":
            for request in self._requests.prompts(frames.target_of(frame.params).session_id):
                request.cancelled = True
        try:
            if self._link is not None:
                await self._send_note(note, self._link)
                return
        except ConnectionLost:
            pass
        self._notes = [*self._notes, note][-MAX_NOTES:]

    async def _send_note(self, note: bytes, link: Link) -> None:
        frame = frames.frame_of(note)
        if frame.method == "session/cancel":
            await self._cancel_again(link, frames.target_of(frame.params).session_id)
        await link.send(note)

    async def _cancel_again(self, link: Link, session_id: str | None) -> None:
        """Cancel prompts that were sent first on another connection: they are not this one's own,
        and so not covered by ``session/cancel`` (G11). Those that wait go before the one that runs.
        """
        for request in reversed(list(self._requests.prompts(session_id))):
            if request.cancelled and request.message_id is not None:
                await link.send(frames.call(CANCEL, {"requestId": request.id}))

    async def _answer_question(self, frame: Frame) -> None:
        answer = self._questions.answer(self._link, frame)
        if answer is not None and self._link is not None:
            try:
                await self._link.send(answer)
            except ConnectionLost:
                return

    # -- the connection -----------------------------------------------------------------------

    async def run(self) -> None:
        """Stay connected until `leave`, or after it until the connection is gone.

        Raises:
            NotReachable: no runtime is there, for longer than the patience.
            NotAllowed: it does not let this client in.
        """
        lost_at, pause = trio.current_time(), FIRST_PAUSE
        while not self._leaving.is_set():
            try:
                endpoint = await self._find()
                if await self._connect(endpoint):
                    lost_at, pause = trio.current_time(), FIRST_PAUSE
                    self._patience = PATIENCE
                    log.info("connection_lost", url=endpoint.url)
            except (NotReachable, ConnectionLost, CallTimedOut) as error:
                if self._leaving.is_set():
                    return
                if trio.current_time() - lost_at >= self._patience:
                    raise NotReachable(str(error), error.hint) from error
            if not self._leaving.is_set():
                await trio.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, LONGEST_PAUSE)

    def leave(self, *, at_once: bool) -> None:
        """Connect no more; with ``at_once`` also leave the connection that there is."""
        self._leaving.set()
        self._at_once = at_once
        if at_once and self._link is not None:
            self._link.leave()

    async def _connect(self, endpoint: Endpoint) -> bool:
        """See one connection through; whether it came to be used."""
        used = False
        link: Link | None = None
        try:
            async with open_socket(endpoint) as socket:
                link = Link(socket, endpoint)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._serve, link, nursery)
                    await self._rejoin(link)
                    used = True
        except CommandError:
            raise
        except Exception as error:  # of the socket: the connection is gone, whatever it was
            log.debug("connection_broke", reason=repr(error))
        finally:
            self._link = None
            if link is not None:
                await self._lose(link)
        return used

    async def _serve(self, link: Link, nursery: trio.Nursery) -> None:
        async def take(frame: Frame, text: str) -> None:
            await self._forward(link, frame, text, nursery)

        await link.serve(take)
        nursery.cancel_scope.cancel()

    async def _lose(self, link: Link) -> None:
        """Decide what becomes of everything that was under way on a connection."""
        sent = [request for request in self._requests if request.link is link]
        if link.close_code == TOO_BIG and sent:
            largest = max(sent, key=lambda request: len(request.params))
            sent.remove(largest)
            self._requests.remove(largest)
            what = "The message is longer than the runtime takes (gateway.max_frame_bytes)."
            await self._write(largest.error(jsonrpc.INVALID_REQUEST, what))
        for request in sent:
            if request.repeatable:
                request.link = None
            else:
                self._requests.remove(request)
                await self._write(request.lost())
        for frame in self._questions.withdraw_all(link):
            await self._write(frame)

    async def _rejoin(self, link: Link) -> None:
        """Bring a new connection to where the last one was."""
        self._held = []
        if self._greeting is not None:
            params = frames.with_mark(self._greeting, localKey=link.local_key)
            await link.call(INITIALIZE, params, Empty)
            for followed in self._views:
                await self._resume(link, followed)
        while True:
            # No checkpoint between the last look and the next line: nothing slips through.
            if request := next(self._requests.to_be_sent(link), None):
                await self._send(request, link)
            elif self._notes:
                await self._send_note(self._notes[0], link)
                del self._notes[0]
            else:
                break
        self._link = link
        if self._at_once:
            link.leave()
        self._notify()

    async def _resume(self, link: Link, followed: Followed) -> None:
        """Follow a session again, ask its prompts again, and show what was missed."""
        target = {"sessionId": followed.id}
        where = {"cwd": followed.cwd, "mcpServers": followed.mcp_servers}
        followed.begin_to_catch_up()
        try:
            attached = await link.call("session/resume", {**target, **where}, AttachResult)
            await self._offer_prompts(link, followed)
            if attached.meta.runtime is not None:
                own = (request.message_id for request in self._requests.prompts(followed.id))
                after = followed.cursor(attached.meta.runtime, filter(None, own))
                await link.call(EVENTS, {**target, "after": after}, EventsResult)
        except CallFailed as error:
            if error.rpc_code == UNAVAILABLE:
                raise ConnectionLost(str(error)) from error
            if error.rpc_code == RESOURCE_NOT_FOUND:
                self._views.forget(followed.id)
            log.warning("session_not_resumed", session=followed.id, reason=str(error))
        finally:
            followed.catch_up_no_more()
        held, self._held = self._held, []
        for take_answer in held:
            await take_answer()

    async def _offer_prompts(self, link: Link, followed: Followed) -> None:
        """Make sure that the prompts of a session are accepted, then wait for their turns again.

        What the first call accepts, the prompt itself finds there.
        """
        for request in self._requests.prompts(followed.id):
            request.link = link
            request.attempts += 1
            try:
                sent = await link.call("_runtime/session/send", request.params, SendResult)
            except CallFailed as error:
                if error.rpc_code in (UNAVAILABLE, RESOURCE_NOT_FOUND):
                    raise
                self._requests.remove(request)
                await self._write(request.error(error.rpc_code, str(error)))
            else:
                request.message_id, request.attempts = sent.message_id, 0
                await self._send(request, link)
        await self._cancel_again(link, followed.id)

    # -- the runtime --------------------------------------------------------------------------

    async def _forward(self, link: Link, frame: Frame, text: str, nursery: trio.Nursery) -> None:
        """A frame of the runtime."""
        line = text.replace("\n", " ").encode()
        if frame.method is None:
            await self._take_answer(link, frame, line, nursery)
        elif frame.id is not NOTHING:
            await self._write(self._questions.ask(link, frame))
        elif frame.method == CANCEL:
            for withdrawn in self._questions.withdraw(link, frame):
                await self._write(withdrawn)
        elif frame.method == "_runtime/session/event":
            for event in self._views.happened(frame, line):
                await self._write(event)
        elif frame.method != "session/update" or self._views.passes(frame):
            await self._write(line)

    async def _take_answer(
        self, link: Link, frame: Frame, line: bytes, nursery: trio.Nursery
    ) -> None:
        request = self._requests.find(frame.id)
        if request is None or request.link is not link:
            return
        if request.method == PROMPT and self._views.catching_up(request.session_id):
            # What its turn said comes first.
            self._held.append(partial(self._take_answer, link, frame, line, nursery))
            return
        if _cannot_now(frame) and request.refusals < len(REFUSED_PAUSES):
            request.link, request.resting = None, link
            nursery.start_soon(self._ask_again, link, request)
            return
        self._requests.remove(request)
        if request.method == INITIALIZE and frame.error is NOTHING:
            self._greeting = request.params
        self._views.answered(request, frame)
        await self._write(line)

    async def _ask_again(self, link: Link, request: Request) -> None:
        request.refusals += 1
        await trio.sleep(REFUSED_PAUSES[request.refusals - 1])
        await self._send(request, link)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _cannot_now(frame: Frame) -> bool:
    """Whether an answer says that the runtime cannot do it now, or stops before it is done."""
    return frame.error is not NOTHING and frames.failure_of(frame.error).code == UNAVAILABLE
