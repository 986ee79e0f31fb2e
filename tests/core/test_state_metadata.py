from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.cart_state import CartState, Post, lost_state
from shared.core.state_metadata import changed_metadata, from_metadata, to_metadata
from tests.support.builders import NOW, after

LATER = after(3600)
TEXT = "2026-11-22T10:00:00Z"
times = st.datetimes(timezones=st.just(NOW.tzinfo))
states = st.builds(
    CartState,
    st.integers(0, 2**40),
    st.none() | st.builds(Post, st.text(), times, st.booleans(), st.text()),
    st.none() | times,
    st.booleans(),
)


@given(states)
def test_a_state_is_read_as_it_was_written(state: CartState) -> None:
    written = to_metadata(state)
    assert state == from_metadata(written, LATER)
    assert all(name.isidentifier() and text.isascii() for name, text in written.items())


def test_only_what_there_is_to_say_is_written_and_always_the_key() -> None:
    assert {"key": "0"} == to_metadata(CartState())
    assert {
        "key": "7",
        "post": f'{{"by":"ours","at":"{TEXT}","heard":true,"delivery":"m/1"}}',
        "doubt": TEXT,
        "spent": "true",
    } == (to_metadata(CartState(7, Post("ours", NOW, heard=True, delivery="m/1"), NOW, spent=True)))


def test_a_post_that_was_entered_without_its_delivery_can_be_read() -> None:
    written = {"key": "7", "post": f'{{"by":"ours","at":"{TEXT}","heard":true}}'}
    assert CartState(7, Post("ours", NOW, heard=True)) == from_metadata(written, LATER)


def test_what_operators_want_to_know_stands_with_the_post_and_is_not_read() -> None:
    state = CartState(0, Post("ours", NOW))
    written = to_metadata(state, {"attempt": 3, "reason": "für \U0001f600", "by": "never"})
    assert '{"attempt":3,"reason":"f\\u00fcr \\ud83d\\ude00","by":"ours"' in written["post"]
    assert state == from_metadata(written, LATER)


def test_a_lost_state_stays_lost_until_the_cart_is_closed() -> None:
    state = lost_state(NOW)
    assert lost_state(LATER) == from_metadata(to_metadata(state), LATER)


def test_with_an_outcome_a_state_that_is_the_same_is_not_written_again_but_with_a_new_record() -> None:
    state, spent = CartState(key=3), CartState(key=3, spent=True)
    assert changed_metadata(state, state) is None
    assert changed_metadata(lost_state(NOW), lost_state(NOW)) is None
    assert {"key": "3", "spent": "true"} == changed_metadata(spent, state)
    assert {"key": "0"} == changed_metadata(CartState(), None)


def test_names_may_come_back_in_another_case_and_unknown_ones_are_passed_over() -> None:
    assert CartState(4, spent=True) == from_metadata({"Key": "4", "SPENT": "true", "colour": "blue"}, LATER)


def test_the_times_are_exact_to_the_microsecond() -> None:
    at = NOW + timedelta(microseconds=1)
    assert CartState(0, Post("ours", at), at) == from_metadata(to_metadata(CartState(0, Post("ours", at), at)), LATER)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"spent": "true"},
        {"key": ""},
        {"key": "-1"},
        {"key": "1e3"},
        {"key": "1\n"},
        {"key": "9" * 16},
        {"key": "null"},
        {"key": "1", "spent": "yes"},
        {"key": "1", "doubt": "null"},
        {"key": "1", "doubt": "yesterday"},
        {"key": "1", "doubt": "2026-11-22T10:00:00"},
        {"key": "1", "post": ""},
        {"key": "1", "post": "null"},
        {"key": "1", "post": "[" * 100_000},
        {"key": "1", "post": '{"by":"ours"}'},
        {"key": "1", "post": '{"by":"ours","at":"2026-11-22T10:00:00"}'},
        {"key": "1", "post": f'{{"by":"ours","at":"{TEXT}","heard":"true"}}'},
    ],
)
def test_state_that_cannot_be_read_is_lost(metadata: dict[str, str]) -> None:
    assert lost_state(LATER) == from_metadata(metadata, LATER)
