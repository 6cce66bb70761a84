"""The key of a session: the one identity of a conversation (S2-S6, S8, S9, S12, S13).

A key is a pure function of agent, place and mode, so two resolves at the same time mean the same
session (S6), and the agent is part of it, so two agents in one chat never share one (S5):

=================  =============================================================================
conversation       key
=================  =============================================================================
the agent's main   ``agent:<agent>:<main key>``: no place, mode ``agent-shared``, DM scope ``main``
direct             ``agent:<agent>:dm:<peer>``                      DM scope ``per-peer``
direct             ``agent:<agent>:<channel>:dm:<peer>``            DM scope ``per-channel-peer``
direct             ``agent:<agent>:<channel>:<account>:dm:<peer>``  … ``per-account-channel-peer``
group, channel     ``agent:<agent>:<channel>:group:<chat>``, ``…:channel:<chat>``
  of a thread      ``… :thread:<thread>`` or ``… :topic:<thread>``
  of a sender      ``… :sender:<sender>``
=================  =============================================================================

Ids are the platform's own, case included. A colon, a percent sign or a control character inside
one is percent-encoded (RFC 3986, section 2.1), so that no id can reach into the next part of the
key. A direct chat whose sender is unknown has ``dm:chat:<chat>``: a stranger's id that equals the
chat's is not the same peer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

KEY_LIMIT = 512
"""Characters that an explicit key may have."""

_UNPRINTABLE = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_ESCAPED = re.compile(f"[%:{_UNPRINTABLE}]")
_REFUSED = re.compile(f"[{_UNPRINTABLE}]")
_NO_LINKS: Mapping[str, str] = MappingProxyType({})


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where something was said, in the platform's raw ids.

    ``thread_kind`` is what the platform calls its threads: ``topic`` for the topics of a forum
    (S13).
    """

    channel: str
    account: str
    chat: str
    kind: Literal["direct", "group", "channel"]
    thread: str | None = None
    sender: str | None = None
    thread_kind: Literal["thread", "topic"] = "thread"


class Mode(StrEnum):
    """How the places of one agent are divided into sessions."""

    SHARED = "shared"
    PER_THREAD = "per-thread"
    AGENT_SHARED = "agent-shared"
    PER_SENDER = "per-sender"


class DirectScope(StrEnum):
    """Which direct chats are one conversation (S12)."""

    MAIN = "main"
    PER_PEER = "per-peer"
    PER_CHANNEL_PEER = "per-channel-peer"
    PER_ACCOUNT_CHANNEL_PEER = "per-account-channel-peer"


def session_key(
    agent_id: str,
    place: Place | None,
    mode: Mode = Mode.SHARED,
    *,
    main_key: str = "main",
    dm_scope: DirectScope = DirectScope.PER_CHANNEL_PEER,
    links: Mapping[str, str] = _NO_LINKS,
    threaded: bool = True,
) -> str:
    """The key of the session that a message from a place belongs to.

    Args:
        agent_id: the agent that answers.
        place: where it was said; None for what comes from no place, such as a schedule.
        mode: the mode of the wiring.
        main_key: the last part of the agent's main key.
        dm_scope: which direct chats are one conversation. Mode ``per-sender`` never joins what
            ``per-channel-peer`` keeps apart.
        links: identity links, ``<channel>:<sender>`` to the peer that this person is (S12).
        threaded: whether the channel declares threads (N1). In a group of such a channel the modes
            ``shared`` and ``per-sender`` split by thread too (S8, S9).
    """
    if place is None or mode is Mode.AGENT_SHARED:
        return _join("agent", agent_id, main_key)
    if place.kind == "direct":
        return _direct_key(agent_id, place, mode, main_key, dm_scope, links)
    parts = ["agent", agent_id, place.channel, place.kind, place.chat]
    if place.thread is not None and (threaded or mode is not Mode.SHARED):
        parts += place.thread_kind, place.thread
    if place.sender is not None and mode is Mode.PER_SENDER:
        parts += "sender", place.sender
    return _join(*parts)


def _direct_key(
    agent_id: str,
    place: Place,
    mode: Mode,
    main_key: str,
    scope: DirectScope,
    links: Mapping[str, str],
) -> str:
    if mode is Mode.PER_SENDER and scope in (DirectScope.MAIN, DirectScope.PER_PEER):
        scope = DirectScope.PER_CHANNEL_PEER
    if scope is DirectScope.MAIN:
        return _join("agent", agent_id, main_key)
    parts = ["agent", agent_id]
    if scope is not DirectScope.PER_PEER or place.sender is None:
        parts.append(place.channel)
    if scope is DirectScope.PER_ACCOUNT_CHANNEL_PEER:
        parts.append(place.account)
    parts.append("dm")
    if place.sender is None:
        parts += "chat", place.chat
    else:
        parts.append(links.get(f"{place.channel}:{place.sender}", place.sender))
    return _join(*parts)


def client_key(agent_id: str, name: str) -> str:
    """The key under which a pull client asks for a session: its own name, as it is.

    Raises:
        ValueError: the name is empty, longer than `KEY_LIMIT` characters, or holds a character
            that is no text (controls, line separators, lone surrogates).
    """
    if not name:
        raise ValueError(
            f"the session key for agent {agent_id!r} is empty; leave it out for a new session"
        )
    if len(name) > KEY_LIMIT:
        raise ValueError(
            f"the session key for agent {agent_id!r} has {len(name)} characters;"
            f" at most {KEY_LIMIT} are allowed"
        )
    refused = _REFUSED.search(name)
    if refused is not None:
        raise ValueError(
            f"the session key for agent {agent_id!r} holds the control character"
            f" U+{ord(refused[0]):04X} at position {refused.start()}; use printable text"
        )
    return name


def _join(*parts: str) -> str:
    return ":".join(_ESCAPED.sub(_percent_encoded, part) for part in parts)


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
