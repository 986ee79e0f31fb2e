"""What the answer to a POST left, where it leads to a deferral: is anything at work, and is the key spent? Pure.

    answer                                                       heard   spent
    -----------------------------------------------------------  ------  ---------------------------
    a code in progress, or "already ordered", whatever the rest  no      no
    never sent: no connection was made                           yes     no
    401, 403, 429                                                yes     by its code
    a refusal whose codes are all known                          yes     by its code
    everything else: no answer, 408, 5xx, a gateway's 4xx,       no      by its code
    a 2xx without an answer, a refusal with another code, 3xx

A key is spent by a readable code of class `service` or `configuration`, whatever the status: the service may give
the answer of a key again for ever.
"""

from datetime import datetime

from shared.core import jsontext
from shared.core.cart_state import CartLookup, PostEvidence
from shared.core.errors import BY_CODE, IMPLY_ORDER, ErrorClass
from shared.core.models import CartCheckoutResult, Fault, ServiceResponse, parse_lenient
from shared.core.verdict import Bought, CartStatusReading, Refused, Retry, Verdict, judge, read_cart_status


def lookup_of(response: ServiceResponse, sent: datetime) -> CartLookup:
    """What the answer to GET cart says. `sent`: the time before it was sent."""
    verdict = judge(response)
    reading = read_cart_status(response)
    not_found = isinstance(verdict, Refused) and verdict.error.error_class is ErrorClass.NOT_FOUND
    transient = (
        verdict.error.error_class if isinstance(verdict, Retry) and reading is CartStatusReading.NOT_NOW else None
    )
    return CartLookup(sent, reading, not_found=not_found, transient=transient)


_HEARD_STATUSES = frozenset({401, 403, 429})
"""The service turns the call away before it looks at the cart."""
_SPENDING = frozenset({ErrorClass.SERVICE, ErrorClass.CONFIGURATION})


def evidence_of(response: ServiceResponse, verdict: Verdict) -> PostEvidence:
    """What the answer to a POST left.

    Args:
        response: What came back. An answer that is not this call's counts as none (`status` None).
        verdict: What it means.
    """
    if not response.sent or isinstance(verdict, Bought):
        return PostEvidence(heard=True, spent=False)
    codes = _codes(response)
    if any(BY_CODE.get(code or "") in IMPLY_ORDER for code in codes):
        return PostEvidence(heard=False, spent=False)
    classes = {BY_CODE.get(code, verdict.error.error_class) for code in codes if code is not None}
    return PostEvidence(_is_heard(response, verdict, codes), bool(classes & _SPENDING))


def _is_heard(response: ServiceResponse, verdict: Verdict, codes: tuple[str | None, ...]) -> bool:
    if response.status in _HEARD_STATUSES:
        return True
    return isinstance(verdict, Refused) and bool(codes) and all((code or "") in BY_CODE for code in codes)


def _codes(response: ServiceResponse) -> tuple[str | None, ...]:
    """The codes in the body, in whatever place; None for an order error without a readable one."""
    try:
        tree = jsontext.load(response.body)
    except jsontext.NotJson:
        return ()
    fault = parse_lenient(Fault, tree).code
    errors = parse_lenient(CartCheckoutResult, tree).order_errors or []
    return (*((fault,) if fault is not None else ()), *(each.code for each in errors))
