"""The service's words, out of every shape that they come in."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.core.errors import BY_CODE, ErrorClass, error
from shared.core.evidence import evidence_of
from shared.core.faults import LONGEST_QUOTE, cart_line_errors, faults_in, is_of_gateway, order_faults, quote
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.core.verdict import Bought, Refused, judge, with_line_errors
from tests.core.test_errors import OF_AN_ORDER
from tests.core.test_verdict import TREES
from tests.support.builders import NOW, answer, request
from tests.support.errors import ERRORS, ErrorVector, kind_of

each_error = pytest.mark.parametrize("vector", ERRORS, ids=lambda vector: vector.name)


@each_error
def test_an_answer_is_read_whatever_its_shape(vector: ErrorVector) -> None:
    verdict = judge(answer(vector.status, vector.content))
    assert vector.kind == kind_of(verdict)
    assert not isinstance(verdict, Bought)
    cause = verdict.error
    data = None if cause.data is None else msgspec.json.encode(cause.data).decode()
    assert (vector.error_class, vector.code, vector.description) == (cause.error_class, cause.code, cause.description)
    assert (vector.source, vector.data) == (cause.source, data)


@each_error
def test_the_shop_gets_the_services_words(vector: ErrorVector) -> None:
    verdict = judge(answer(vector.status, vector.content))
    event = decided(request(), Decision(Outcome.FAILED, 1, error=verdict.error), NOW)
    told = json.loads(event.text)["data"]["error"]
    assert (vector.code, vector.description) == (told.get("code"), told["description"])
    assert (None if vector.data is None else json.loads(vector.data)) == told.get("data")


@each_error
def test_only_a_refusal_with_a_known_code_ends_its_own_post(vector: ErrorVector) -> None:
    response = answer(vector.status, vector.content)
    turned_away = vector.status in (401, 403, 429)
    assert (vector.kind == "refused" or turned_away) is evidence_of(response, judge(response)).heard


# --- codes that tell of an order ----------------------------------------------------------------------------------

SHAPES: dict[str, Any] = {
    "the API": lambda code: {"code": code, "description": "busy"},
    "text": lambda code: {"code": str(code), "description": "busy"},
    "capitals": lambda code: {"Code": code, "Description": "busy"},
    "OData": lambda code: {"error": {"code": str(code), "message": "busy"}},
    "a list": lambda code: {"errors": [{"code": 800013, "message": "no"}, {"code": code, "message": "busy"}]},
    "order errors": lambda code: {"orderErrors": [{"code": code, "description": "busy"}]},
    "order errors in capitals": lambda code: {"OrderErrors": [{"Code": code, "Description": "busy"}]},
    "empty orders": lambda code: {"orders": [], "orderErrors": [{"code": code, "description": "busy"}]},
    "the gateway's and a code": lambda code: {"statusCode": 409, "message": "busy", "code": code},
    "a service's fault beside it": lambda code: {
        "orderErrors": [{"code": code, "description": "busy"}, {"code": 800003, "description": "down"}]
    },
}


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 408, 409, 417, 429, 500, 503])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("code", OF_AN_ORDER)
def test_a_code_that_tells_of_an_order_decides_with_any_status_and_in_any_shape(
    code: str, shape: Any, status: int
) -> None:
    response = answer(status, shape(int(code)))
    verdict = judge(response)
    assert not isinstance(verdict, Bought)
    expected = ("AlreadyOrdered", "already_ordered") if code == "800065" else ("Retry", "in_progress")
    assert (*expected, code, "busy") == (
        type(verdict).__name__,
        verdict.error.error_class,
        verdict.error.code,
        verdict.error.description,
    )
    left = evidence_of(response, verdict)
    assert (False, False) == (left.heard, left.spent), "its POST may be at work, and its key repeats the result"


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("code", [code for code in OF_AN_ORDER if code != "800065"])
def test_an_order_group_in_progress_beside_a_refused_one_leaves_the_post_at_work(code: str, place: int) -> None:
    groups: list[dict[str, Any]] = [{"code": 800013, "description": "no"}]
    groups.insert(place, {"code": code})
    response = answer(201, {"orderErrors": groups})
    verdict = judge(response)
    assert isinstance(verdict, Refused)
    assert not evidence_of(response, verdict).heard


SERVICE = sorted(code for code, error_class in BY_CODE.items() if error_class in ("service", "in_progress"))


@pytest.mark.parametrize("first", SERVICE)
@pytest.mark.parametrize("second", SERVICE)
def test_order_errors_that_pass_are_tried_again_in_doubt(first: str, second: str) -> None:
    response = answer(201, {"orderErrors": [{"code": first}, {"code": second}]})
    verdict = judge(response)
    assert "Retry" == kind_of(verdict)
    assert not evidence_of(response, verdict).heard


# --- the reader itself --------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(TREES)
@example({"errors": [{"errors": [{"errors": [{"errors": [{"errors": []}]}]}]}]})
def test_anything_can_be_read(tree: object) -> None:
    text = json.dumps(tree).replace("NaN", "0").replace("Infinity", "0")
    assert faults_in(text)
    for fault in [*faults_in(text), *order_faults(text)]:
        msgspec.json.encode((fault.text, fault.source, fault.data))
        assert fault.code not in ("", "0")
    assert isinstance(is_of_gateway(text), bool)


def test_errors_are_read_four_deep() -> None:
    """Each level scans the body once more, so a hostile one must not choose how many there are."""

    def nested(levels: int) -> str:
        return '{"error":' * levels + '{"code":800013}' + "}" * levels

    assert "800013" == faults_in(nested(3))[0].code
    assert faults_in(nested(4))[0].code is None


@given(st.binary(max_size=9 * LONGEST_QUOTE))
def test_a_body_is_quoted_on_one_printable_line(body: bytes) -> None:
    found = quote(body)
    assert len(found) <= LONGEST_QUOTE
    assert found.replace("\ufffd", "").isprintable() or not found.isascii()
    assert found == found.strip()


def test_a_quote_has_no_token_in_it() -> None:
    assert "denied: <token> no" == quote(b"denied: eyJhbGciOiJub25lIn0.eyJ0aWQiOiJ4In0.c2ln no")


def test_a_lone_surrogate_in_the_details_can_be_published() -> None:
    (fault,) = faults_in(r'{"code": 1, "data": ["\udfff", {"a": "\ud800"}]}')
    assert ("\ufffd", msgspec.Raw(rb'{"a": "\ud800"}')) == fault.data


# --- the lines of a cart --------------------------------------------------------------------------------------------

LINE = b"""{"status": "Active", "lineItems": [{"id": 0}, {"id": 1, "error": {"errorCode": "10013", "x": 1.50},
    "addonItems": [{"id": "a", "Error": {"errorCode": 10017}}]}, {"id": 3, "error": null},
    {"error": {"x": 1}}, {"error": {}}, null]}"""


def test_the_errors_of_a_carts_lines_are_told_with_the_refusal_as_they_came() -> None:
    cause = error(ErrorClass.CART, "no", data=("a",))
    told = with_line_errors(cause, ServiceResponse(200, b"\xef\xbb\xbf" + LINE))
    assert replace(cause, data=told.data) == told
    assert (
        "a",
        msgspec.Raw(b'{"lineItemId":1,"error":{"errorCode": "10013", "x": 1.50}}'),
        msgspec.Raw(b'{"lineItemId":"a","error":{"errorCode": 10017}}'),
        msgspec.Raw(b'{"error":{"x": 1}}'),
    ) == told.data


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"lineItems": null}', b'{"lineItems": [{"id": 0}]}', b'{"lineItems": {}}']
)
def test_where_no_line_has_an_error_the_refusal_stays_as_it_is(body: bytes) -> None:
    for cause in (error(ErrorClass.CART, "no"), error(ErrorClass.CART, "no", data=("a",))):
        assert cause == with_line_errors(cause, ServiceResponse(200, body))


@settings(deadline=None)
@given(TREES)
def test_the_lines_of_anything_can_be_read(tree: object) -> None:
    body = json.dumps({"lineItems": [tree, {"error": tree, "addonItems": tree}]})
    msgspec.json.encode(cart_line_errors(body.replace("NaN", "0").replace("Infinity", "0")))


def test_add_ons_are_read_four_deep() -> None:
    def nested(levels: int) -> str:
        inner = '{"error":{"errorCode":10017}}'
        for _ in range(levels):
            inner = '{"addonItems":[' + inner + "]}"
        return '{"lineItems":[' + inner + "]}"

    assert (msgspec.Raw(b'{"error":{"errorCode":10017}}'),) == cart_line_errors(nested(3))
    assert () == cart_line_errors(nested(4))
