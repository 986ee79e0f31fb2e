"""The corpus of the mutator: valid messages of every format, deferred copies, the service's responses, hostile values.

`HOSTILE` holds values that hostile or careless producers send, and `FRAGMENTS` text that they leave in the middle of
one. Both are taken from known mistakes of parsers.
"""

import base64
from functools import partial

import msgspec

from local.simulator.scenarios import SCENARIOS, cart_id
from local.simulator.service import SimulatedService
from shared.core.errors import BY_STATUS_AND_CODE
from shared.core.messages import LONGEST, CheckoutRequest, decode
from shared.core.models import ServiceResponse
from shared.core.retry import Refusal, RetryState
from tests.support.builders import CART, CUSTOMER, after, body, cloud_event, delivery, members, text_of

BOM = b"\xef\xbb\xbf"
UPN = "kim@contoso.com"
CORRELATION = "C0FFEE00-0000-4000-8000-00000000000A"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_REFUSAL = Refusal(status=400, key=1, at=after(-60), delivery="m/1", code="999999", description="é \U0001f600")
RETRIES = (
    RetryState(),
    RetryState(attempt=1, since=after(-60), reason="service", refused=_REFUSAL),
    RetryState(attempt=7, held=after(-3600), since=after(-90_000), started_at=after(-90_000), reason="in_progress"),
    RetryState(started_at=after(days=-6, seconds=-1), reason="throttled"),
    RetryState(reason="storage", poisoned=True),
    RetryState(attempt=1_000_000, deaths=1_000_000, renewals=1_000_000, reason="settling", poisoned=True),
)

_FULL = partial(
    members,
    requestId="order-4711",
    correlationId=CORRELATION,
    customerUserUpn=UPN,
    traceparent=TRACE,
    context={"order": 4711, "price": 36.480, "lines": [1, "é", None, {"deep": [[[]]]}]},
)
_EXTENDED = partial(
    cloud_event,
    time="2026-11-22T09:00:00Z",
    subject="s",
    datacontenttype="application/json",
    traceparent=TRACE,
    partitionkey="7",
    nothing=None,
)


def _copies(message: bytes) -> list[bytes]:
    request = decode(message, delivery())
    assert isinstance(request, CheckoutRequest)
    return [request.copy(retry) for retry in RETRIES]


def _nested(depth: int) -> bytes:
    return body(context="#").replace(b'"#"', b"[" * depth + b"]" * depth)


_FIRST = (
    body(),
    text_of(_FULL()).encode(),
    body(requestId="Æ" * 256, context=[]),
    body(requestId='"' * 256, context={"\ud800": "\udfff"}),
    body(customerId="{" + CUSTOMER.upper() + "}", cartId="{" + CART + "}"),
    _nested(63),
    cloud_event(),
    cloud_event(_FULL()),
    _EXTENDED(_FULL()),
    _EXTENDED({"customerId": CUSTOMER, "cartId": CART}, source="urn:shop:é", id="\U0001f6d2" * 8),
)
_COPIES = tuple(copy for message in _FIRST for copy in _copies(message))
_PLAIN = (*_FIRST, *_COPIES)

SHAPES = (
    *_PLAIN,
    *(BOM + message for message in _FIRST),
    *(b" \t\r\n" + message + b"\r\n" for message in _FIRST),
    *(base64.b64encode(message) for message in _PLAIN),
    *(base64.b64encode(BOM + b"\n " + message) for message in _FIRST),
)
"""Valid messages: plain, with a BOM, in base64, CloudEvents, and the deferred copies of all of them."""

LARGE = (
    body(context="x" * (LONGEST - len(body(context="")))),
    cloud_event(members(context=["é\n" * 9_000])),
    cloud_event(id="i" * (LONGEST - 1_000)),
    _nested(64)[:-1] + b" " * 40_000 + b"}",
    b"{" * LONGEST,
    b'{"a":' * 9_000,
    b'{"a":"' + b"\\" * LONGEST,
    body(context="#").replace(b'"#"', b"[" + b"1," * 22_000 + b"1]"),
    body(context="#").replace(b'"#"', b"{" + b'"a":1,' * 7_000 + b'"b":1}'),
    body(context="#").replace(b'"#"', b"1" * 44_000),
    body(context="#").replace(b'"#"', b"1e" + b"9" * 44_000),
)
"""Messages of about the longest that is read, valid or not: bombs that must not cost more than their length."""

TRICKY_IDS: tuple[str, ...] = (
    "",
    " ",
    "..",
    "../" * 12,
    "../../customers/" + CUSTOMER,
    f"{CUSTOMER}/../{CART}",
    f"{CUSTOMER}%2f..%2f{CART}",
    f"{CUSTOMER}%00",
    f"{CUSTOMER}?x=1",
    f"{CUSTOMER}#",
    f"{CUSTOMER}\\..\\{CART}",
    f"{CUSTOMER}\n",
    f"\n{CUSTOMER}",
    f" {CUSTOMER} ",
    f"{CUSTOMER}\0",
    f"urn:uuid:{CUSTOMER}",
    "{" + CUSTOMER,
    CUSTOMER + "}",
    "{{" + CUSTOMER + "}}",
    "{" + CUSTOMER[:-2] + "-}",
    "(" + CUSTOMER + ")",
    CUSTOMER.replace("-", ""),
    CUSTOMER.replace("-", "\u2010"),
    CUSTOMER.replace("1", "\uff11"),  # full-width digits, which \d and int() take
    CUSTOMER.replace("1", "\u0661"),  # Arabic-Indic ones
    CART.replace("a", "\uff41"),
    CART.replace("a", "\u0430"),  # Cyrillic
    CART.replace("-", "-\u200b", 1),
    CUSTOMER * 100,
    "1" * 36,
    "-" * 36,
)
HEADERS: tuple[str, ...] = (
    "kim@contoso.com\r\nX-Injected: 1",
    "kim@contoso.com\nAuthorization: Bearer x",
    "kim@contoso.com\r",
    "kim\0@contoso.com",
    "kim@contoso.com ",
    " kim@contoso.com",
    "kïm@contoso.com",
    "kim@contoso.com\u2028X: 1",
    "kim@contoso.com\x85X: 1",
    "k" * 257,
    CORRELATION + "\r\nX-Injected: 1",
    TRACE + "\r\n",
)
_TEXT = ("\ud800", "a\udfffb", "\ud83d\ude00", "\ufeff", "\u202e", "\x7f", "\x00", "x" * 256, "x" * 257, "💶" * 256)
_TIMES = (
    "2026-11-22T10:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "2026-11-22T10:00:00",
    "2026-02-30T10:00:00Z",
    "2026-11-22T10:00:00.123456789Z",
    "2026-11-22T23:59:60Z",
    1763805600,
)
HOSTILE: tuple[str, ...] = (
    *map(text_of, (*TRICKY_IDS, *HEADERS, *_TEXT, *_TIMES, TRACE.upper(), "ff" + TRACE[2:])),
    *map(text_of, (None, True, False, 0, -1, 1.5, [], {}, [[]], {"": 0}, "1", "true", "null")),
    text_of(CUSTOMER),
    text_of(CART),
    text_of(CORRELATION),
    text_of(UPN),
    text_of(members()),
    '"\\ud800"',
    '"\\uDFFF\\ud800"',
    '"\\u0000"',
    '"\\u002e\\u002e\\u002f"',
    '{"\\ud800":1}',
    '{"a":1,"a":2}',
    '{"a":{"b":1,"b":1}}',
    '{"__proto__":{},"__class__":1}',
    "-0",
    "0.0",
    "1e400",
    "-1E+999999999",
    "1e-999999999",
    "1e99999999999999999999",
    "9007199254740993",
    "18446744073709551616",
    "1000001",
    "1" * 5_000,
    "0." + "1" * 5_000,
    "NaN",
    "Infinity",
    "-Infinity",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "'a'",
    "undefined",
    "[" * 63 + "]" * 63,
    "[" * 65 + "]" * 65,
    "[" * 3_000,
    '{"a":' * 70 + "1" + "}" * 70,
    "[" + "[]," * 300 + "[]]",
)
"""JSON texts, most of them legal, for the place of a value."""

NAMES = [
    "customerId",
    "cartId",
    "requestId",
    "correlationId",
    "customerUserUpn",
    "traceparent",
    "context",
    "retry",
    "attempt",
    "held",
    "deaths",
    "renewals",
    "refused",
    "notAfter",
    "since",
    "startedAt",
    "reason",
    "poisoned",
    "specversion",
    "id",
    "source",
    "type",
    "data",
    "data_base64",
    "correlationid",
    "$AzureWebJobsParentId",
    "SpecVersion",
    "eventType",
    "dataVersion",
    "time",
    "requestID",
    "CustomerId",
    "cart_id",
    "dequeueCount",
    "subject",
    "dataref",
]

FRAGMENTS: tuple[bytes, ...] = (
    BOM,
    b"\xff\xfe",
    b"\xed\xa0\x80",  # a surrogate in UTF-8
    b"\xc0\xaf",  # an overlong slash
    b"\xf4\x90\x80\x80",  # beyond Unicode
    b"\x80",
    b"\0",
    b"\r\n",
    b"\\u0000",
    b"\\ud800",
    b"\\udfff\\ud800",
    b"\\",
    b'"',
    b"{",
    b"}",
    b"[" * 70,
    b"]",
    b",",
    b":",
    b"=",
    b"==",
    b"//",
    b"/*",
    b"%2f",
    b"%00",
    b"../",
    b"${jndi:ldap://x}",
    b"{{7*7}}",
    b"<script>",
    b"e999999999",
    b"-",
    b"null",
    b'"retry":{}',
    b'"retry":null,',
    b'"specversion":"1.0",',
    b'"customerId":"x",',
    b'"data":{},',
)

FAULTS = (
    *({"code": code, "description": "No.", "data": ["a"], "source": "PartnerFD"} for _, code in BY_STATUS_AND_CODE),
    {"code": 0, "description": "The service has encountered an unknown error"},
    {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds."},
)
STATUSES = (200, 200, 200, 201, 201, 201, 204, 302, 400, 401, 403, 404, 408, 409, 410, 417, 429, 500, 501, 502, 503)
HEADER_VALUES = (
    None,
    "0",
    "57",
    "-1",
    "9" * 400,
    "\uff11\uff12",
    "Sun, 22 Nov 2026 10:05:00 GMT",
    "Sun, 99 Nov 2026 10:05:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "soon",
    "é\x00\r\n\xad",
)


def _of_the_books() -> tuple[ServiceResponse, ...]:
    """What the simulated service says first and second to a checkout, in every scenario; its carts and orders."""
    books, found = SimulatedService(), list[ServiceResponse]()
    for scenario in SCENARIOS:
        cart = cart_id(scenario.name, "hostile")
        for turn in range(2):
            reply = books.checkout(CUSTOMER, cart, f"ms-{turn}", 0.0)
            found.append(ServiceResponse(reply.status, reply.body, retry_after=reply.headers.get("Retry-After")))
        found.append(ServiceResponse(200, books.get_cart(CUSTOMER, cart, 0.0).body))
    found.append(ServiceResponse(200, books.list_orders(CUSTOMER, 0.0).body[:60_000]))
    return tuple({(answer.status, answer.body): answer for answer in found if len(answer.body) < 70_000}.values())


ANSWERS: tuple[ServiceResponse, ...] = (
    *_of_the_books(),
    *(ServiceResponse(400, msgspec.json.encode(fault)) for fault in FAULTS),
    ServiceResponse(None, failure="no answer: ConnectionError"),
)
"""The service's answers, as they come."""

HUGE = ServiceResponse(201, SimulatedService().checkout(CUSTOMER, cart_id("huge-result", "hostile"), "ms", 0.0).body)
"""An order whose outcome fits no queue message."""
