"""Names of files made from keys (S17)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.names import MAX_LENGTH, file_name

SAFE = re.compile(r"[A-Za-z0-9_-]+")


@pytest.mark.parametrize(
    "key", ["echo", "Agent_1-x", "-", "01a1fc4f-4f91-7424-bd7c-0cc805fc772b", "x" * MAX_LENGTH]
)
def test_a_safe_key_is_its_own_name(key: str) -> None:  # S17
    assert file_name(key) == key


@pytest.mark.parametrize(
    "key, start",
    [
        ("agent:main:dm:7", "agent_main_dm_7-"),
        ("a/b", "a_b-"),
        ("../../etc", "______etc-"),
        ("été", "_t_-"),
        (".", "_-"),
        ("", "-"),
        ("a\x00b\n", "a_b_-"),
        ("x" * 1_000, "x" * 100),
        ("\ud800", "_-"),
    ],
)
def test_anything_else_gets_a_hash(key: str, start: str) -> None:  # S17
    name = file_name(key)
    assert name.startswith(start)
    assert re.search(r"-[0-9a-f]{16}$", name)
    assert file_name(key) == name


def test_a_key_that_looks_like_the_name_of_another() -> None:  # S17
    name = file_name("a:b")
    assert file_name(name) != name


@given(st.text())
def test_a_name_is_always_safe(key: str) -> None:  # S17
    name = file_name(key)
    assert SAFE.fullmatch(name)
    assert len(name) <= MAX_LENGTH


@given(st.lists(st.text(alphabet="ab:/_-", max_size=4), unique=True))
def test_two_keys_never_share_a_name(keys: list[str]) -> None:  # S17
    both = {*keys, *map(file_name, keys)}
    assert len({file_name(key) for key in both}) == len(both)
