"""The actors and messages that the kernel's tests share."""

from typing import assert_never

import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    Backoff,
    Message,
    Request,
    StopReason,
)

AT_ONCE = Backoff(initial=0, jitter=0)
"""Restarts without a delay."""


class Note(Message, frozen=True):
    """Is written down."""

    text: str


class Fail(Message, frozen=True):
    """Makes the handler raise."""

    text: str = "on request"


class Finish(Message, frozen=True):
    """Makes the actor stop by itself."""


class Wait(Request[str], frozen=True):
    """Makes the handler wait, in seconds, and reply with a text."""

    seconds: float
    text: str = "waited"


class Echo(Request[str], frozen=True):
    """Is answered with its text."""

    text: str


class FailRequest(Request[None], frozen=True):
    """A request whose handler raises."""


class Broken(Exception):
    """What `Fail` raises."""


class Unfit(Request[None], frozen=True):
    """What no scribe handles."""


ScribeMessage = Note | Fail | Finish | Wait | Echo | FailRequest


class Scribe(Actor[ScribeMessage]):
    """Writes down what happens to it, on a page that outlives it."""

    def __init__(self, page: list[str], label: str = "") -> None:
        self.page = page
        self.label = label

    def write(self, text: str) -> None:
        self.page.append(f"{self.label}{text}")

    async def on_start(self) -> None:
        self.write("start")

    async def on_message(self, message: ScribeMessage) -> object:
        match message:
            case Note(text):
                self.write(text)
            case Fail(text):
                raise Broken(text)
            case Finish():
                self.stop()
            case Wait(seconds, text):
                await trio.sleep(seconds)
                self.write(text)
                return text
            case Echo(text):
                return text
            case FailRequest():
                raise Broken("on request")
            case _:
                assert_never(message)
        return None

    async def on_stop(self, reason: StopReason) -> None:
        self.write(f"stop {reason.kind.value}")


class Gate(Actor[Note]):
    """Waits in its handler until the test opens it, so that its mailbox fills."""

    def __init__(self, page: list[str]) -> None:
        self.page = page
        self.opened = trio.Event()

    async def on_message(self, message: Note) -> None:
        await self.opened.wait()
        self.page.append(message.text)


class Forwarder(Actor[Note]):
    """Passes notes on."""

    def __init__(self, to: ActorRef[Note]) -> None:
        self.to = to

    async def on_message(self, message: Note) -> None:
        self.to.tell(message)
