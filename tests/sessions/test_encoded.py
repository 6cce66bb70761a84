"""Base64, a piece at a time (A1)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions import encoded
from runtime.sessions.encoded import is_base64, piece_of, pieces_of, size_of


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> object:
    whole = encoded.PIECE
    encoded.PIECE = 8
    yield
    encoded.PIECE = whole


@given(st.binary(max_size=60))
def test_the_pieces_are_the_whole(content: bytes) -> None:  # A1
    data = base64.b64encode(content).decode()
    assert size_of(data) == len(content)
    assert is_base64(data)
    assert b"".join(piece_of(data, start) for start in pieces_of(data)) == content


@given(st.text("Aa+/=-_ \n\u00e9\ud800", max_size=40))
def test_it_is_judged_as_if_it_were_looked_at_as_a_whole(data: str) -> None:  # A1
    try:
        base64.b64decode(data, validate=True)
        good = True
    except ValueError:
        good = False
    assert is_base64(data) == good


def test_pieces_end_where_base64_can_be_cut() -> None:
    assert 1_398_100 % 4 == 0
