"""What orders mean: `completed` is told only where nobody has to do anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.models import Order, OrderStatus
from shared.core.orders import bare_order, judge_orders
from shared.core.outcomes import Outcome
from tests.support.builders import answer, text_of
from tests.support.verdicts import judge

ACTIVATE: dict[str, Any] = {"links": {"activationLinks": {"uri": "/customers/c/orders/o/activationlinks"}}}
PARTIAL = "Part of the cart is bought"
NOTHING = "No order of this cart will be fulfilled"
REVIEW = "waits for a review"
UPLOAD = "upload it in Partner Center"
LINK = "must activate the line"
FAILURE = {"orderGroupId": "1", "code": 800089, "description": "no"}


def order(status: object, *lines: object, order_id: str = "o1") -> dict[str, Any]:
    return {"id": order_id, "status": status, "lineItems": list(lines)}


def spellings(status: str) -> list[str]:
    words = status.split("_")
    return [status, status.upper(), status.replace("_", " "), "-".join(words).title(), "".join(map(str.title, words))]


EACH_STATUS = {
    "partial": ["error", "cancelled", "canceled", "po_review_rejected", "partial_success"],
    "action_required": ["pending_review", "pending_po_upload"],
    "completed": ["pending", "completed", "suspended", "po_upload_complete", "unknown", "shipped_to_mars"],
}


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [(way, kind) for kind, statuses in EACH_STATUS.items() for status in statuses for way in spellings(status)],
)
def test_a_status_compares_by_its_letters(spelling: str, kind: str) -> None:
    assert kind == judge(answer(201, {"orders": [order(spelling)]})).kind


TOGETHER: list[tuple[str, dict[str, Any], str, list[str], list[str]]] = [
    # what they are, the body, the outcome, what the advice says, what it does not
    ("done and failed", {"orders": [order("completed"), order("error")]}, "partial", [PARTIAL], [NOTHING]),
    ("all failed", {"orders": [order("error"), order("Canceled")]}, "partial", [NOTHING], [PARTIAL]),
    ("one, rejected", {"orders": [order("PoReviewRejected")]}, "partial", [NOTHING], [PARTIAL]),
    ("one, partly", {"orders": [order("PartialSuccess")]}, "partial", [PARTIAL], [NOTHING]),
    ("all failed and a group", {"orders": [order("error")], "orderErrors": [FAILURE]}, "partial", [NOTHING], [PARTIAL]),
    ("a group", {"orders": [order("completed")], "orderErrors": [FAILURE]}, "partial", [PARTIAL], [NOTHING, REVIEW]),
    (
        "failed beside waiting",
        {"orders": [order("error"), order("pending_review", order_id="o2")]},
        "partial",
        [PARTIAL, REVIEW, "o2"],
        [NOTHING],
    ),
    (
        "a group beside waiting",
        {"orders": [order("pending_po_upload", order_id="o2")], "orderErrors": [FAILURE]},
        "partial",
        [PARTIAL, UPLOAD, "o2"],
        [NOTHING],
    ),
    (
        "failed beside a link",
        {"orders": [order("cancelled"), order("completed", ACTIVATE, order_id="o2")]},
        "partial",
        [PARTIAL, LINK, "Order o2, line 0,"],
        [NOTHING],
    ),
    ("a failed order's link", {"orders": [order("error", ACTIVATE)]}, "partial", [NOTHING], [LINK]),
    ("a partly failed order's link", {"orders": [order("partial success", ACTIVATE)]}, "partial", [PARTIAL, LINK], []),
    ("waiting", {"orders": [order("pending"), order("pending_review")]}, "action_required", [REVIEW], [PARTIAL, LINK]),
    ("a link", {"orders": [order("pending", {}, ACTIVATE)]}, "action_required", [LINK], [PARTIAL]),
    (
        "waiting twice, with a link",
        {"orders": [order("pending_review", ACTIVATE), order("pending_po_upload")]},
        "action_required",
        [REVIEW, UPLOAD, LINK],
        [PARTIAL],
    ),
]


@pytest.mark.parametrize(
    ("tree", "kind", "says", "says_not"), [row[1:] for row in TOGETHER], ids=[row[0] for row in TOGETHER]
)
def test_the_advice_names_all_that_is_to_be_done(tree: object, kind: str, says: list[str], says_not: list[str]) -> None:
    verdict = judge(answer(201, tree))
    assert kind == verdict.kind
    assert text_of(tree) == verdict.result
    assert verdict.error is not None
    assert all(words in verdict.error.advice for words in says), verdict.error.advice
    assert not any(words in verdict.error.advice for words in says_not), verdict.error.advice
    assert not verdict.error.retryable


def test_what_waits_is_named_by_order_and_line_once_each() -> None:
    lines = [{"lineItemNumber": 7, **ACTIVATE}, {}, ACTIVATE]
    orders = [order("pending_review"), order("completed", *lines, order_id="o2"), order("pending_review")]
    found = judge(answer(201, {"orders": orders})).error
    assert found is not None
    assert "partner" == found.error_class
    said = [
        "Order o1 has the status pending_review.",
        "Order o2, line 7, must be activated.",
        "Order o2, line 2, must be activated.",
    ]
    assert " ".join(said) == found.description
    assert 1 == found.advice.count(REVIEW) == found.advice.count(LINK)


def test_a_partial_keeps_the_services_words_beside_what_waits() -> None:
    tree = {"orders": [order("pending_review")], "orderErrors": [FAILURE]}
    found = judge(answer(201, tree)).error
    assert found is not None
    assert ("cart", "800089", "no") == (found.error_class, found.code, found.description)


NO_LINKS: list[Any] = [
    {},
    {"links": None},
    {"links": {}},
    {"links": {"activationLinks": None}},
    {"links": {"activationLinks": {}}},
    {"links": {"activationLinks": {"uri": "", "method": "GET", "headers": []}}},
    {"links": {"activationLinks": {"uri": " "}}},
    {"links": {"subscription": {"uri": "/subscriptions/s"}}},
    None,
]


@pytest.mark.parametrize("line", NO_LINKS, ids=str)
def test_an_ordinary_line_is_not_to_be_activated(line: object) -> None:
    assert "completed" == judge(answer(201, {"orders": [order("completed", line)]})).kind


# --- an order that is not in a list -------------------------------------------------------------------------------

BARE = {"id": "o1", "status": "pending", "lineItems": [{"offerId": "P:S:A"}]}


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        (BARE, "completed"),
        (BARE | {"lineItems": []}, "completed"),
        (BARE | {"status": "PendingPoUpload"}, "action_required"),
        (BARE | {"status": "po_review_rejected"}, "partial"),
        (BARE | {"lineItems": [ACTIVATE]}, "action_required"),
        (BARE | {"orders": None}, "completed"),
        (BARE | {"code": 800089, "description": "no"}, "completed"),
        ({name.upper(): value for name, value in BARE.items()}, "completed"),
        # it is none
        (BARE | {"status": "Active"}, "retry"),
        (BARE | {"status": "Ordered"}, "retry"),
        (BARE | {"orders": []}, "retry"),
        (BARE | {"orders": [], "orderErrors": [FAILURE]}, "refused"),
        (BARE | {"id": ""}, "retry"),
        (BARE | {"status": 400}, "retry"),
        (BARE | {"lineItems": None}, "retry"),
        ({"id": "o1", "lineItems": []}, "retry"),
        ({"id": "o1", "status": "pending"}, "retry"),
        ({"status": "pending", "lineItems": []}, "retry"),
    ],
    ids=str,
)
def test_a_bare_order_counts_as_one_order(tree: object, kind: str) -> None:
    assert kind == judge(answer(201, tree)).kind


def test_a_bare_order_is_told_as_a_result_with_one_order_each_byte_kept() -> None:
    body = b'{"id":"o1", "status":"Pending","lineItems":[ ],"totalPrice":36.480}'
    assert f'{{"orders":[{body.decode()}]}}' == judge(answer(200, b"\xef\xbb\xbf " + body + b"\r\n")).result


def test_a_bare_order_in_an_error_is_no_purchase() -> None:
    assert "refused" == judge(answer(400, BARE)).kind


# --- any orders ---------------------------------------------------------------------------------------------------

STATUSES = st.sampled_from([*OrderStatus, "Canceled", "new status", "PendingReview"]) | st.none()


@given(st.lists(st.builds(Order, id=st.just("o"), status=STATUSES), min_size=1))
def test_completed_is_told_only_where_nobody_has_to_do_anything(orders: list[Order]) -> None:
    outcome, cause = judge_orders(orders, None)
    letters = {(each.status or "").lower().replace("_", "").replace("canceled", "cancelled") for each in orders}
    failed = letters & {"error", "partialsuccess", "poreviewrejected", "cancelled"}
    waiting = letters & {"pendingreview", "pendingpoupload"}
    expected = Outcome.PARTIAL if failed else Outcome.ACTION_REQUIRED if waiting else Outcome.COMPLETED
    assert expected is outcome
    assert (outcome is Outcome.COMPLETED) is (cause is None)
    if cause is not None:
        assert bool(waiting) is ("The order waits" in cause.advice)
        assert (NOTHING in cause.advice) is (letters <= {"error", "poreviewrejected", "cancelled"})


@given(st.none() | st.dictionaries(st.sampled_from(["id", "status", "lineItems", "orders"]), st.none() | st.text()))
def test_no_text_is_an_order(tree: dict[str, Any] | None) -> None:
    assert bare_order(tree) is None
