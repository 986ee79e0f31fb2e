"""Every shape of an answer that is no purchase: what is read out of it, whoever reads it and however it came."""

from typing import Any, NamedTuple

from shared.core.verdict import Refused, Verdict
from tests.support.builders import text_of


class ErrorVector(NamedTuple):
    """A status and a body, and what they mean.

    `kind`: the verdict, or for a refusal whether it proves anything by itself. `data`: as JSON.
    """

    name: str
    status: int
    body: Any
    kind: str
    error_class: str
    code: str | None
    description: str
    data: str | None = None
    source: str | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else text_of(self.body).encode()


def kind_of(verdict: Verdict) -> str:
    if isinstance(verdict, Refused):
        return "refused" if verdict.known else "proves nothing"
    return type(verdict).__name__


LONG = b"<html>\r\n  <h1>502</h1>" + b" x" * 3000 + b"</html>"
HELD, RETRY, ORDERED = "Retry", "Retry", "AlreadyOrdered"
REFUSED, NOTHING = "refused", "proves nothing"
API = {"code": 800089, "description": "Out of stock", "source": "PartnerFD"}

ERRORS = [
    # the API's own shape
    ErrorVector("API", 403, API, REFUSED, "cart", "800089", "Out of stock", None, "PartnerFD"),
    ErrorVector(
        "code as text", 403, API | {"code": "800089"}, REFUSED, "cart", "800089", "Out of stock", None, "PartnerFD"
    ),
    ErrorVector("no data", 403, API | {"data": None}, REFUSED, "cart", "800089", "Out of stock", None, "PartnerFD"),
    ErrorVector("empty data", 403, API | {"data": []}, REFUSED, "cart", "800089", "Out of stock", "[]", "PartnerFD"),
    ErrorVector(
        "texts as data",
        403,
        API | {"data": ["a", "b"]},
        REFUSED,
        "cart",
        "800089",
        "Out of stock",
        '["a","b"]',
        "PartnerFD",
    ),
    ErrorVector(
        "objects as data",
        400,
        b'{"code": 800013, "description": "no", "data": [{"quantity": 36.480, "x": {"y": [1E2]}}, "a", 5]}',
        REFUSED,
        "cart",
        "800013",
        "no",
        '[{"quantity": 36.480, "x": {"y": [1E2]}},"a",5]',
    ),
    ErrorVector(
        "an object as data",
        400,
        b'{"code": 800013, "description": "no", "data": {"a": 1.0}}',
        REFUSED,
        "cart",
        "800013",
        "no",
        '[{"a": 1.0}]',
    ),
    ErrorVector(
        "a text as data",
        400,
        {"code": 800013, "description": "no", "data": "x"},
        REFUSED,
        "cart",
        "800013",
        "no",
        '["x"]',
    ),
    ErrorVector("BOM", 400, b'\xef\xbb\xbf{"code": 800013, "description": "no"}', REFUSED, "cart", "800013", "no"),
    ErrorVector(
        "capitals",
        400,
        {"Code": 800013, "Description": "no", "Data": ["a"], "Source": "S"},
        REFUSED,
        "cart",
        "800013",
        "no",
        '["a"]',
        "S",
    ),
    ErrorVector("all capitals", 400, {"CODE": "800013", "DESCRIPTION": "no"}, REFUSED, "cart", "800013", "no"),
    ErrorVector("message beside a code", 400, {"code": 800013, "message": "no"}, REFUSED, "cart", "800013", "no"),
    ErrorVector(
        "code and statusCode",
        404,
        {"statusCode": 404, "code": 800008, "message": "no"},
        REFUSED,
        "not_found",
        "800008",
        "no",
    ),
    ErrorVector("no text", 400, {"code": 800013}, REFUSED, "cart", "800013", '{"code":800013}'),
    ErrorVector(
        "a blank text",
        400,
        {"code": 800013, "description": " "},
        REFUSED,
        "cart",
        "800013",
        '{"code":800013,"description":" "}',
    ),
    ErrorVector("no fault", 500, {"code": 800031, "description": "no"}, REFUSED, "cart", "800031", "no"),
    # no readable code
    ErrorVector("code 0", 400, {"code": 0, "description": "no"}, NOTHING, "rejected", None, "no"),
    ErrorVector("code null", 400, {"code": None, "description": "no"}, NOTHING, "rejected", None, "no"),
    ErrorVector("code as a list", 400, {"code": [800013], "description": "no"}, NOTHING, "rejected", None, "no"),
    ErrorVector("no code", 400, {"description": "no"}, NOTHING, "rejected", None, "no"),
    ErrorVector("an unknown code", 400, {"code": 999999, "description": "no"}, NOTHING, "rejected", "999999", "no"),
    ErrorVector("no code, 404", 404, {"description": "no"}, NOTHING, "not_found", None, "no"),
    ErrorVector("nothing recognised", 400, {"reason": "no"}, NOTHING, "rejected", None, '{"reason":"no"}'),
    ErrorVector("empty object", 400, {}, NOTHING, "rejected", None, "{}"),
    ErrorVector(
        "undefined exception",
        500,
        {"code": 0, "description": "An unknown error"},
        RETRY,
        "service",
        None,
        "An unknown error",
    ),
    ErrorVector("501", 501, {"code": 0, "description": "An unknown error"}, RETRY, "service", None, "An unknown error"),
    # other shapes
    ErrorVector(
        "OData",
        400,
        {"error": {"code": "800013", "message": "no", "details": [{"a": 1}]}},
        REFUSED,
        "cart",
        "800013",
        "no",
        '[{"a":1}]',
    ),
    ErrorVector(
        "OData in capitals", 400, {"Error": {"Code": 800013, "Message": "no"}}, REFUSED, "cart", "800013", "no"
    ),
    ErrorVector(
        "OData, a word as code",
        400,
        {"error": {"code": "BadRequest", "message": "no"}},
        NOTHING,
        "rejected",
        "BadRequest",
        "no",
    ),
    ErrorVector(
        "OData in progress", 400, {"error": {"code": 800064, "message": "busy"}}, RETRY, "in_progress", "800064", "busy"
    ),
    ErrorVector(
        "OAuth",
        401,
        {"error": "invalid_token", "error_description": "expired"},
        HELD,
        "authentication",
        None,
        "expired",
    ),
    ErrorVector("error as text", 400, {"error": "no"}, NOTHING, "rejected", None, "no"),
    ErrorVector("Message", 400, {"Message": "no"}, NOTHING, "rejected", None, "no"),
    ErrorVector(
        "a list",
        400,
        {"errors": [{"code": 800013, "message": "no"}]},
        REFUSED,
        "cart",
        "800013",
        "no",
        '[{"code":800013,"message":"no"}]',
    ),
    ErrorVector(
        "a list that is unsure",
        400,
        {"errors": [{"code": 800013, "message": "no"}, {"message": "and"}]},
        NOTHING,
        "cart",
        "800013",
        "no",
        '[{"code":800013,"message":"no"},{"message":"and"}]',
    ),
    ErrorVector(
        "a list of an order",
        400,
        {"errors": [{"code": 800013, "message": "no"}, {"code": 800065, "message": "done"}]},
        ORDERED,
        "already_ordered",
        "800065",
        "done",
        '[{"code":800013,"message":"no"},{"code":800065,"message":"done"}]',
    ),
    ErrorVector("a list of texts", 400, {"errors": ["no", "and"]}, NOTHING, "rejected", None, "no", '["no","and"]'),
    ErrorVector(
        "order errors in a 400",
        400,
        {"orderErrors": [{"code": 800013, "description": "no"}]},
        REFUSED,
        "cart",
        "800013",
        "no",
    ),
    ErrorVector(
        "ProblemDetails",
        400,
        {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no"},
        NOTHING,
        "rejected",
        None,
        "no",
    ),
    ErrorVector(
        "ProblemDetails with fields",
        400,
        {"title": "Not valid", "errors": {"cartId": ["no GUID"]}},
        NOTHING,
        "rejected",
        None,
        "Not valid",
        '[{"cartId":["no GUID"]}]',
    ),
    ErrorVector(
        "a cart line's",
        400,
        {"errorCode": "10013", "errorDescription": "no", "additionalInformation": "x"},
        NOTHING,
        "rejected",
        "10013",
        "no",
        '["x"]',
    ),
    ErrorVector(
        "errors in errors",
        400,
        {"error": {"error": {"error": {"code": 800013, "message": "no"}}}},
        REFUSED,
        "cart",
        "800013",
        "no",
    ),
    # the gateway's
    ErrorVector(
        "gateway 429",
        429,
        {"statusCode": 429, "message": "Try again in 57 seconds."},
        RETRY,
        "throttled",
        None,
        "Try again in 57 seconds.",
    ),
    ErrorVector(
        "gateway 404",
        404,
        {"statusCode": 404, "message": "Resource not found"},
        RETRY,
        "service",
        None,
        "Resource not found",
    ),
    ErrorVector("gateway 400", 400, {"StatusCode": 400, "Message": "no"}, RETRY, "service", None, "no"),
    ErrorVector("gateway 409", 409, {"statusCode": 409, "message": "no"}, RETRY, "service", None, "no"),
    ErrorVector("gateway 401", 401, {"statusCode": 401, "message": "no"}, HELD, "authentication", None, "no"),
    ErrorVector("gateway 403", 403, {"statusCode": 403, "message": "no"}, HELD, "configuration", None, "no"),
    ErrorVector("gateway 408", 408, {"statusCode": 408, "message": "no"}, RETRY, "service", None, "no"),
    ErrorVector("gateway 503", 503, {"statusCode": 503, "message": "no"}, RETRY, "service", None, "no"),
    ErrorVector(
        "statusCode of the API",
        400,
        {"statusCode": 400, "message": "no", "description": "yes"},
        NOTHING,
        "rejected",
        None,
        "yes",
    ),
    ErrorVector("statusCode alone", 400, {"statusCode": 400}, NOTHING, "rejected", None, '{"statusCode":400}'),
    ErrorVector("empty", 400, b"", RETRY, "service", None, "HTTP 400 with an empty body"),
    ErrorVector(
        "HTML",
        404,
        b"<html>\r\n <b>Not   found</b>\n</html>",
        RETRY,
        "service",
        None,
        "<html> <b>Not found</b> </html>",
    ),
    ErrorVector("long HTML", 502, LONG, RETRY, "service", None, "<html> <h1>502</h1>" + " x" * 240 + "…"),
    ErrorVector("text", 503, b"upstream connect error", RETRY, "service", None, "upstream connect error"),
    ErrorVector("no UTF-8", 502, b"\xff\xfeno", RETRY, "service", None, "\ufffd\ufffdno"),
    ErrorVector("cut off", 400, b'{"code": 800013', RETRY, "service", None, '{"code": 800013'),
    ErrorVector("an array", 400, [{"code": 800013}], RETRY, "service", None, '[{"code":800013}]'),
    ErrorVector("a string", 400, b'"800013"', RETRY, "service", None, '"800013"'),
    ErrorVector("HTML, 403", 403, b"<html>", HELD, "configuration", None, "<html>"),
    ErrorVector("a redirect", 302, b"", HELD, "configuration", None, "HTTP 302 with an empty body"),
    # inside a 2xx
    ErrorVector("2xx with a fault", 200, {"code": 400072, "description": "no"}, REFUSED, "cart", "400072", "no"),
    ErrorVector(
        "2xx with an unknown fault", 200, {"code": 999999, "description": "no"}, RETRY, "service", "999999", "no"
    ),
    ErrorVector("2xx with OData", 200, {"error": {"code": 800013, "message": "no"}}, REFUSED, "cart", "800013", "no"),
    ErrorVector("2xx with a gateway's", 200, {"statusCode": 200, "message": "no"}, RETRY, "service", None, "no"),
    ErrorVector("2xx, empty", 201, b"", RETRY, "service", None, "HTTP 201 with an empty body"),
    ErrorVector("2xx, HTML", 200, b"<html>", RETRY, "service", None, "<html>"),
    ErrorVector("2xx without orders", 201, {"orders": []}, RETRY, "service", None, '{"orders":[]}'),
    ErrorVector(
        "2xx with order errors in capitals",
        201,
        {"OrderErrors": [{"Code": 800013, "Description": "no"}]},
        REFUSED,
        "cart",
        "800013",
        "no",
    ),
    ErrorVector(
        "2xx with order errors without a code",
        201,
        {"orderErrors": [{"description": "no"}]},
        NOTHING,
        "rejected",
        None,
        "no",
    ),
    ErrorVector(
        "2xx with order errors without words",
        201,
        {"orderErrors": [{"code": 800013}]},
        REFUSED,
        "cart",
        "800013",
        '{"code":800013}',
    ),
    ErrorVector(
        "2xx with null as order error", 201, {"orderErrors": [None]}, RETRY, "service", None, '{"orderErrors":[null]}'
    ),
    ErrorVector("2xx with orders of no shape", 201, {"orders": ["x", 5]}, RETRY, "service", None, '{"orders":["x",5]}'),
]
