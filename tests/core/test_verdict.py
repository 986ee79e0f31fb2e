import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.core import errors
from shared.core.models import Order, ServiceResponse, parse_lenient
from shared.core.verdict import CartStatusReading, candidates, order_ids, read_cart_status
from tests.core.test_errors import BY_STATUS, KNOWN, KNOWN_CODES_WITH_ANOTHER_STATUS, OF_AN_ORDER, TABLE, UNKNOWN_CODES
from tests.support.builders import NOW, after, answer, text_of
from tests.support.verdicts import Judged, judge

HELD = {"service", "throttled", "in_progress", "authentication", "configuration"}
OTHERS = sorted(KNOWN - {"800065"})

GATEWAY_BODIES = {
    "empty": b"",
    "white space": b" \r\n",
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
    "text": b"upstream connect error",
    "JSON array": b'[{"code": 800089}]',
    "JSON string": b'"800089"',
    "JSON number": b"800089",
    "null": b"null",
    "broken JSON": b'{"code": 800089',
    "not UTF-8": b'{"code": 800089, "description": "\xff"}',
    "too deep": b'{"code": 800089, "data": ' + b"[" * 64 + b"]" * 64 + b"}",
    "UTF-16": '{"code": 800089}'.encode("utf-16"),
}
NO_CODES = {
    "no code": {"description": "no"},
    "0": {"code": 0, "description": "no"},
    '"0"': {"code": "0", "description": "no"},
    "null": {"code": None, "description": "no"},
    "empty": {"code": "", "description": "no"},
    "text alone": {"message": "no"},
    "empty object": {},
}


def kind_of(error_class: str) -> str:
    """What to do after an error of this class."""
    if error_class == "already_ordered":
        return "already_ordered"
    return "retry" if error_class in HELD else "refused"


def class_in(verdict: Judged) -> str:
    assert verdict.error is not None
    return verdict.error.error_class


def code_in(verdict: Judged) -> str | None:
    assert verdict.error is not None
    return verdict.error.code


# --- errors: the table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_sent", [int, str])
@pytest.mark.parametrize(
    ("status", "code", "error_class"), [*TABLE, *(row for row in KNOWN_CODES_WITH_ANOTHER_STATUS if row[0] >= 300)]
)
def test_a_known_code_is_judged_by_its_row(status: int, code: str, error_class: str, as_sent: type) -> None:
    verdict = judge(answer(status, {"code": as_sent(code), "description": "Because.", "source": "PartnerFD"}))
    assert kind_of(error_class) == verdict.kind
    assert error_class == class_in(verdict)
    assert code == code_in(verdict)
    assert verdict.known
    assert verdict.result is None


@pytest.mark.parametrize("status", [302, 400, 403, 404, 410, 417, 429, 500, 503])
@pytest.mark.parametrize("code", OF_AN_ORDER)
def test_a_code_that_means_an_order_decides_whatever_the_status(status: int, code: str) -> None:
    verdict = judge(answer(status, {"code": code}))
    expected = "already_ordered" if code == "800065" else "in_progress"
    assert (kind_of(expected), expected, code) == (verdict.kind, class_in(verdict), code_in(verdict))


@pytest.mark.parametrize("no_code", NO_CODES.values(), ids=NO_CODES.keys())
@pytest.mark.parametrize(("status", "code", "error_class"), BY_STATUS)
def test_a_fault_without_a_code_is_judged_by_its_status(
    status: int, code: None, error_class: str, no_code: dict[str, object]
) -> None:
    verdict = judge(answer(status, no_code))
    assert (kind_of(error_class), error_class, code) == (verdict.kind, class_in(verdict), code_in(verdict))
    assert (verdict.kind != "refused") is verdict.known, "a refusal without a code proves nothing"


@pytest.mark.parametrize(("status", "code", "error_class"), UNKNOWN_CODES)
def test_an_unknown_code_is_judged_by_its_status_and_marked_as_unknown(
    status: int, code: str, error_class: str
) -> None:
    verdict = judge(answer(status, {"code": code}))
    assert (kind_of(error_class), error_class, code) == (verdict.kind, class_in(verdict), code_in(verdict))
    assert (error_class != "rejected") is verdict.known


# --- errors: gateways ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", GATEWAY_BODIES.values(), ids=GATEWAY_BODIES.keys())
@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, "service"),
        (404, "service"),
        (405, "service"),
        (409, "service"),
        (413, "service"),
        (417, "service"),
        (499, "service"),
        (408, "service"),
        (500, "service"),
        (501, "service"),
        (502, "service"),
        (503, "service"),
        (504, "service"),
        (599, "service"),
        (401, "authentication"),
        (403, "configuration"),
        (429, "throttled"),
        (302, "configuration"),
    ],
)
def test_a_gateways_body_decides_nothing(status: int, error_class: str, body: bytes) -> None:
    verdict = judge(answer(status, body))
    assert ("retry", error_class, None) == (verdict.kind, class_in(verdict), code_in(verdict))


def test_the_throttling_gateway_is_understood() -> None:
    verdict = judge(answer(429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds."}))
    assert (
        errors.error(errors.ErrorClass.THROTTLED, "Rate limit is exceeded. Try again in 57 seconds.") == verdict.error
    )
    assert "retry" == verdict.kind


@pytest.mark.parametrize("failure", ["timeout after 180 s", None])
def test_without_an_http_response_it_is_tried_again(failure: str | None) -> None:
    verdict = judge(ServiceResponse(None, failure=failure))
    assert ("retry", "service") == (verdict.kind, class_in(verdict))
    assert verdict.error is not None
    assert (failure or "no answer") == verdict.error.description


@pytest.mark.parametrize("status", [-1, 0, 1, 100, 101, 199, 600, 999, 10**9])
@pytest.mark.parametrize("tree", [{"code": 800089}, {"code": 999999}, b""])
def test_a_status_that_http_does_not_know_proves_nothing(status: int, tree: object) -> None:
    verdict = judge(answer(status, tree))
    assert ("retry", "service") == (verdict.kind, class_in(verdict))


# --- errors: what is passed on ------------------------------------------------------------------------------


def test_the_text_of_a_fault_is_passed_on_unchanged() -> None:
    said = "  Kündigung – siehe <a href='x'>hier</a>.  "  # noqa: RUF001  an en dash
    fault = {"code": 800089, "description": said, "data": ["a", "b"], "source": "PartnerFD"}
    verdict = judge(answer(403, fault))
    assert errors.error(
        errors.ErrorClass.CART, said, code="800089", source="PartnerFD", data=("a", "b")
    ) == verdict.error  # fmt: skip


@pytest.mark.parametrize("status", [200, 403, 418, 502])
@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_body_is_described_by_its_status(status: int, body: bytes) -> None:
    found = judge(answer(status, body)).error
    assert found is not None
    assert f"HTTP {status} with an empty body" == found.description


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_fault_may_begin_with_a_byte_order_mark(mark: bytes) -> None:
    assert "800089" == code_in(judge(answer(403, mark + b'{"code": 800089}')))


def test_a_lone_surrogate_in_a_fault_can_be_published() -> None:
    found = judge(answer(403, b'{"code": 800089, "description": "\\ud800", "data": ["\\udfff"]}')).error
    assert found is not None
    assert ("\ufffd", ("\ufffd",)) == (found.description, found.data)


# --- 2xx, by shape ------------------------------------------------------------------------------------------

DONE = {"id": "o1", "status": "completed"}
FAILURE = {"orderGroupId": "1", "code": 800089, "description": "no"}


def order(status: object) -> dict[str, object]:
    return {"id": "o1", "status": status}


SHAPES: list[tuple[str, Any, str]] = [
    # orders and any orderErrors; or an order that failed
    ("orders and orderErrors", {"orders": [DONE], "orderErrors": [FAILURE]}, "partial"),
    ("orders and 800065", {"orders": [DONE], "orderErrors": [{"code": 800065}]}, "partial"),
    ("waiting orders and orderErrors", {"orders": [order("pending_review")], "orderErrors": [FAILURE]}, "partial"),
    ("error", {"orders": [order("error")]}, "partial"),
    ("partial_success", {"orders": [order("partial_success")]}, "partial"),
    ("po_review_rejected", {"orders": [order("po_review_rejected")]}, "partial"),
    ("cancelled", {"orders": [order("cancelled")]}, "partial"),
    ("one of many failed", {"orders": [DONE, order("error")]}, "partial"),
    ("failed and waiting", {"orders": [order("pending_review"), order("error")]}, "partial"),
    ("an orderError of no shape", {"orders": [DONE], "orderErrors": [None]}, "partial"),
    ("an order of no shape beside one", {"orders": [DONE, None]}, "completed"),
    # an order that waits
    ("pending_review", {"orders": [order("pending_review")]}, "action_required"),
    ("pending_po_upload", {"orders": [order("pending_po_upload")]}, "action_required"),
    ("one of many waits", {"orders": [DONE, order("pending_po_upload")]}, "action_required"),
    # orders, any other status
    ("pending", {"orders": [order("pending")]}, "completed"),
    ("completed", {"orders": [order("completed")]}, "completed"),
    ("suspended", {"orders": [order("suspended")]}, "completed"),
    ("po_upload_complete", {"orders": [order("po_upload_complete")]}, "completed"),
    ("unknown", {"orders": [order("unknown")]}, "completed"),
    ("a new status", {"orders": [order("shipped_to_mars")]}, "completed"),
    ("no status", {"orders": [{"id": "o1"}]}, "completed"),
    ("null as status", {"orders": [order(None)]}, "completed"),
    ("a number as status", {"orders": [order(7)]}, "completed"),
    ("an object as status", {"orders": [order({"error": 1})]}, "completed"),
    ("orders in other letters", {"Orders": [{"Status": "pending"}]}, "completed"),
    ("orders and no orderErrors", {"orders": [DONE], "orderErrors": []}, "completed"),
    ("orders and null", {"orders": [DONE], "orderErrors": None}, "completed"),
    ("orders beside a code", {"orders": [DONE], "code": 800089, "description": "no"}, "completed"),
    # no orders, some orderErrors
    ("orderErrors alone", {"orderErrors": [FAILURE]}, "refused"),
    ("orderErrors and empty orders", {"orders": [], "orderErrors": [FAILURE]}, "refused"),
    ("orderErrors and null orders", {"orders": None, "orderErrors": [FAILURE]}, "refused"),
    ("orderErrors of an unknown code", {"orderErrors": [{"code": 999999}]}, "refused"),
    ("orderErrors of the service's faults", {"orderErrors": [{"code": 800003}, {"code": 800005}]}, "retry"),
    ("orderErrors in progress", {"orderErrors": [{"code": 800064}]}, "retry"),
    ("orderErrors of both kinds", {"orderErrors": [{"code": 800064}, {"code": 800003}]}, "retry"),
    ("orderErrors of a fault and a refusal", {"orderErrors": [{"code": 800003}, FAILURE]}, "refused"),
    ("orderErrors of a configuration", {"orderErrors": [{"code": 900308}]}, "refused"),
    ("orderErrors without a code", {"orderErrors": [{"description": "no"}]}, "refused"),
    ("orderErrors in other letters", {"OrderErrors": [{"Code": 800089}]}, "refused"),
    ("orderErrors that say nothing beside one", {"orderErrors": [None, FAILURE]}, "refused"),
    ("orderErrors beside a code", {"orderErrors": [FAILURE], "code": 800003}, "refused"),
    ("800065 alone", {"orderErrors": [{"code": 800065}]}, "already_ordered"),
    ("800065 as text", {"orderErrors": [{"code": "800065"}]}, "already_ordered"),
    ("800065 behind another", {"orderErrors": [FAILURE, {"code": 800065}]}, "already_ordered"),
    # a fault inside a 2xx
    ("400072", {"code": 400072, "description": "no"}, "refused"),
    ("a transient fault", {"code": "800003", "description": "no"}, "retry"),
    ("a fault in progress", {"code": 800064, "description": "no"}, "retry"),
    ("a fault of 800065", {"code": 800065, "description": "no"}, "already_ordered"),
    ("a fault beside empty orders", {"orders": [], "code": 800089, "description": "no"}, "refused"),
    ("an unknown fault", {"code": 999999, "description": "no"}, "retry"),
    ("the fault 0", {"code": 0, "description": "no"}, "retry"),
    # no answer
    ("empty", b"", "retry"),
    ("empty object", {}, "retry"),
    ("empty orders", {"orders": []}, "retry"),
    ("both empty", {"orders": [], "orderErrors": []}, "retry"),
    ("null", None, "retry"),
    ("array", [{"orders": [DONE]}], "retry"),
    ("string", "completed", "retry"),
    ("orders of another shape", {"orders": {"id": "o1"}}, "retry"),
    ("orders of no shape", {"orders": ["x", 5, None, []]}, "retry"),
    ("orders that say nothing", {"orders": [{}, {"x": 1}]}, "retry"),
    ("orders of no shape and orderErrors", {"orders": ["x"], "orderErrors": [FAILURE]}, "retry"),
    ("orderErrors of no shape", {"orderErrors": [None]}, "retry"),
    ("orderErrors that say nothing", {"orderErrors": [{}, "x", 5]}, "retry"),
    ("HTML", b"<html>201 Created</html>", "retry"),
    ("XML", b"<CartCheckoutResult><Orders/></CartCheckoutResult>", "retry"),
    ("cut off", b'{"orders": [{"id": "o1"}', "retry"),
    ("not UTF-8", b'{"orders": [{"id": "\xff"}]}', "retry"),
]


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(("tree", "kind"), [shape[1:] for shape in SHAPES], ids=[shape[0] for shape in SHAPES])
def test_a_2xx_is_judged_by_its_shape(tree: object, kind: str, status: int) -> None:
    verdict = judge(answer(status, tree))
    assert kind == verdict.kind
    assert (kind == "completed") is (verdict.error is None)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_every_2xx_is_judged_alike(status: int) -> None:
    assert Judged("completed", None, text_of({"orders": [DONE]})) == judge(answer(status, {"orders": [DONE]}))
    assert "retry" == judge(answer(status, b"")).kind


@pytest.mark.parametrize("status", [300, 301, 304, 399])
def test_a_3xx_is_held_for_an_operator_whatever_its_body(status: int) -> None:
    for tree in ({"orders": [DONE]}, {"code": 800089}, b""):
        verdict = judge(answer(status, tree))
        assert ("retry", "configuration") == (verdict.kind, class_in(verdict))


def test_a_4xx_with_orders_in_it_is_none_the_less_an_error() -> None:
    assert "refused" == judge(answer(400, {"orders": [DONE]})).kind


def test_a_2xx_without_a_result_is_described_by_its_beginning() -> None:
    found = judge(answer(202, b"<html>\n  Accepted\r\n</html>")).error
    assert errors.error(errors.ErrorClass.SERVICE, "<html> Accepted </html>") == found


def test_an_unknown_fault_inside_a_2xx_keeps_its_words() -> None:
    found = judge(answer(200, {"code": 999999, "description": "no"})).error
    assert errors.error(errors.ErrorClass.SERVICE, "no", code="999999") == found


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [
        ("partial success", "partial"),
        ("partial-success", "partial"),
        ("Partial_Success", "partial"),
        ("PO Review Rejected", "partial"),
        ("po-review_rejected", "partial"),
        ("ERROR", "partial"),
        ("Cancelled", "partial"),
        ("Pending Review", "action_required"),
        ("pending-review", "action_required"),
        ("PENDING_PO_UPLOAD", "action_required"),
        ("Pending PO-upload", "action_required"),
        ("Completed", "completed"),
        ("Po Upload Complete", "completed"),
    ],
)
def test_a_status_compares_in_any_spelling(spelling: str, kind: str) -> None:
    assert kind == judge(answer(201, {"orders": [order(spelling)]})).kind


BYTES_TO_KEEP = {
    "money": b'{"orders":[{"totalPrice":36.480,"x":1E+2}]}',
    "dates": b'{"orders":[{"creationDate":"2026-11-22T10:00:00.1234567Z","x":"2026-11-22T10:00:00-08:00"}]}',
    "white space and order": b' {\r\n\t"zebra" : 1 , "orders":[ {"id" :1 } ],"a":1 }\n',
    "escapes": b'{"orders":[{"id":"\\u00e9\\/\xc3\xa9"}]}',
    "half a character": b'{"orders":[{"id":"\\ud800","\\udfff":"\\ud83d\\ude00"}]}',
    "a key twice": b'{"orders":[{"id":"a","id":"b"}]}',
    "a long integer": b'{"orders":[{"id":' + b"9" * 5000 + b"}]}",
    "64 deep": b'{"orders":[{"id":1,"x":' + b"[" * 61 + b"]" * 61 + b"}]}",
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("body", BYTES_TO_KEEP.values(), ids=BYTES_TO_KEEP.keys())
def test_a_result_is_passed_on_byte_for_byte_but_for_its_byte_order_mark(body: bytes, mark: bytes) -> None:
    verdict = judge(answer(201, mark + body))
    assert "completed" == verdict.kind
    assert verdict.result is not None
    assert body == verdict.result.encode()


def test_a_result_nested_65_deep_is_tried_again() -> None:
    verdict = judge(answer(201, b'{"orders":[{"x":' + b"[" * 62 + b"]" * 62 + b"}]}"))
    assert ("retry", None) == (verdict.kind, verdict.result)


def test_a_partial_reports_the_first_order_error_and_warns_of_sending_the_cart_again() -> None:
    tree = {"orders": [DONE], "orderErrors": [{**FAILURE, "code": 999999, "description": "first"}, FAILURE]}
    verdict = judge(answer(201, tree))
    assert text_of(tree) == verdict.result
    assert verdict.error is not None
    assert ("rejected", "999999", "first") == (class_in(verdict), code_in(verdict), verdict.error.description)
    assert "never send this one again" in verdict.error.advice
    assert not verdict.error.retryable


@pytest.mark.parametrize("code", [800003, 800064, 900308])
def test_after_a_partial_no_new_request_can_succeed_whatever_failed(code: int) -> None:
    found = judge(answer(201, {"orders": [DONE], "orderErrors": [{"code": code}]})).error
    assert found is not None
    assert not found.retryable


def test_a_partial_without_order_errors_reports_the_first_order_that_failed() -> None:
    orders = [DONE, {"id": "o2", "status": "Partial Success"}, {"id": "o3", "status": "error"}]
    found = judge(answer(201, {"orders": orders})).error
    assert found is not None
    assert "Order o2 has the status Partial Success." == found.description
    assert not found.retryable


@pytest.mark.parametrize(("status", "word"), [("pending_review", "review"), ("pending_po_upload", "purchase order")])
def test_action_required_reports_what_a_person_must_do(status: str, word: str) -> None:
    verdict = judge(answer(201, {"orders": [DONE, order(status)]}))
    assert text_of({"orders": [DONE, order(status)]}) == verdict.result
    assert verdict.error is not None
    assert f"Order o1 has the status {status}." == verdict.error.description
    assert word in verdict.error.advice


def test_an_order_may_have_no_id() -> None:
    found = judge(answer(201, {"orders": [{"status": "error"}]})).error
    assert found is not None
    assert "Order without id has the status error." == found.description


@pytest.mark.parametrize(("status", "code", "error_class"), [row for row in TABLE if row[1] != "800065"])
def test_the_first_order_errors_code_alone_selects_the_row(status: int, code: str, error_class: str) -> None:
    del status
    tree = {"orderErrors": [{"code": int(code), "description": "first"}, FAILURE]}
    verdict = judge(answer(201, tree))
    assert ("refused", error_class, code) == (verdict.kind, class_in(verdict), code_in(verdict))
    assert text_of(tree) == verdict.result, "failed tells the result as received, if there was one"
    assert verdict.known is (code not in OF_AN_ORDER)


@pytest.mark.parametrize("code", [999999, 800064])
def test_one_order_group_with_an_inconclusive_code_makes_the_refusal_inconclusive(code: int) -> None:
    verdict = judge(answer(201, {"orderErrors": [FAILURE, {"code": code}]}))
    assert ("refused", str(FAILURE["code"])) == (verdict.kind, code_in(verdict))
    assert not verdict.known


@pytest.mark.parametrize(
    ("first", "code", "known"),
    [(999999, "999999", False), ("InvalidRequest", "InvalidRequest", False), (0, None, False), (None, None, False)],
)
def test_an_order_error_with_an_unknown_code_is_rejected(first: object, code: str | None, known: bool) -> None:
    verdict = judge(answer(201, {"orderErrors": [{"code": first}, FAILURE]}))
    assert ("refused", "rejected", code) == (verdict.kind, class_in(verdict), code_in(verdict))
    assert known is verdict.known
    assert verdict.error is not None
    assert f'{{"code":{json.dumps(first)}}}' == verdict.error.description, "without words, all that came"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("code", [800065, "800065"])
def test_800065_anywhere_in_the_order_errors_is_already_ordered(place: int, code: object) -> None:
    failures = [{"code": 800089, "description": "no"}, {"code": 999999, "description": "no"}]
    failures.insert(place, {"code": code, "description": "submitted"})
    verdict = judge(answer(201, {"orderErrors": failures}))
    assert "already_ordered" == verdict.kind
    assert verdict.error is not None
    assert ("already_ordered", "800065", "submitted") == (
        class_in(verdict),
        code_in(verdict),
        verdict.error.description,
    )
    assert errors.ADVICE[errors.ErrorClass.ALREADY_ORDERED] == verdict.error.advice


@pytest.mark.parametrize(("status", "code", "error_class"), TABLE)
def test_a_fault_inside_a_2xx_is_judged_by_its_code_alone(status: int, code: str, error_class: str) -> None:
    del status
    verdict = judge(answer(200, {"code": code, "description": "no"}))
    assert (kind_of(error_class), error_class, code) == (verdict.kind, class_in(verdict), code_in(verdict))
    assert verdict.result is None


# --- never raises -------------------------------------------------------------------------------------------

NAMES = ["orders", "orderErrors", "code", "description", "data", "source", "status", "id", "message", "statusCode"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=6)
    | st.sampled_from(["error", "pending_review", "completed", "800065", 800065, 800089, 0, "Active", "Ordered"])
)
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | TREES.map(json.dumps).map(str.encode)
STATUSES = st.none() | st.integers(100, 599) | st.integers()


@settings(deadline=None)
@given(STATUSES, BODIES)
@example(201, b'{"orders": [{"status": 1e999999999}]}')
@example(400, b'{"code": 1e999999999}')
@example(400, b'{"code": ' + b"9" * 5000 + b"}")
def test_any_response_can_be_judged(status: int | None, body: bytes) -> None:
    verdict = judge(ServiceResponse(status, body))
    assert verdict.kind == "completed" or verdict.error is not None
    if verdict.error is not None:
        verdict.error.description.encode()
        assert verdict.error.code not in ("", "0")


@settings(deadline=None)
@given(st.lists(TREES, min_size=1, max_size=3), TREES, st.integers(200, 299))
def test_a_response_with_orders_is_never_a_failure(orders: list[object], failures: object, status: int) -> None:
    body = json.dumps({"orders": orders, "orderErrors": failures}).replace("NaN", "0").replace("Infinity", "0").encode()
    verdict = judge(ServiceResponse(status, body))
    says_something = any(parse_lenient(Order, each) != Order() for each in json.loads(body)["orders"])
    assert verdict.kind in ({"completed", "action_required", "partial"} if says_something else {"retry"})
    assert (body.decode() if says_something else None) == verdict.result


# --- GET cart -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "stands"),
    [
        (answer(200, {"status": "Active"}), "active"),
        (answer(200, {"status": "ACTIVE"}), "active"),
        (answer(200, b'\xef\xbb\xbf{"id": "c", "status": "active"}'), "active"),
        (answer(200, {"status": "Ordered"}), "ordered"),
        (answer(200, {"status": "ordered"}), "ordered"),
        (answer(203, {"status": "Ordered"}), "ordered"),
        (answer(200, {"status": "Expired"}), "unclear"),
        (answer(200, {"status": "not_now"}), "unclear"),
        (answer(200, {"status": "unclear"}), "unclear"),
        (answer(200, {"status": None}), "unclear"),
        (answer(200, {"status": 5}), "unclear"),
        (answer(200, {}), "unclear"),
        (answer(404, {"code": 800008}), "unclear"),
        (answer(404, {"code": 999999}), "unclear"),
        (answer(400, {"status": "Active"}), "unclear"),
        (answer(300, {"status": "Active"}), "not_now"),
        (answer(400, {"code": 800065}), "unclear"),
        (answer(403, {"code": 800089}), "unclear"),
        (answer(500, {"code": 800031}), "unclear"),
        (answer(None, b"", failure="timeout"), "not_now"),
        (answer(200, b""), "not_now"),
        (answer(200, b"<html>"), "not_now"),
        (answer(200, [{"status": "Ordered"}]), "not_now"),
        (answer(404, b"<html>"), "not_now"),
        (answer(429, {}), "not_now"),
        (answer(408, {}), "not_now"),
        (answer(500, {"code": 800003}), "not_now"),
        (answer(503, b""), "not_now"),
        (answer(503, {"status": "Ordered"}), "not_now"),
    ],
    ids=lambda value: f"{value.status} {value.body.decode()}" if isinstance(value, ServiceResponse) else value,
)
def test_the_status_of_a_cart_is_read(asked: ServiceResponse, stands: str) -> None:
    assert stands == read_cart_status(asked)


@settings(deadline=None)
@given(STATUSES, BODIES)
def test_any_cart_can_be_read(status: int | None, body: bytes) -> None:
    assert isinstance(read_cart_status(ServiceResponse(status, body)), CartStatusReading)


# --- GET orders ---------------------------------------------------------------------------------------------

SHOP_CART = answer(
    200,
    {
        "status": "Ordered",
        "lineItems": [
            {"catalogItemId": "P1:S1:A1", "addonItems": [{"catalogItemId": "P2:S2:A2", "addonItems": []}]},
            {"catalogItemId": "P3:S3:A3", "addonItems": None},
            {"friendlyName": "without an offer"},
        ],
    },
)


def bought(order_id: object, *offers: object, created: object = "2026-11-22T09:00:00.1234567Z") -> dict[str, object]:
    return {"id": order_id, "creationDate": created, "lineItems": [{"offerId": offer} for offer in offers]}


@pytest.mark.parametrize(
    ("order", "could_be"),
    [
        (bought("o", "P1:S1:A1"), True),
        (bought("o", "P1:S1:A1", "P2:S2:A2"), True),
        (bought("o", "P1:S1:A1", "P2:S2:A2", "P3:S3:A3"), True),
        (bought("o", "p3:s3:a3"), True),
        (bought("o", "P9:S9:A9"), False),
        (bought("o", "P1:S1:A1", "P9:S9:A9"), False),
        (bought("o"), False),
        (bought("o", None), False),
        ({"id": "o", "creationDate": "2026-11-22T09:00:00Z"}, False),
        (bought("o", "P1:S1:A1", created="2026-11-15T10:00:00Z"), True),
        (bought("o", "P1:S1:A1", created="2026-11-15T09:59:59.9999999Z"), False),
        (bought("o", "P1:S1:A1", created="2026-11-15T02:00:00-08:00"), True),
        (bought("o", "P1:S1:A1", created="2026-11-15T01:59:59-08:00"), False),
        (bought("o", "P1:S1:A1", created="2020-01-01T00:00:00+00:00"), False),
        (bought("o", "P1:S1:A1", created="2026-11-22T10:00:30Z"), True),
        (bought("o", "P1:S1:A1", created=None), True),
        (bought("o", "P1:S1:A1", created="yesterday"), True),
        (bought("", "P1:S1:A1"), False),
        (bought(None, "P1:S1:A1"), False),
        (None, False),
    ],
)
def test_an_order_could_be_the_carts_when_it_is_recent_and_of_its_offers(order: object, could_be: bool) -> None:
    assert (("o",) if could_be else ()) == candidates(SHOP_CART, answer(200, {"items": [order]}), NOW)


def test_the_candidates_keep_the_services_order() -> None:
    orders = answer(200, {"items": [bought("z", "P1:S1:A1"), bought("x", "P9:S9:A9"), bought("a", "P3:S3:A3")]})
    assert ("z", "a") == candidates(SHOP_CART, orders, NOW)
    assert () == candidates(SHOP_CART, orders, after(days=8))


@pytest.mark.parametrize(
    "unread",
    [
        ServiceResponse(None),
        answer(500, {}),
        answer(403, {"code": 1}),
        answer(200, b"<html>"),
        answer(200, []),
        answer(200, {}),
    ],
)
def test_where_the_cart_or_the_orders_cannot_be_read_there_is_no_candidate(unread: ServiceResponse) -> None:
    assert () == candidates(unread, answer(200, {"items": [bought("o", "P1:S1:A1")]}), NOW)
    assert () == candidates(SHOP_CART, unread, NOW)


@settings(deadline=None)
@given(BODIES, BODIES)
def test_any_list_of_orders_can_be_read(cart: bytes, orders: bytes) -> None:
    assert all(
        isinstance(order_id, str)
        for order_id in candidates(ServiceResponse(200, cart), ServiceResponse(200, orders), NOW)
    )


@pytest.mark.parametrize(
    ("ids", "result"),
    [
        ({"a", "b"}, '{"orders":[{"id":"a"},{"id":"b"},{"id":"a"}]}'),
        ({"a"}, '{"orders":[{"id":"a"},{"id":""},{"id":null},{},null]}'),
        (set(), '{"orders":[]}'),
        (set(), "{}"),
        (set(), ""),
        (set(), "[]"),
    ],
)
def test_a_result_names_its_orders(ids: set[str], result: str) -> None:
    assert ids == order_ids(result)


def test_money_in_a_result_passes_through_no_binary_float() -> None:
    result = judge(answer(201, b'{"orders":[{"totalPrice":0.1000000000000000055511151231257827}]}')).result
    assert result is not None
    price = json.loads(result, parse_float=Decimal)["orders"][0]["totalPrice"]
    assert "0.1000000000000000055511151231257827" == str(price)
