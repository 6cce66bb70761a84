"""Receives from one account of a push channel, and goes on after every loss of its connection (N2,
N5).

    Run        connect now
    Connect    have an actor for an account

Admission is the router's; this actor only carries what arrives to it and waits for "durable".
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from actors.router import Deliver
from actors.services import Services
from runtime.kernel import Actor, ActorRef, Message, Restart
from runtime.log import get_logger
from runtime.ports.channel import Channel, Inbound, Inlet
from runtime.settings import settings_of_no_channel

FIRST_BACKOFF = 1.0
LAST_BACKOFF = 60.0
STEADY = 60.0
"""A connection that held for so many seconds starts the backoff anew."""

ADMISSION_LIMIT = 60.0

log = get_logger(__name__)


class Run(Message, frozen=True):
    """Connect now."""


class RouterInlet(Inlet):
    """What a channel is given to put its messages into."""

    def __init__(self, services: Services, channel: Channel, router: ActorRef[Deliver]) -> None:
        self._services = services
        self._channel = channel
        self._router = router

    async def deliver(self, messages: Sequence[Inbound], offset: str | None = None) -> None:
        request = Deliver(self._channel.name, self._channel.account, tuple(messages), offset)
        await self._router.ask(request, timeout=ADMISSION_LIMIT)

    async def offset(self) -> str | None:
        return await self._services.store.channel_offset(self._channel.name, self._channel.account)


class ChannelActor(Actor[Run]):
    """One account of one network."""

    def __init__(self, services: Services, channel: Channel, router: ActorRef[Deliver]) -> None:
        self._channel = channel
        self._inlet = RouterInlet(services, channel, router)
        self._backoff = FIRST_BACKOFF

    async def on_start(self) -> None:
        self.ref.tell(Run())

    async def on_message(self, message: Run) -> object:
        self.start(self._receive, name="receive")
        return None

    async def _receive(self) -> None:
        """One connection, from beginning to loss; the next one is tried after a pause."""
        began = trio.current_time()
        try:
            await self._channel.run(self._inlet)
            reason = "it ended"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if trio.current_time() - began >= STEADY:
            self._backoff = FIRST_BACKOFF
        name = f"{self._channel.name}:{self._channel.account}"
        log.warning("channel_lost", channel=name, reason=reason, again_in=self._backoff)
        self.after(self._backoff, Run())
        self._backoff = min(self._backoff * 2, LAST_BACKOFF)


class Connect(Message, frozen=True):
    """Have an actor for this account, also when it was given up before."""

    channel: str
    account: str


class Channels(Actor[Connect]):
    """The accounts, each supervised by itself: what befalls one never touches another (N5)."""

    def __init__(self, services: Services, router: ActorRef[Deliver]) -> None:
        self._services = services
        self._router = router
        self._accounts: dict[tuple[str, str], ActorRef[Run]] = {}

    async def on_start(self) -> None:
        names = (name for name, _ in self._services.channels)
        unused = settings_of_no_channel(self._services.settings, names)
        if unused:
            log.warning("settings_of_no_channel", problems=[str(each) for each in unused])
        for name, account in self._services.channels:
            self._connect(name, account)

    async def on_message(self, message: Connect) -> object:
        self._connect(message.channel, message.account)
        return None

    def _connect(self, name: str, account: str) -> None:
        channel = self._services.channels.get((name, account))
        running = self._accounts.get((name, account))
        if channel is None or (running is not None and running.alive):
            return
        self._accounts[name, account] = self.spawn(
            lambda: ChannelActor(self._services, channel, self._router),
            name=f"{name}:{account}",
            restart=Restart.PERMANENT,
        )
