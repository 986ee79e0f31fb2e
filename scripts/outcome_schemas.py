# ruff: noqa: INP001  the other scripts are no modules
"""The JSON Schemas of the outcomes: for each a schema of its data, and one of the event around them.

Outcomes are written as text by `shared.core.outcomes`, so their shapes are declared here, in the words and the order of
docs/contract.md. The tests validate the real events of every scenario with them. Their examples are those of
docs/outcomes.md, which are the program's own output.

Generators of types and strict validators read them too, which forbids some of JSON Schema:

- an event's `type` is a typed `const`, so that a union of the six types can be narrowed by it;
- each schema says one shape, and nothing of members that it does not have;
- values that may be added to, such as error classes, are examples of a text, not an enum.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from shared.core.errors import ErrorClass
from shared.core.outcomes import LONGEST_CAUSATION_OF_INVALID, SCHEMA_VERSION, SOURCE, TYPE, Outcome
from shared.core.request_fields import LONGEST_REQUEST_ID

Json = dict[str, Any]
Shape = tuple[str, str, Json, set[str]]
"""A title, a description, the members in the order of the contract, and the names of those that may be missing."""

_EXAMPLES = Path(__file__).parents[1] / "docs" / "outcomes.md"


def text(description: str = "", **rules: object) -> Json:
    """A string."""
    return ({"description": description} if description else {}) | {"type": "string", **rules}


def const(value: str) -> Json:
    """A string that is always this one."""
    return text(const=value)


def known(description: str, values: object) -> Json:
    """A string that has one of these values today."""
    listed = [str(value) for value in values]  # type: ignore[attr-defined]
    return text(f"{description} Known values: {', '.join(listed)}. More may be added.", examples=listed)


def guid(description: str = "") -> Json:
    """A GUID in lower case."""
    return text(description, format="uuid", pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def time(description: str) -> Json:
    """An instant."""
    return text(f"{description} UTC, to the millisecond.", format="date-time")


def count(description: str, minimum: int = 0) -> Json:
    """A number of things, or a place among them."""
    return {"description": description, "type": "integer", "minimum": minimum}


def reference(name: str) -> Json:
    """A reference to a definition."""
    return {"$ref": f"#/definitions/{name}"}


def shape(title: str, description: str, members: Json, optional: set[str]) -> Json:
    """An object with these members. Others may be added."""
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in optional],
    }


SERVICE_RESPONSE = shape(
    "ServiceResponse",
    "The response that decided the outcome. Microsoft support asks for it.",
    {
        "status": {"description": "The HTTP status.", "type": "integer", "minimum": 100, "maximum": 599},
        "requestId": text("The MS-RequestId of the response, otherwise the one sent."),
        "correlationId": text("The MS-CorrelationId of the response, otherwise the one sent."),
        "cv": text("The MS-CV of the response."),
    },
    {"requestId", "correlationId", "cv"},
)
_ADVICE: Json = {
    "retryable": {
        "description": "Whether a new request for the same cart, unchanged, may succeed.",
        "type": "boolean",
    },
    "advice": text("What to do, in a sentence for people. Its wording may change."),
}
CHECKOUT_ERROR = shape(
    "CheckoutError",
    "What went wrong, or what a person must do.",
    {
        "class": known("What kind of error it is.", [each for each in ErrorClass if each != "invalid_message"]),
        "code": text("The service's code, as text however it was sent."),
        "description": text("The service's text, or the program's where there was no answer."),
        "source": text("As the service gave it."),
        "data": {"description": "The service's details, each as it came: any JSON.", "type": "array", "items": {}},
    }
    | _ADVICE,
    {"code", "description", "source", "data"},
)
INVALID_MESSAGE_ERROR = shape(
    "InvalidMessageError",
    "Where the message is invalid, and what is expected there.",
    {
        "class": const(ErrorClass.INVALID_MESSAGE),
        "description": text("Both in a sentence for people. Its wording may change."),
        "path": text("The JSON path of the mistake."),
        "expected": text("What was expected there, for people. Its wording may change."),
    }
    | _ADVICE,
    set(),
)

ABOUT: dict[Outcome, tuple[str, str]] = {
    Outcome.COMPLETED: ("Completed", "Bought, and nobody has to do anything."),
    Outcome.ACTION_REQUIRED: ("ActionRequired", "Bought, and a person must do what `error` says."),
    Outcome.PARTIAL: (
        "Partial",
        "Some order groups are bought, others are not: buy the failed ones with a new cart.",
    ),
    Outcome.FAILED: ("Failed", "Not bought, and no call that was made can still buy it."),
    Outcome.UNKNOWN: ("Unknown", "It is not known whether the cart is bought."),
    Outcome.INVALID: (
        "Invalid",
        "The message is no checkout request. The event depends on its bytes alone, so it has no time.",
    ),
}
"""What the types of an outcome are called, and what it means."""

_RESULT: Json = {
    "description": "The service's CartCheckoutResult as it came. Its documented shape is a schema of its own.",
    "type": "object",
}
_ANSWERED_BY = guid("The `id` of another request's event, which reported this purchase: do not count it again.")
_MORE: dict[Outcome, tuple[Json, set[str]]] = {
    Outcome.COMPLETED: (
        {"result": _RESULT, "error": reference("CheckoutError"), "answeredBy": _ANSWERED_BY},
        {"error", "answeredBy"},
    ),
    Outcome.ACTION_REQUIRED: (
        {"result": _RESULT, "error": reference("CheckoutError"), "answeredBy": _ANSWERED_BY},
        {"answeredBy"},
    ),
    Outcome.PARTIAL: (
        {"result": _RESULT, "error": reference("CheckoutError"), "answeredBy": _ANSWERED_BY},
        {"answeredBy"},
    ),
    Outcome.FAILED: ({"result": _RESULT, "error": reference("CheckoutError")}, {"result"}),
    Outcome.UNKNOWN: ({"error": reference("CheckoutError")}, set()),
}
"""The members that not every outcome of a request has, and those of them that may be missing."""


def _request_id(description: str) -> Json:
    return text(description, minLength=1, maxLength=LONGEST_REQUEST_ID)


def data(outcome: Outcome) -> Json:
    """The schema of an outcome's data, without its definitions."""
    name, about = ABOUT[outcome]
    if outcome is Outcome.INVALID:
        return shape(f"{name}Data", about, _INVALID, {"customerId", "cartId", "requestId", "deferred"})
    more, optional = _MORE[outcome]
    members = {
        "outcome": const(outcome),
        "customerId": guid(),
        "cartId": guid(),
        "requestId": _request_id("The request's idempotency key."),
        "context": {},  # any JSON. With a description generators would make an object of it
        "attempts": count("Transient answers so far, plus this POST."),
        "revision": count("The place in the cart's record, from 1: it orders the outcomes of a cart.", 1),
        "startedAt": time("When the first message entered the queue."),
        "finishedAt": time("When it was decided."),
        "response": reference("ServiceResponse"),
        **more,
        "corrects": guid("The `id` of this request's earlier event, which this one replaces."),
    }
    return shape(f"{name}Data", about, members, optional | {"context", "response", "corrects"})


_INVALID: Json = {
    "outcome": const(Outcome.INVALID),
    "customerId": guid("Where the message has a valid one."),
    "cartId": guid("Where the message has a valid one."),
    "requestId": _request_id("Where the message has a valid one."),
    "body": text(
        "The first 6 KiB of the text as it was in the queue, in base64.",
        contentEncoding="base64",
        pattern="^[A-Za-z0-9+/]*={0,2}$",
    ),
    "size": count("Of the whole text, in bytes."),
    "sha256": text("Of the whole text, in hexadecimal.", pattern="^[0-9a-f]{64}$"),
    "truncated": {"description": "Whether `body` is less than the whole text.", "type": "boolean"},
    "deferred": {
        "description": "True for a copy by the program itself: look at the cart, which may have been bought.",
        "type": "boolean",
    },
    "error": reference("InvalidMessageError"),
}


def event(outcome: Outcome) -> Json:
    """The schema of an outcome's event, without its definitions."""
    name, about = ABOUT[outcome]
    members: Json = {
        "specversion": const("1.0"),
        "id": guid("The same however often the outcome is published: de-duplicate by it."),
        "source": const(SOURCE),
        "type": const(TYPE + outcome),
        "subject": text("`customers/{customerId}/carts/{cartId}`."),
        "time": time("When it was decided: `finishedAt`."),
        "datacontenttype": const("application/json"),
        "dataschema": const(outcome.schema),
        "partitionkey": guid("The customer's id."),
        "correlationid": guid("The MS-CorrelationId that was sent."),
        "causationid": text("The `id` of the requesting CloudEvent.", minLength=1),
        "traceparent": text(
            "W3C trace context of what decided it.", pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
        ),
        "data": reference(f"{name}Data"),
        "dataref": text(
            "The address of a blob with `data` that are too large for a message, without a token.", format="uri"
        ),
    }
    if outcome is Outcome.INVALID:
        never = {"time", "correlationid", "traceparent", "dataref"}
        members = {name: rule for name, rule in members.items() if name not in never}
        members["causationid"]["maxLength"] = LONGEST_CAUSATION_OF_INVALID
        return shape(f"{name}Outcome", about, members, {"subject", "partitionkey", "causationid"})
    found = shape(f"{name}Outcome", about, members, {"causationid", "traceparent", "data", "dataref"})
    return found | {
        "if": {"properties": {"data": {}}, "required": ["data"]},
        "else": {"properties": {"dataref": {}}, "required": ["dataref"]},
    }


def all_events() -> Json:
    """The six events as members of an object, without its definitions."""
    members = {str(outcome): reference(f"{name}Outcome") for outcome, (name, _) in ABOUT.items()}
    about = "The events of all outcomes, for generators of types: each type is made once. No message looks like this."
    return shape("CheckoutOutcomes", about, members, {*members})


@cache
def _definitions() -> dict[str, Json]:
    shapes = [SERVICE_RESPONSE, CHECKOUT_ERROR, INVALID_MESSAGE_ERROR]
    shapes += [made(outcome) for outcome in Outcome for made in (data, event)]
    return {each["title"]: each for each in shapes}


def with_definitions(schema: Json) -> Json:
    """A schema with the definitions that it refers to, directly or not."""
    needed: Json = {}
    _collect(schema, needed)
    return {**schema, "definitions": needed}


def _collect(schema: Json, needed: Json) -> None:
    for name in re.findall(r'"#/definitions/(\w+)"', json.dumps(schema)):
        if name not in needed:
            needed[name] = _definitions()[name]
            _collect(needed[name], needed)


@cache
def _published() -> list[Json]:
    shown = re.findall(r"<!-- example: \w+ -->\n+```json\n(.*?)\n```", _EXAMPLES.read_text(encoding="utf-8"), re.DOTALL)
    return [json.loads(example) for example in shown]


def events(outcome: Outcome) -> list[Json]:
    """The documented events of an outcome."""
    return [each for each in _published() if each["type"] == TYPE + outcome]


def outcome_schemas() -> dict[str, tuple[str, Json]]:
    """Each schema and its `$id`, by the name of its file."""
    made = {"checkout-outcomes": (f"{SOURCE}:outcomes:{SCHEMA_VERSION}", with_definitions(all_events()))}
    for outcome in Outcome:
        examples = events(outcome)
        of_data = with_definitions(data(outcome)) | {"examples": [each["data"] for each in examples if "data" in each]}
        of_event = with_definitions(event(outcome)) | {"examples": examples}
        made[f"checkout-{outcome}"] = (outcome.schema, of_data)
        made[f"checkout-{outcome}-event"] = (outcome.schema.replace(outcome, f"{outcome}-event"), of_event)
    return made
