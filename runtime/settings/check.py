"""What must hold between settings, whether they were loaded or built in code."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from runtime.sessions.addresses import web_prefix
from runtime.sessions.principals import LOCAL, TOKEN_HOLDER
from runtime.sessions.rows import CLIENTS
from runtime.settings.fitting import misfits
from runtime.settings.problems import Problem, SettingsError, closest, listed, shown
from runtime.settings.structs import (
    AgentEntry,
    ChannelSettings,
    GatewaySettings,
    PrincipalSettings,
    QueueSettings,
    RoutingSettings,
    Settings,
    TranscriberSettings,
)

PRINCIPAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
"""What a principal may be called: it is in the log and in the records of messages."""

AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
"""What an agent may be called: it is part of session keys and of folder names."""

CHANNEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", re.ASCII | re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]+")


def check(settings: Settings, agents: Iterable[str] = ()) -> None:
    """Check settings that were built in code, or go with such agents.

    Args:
        settings: complete settings.
        agents: names of agents that are there besides the configured ones.

    Raises:
        SettingsError: with everything that is wrong.
    """
    problems = list(misfits(settings)) or list(problems_between(settings, agents=agents))
    if problems:
        raise SettingsError(problems)


def settings_of_no_channel(settings: Settings, channels: Iterable[str] = ()) -> Sequence[Problem]:
    """The tables of ``[channels]`` that hold for none: a typo, or a channel that is elsewhere.

    That is no mistake of the settings, which do not know what channels there are: the same ones may
    be read by two programs.

    Args:
        settings: complete settings.
        channels: names of channels that are there besides that of the clients.
    """
    there = list(dict.fromkeys((CLIENTS, *channels)))
    return tuple(
        Problem(
            path=f"channels.{name}",
            expected=f"the name of a channel that is there: {listed(there)}",
            suggestion=closest(name, there),
        )
        for name in settings.channels
        if name not in there
    )


def problems_between(
    settings: Settings,
    *,
    agents: Iterable[str] = (),
    sources: Mapping[str, str] | None = None,
) -> Iterator[Problem]:
    """The problems between settings.

    Args:
        settings: complete settings.
        agents: names of agents that are there besides the configured ones.
        sources: where each given setting was given, by path.
    """
    for problem in (
        *_of_gateway(settings.gateway),
        *_of_queue(settings.queue, "queue"),
        *_of_channels(settings.channels),
        *_of_links(settings.media.fetch_links),
        *_of_transcriber(settings.media.transcriber),
        *_of_agents(settings.agents),
        *_of_routing(settings.routing, list(dict.fromkeys((*settings.agents, *agents)))),
    ):
        source = (sources or {}).get(problem.path.partition("[")[0])
        yield msgspec.structs.replace(problem, source=source)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _of_gateway(gateway: GatewaySettings) -> Iterator[Problem]:
    if gateway.token is None and not is_loopback(gateway.host):
        yield Problem(
            path="gateway.host",
            given=shown(gateway.host),
            expected="a loopback address such as 127.0.0.1 while there is no token; to let other "
            "machines in, set gateway.token (RUNTIME_GATEWAY__TOKEN)",
        )
    if gateway.tls_key is not None and gateway.tls_certificate is None:
        yield Problem(
            path="gateway.tls_key",
            given=shown(gateway.tls_key),
            expected="gateway.tls_certificate beside it, or neither",
        )
    if gateway.principals and gateway.token is None:
        yield Problem(
            path="gateway.principals",
            expected="gateway.token beside it: the owner's, which commands on this machine use",
        )
    yield from _of_principals(gateway.principals, gateway.token)
    for place, origin in enumerate(gateway.allowed_origins):
        if not _ORIGIN.fullmatch(origin):
            yield Problem(
                path=f"gateway.allowed_origins[{place}]",
                given=shown(origin),
                expected='an origin such as "https://chat.example.com" or "http://localhost:3000", '
                "without a path",
            )


def _of_principals(
    principals: Mapping[str, PrincipalSettings], token: str | None
) -> Iterator[Problem]:
    holders = {token: "gateway.token"}
    for name, principal in principals.items():
        if not PRINCIPAL_NAME.fullmatch(name) or name in (LOCAL.name, TOKEN_HOLDER.name):
            yield Problem(
                path=f"gateway.principals.{name}",
                expected="a name of up to 64 letters, digits, dots, dashes, underscores and @, "
                f"other than {LOCAL.name} and {TOKEN_HOLDER.name}",
            )
        holder = holders.setdefault(principal.token, f"gateway.principals.{name}")
        if holder != f"gateway.principals.{name}":
            yield Problem(
                path=f"gateway.principals.{name}.token",
                expected=f"another token than that of {holder}",
            )


def _of_queue(queue: QueueSettings | ChannelSettings, path: str) -> Iterator[Problem]:
    longest, debounce = queue.debounce_max, queue.debounce
    if longest is not None and debounce is not None and longest < debounce:
        yield Problem(
            path=f"{path}.debounce_max",
            given=f"{longest:g} s",
            expected=f"at least {path}.debounce, which is {debounce:g} s",
        )


def _of_channels(channels: Mapping[str, ChannelSettings]) -> Iterator[Problem]:
    for name, channel in channels.items():
        if not CHANNEL_NAME.fullmatch(name):
            yield Problem(
                path=f"channels.{name}",
                expected="the name of a channel: up to 64 lower-case letters, digits, dashes and "
                "underscores",
            )
        yield from _of_queue(channel, f"channels.{name}")


def _of_links(prefixes: Sequence[str]) -> Iterator[Problem]:
    for place, prefix in enumerate(prefixes):
        if web_prefix(prefix) is None:
            # Not shown: there may be a password in it.
            yield Problem(
                path=f"media.fetch_links[{place}]",
                expected='an address such as "https://files.example.com/" or '
                '"https://example.com/files/": with http or https, a host, and a path that ends in '
                "a slash, without a name, a password, a query or dots that lead elsewhere",
            )


def _of_transcriber(transcriber: TranscriberSettings) -> Iterator[Problem]:
    path = "media.transcriber"
    if transcriber.command and transcriber.url is not None:
        yield Problem(
            path=f"{path}.url", expected=f"either it or {path}.command, and not the other beside it"
        )
    for key in ("model", "token"):
        if transcriber.url is None and getattr(transcriber, key) is not None:
            yield Problem(path=f"{path}.{key}", expected=f"{path}.url beside it, or neither")
    if transcriber.url is not None and not _is_service(transcriber.url):
        # Not shown: there may be a password in it.
        yield Problem(
            path=f"{path}.url",
            expected='an address such as "http://127.0.0.1:8000/v1/audio/transcriptions", without '
            f"a name and a password; a secret belongs in {path}.token",
        )


def _is_service(url: str) -> bool:
    """Whether something can be sent to an address over HTTP, and nothing in it is a secret."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and _VISIBLE.fullmatch(url) is not None
        )
    except ValueError:
        return False


def _of_agents(agents: Mapping[str, AgentEntry]) -> Iterator[Problem]:
    for name in agents:
        if not AGENT_NAME.fullmatch(name):
            yield Problem(
                path=f"agents.{name}",
                expected="a name of up to 64 letters, digits, dashes and underscores",
            )


def _of_routing(routing: RoutingSettings, names: Collection[str]) -> Iterator[Problem]:
    if routing.choose(names) is not None:
        return
    default = routing.default_agent
    if default is None:
        yield Problem(
            path="routing.default_agent",
            expected=f"the agent that answers by default: {listed(names) or 'there is none'}",
        )
    else:
        yield Problem(
            path="routing.default_agent",
            given=shown(default),
            expected=f"the name of a configured agent: {listed(names) or 'there is none'}",
            suggestion=closest(default, names),
        )
