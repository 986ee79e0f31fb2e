# ruff: noqa: INP001  the other scripts are no modules
"""The JSON Schemas of what enters and leaves, made from the code, for producers and consumers in any language.

    python -m scripts.schemas           write docs/schemas
    python -m scripts.schemas --check   change nothing; fail where a file is stale

The members of a request are those of `shared.core.request_fields`; `retry` is `shared.core.retry.RetryState`. The
outcomes are in `scripts.outcome_schemas`. Draft 7, because the parser of AsyncAPI reads that without plug-ins. Every
schema passes ajv's strict mode.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from scripts.outcome_schemas import outcome_schemas
from shared.core import messages, models, request_fields
from shared.core.outcomes import SCHEMA_VERSION, SOURCE
from shared.core.retry import RetryState

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
DRAFT = "http://json-schema.org/draft-07/schema#"

Json = dict[str, Any]
_HEX = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

# --- in ---------------------------------------------------------------------------------------------------------

GUID: Json = {
    "description": "A GUID in either case, with or without braces.",
    "type": "string",
    # without white space, because `$` matches before a line break at the end in some languages
    "pattern": f"^(?!.*\\s)({_HEX}|\\{{{_HEX}\\}})$",
}
MEMBERS: dict[str, Json] = {
    "customerId": GUID,
    "cartId": GUID,
    "requestId": {
        "description": "The idempotency key: the same one is answered by the same event. Recommended.",
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": request_fields.LONGEST_REQUEST_ID,
        "not": {"type": "string", "pattern": "[\\u0000-\\u001f\\u007f-\\u009f]"},
    },
    "correlationId": GUID | {"type": ["string", "null"]},
    "customerUserUpn": {
        "description": "The customer's user to assign the licence to. Printable ASCII.",
        "type": ["string", "null"],
        "pattern": "^[!-~]([ -~]*[!-~])?$",
        "minLength": 1,
        "maxLength": 256,
        "not": {"type": "string", "pattern": "[^ -~]"},
    },
    "notAfter": {
        "description": "RFC 3339 with an offset. After it no POST of this request begins.",
        "type": ["string", "null"],
        "format": "date-time",
    },
    "traceparent": {"description": "W3C trace context. A malformed one is ignored.", "type": ["string", "null"]},
    "context": {},  # any JSON. With a description generators would make an object of it
    "retry": {"$ref": "#/definitions/Retry"},
}
"""What `shared.core.request_fields` requires of each member."""


def request(*, deferred: bool) -> Json:
    """A request as its producer sends it or, `deferred`, as the program's own copies are."""
    if (*MEMBERS,) != request_fields.NAMES:
        raise AssertionError("the members of a request have changed: declare their schemas in MEMBERS")
    definitions: Json = {}
    if deferred:
        _, found = _components(RetryState)
        for kind in ("RetryState", "Refusal"):
            for rule in found[kind]["properties"].values():
                rule.pop("default", None)
        definitions |= {"Retry": {**found["RetryState"], "title": "Retry"}, "Refusal": found["Refusal"]}
    return {
        "type": "object",
        "properties": {name: rule for name, rule in MEMBERS.items() if deferred or name != "retry"},
        "required": [*request_fields.REQUIRED, *(["retry"] if deferred else [])],
        "patternProperties": {"^\\$": {}},  # a binding's own
        "additionalProperties": False,
        "definitions": definitions,
    }


_TEXT: Json = {"type": "string", "minLength": 1}
_ATTRIBUTES: Json = {
    "specversion": {"type": "string", "const": "1.0"},
    "id": _TEXT | {"description": "Becomes `causationid` of the outcome."},
    "source": _TEXT,
    "type": _TEXT,
}


def request_event() -> Json:
    """A CloudEvent 1.0 in structured mode with a request as its `data` or, encoded, in `data_base64`."""
    data = request(deferred=False)
    definitions = data.pop("definitions")
    encoded = {"description": "The request in standard, padded base64, in place of `data`.", "type": ["string", "null"]}
    return {
        "type": "object",
        "properties": {
            **_ATTRIBUTES,
            "data": {"oneOf": [{"type": "null"}, {"$ref": "#/definitions/CheckoutRequest"}]},
            "data_base64": encoded,
        },
        "required": [*_ATTRIBUTES],
        "if": {"properties": {"data": {"type": "object"}}, "required": ["data"]},
        "then": {"properties": {"data_base64": {"type": "null"}}},
        "else": {"properties": {"data_base64": {"type": "string"}}, "required": ["data_base64"]},
        "definitions": {"CheckoutRequest": data, **definitions},
    }


def deferred_copy() -> Json:
    """The program's own copies, of either form. They never have `data_base64`."""
    plain = request(deferred=True)
    definitions = plain.pop("definitions")
    event = {
        "type": "object",
        "properties": {**_ATTRIBUTES, "data": plain},
        "required": [*_ATTRIBUTES, "data"],
    }
    return {"anyOf": [plain, event], "definitions": definitions}


# --- what the service says ---------------------------------------------------------------------------------------


_KNOWN = {
    "status": models.OrderStatus,
    "billingCycle": models.BillingCycle,
}
"""The values that are known of an order's members. The service adds others without notice."""


def result() -> Json:
    """The documented shape of `result`. Codes may be integers too, and every member may be missing."""
    _, definitions = _components(models.CartCheckoutResult)
    top = definitions.pop("CartCheckoutResult")
    for definition in (top, *definitions.values()):
        for rule in definition["properties"].values():
            rule.pop("default", None)
    # no type: generators make a class of its own of a text that may be a number too
    definitions["OrderError"]["properties"]["code"] = {}
    for name, values in _KNOWN.items():
        definitions["Order"]["properties"][name]["examples"] = [*values]
    made = json.dumps({**top, "definitions": definitions})
    return dict(json.loads(made.replace("KeyValuePair", "LinkHeader")))  # C# has a KeyValuePair of its own


def _portable(schema: Any) -> Any:  # noqa: ANN401  any part of a schema
    """The same schema as generators read it: a null is in the list of types, or first beside a $ref."""
    if isinstance(schema, list):
        return [_portable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {"type": "number"}  # msgspec itself would write money as text
    made = {name: _portable(rule) for name, rule in schema.items()}
    rules = made.get("anyOf", [])
    if {"type": "null"} not in rules:
        return made
    (rule,) = (each for each in rules if each != {"type": "null"})
    del made["anyOf"]
    if "$ref" in rule:
        return made | {"oneOf": [{"type": "null"}, rule]}
    return made | rule | {"type": [rule["type"], "null"]}


# --- the files --------------------------------------------------------------------------------------------------


def schemas() -> dict[str, Json]:
    """The content of each file by its name."""
    limits = f"At most {messages.LONGEST // 1024} KiB of UTF-8, no key twice in an object, at most 64 levels deep."
    titled = {
        "checkout-request": ("request", "CheckoutRequest", limits, request(deferred=False)),
        "checkout-request-event": (
            "request-event",
            "CheckoutRequestEvent",
            f"A checkout request in a CloudEvent. {limits}",
            request_event(),
        ),
        "deferred-copy": (
            "deferred-copy",
            "DeferredCopy",
            "A request with its retry state. Only the program writes one, and `retry` may gain members.",
            deferred_copy(),
        ),
        "cart-checkout-result": (
            "result",
            "CartCheckoutResult",
            "The service's response as its reference documents it. It is passed on as it came, without any guarantee.",
            result(),
        ),
    }
    made = {
        name: (f"{SOURCE}:{of}:{SCHEMA_VERSION}", {**schema, "title": title, "description": about})
        for name, (of, title, about, schema) in titled.items()
    } | outcome_schemas()
    first = ("title", "description")
    return {
        f"{name}.schema.json": {
            "$schema": DRAFT,
            "$id": schema_id,
            **{key: schema[key] for key in first},
            **{key: value for key, value in schema.items() if key not in first and (key, value) != ("definitions", {})},
        }
        for name, (schema_id, schema) in made.items()
    }


def _components(*kinds: Any) -> tuple[Json, Json]:  # noqa: ANN401  any types that msgspec knows
    """The schemas of these types by name, twice: for each to be taken out, and all of them as definitions."""
    _, components = msgspec.json.schema_components(kinds, ref_template="#/definitions/{name}")
    found: dict[str, Json] = _portable(components)
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
