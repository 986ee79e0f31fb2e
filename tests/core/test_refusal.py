"""What a copy keeps of a refusal, and what is told of it once the cart is closed."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.cart_state import Post
from shared.core.errors import ErrorClass, error
from shared.core.messages import LONGEST, LONGEST_COPY
from shared.core.outcomes import response_ids
from shared.core.refusal import LONGEST_DATA, LONGEST_DESCRIPTION, error_of, post_of, response_of, to_refusal
from shared.core.retry import Refusal, RetryState
from shared.core.verdict import Refused, judge
from tests.core.test_errors import BY_STATUS, KNOWN_CODES_WITH_ANOTHER_STATUS, TABLE, UNKNOWN_CODES
from tests.support.builders import NOW, answer

OWN = Post("ours", NOW, delivery="m-1/2")
IDS: dict[str, str | int] = {"status": 404, "requestId": "r", "correlationId": "c", "cv": "v"}
CAUSE = error(ErrorClass.REJECTED, "no", code="999999", source="PartnerFD")


def told(status: int, tree: dict[str, Any]) -> tuple[Refused, ErrorClass] | None:
    """What is judged, and the class that is told from a copy; None where it is no refusal."""
    response = answer(status, tree)
    verdict = judge(response)
    if not isinstance(verdict, Refused):
        return None
    refusal = to_refusal(verdict.error, response_ids(response, "r", "c"), OWN, 0)
    return verdict, error_of(refusal).error_class


ROWS = [*TABLE, *KNOWN_CODES_WITH_ANOTHER_STATUS, *UNKNOWN_CODES, *BY_STATUS]


@pytest.mark.parametrize(("status", "code"), [row[:2] for row in ROWS])
def test_the_class_that_is_told_from_a_copy_is_the_one_that_was_judged(status: int, code: str | None) -> None:
    for tree in ({"code": code, "description": "no"}, {"orderErrors": [{"code": code}, {"code": "999999"}]}):
        found = told(status, tree)
        if found is not None:
            assert found[0].error.error_class == found[1]


@pytest.mark.parametrize("code", [*(row[1] for row in ROWS), "", "0", None])
def test_so_it_is_of_the_order_errors_of_a_success(code: str | None) -> None:
    found = told(200, {"orderErrors": [{"code": code}, {"code": "800089"}]})
    if found is not None:
        assert found[0].error.error_class == found[1]


@settings(deadline=None)
@given(st.integers(100, 599), st.none() | st.text(max_size=150))
def test_so_it_is_of_any_status_and_code(status: int, code: str | None) -> None:
    found = told(status, {"code": code})
    if found is not None:
        assert found[0].error.error_class == found[1]


def test_a_refusal_keeps_the_services_words_and_the_ids_of_the_exchange() -> None:
    refusal = to_refusal(CAUSE, IDS, OWN, 3)
    assert (404, 3, NOW, "m-1/2") == (refusal.status, refusal.key, refusal.at, refusal.delivery)
    assert CAUSE == error_of(refusal)
    assert IDS == response_of(refusal)
    assert OWN.is_same(post_of(refusal, "ours"))
    assert not OWN.is_same(post_of(refusal, "theirs"))


def test_what_is_absent_stays_absent() -> None:
    refusal = to_refusal(error(ErrorClass.REJECTED, ""), None, Post("ours", NOW), 0)
    assert Refusal(status=0, key=0, at=NOW) == refusal
    assert {"status": 0} == response_of(refusal)
    assert error(ErrorClass.REJECTED, "") == error_of(refusal)


@pytest.mark.parametrize("letter", ["x", "ü", "🛒", '"', "\x01", "\u2028"], ids=ascii)
def test_long_texts_are_cut_to_the_room_that_a_copy_has(letter: str) -> None:
    ids: dict[str, str | int] = {"status": 400, "requestId": letter * 9_000}
    long = error(ErrorClass.REJECTED, letter * 9_000, code=letter * 9_000, source=letter * 9_000)
    refusal = to_refusal(long, ids, Post("ours", NOW, delivery=letter * 9_000), 0)
    assert LONGEST_DESCRIPTION + 2 >= len(msgspec.json.encode(refusal.description))
    for text in (refusal.code, refusal.source, refusal.request_id, refusal.delivery):
        assert text
        assert letter * len(text) == text
        assert 102 >= len(msgspec.json.encode(text))


def test_texts_that_fit_are_not_cut() -> None:
    fits = error(ErrorClass.REJECTED, "d" * LONGEST_DESCRIPTION, code="c" * 100, source="s" * 100)
    assert fits == error_of(to_refusal(fits, {"status": 400}, OWN, 0))


def refusal_with(data: tuple[str | msgspec.Raw, ...] | None) -> Refusal:
    return to_refusal(error(ErrorClass.REJECTED, "no", data=data), IDS, OWN, 0)


@pytest.mark.parametrize("data", [None, (), ("a", "ü"), (msgspec.Raw(b'{"a": 36.480}'), "b", msgspec.Raw(b"5"))])
def test_the_details_come_back_as_they_were(data: tuple[str | msgspec.Raw, ...] | None) -> None:
    assert data == error_of(refusal_with(data)).data


@pytest.mark.parametrize("letter", ["x", "ü", "🛒", '"', "\x01"], ids=ascii)
def test_details_that_have_no_room_in_a_copy_are_left_out(letter: str) -> None:
    def length(refusal: Refusal) -> int:
        return len(msgspec.json.encode(refusal.data)) - 2

    fitting = [refusal_with((letter * count,)) for count in range(1, LONGEST_DATA)]
    kept = [refusal for refusal in fitting if refusal.data is not None]
    assert LONGEST_DATA >= length(kept[-1]) > LONGEST_DATA - 20
    assert kept == fitting[: len(kept)]


@pytest.mark.parametrize("broken", ["", "[", "no JSON", "[1] 2", "\ufeff"])
def test_details_that_are_no_json_are_left_out(broken: str) -> None:
    assert error_of(Refusal(status=400, key=0, at=NOW, data=broken)).data is None


def test_the_longest_refusal_fits_a_copy() -> None:
    ids: dict[str, str | int] = {"status": 400} | dict.fromkeys(("requestId", "correlationId", "cv"), "x" * 900)
    long = error(ErrorClass.REJECTED, "x" * 9_000, code="x" * 900, source="x" * 900, data=("x" * (LONGEST_DATA - 6),))
    refusal = to_refusal(long, ids, Post("ours", NOW, delivery="x" * 900), 10**15 - 1)
    assert refusal.data is not None
    retry = RetryState(
        attempt=10**6,
        since=NOW,
        held=NOW,
        started_at=NOW,
        reason="other_request",
        poisoned=True,
        deaths=10**6,
        renewals=10**6,
        refused=refusal,
    )
    assert LONGEST_COPY - LONGEST >= len(msgspec.json.encode({"retry": retry}))
