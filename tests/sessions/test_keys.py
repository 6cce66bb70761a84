import unicodedata
from itertools import product
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.keys import (
    KEY_LIMIT,
    DirectScope,
    Mode,
    Place,
    client_key,
    session_key,
)

GROUP = Place("slack", "work", "C1", "group", thread="t9", sender="U7")
ROOM = Place("discord", "bot", "C1", "channel", thread="t9", sender="U7")
DIRECT = Place("telegram", "bot", "42", "direct", thread="t9", sender="42")


# S2, S3, S4, S8, S9, S13
@pytest.mark.parametrize(
    "place, mode, key",
    [
        (GROUP, Mode.SHARED, "agent:a:slack:group:C1:thread:t9"),
        (GROUP, Mode.PER_THREAD, "agent:a:slack:group:C1:thread:t9"),
        (GROUP, Mode.AGENT_SHARED, "agent:a:main"),
        (GROUP, Mode.PER_SENDER, "agent:a:slack:group:C1:thread:t9:sender:U7"),
        (ROOM, Mode.SHARED, "agent:a:discord:channel:C1:thread:t9"),
        (ROOM, Mode.PER_THREAD, "agent:a:discord:channel:C1:thread:t9"),
        (ROOM, Mode.AGENT_SHARED, "agent:a:main"),
        (ROOM, Mode.PER_SENDER, "agent:a:discord:channel:C1:thread:t9:sender:U7"),
        (DIRECT, Mode.SHARED, "agent:a:telegram:dm:42"),
        (DIRECT, Mode.PER_THREAD, "agent:a:telegram:dm:42"),
        (DIRECT, Mode.AGENT_SHARED, "agent:a:main"),
        (DIRECT, Mode.PER_SENDER, "agent:a:telegram:dm:42"),
        (None, Mode.SHARED, "agent:a:main"),
        (None, Mode.PER_THREAD, "agent:a:main"),
        (None, Mode.AGENT_SHARED, "agent:a:main"),
        (None, Mode.PER_SENDER, "agent:a:main"),
    ],
)
def test_the_key_of_a_place(place: Place | None, mode: Mode, key: str) -> None:
    assert session_key("a", place, mode) == key


# S2, S8: a channel without threads of its own is not split by what it calls one.
@pytest.mark.parametrize(
    "mode, key",
    [
        (Mode.SHARED, "agent:a:slack:group:C1"),
        (Mode.PER_THREAD, "agent:a:slack:group:C1:thread:t9"),
        (Mode.PER_SENDER, "agent:a:slack:group:C1:thread:t9:sender:U7"),
    ],
)
def test_a_channel_without_threads(mode: Mode, key: str) -> None:
    assert session_key("a", GROUP, mode, threaded=False) == key


# S12: every scope, for a known and an unknown sender.
@pytest.mark.parametrize(
    "scope, sender, key",
    [
        (DirectScope.MAIN, "U7", "agent:a:home"),
        (DirectScope.MAIN, None, "agent:a:home"),
        (DirectScope.PER_PEER, "U7", "agent:a:dm:U7"),
        (DirectScope.PER_PEER, None, "agent:a:slack:dm:chat:D1"),
        (DirectScope.PER_CHANNEL_PEER, "U7", "agent:a:slack:dm:U7"),
        (DirectScope.PER_CHANNEL_PEER, None, "agent:a:slack:dm:chat:D1"),
        (DirectScope.PER_ACCOUNT_CHANNEL_PEER, "U7", "agent:a:slack:work:dm:U7"),
        (DirectScope.PER_ACCOUNT_CHANNEL_PEER, None, "agent:a:slack:work:dm:chat:D1"),
    ],
)
def test_scopes_of_direct_chats(scope: DirectScope, sender: str | None, key: str) -> None:
    place = Place("slack", "work", "D1", "direct", sender=sender)
    assert session_key("a", place, dm_scope=scope, main_key="home") == key


def test_strangers_share_nothing_by_default() -> None:  # S12
    ann = Place("slack", "work", "D1", "direct", sender="ann")
    bob = Place("slack", "work", "D1", "direct", sender="bob")
    elsewhere = Place("irc", "work", "D1", "direct", sender="ann")
    assert len({session_key("a", place) for place in (ann, bob, elsewhere)}) == 3


@pytest.mark.parametrize("scope", DirectScope)
def test_per_sender_never_joins_people(scope: DirectScope) -> None:  # S9, S12
    places = [
        Place(channel, "work", "D1", "direct", sender=sender)
        for channel in ("slack", "irc")
        for sender in ("ann", "bob")
    ]
    keys = {session_key("a", place, Mode.PER_SENDER, dm_scope=scope) for place in places}
    assert len(keys) == 4


def test_identity_links_make_one_peer_of_several_ids() -> None:  # S12
    links = {"slack:U7": "ann", "telegram:42": "ann"}
    slack = Place("slack", "work", "D1", "direct", sender="U7")
    telegram = Place("telegram", "bot", "42", "direct", sender="42")
    other = Place("irc", "bot", "42", "direct", sender="42")
    scope = DirectScope.PER_PEER
    assert session_key("a", slack, dm_scope=scope, links=links) == "agent:a:dm:ann"
    assert session_key("a", telegram, dm_scope=scope, links=links) == "agent:a:dm:ann"
    assert session_key("a", other, dm_scope=scope, links=links) == "agent:a:dm:42"
    assert session_key("a", slack, links=links) == "agent:a:slack:dm:ann"


def test_forum_topics_have_a_name_of_their_own() -> None:  # S13
    place = Place("telegram", "bot", "-100", "group", thread="5", thread_kind="topic")
    assert session_key("a", place) == "agent:a:telegram:group:-100:topic:5"


def test_ids_are_kept_as_they_are() -> None:  # S13
    place = Place("matrix", "bot", "!RoOm:Example.org", "channel", thread="$E%1\n")
    assert session_key("Ann", place) == (
        "agent:Ann:matrix:channel:!RoOm%3AExample.org:thread:$E%251%0A"
    )


def test_a_message_without_a_sender_is_of_no_sender() -> None:  # S9
    nobody = Place("slack", "work", "C1", "group")
    somebody = Place("slack", "work", "C1", "group", sender="unknown")
    key = session_key("a", nobody, Mode.PER_SENDER)
    assert key == "agent:a:slack:group:C1"
    assert key != session_key("a", somebody, Mode.PER_SENDER)


IDS = st.text("aA:%\n\x85\u2028\ud800 dm", max_size=4) | st.sampled_from(
    ["main", "dm", "chat", "group", "channel", "thread", "topic", "sender", "agent", "a:dm"]
)
PLACES = st.builds(
    Place,
    IDS,
    IDS,
    IDS,
    st.sampled_from(["direct", "group", "channel"]),
    thread=st.none() | IDS,
    sender=st.none() | IDS,
    thread_kind=st.sampled_from(["thread", "topic"]),
)


def distinct(place: Place, mode: Mode, scope: DirectScope) -> tuple[object, ...]:
    """What the rules say a session is made of: two places with different ones are two sessions."""
    if mode is Mode.AGENT_SHARED:
        return ()
    if place.kind == "direct":
        peer = (place.sender, place.chat if place.sender is None else None)
        by_sender = mode is Mode.PER_SENDER
        if scope is DirectScope.PER_ACCOUNT_CHANNEL_PEER:
            return "direct", place.account, place.channel, *peer
        if scope is DirectScope.MAIN and not by_sender:
            return ()
        if scope is DirectScope.PER_PEER and not by_sender and place.sender is not None:
            return "direct", *peer
        return "direct", place.channel, *peer
    thread = None if place.thread is None else (place.thread_kind, place.thread)
    sender = place.sender if mode is Mode.PER_SENDER else None
    return place.kind, place.channel, place.chat, thread, sender


# S2, S3, S4, S5, S6, S9, S12, S13: different by the rules, different by key; the same, the same.
@given(IDS, PLACES, IDS, PLACES, st.sampled_from(Mode), st.sampled_from(DirectScope))
def test_keys_are_equal_exactly_when_the_rules_say_so(
    agent: str, place: Place, other_agent: str, other: Place, mode: Mode, scope: DirectScope
) -> None:
    key = session_key(agent, place, mode, dm_scope=scope)
    other_key = session_key(other_agent, other, mode, dm_scope=scope)
    same = agent == other_agent and distinct(place, mode, scope) == distinct(other, mode, scope)
    assert (key == other_key) == same


# S6: over all modes and scopes that two wirings of one agent may have.
def test_no_shape_of_key_can_be_taken_for_another() -> None:
    names = ("main", "dm", "chat", "group", "sender", "thread")
    kinds: tuple[Literal["direct", "group"], ...] = ("direct", "group")
    origins: dict[str, set[tuple[object, ...]]] = {}
    for channel, account, chat, kind in product(names, names, ("x", "dm"), kinds):
        for thread, sender in product((None, "dm", "sender"), (None, "x", "chat")):
            place = Place(channel, account, chat, kind, thread, sender)
            for mode, scope in product(Mode, DirectScope):
                what = distinct(place, mode, scope)
                origins.setdefault(session_key("a", place, mode, dm_scope=scope), set()).add(what)
    assert [key for key, whats in origins.items() if len(whats) > 1] == []


@given(IDS, PLACES, st.sampled_from(Mode), st.sampled_from(DirectScope))
def test_a_key_is_printable_on_one_line(
    agent: str, place: Place, mode: Mode, scope: DirectScope
) -> None:  # S6, S13
    key = session_key(agent, place, mode, dm_scope=scope)
    assert len(key.splitlines()) == 1
    assert not {unicodedata.category(character) for character in key} & {"Cc", "Cs"}


# S6: an explicit key is used as it is.
@pytest.mark.parametrize("name", ["x", "My Notes/2026: ü 🙂", "agent:other:main", "k" * KEY_LIMIT])
def test_an_explicit_key_is_used_as_it_is(name: str) -> None:
    assert client_key("a", name) == name


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("", "is empty"),
        ("k" * (KEY_LIMIT + 1), "513 characters; at most 512"),
        ("a\nb", r"U\+000A at position 1"),
        ("\x00", r"U\+0000 at position 0"),
        ("ab\x7f", r"U\+007F at position 2"),
        ("\x9b", r"U\+009B"),
        ("a\u2028", r"U\+2028"),
        ("\ud800", r"U\+D800"),
    ],
)
def test_a_bad_explicit_key_is_refused(name: str, complaint: str) -> None:  # S6
    with pytest.raises(ValueError, match=complaint):
        client_key("a", name)
