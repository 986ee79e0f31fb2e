from typing import Any

import pytest

from shared.core.cart_state import CartLookup, PostEvidence
from shared.core.errors import ErrorClass
from shared.core.evidence import evidence_of, lookup_of
from shared.core.models import ServiceResponse
from shared.core.verdict import CartStatusReading, judge
from tests.support.builders import NOW, answer

NOTHING = PostEvidence(heard=False, spent=False)
SPENT = PostEvidence(heard=False, spent=True)
HEARD = PostEvidence(heard=True, spent=False)
HEARD_AND_SPENT = PostEvidence(heard=True, spent=True)


def fault(code: object) -> dict[str, Any]:
    return {"code": code, "description": "text"}


def groups(*codes: object) -> dict[str, Any]:
    return {"orderErrors": [{"code": code} for code in codes]}


@pytest.mark.parametrize(
    ("left", "response"),
    [
        # codes come first
        (NOTHING, answer(409, fault("800064"))),
        (NOTHING, answer(403, fault("800060"))),
        (NOTHING, answer(429, fault("800065"))),
        (NOTHING, answer(400, fault(800065))),
        (NOTHING, answer(200, groups("800089", "900112"))),
        (NOTHING, answer(200, groups("800003", "900113"))),
        # turned away before anything was looked at
        (HEARD, answer(401, b"")),
        (HEARD, answer(401, fault("800001"))),
        (HEARD, answer(403, b"<html>")),
        (HEARD_AND_SPENT, answer(403, fault("900308"))),
        (HEARD_AND_SPENT, answer(403, fault("unheard-of"))),
        (HEARD_AND_SPENT, answer(401, fault("900309"))),
        (HEARD, answer(429, {"statusCode": 429, "message": "Try again in 57 seconds."})),
        # refusals
        (HEARD, answer(400, fault("800002"))),
        (HEARD, answer(403, fault("800089"))),
        (HEARD, answer(500, fault("800031"))),
        (HEARD, answer(409, fault("900114"))),
        (HEARD, answer(404, fault("800008"))),
        (HEARD, answer(200, fault("400072"))),
        (HEARD, answer(200, groups("800089"))),
        (HEARD_AND_SPENT, answer(200, groups("800089", "800003"))),
        (HEARD_AND_SPENT, answer(400, fault("900308"))),
        (NOTHING, answer(400, fault("unheard-of"))),
        (NOTHING, answer(400, fault(0))),
        (NOTHING, answer(404, {"description": "text"})),
        (NOTHING, answer(200, groups("800089", "unheard-of"))),
        (NOTHING, answer(200, groups("800089", None))),
        # no answer, or none that says anything
        (NOTHING, ServiceResponse(None, failure="timeout")),
        (NOTHING, answer(408, b"")),
        (NOTHING, answer(400, b"<html>")),
        (NOTHING, answer(302, b"")),
        (NOTHING, answer(409, b"")),
        (NOTHING, answer(200, b"")),
        (NOTHING, answer(200, {"orders": []})),
        (NOTHING, answer(500, b"")),
        (NOTHING, answer(501, fault(0))),
        (SPENT, answer(500, fault("800003"))),
        (SPENT, answer(503, fault("unheard-of"))),
        (SPENT, answer(200, fault("800003"))),
        (SPENT, answer(200, groups("800003", "800005"))),
        (SPENT, answer(200, fault("unheard-of"))),
        # bought
        (HEARD, answer(201, {"orders": [{"id": "1"}], **groups("800003")})),
    ],
)
def test_the_answer_says_whether_anything_is_at_work_and_whether_the_key_is_spent(
    left: PostEvidence, response: ServiceResponse
) -> None:
    assert left == evidence_of(response, judge(response))


def test_a_call_that_was_never_sent_left_nothing() -> None:
    response = ServiceResponse(None, failure="not sent: ConnectionRefusedError", sent=False)
    assert HEARD == evidence_of(response, judge(response))


@pytest.mark.parametrize(
    ("found", "response"),
    [
        (CartLookup(NOW, CartStatusReading.ACTIVE), answer(200, {"status": "Active"})),
        (CartLookup(NOW, CartStatusReading.ORDERED), answer(200, {"status": "Ordered"})),
        (CartLookup(NOW, CartStatusReading.UNCLEAR, not_found=True), answer(404, fault("800008"))),
        (CartLookup(NOW, CartStatusReading.UNCLEAR, not_found=True), answer(404, {"description": "no such cart"})),
        (CartLookup(NOW, CartStatusReading.UNCLEAR), answer(404, fault("unheard-of"))),
        (CartLookup(NOW, CartStatusReading.UNCLEAR), answer(400, fault("800002"))),
        (CartLookup(NOW, CartStatusReading.NOT_NOW, transient=ErrorClass.SERVICE), answer(404, b"<html>")),
        (
            CartLookup(NOW, CartStatusReading.NOT_NOW, transient=ErrorClass.SERVICE),
            ServiceResponse(None, failure="timeout"),
        ),
    ],
)
def test_get_cart_says_what_stands_there_or_that_there_is_no_such_cart(
    found: CartLookup, response: ServiceResponse
) -> None:
    assert found == lookup_of(response, NOW)
