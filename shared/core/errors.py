"""What the service's errors mean: the classes, and the table that maps (HTTP status, code) to them. Pure.

An error is classified by status and code together, never by the status alone: a 500 can be the cart's fault, a 403
the customer's. Codes and descriptions are passed on verbatim, since texts mislead and new codes appear. Sources: the
Partner Center REST reference and its list of error codes.
"""

from enum import StrEnum
from typing import Any

import msgspec


class ErrorClass(StrEnum):
    """The error category: it decides on retry, and on who must act."""

    SERVICE = "service"
    THROTTLED = "throttled"
    IN_PROGRESS = "in_progress"
    AUTHENTICATION = "authentication"
    CONFIGURATION = "configuration"
    CART = "cart"
    PARTNER = "partner"
    NOT_FOUND = "not_found"
    ENVIRONMENT = "environment"
    REJECTED = "rejected"
    ALREADY_ORDERED = "already_ordered"
    UNANSWERED = "unanswered"
    EXPIRED = "expired"
    INTERNAL = "internal"
    INVALID_MESSAGE = "invalid_message"


TRANSIENT = frozenset(
    {
        ErrorClass.SERVICE,
        ErrorClass.THROTTLED,
        ErrorClass.IN_PROGRESS,
        ErrorClass.AUTHENTICATION,
        ErrorClass.CONFIGURATION,
    }
)
"""Classes that are tried again."""

HELD_FOR_OPERATOR = frozenset({ErrorClass.AUTHENTICATION, ErrorClass.CONFIGURATION})
"""Classes that an alert must match: carts wait until an operator corrects something, since they are fine themselves."""

RETRYABLE = TRANSIENT | {ErrorClass.UNANSWERED, ErrorClass.EXPIRED}
"""Classes after which a new request for the same, unchanged cart may succeed."""

IMPLY_ORDER = frozenset({ErrorClass.IN_PROGRESS, ErrorClass.ALREADY_ORDERED})
"""Classes whose codes mean an order, made or in progress, whatever the status."""

ADVICE = {
    ErrorClass.SERVICE: "Partner Center was unavailable for as long as we tried: send a new request later.",
    ErrorClass.THROTTLED: "Partner Center throttled us for six days: lower the load, then send a new request.",
    ErrorClass.IN_PROGRESS: "Another call kept this cart busy: look at it in Partner Center before a new request.",
    ErrorClass.AUTHENTICATION: "Partner Center did not accept the function's identity: an operator must correct the "
    "identity, the tenant or the app registration, then a new request can be sent.",
    ErrorClass.CONFIGURATION: "Partner Center refuses this application: an operator must correct its permissions, "
    "consent or Conditional Access, then a new request can be sent.",
    ErrorClass.CART: "The cart cannot be bought as it is: its owner must correct it or make a new one.",
    ErrorClass.PARTNER: "The customer's or the partner's account stands in the way (agreement, credit, legal or "
    "review): settle that in Partner Center, then send a new request.",
    ErrorClass.NOT_FOUND: "The service knows no such cart: check both ids; a cart older than seven days must be "
    "made anew.",
    ErrorClass.ENVIRONMENT: "This is a limit of the sandbox tenant: free what it counts, or use another tenant.",
    ErrorClass.REJECTED: "The service refused the checkout: its code and description say what to correct.",
    ErrorClass.ALREADY_ORDERED: "The cart is already ordered: find its order among the customer's orders (a new one "
    "can take 15 minutes to show) and do not buy it again.",
    ErrorClass.UNANSWERED: "Whether an order exists is not known: look at the cart and the customer's orders in "
    "Partner Center. A new request for the same cart repeats the same call and does not buy twice.",
    ErrorClass.EXPIRED: "The time that the request allowed (`notAfter`) passed before the cart was bought: nothing was "
    "bought, and a new request may buy it.",
    ErrorClass.INTERNAL: "This program failed on the message each time, and nothing was bought: report the fault with "
    "the ids of this outcome, and send a new request once it is corrected.",
    ErrorClass.INVALID_MESSAGE: "Nothing was bought: correct the message at the path given and send it again.",
}

UNRESOLVED = (
    "The service refused, but an earlier call may have ordered and the cart could not settle it: look at the "
    "cart and the customer's orders in Partner Center. A new request for the same cart does not buy twice."
)


class Row(msgspec.Struct, frozen=True):
    """One row of the error table: what these codes mean when they come with this HTTP status."""

    error_class: ErrorClass
    status: int
    codes: frozenset[str]


def _row(error_class: ErrorClass, status: int, codes: str) -> Row:
    return Row(error_class, status, frozenset(codes.split()))


ROWS = (
    _row(ErrorClass.SERVICE, 500, "800003 800005 900192"),
    _row(ErrorClass.IN_PROGRESS, 409, "800064 800060 900112 900113"),
    _row(ErrorClass.ALREADY_ORDERED, 400, "800065"),
    _row(ErrorClass.AUTHENTICATION, 401, "800001 900420 900421"),
    _row(ErrorClass.CONFIGURATION, 403, "900308 900309 900329 900150 2032"),
    _row(ErrorClass.CART, 404, "400013 400018 400019 2072 800015"),
    _row(
        ErrorClass.CART,
        400,
        "800002 800004 800009 800010 800011 800012 800013 800017 800021 800030 800070 800086 900126 900128 900129 "
        "900142 900169 900203 900206 900242 900275 900312 900313 900314 900315 900316 900317 900318 27006 27007 "
        "2071 800016 900154 900419",
    ),
    _row(ErrorClass.CART, 403, "800020 800028 2085 2091 2006 800066 800067 800068 800088 800089 900323"),
    _row(ErrorClass.CART, 200, "400072"),
    _row(ErrorClass.CART, 500, "800031 800083 800084 800087"),  # permanent despite the 500
    _row(
        ErrorClass.PARTNER,
        403,
        "13605 2030 900123 900124 800039 900149 800023 900121 800069 800073 800074 800075 900416 20002",
    ),
    _row(ErrorClass.PARTNER, 400, "800022 800024 800025 800026 800062"),
    _row(ErrorClass.PARTNER, 409, "900114"),
    _row(ErrorClass.NOT_FOUND, 404, "800008 1000 60003"),
    _row(ErrorClass.NOT_FOUND, 400, "900118"),
    _row(ErrorClass.ENVIRONMENT, 400, "800018 900116 900127"),
    _row(ErrorClass.ENVIRONMENT, 403, "900322"),
    _row(ErrorClass.REJECTED, 417, "800036"),
    _row(ErrorClass.REJECTED, 400, "4018"),
)

BY_STATUS_AND_CODE = {(row.status, code): row.error_class for row in ROWS for code in row.codes}
BY_CODE = {code: row.error_class for row in ROWS for code in row.codes}
"""For a code that comes without a status of its own: in `orderErrors`, or as a fault inside a 2xx."""

BY_STATUS = {
    401: ErrorClass.AUTHENTICATION,
    403: ErrorClass.CONFIGURATION,  # held: one misconfiguration must not fail every cart
    408: ErrorClass.SERVICE,
    409: ErrorClass.IN_PROGRESS,
    429: ErrorClass.THROTTLED,
}
"""For a status whose code is absent or unknown. Any other follows from its range (`class_of`)."""


class Error(msgspec.Struct, frozen=True):
    """What went wrong, or what a person must do. `code` and `description` are the service's own words.

    `data`: its details, each as text or as the JSON that it came in. `retryable`: a new request for the same cart may
    succeed unchanged.
    """

    error_class: ErrorClass
    description: str
    advice: str
    code: str | None = None
    source: str | None = None
    data: tuple[str | msgspec.Raw, ...] | None = None
    retryable: bool = False


def error(error_class: ErrorClass, description: str, **more: Any) -> Error:  # noqa: ANN401  the fields of Error
    """An error of this class with its usual advice."""
    usual = {"advice": ADVICE[error_class], "retryable": error_class in RETRYABLE}
    return Error(error_class, description, **{**usual, **more})


def class_of(status: int, code: str | None) -> ErrorClass:
    """The class of an HTTP error. An unknown code takes the class of its status."""
    if code is not None and (error_class := BY_STATUS_AND_CODE.get((status, code))):
        return error_class
    if (implied := BY_CODE.get(code or "")) in IMPLY_ORDER and implied is not None:
        return implied
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status == 404 and code is None:  # noqa: PLR2004
        return ErrorClass.NOT_FOUND
    if 300 <= status < 400:  # noqa: PLR2004
        return ErrorClass.CONFIGURATION
    return ErrorClass.REJECTED if 400 <= status < 500 else ErrorClass.SERVICE  # noqa: PLR2004
