# ruff: noqa: INP001  the other scripts are no modules
"""The JSON Schemas of what enters and leaves, made from the code, for producers and consumers in any language.

    python -m scripts.schemas           write docs/schemas
    python -m scripts.schemas --check   change nothing; fail where a file is stale

A request is `shared.core.messages._Fields` with the limits that `decode` sets; `retry` is
`shared.core.retry.RetryState`. An outcome is written as text by `shared.core.outcomes`, so its shape is declared here,
in the words of docs/contract.md. The tests validate the real events of every scenario with it. Draft 7, because the
parser of AsyncAPI reads that without plug-ins.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from shared.core import messages, models, outcomes, request_fields
from shared.core.errors import ErrorClass
from shared.core.outcomes import Outcome
from shared.core.retry import RetryState

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
DRAFT = "http://json-schema.org/draft-07/schema#"

Json = dict[str, Any]
_HEX = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

# --- in ---------------------------------------------------------------------------------------------------------

GUID: Json = {
    "description": "A GUID in either case, with or without braces.",
    "anyOf": [
        {"type": "string", "pattern": f"^{_HEX}$", "maxLength": 36},
        {"type": "string", "pattern": f"^\\{{{_HEX}\\}}$", "maxLength": 38},
    ],
}
MEMBERS: dict[str, Json] = {
    "customerId": {"$ref": "#/definitions/Guid"},
    "cartId": {"$ref": "#/definitions/Guid"},
    "requestId": {
        "description": "The idempotency key: the same one is answered by the same event. Recommended.",
        "type": "string",
        "minLength": 1,
        "maxLength": request_fields.LONGEST_REQUEST_ID,
        "not": {"pattern": "[\\u0000-\\u001f\\u007f-\\u009f]"},
    },
    "correlationId": {"$ref": "#/definitions/Guid"},
    "customerUserUpn": {
        "description": "The customer's user to assign the licence to. Printable ASCII.",
        "type": "string",
        "pattern": "^[!-~]([ -~]*[!-~])?$",
        "minLength": 1,
        "maxLength": 256,
        "not": {"pattern": "[^ -~]"},
    },
    "notAfter": {
        "description": "RFC 3339 with an offset. After it no POST of this request begins.",
        "type": "string",
        "format": "date-time",
    },
    "traceparent": {"description": "W3C trace context. A malformed one is ignored.", "type": "string"},
    "context": {"description": "Any JSON. It is returned with the outcome, character for character."},
    "retry": {"$ref": "#/definitions/Retry"},
}
"""What `decode` requires of each member of `_Fields`, beyond its JSON type."""


def request(*, deferred: bool) -> Json:
    """A request as its producer sends it or, `deferred`, as the program's own copies are."""
    made, definitions = _components(messages._Fields, RetryState)  # noqa: SLF001  the one place that names the members
    fields = made["_Fields"]
    if {*MEMBERS} != {*fields["properties"]}:
        raise AssertionError("the members of a request have changed: declare their schemas in MEMBERS")
    properties = {name: rule for name, rule in MEMBERS.items() if deferred or name != "retry"}
    for kind in ("RetryState", "Refusal"):
        for rule in definitions[kind]["properties"].values():
            rule.pop("default", None)
    return {
        "type": "object",
        "properties": properties,
        "required": [*fields["required"], *(["retry"] if deferred else [])],
        "additionalProperties": fields["additionalProperties"],
        "definitions": {"Guid": GUID}
        | (
            {"Retry": {**definitions["RetryState"], "title": "Retry"}, "Refusal": definitions["Refusal"]}
            if deferred
            else {}
        ),
    }


def envelope(data: Json) -> Json:
    """A CloudEvent 1.0 in structured mode around `data`."""
    definitions = data.pop("definitions")
    text: Json = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text | {"description": "Becomes `causationid` of the outcome."},
            "source": text,
            "type": text,
            "data": data,
        },
        "required": ["specversion", "id", "source", "type", "data"],
        "definitions": definitions,
    }


def deferred_copy() -> Json:
    """The program's own copies, of either form."""
    event = envelope(request(deferred=True))
    definitions = event.pop("definitions")
    plain = event["properties"]["data"]
    return {"anyOf": [plain, event], "definitions": definitions}


# --- out --------------------------------------------------------------------------------------------------------

Guid = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", extra_json_schema={"format": "uuid"})]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, description="UTC, to the millisecond.")]
Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"}, pattern="^[A-Za-z0-9+/]*={0,2}$")]
Result = Annotated[
    dict[str, Any],
    Meta(description="The service's CartCheckoutResult as it came. Its documented shape is a schema of its own."),
]


class Response(Struct, rename="camel"):
    """What Microsoft support asks for."""

    status: Annotated[int, Meta(ge=100, le=599)]
    request_id: str | UnsetType = UNSET
    correlation_id: str | UnsetType = UNSET
    cv: str | UnsetType = UNSET


class Error(Struct, kw_only=True):
    """What went wrong, or what a person must do."""

    class_: ErrorClass = msgspec.field(name="class")
    code: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET
    retryable: bool
    advice: str


class InvalidMessageError(Error, kw_only=True):
    """Where the message is invalid, and what is expected there."""

    class_: Literal["invalid_message"] = msgspec.field(name="class")  # type: ignore[assignment]
    description: str
    path: str
    expected: str


class Decided(Struct, kw_only=True, rename="camel"):
    """The members of every outcome of a valid request."""

    customer_id: Guid
    cart_id: Guid
    request_id: Annotated[str, Meta(min_length=1, max_length=request_fields.LONGEST_REQUEST_ID)]
    context: Any = UNSET
    attempts: Count
    revision: Annotated[int, Meta(ge=1, description="The place in the cart's record: it orders the cart's outcomes.")]
    started_at: Time
    finished_at: Time
    response: Response | UnsetType = UNSET
    answered_by: Guid | UnsetType = UNSET
    corrects: Guid | UnsetType = UNSET


class Completed(Decided, kw_only=True, rename="camel"):
    """Bought. `error` only beside `answeredBy`, where the service has confirmed other orders than those in `result`."""

    outcome: Literal["completed"]
    result: Result
    error: Error | UnsetType = UNSET


class ActionRequired(Decided, kw_only=True, rename="camel"):
    """Bought, but a person must do something."""

    outcome: Literal["action_required"]
    result: Result
    error: Error


class Partial(Decided, kw_only=True, rename="camel"):
    """Some order groups are bought, others not: buy the failed ones with a new cart."""

    outcome: Literal["partial"]
    result: Result
    error: Error


class Failed(Decided, kw_only=True, rename="camel"):
    """Not bought."""

    outcome: Literal["failed"]
    result: Result | UnsetType = UNSET
    error: Error


class Unknown(Decided, kw_only=True, rename="camel"):
    """Whether an order exists is not known."""

    outcome: Literal["unknown"]
    error: Error


class InvalidMessage(Struct, kw_only=True, rename="camel"):
    """The message is not a checkout request. The event depends on its bytes alone."""

    outcome: Literal["failed", "unknown"]
    customer_id: Guid | UnsetType = UNSET
    cart_id: Guid | UnsetType = UNSET
    body: Base64
    size: Count
    sha256: Sha256
    truncated: bool
    error: InvalidMessageError


DATA = (Completed, ActionRequired, Partial, Failed, Unknown, InvalidMessage)
# members that a kind of data must not have, since the structs allow members that they do not declare
NEVER = {
    "Failed": ("answeredBy",),
    "Unknown": ("result", "answeredBy"),
    "InvalidMessage": (
        "requestId",
        "attempts",
        "revision",
        "startedAt",
        "finishedAt",
        "result",
        "answeredBy",
        "corrects",
    ),
}


class Event(Struct, kw_only=True):
    """An outcome of the Cart Checkout Function: a CloudEvent 1.0. Unknown members may be added: ignore them."""

    specversion: Literal["1.0"]
    id: Guid
    source: Literal["urn:partnercenter:cart-checkout"]
    type: str
    subject: Annotated[str, Meta(pattern="^customers/[0-9a-f-]{36}/carts/[0-9a-f-]{36}$")] | UnsetType = UNSET
    time: Time | UnsetType = UNSET
    datacontenttype: Literal["application/json"]
    dataschema: Literal["urn:partnercenter:cart-checkout:outcome:1"]
    partitionkey: Guid | UnsetType = UNSET
    correlationid: Guid | UnsetType = UNSET
    causationid: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    traceparent: Annotated[str, Meta(pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | UnsetType = UNSET
    dataref: (
        Annotated[
            str,
            Meta(
                description="The address of the blob with `data` when it is too large for a message, without a token.",
                extra_json_schema={"format": "uri"},
            ),
        ]
        | UnsetType
    ) = UNSET


def outcome() -> Json:
    """The event on the outcomes queue: by its type the outcome, and either `data` or a reference to it."""
    made, definitions = _components(Event, *DATA)
    for name, names in NEVER.items():
        definitions[name]["not"] = {"anyOf": [{"required": [each]} for each in names]}
    event = made["Event"]
    event["properties"]["type"] = {"enum": [outcomes.TYPE + each for each in Outcome]}
    event["properties"]["data"] = {"anyOf": [{"$ref": f"#/definitions/{kind.__name__}"} for kind in DATA]}
    event["oneOf"] = [{"required": ["data"]}, {"required": ["dataref"]}]
    event["allOf"] = [
        {
            "if": {"properties": {"type": {"const": outcomes.TYPE + each}}},
            "then": {"properties": {"data": {"properties": {"outcome": {"const": each}}}}},
        }
        for each in Outcome
    ]
    # only a decision has a time: the event of an invalid message depends on its bytes alone
    event["allOf"].append(
        {
            "if": {"properties": {"data": {"required": ["sha256"]}}, "required": ["data"]},
            "then": {"not": {"anyOf": [{"required": [name]} for name in ("time", "traceparent", "causationid")]}},
            "else": {"required": ["subject", "time", "partitionkey", "correlationid"]},
        }
    )
    definitions.pop("Event")
    return {**event, "definitions": definitions}


def result() -> Json:
    """The documented shape of `result`. Codes may be integers too, and every member may be missing."""
    _, definitions = _components(models.CartCheckoutResult)
    top = definitions.pop("CartCheckoutResult")
    for definition in (top, *definitions.values()):
        for rule in definition["properties"].values():
            rule.pop("default", None)
    definitions["OrderError"]["properties"]["code"] = {"type": ["string", "integer", "null"]}
    as_text = '{"type": "string", "format": "decimal"}'  # msgspec's own way, where money comes as a number
    made = json.loads(json.dumps({**top, "definitions": definitions}).replace(as_text, '{"type": "number"}'))
    return dict(made)


# --- the files --------------------------------------------------------------------------------------------------


def schemas() -> dict[str, Json]:
    """The content of each file by its name."""
    limits = f"At most {messages.LONGEST // 1024} KiB of UTF-8, no key twice in an object, at most 64 levels deep."
    titles = {
        "checkout-request": ("Checkout request", limits, request(deferred=False)),
        "checkout-request-event": ("Checkout request in a CloudEvent", limits, envelope(request(deferred=False))),
        "deferred-copy": (
            "Deferred copy",
            "A request with its retry state. Only the program writes one, and `retry` may gain members.",
            deferred_copy(),
        ),
        "checkout-outcome": ("Checkout outcome", Event.__doc__, outcome()),
        "cart-checkout-result": (
            "CartCheckoutResult",
            "The service's response as its reference documents it. It is passed on as it came, without any guarantee.",
            result(),
        ),
    }
    return {
        f"{name}.schema.json": {
            "$schema": DRAFT,
            "title": title,
            "description": about,
            **{key: value for key, value in schema.items() if key not in ("title", "description")},
        }
        for name, (title, about, schema) in titles.items()
    }


def _components(*kinds: Any) -> tuple[Json, Json]:  # noqa: ANN401  any types that msgspec knows
    """The schemas of these types by name, twice: for each to be taken out, and all of them as definitions."""
    _, found = msgspec.json.schema_components(kinds, ref_template="#/definitions/{name}")
    for definition in found.values():
        if "description" in definition:
            # a docstring's lines, without its list of attributes
            definition["description"] = " ".join(definition["description"].partition("Attributes:")[0].split())
    return found, dict(found)


def _text(schema: Json) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def stale() -> list[str]:
    """The files that are not what the code says, or not there, or not ours."""
    made = {name: _text(schema) for name, schema in schemas().items()}
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*")}
    return sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))


def main(arguments: list[str]) -> int:
    """Write the files, or with --check only look; 1 when one is stale."""
    if arguments == ["--check"]:
        wrong = stale()
        for name in wrong:
            print(f"docs/schemas/{name} is stale: run python -m scripts.schemas")  # noqa: T201  for a terminal
        return int(bool(wrong))
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(_text(schema), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
