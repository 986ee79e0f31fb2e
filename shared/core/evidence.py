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
from shared.core.faults import faults_in
from shared.core.models import ServiceResponse
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
    if any(BY_CODE.get(code) in IMPLY_ORDER for code in codes):
        return PostEvidence(heard=False, spent=False)
    classes = {BY_CODE.get(code, verdict.error.error_class) for code in codes}
    heard = response.status in _HEARD_STATUSES or (isinstance(verdict, Refused) and verdict.known)
    return PostEvidence(heard, bool(classes & _SPENDING))


def _codes(response: ServiceResponse) -> tuple[str, ...]:
    """The codes in the body, in whatever place."""
    try:
        jsontext.load(response.body)
    except jsontext.NotJson:
        return ()
    return tuple(fault.code for fault in faults_in(jsontext.decode(response.body)) if fault.code is not None)
