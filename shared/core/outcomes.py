"""The CloudEvent that reports an outcome. Pure: from a decision to the exact bytes that are recorded and published.

An event is made once, recorded, and published as recorded: `time` is the moment of the decision and never changes.
The service's response is embedded as the text it came in, so `36.480` stays `36.480`.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from shared.core import jsontext
from shared.core.errors import Error, ErrorClass, error
from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.models import ServiceResponse

SOURCE = "urn:partnercenter:cart-checkout"
TYPE = "partnercenter.cart.checkout."
SCHEMA_VERSION = 1
"""Of each outcome's data. It grows when a member that exists changes its meaning, its type or its presence."""
LONGEST_EVENT = 48 * 1024
"""Bytes of JSON that fit a queue message (64 KiB) in base64. The data of a longer event become a `dataref`."""
SHOWN_OF_INVALID = 6 * 1024
"""Bytes of an invalid message that its outcome quotes, from its beginning."""
LONGEST_CAUSATION_OF_INVALID = 1024
"""Characters. A longer id of the requesting CloudEvent is left out, since this event has no `dataref` to shrink it."""


class Outcome(StrEnum):
    """The six ways a message can end. `invalid` is that of a message which is no request: no record has it."""

    COMPLETED = "completed"
    ACTION_REQUIRED = "action_required"
    PARTIAL = "partial"
    FAILED = "failed"
    UNKNOWN = "unknown"
    INVALID = "invalid"

    @property
    def schema(self) -> str:
        """The `$id` of the schema of its data."""
        return f"{SOURCE}:{self}:{SCHEMA_VERSION}"


_OUTCOMES = {TYPE + outcome: outcome for outcome in Outcome}

RECORDED = tuple(outcome for outcome in Outcome if outcome is not Outcome.INVALID)
"""The outcomes of requests: those that a record can have."""
BOUGHT = frozenset({Outcome.COMPLETED, Outcome.ACTION_REQUIRED, Outcome.PARTIAL})
"""Outcomes after which the cart, or a part of it, is bought: it is never posted again."""


class Decision(msgspec.Struct, frozen=True):
    """What was decided for a request, before it becomes an event.

    `result` is JSON text as received. `error` is ours or, copied from another entry, JSON text too.
    `response` holds what Microsoft support asks for.
    """

    outcome: Outcome
    attempts: int
    result: str | None = None
    error: Error | str | None = None
    response: dict[str, str | int] | None = None
    answered_by: str | None = None


class Event(msgspec.Struct, frozen=True):
    """An outcome as it is recorded and published: the whole CloudEvent, as text.

    `outcome`: None for an entry whose type this version does not know. It answers nobody, and stays in its record.
    """

    id: str
    outcome: Outcome | None
    text: str
    data: str | None = None
    dataref: str | None = None

    @property
    def bought(self) -> bool:
        """Whether it says that the cart, or a part of it, is bought."""
        return self.outcome in BOUGHT

    @property
    def too_large(self) -> bool:
        """Whether its data must be stored in a blob for the event to fit a queue message."""
        return self.dataref is None and len(self.text.encode()) > LONGEST_EVENT

    def claim_check(self, url: str) -> "Event":
        """The same event with a reference to its data instead of them."""
        attributes = {name: raw for name, raw in jsontext.members(self.text).items() if name != "data"}
        return msgspec.structs.replace(self, text=_present(**attributes, dataref=_text(url)), data=None, dataref=url)

    @property
    def data_sha256(self) -> str:
        """The SHA-256 of the data in UTF-8, in hexadecimal."""
        return hashlib.sha256((self.data or "").encode()).hexdigest()

    @classmethod
    def parse(cls, text: str) -> "Event":
        """Read an event that was recorded.

        Raises:
            KeyError, ValueError: it is not an event.
        """
        raw = jsontext.members(text)
        dataref = _string(raw["dataref"]) if "dataref" in raw else None
        return cls(_string(raw["id"]), _OUTCOMES.get(_string(raw["type"])), text, raw.get("data"), dataref)


def decided(
    request: CheckoutRequest,
    decision: Decision,
    now: datetime,
    *,
    revision: int = 1,
    traceparent: str | None = None,
    corrects: Sequence[Event] = (),
) -> Event:
    """The outcome of a request.

    Args:
        request: The request.
        decision: What was decided.
        now: When.
        revision: The place of the entry in the cart's record, from 1.
        traceparent: The span that decided it.
        corrects: The request's earlier entries. The last of them is replaced.
    """
    data = _present(
        outcome=_text(decision.outcome),
        customerId=_text(request.customer_id),
        cartId=_text(request.cart_id),
        requestId=_text(request.request_id),
        context=request.context,
        attempts=str(decision.attempts),
        revision=str(revision),
        startedAt=_text(timestamp(request.started_at)),
        finishedAt=_text(timestamp(now)),
        response=_encode(decision.response),
        result=decision.result,
        error=decision.error if isinstance(decision.error, str | None) else _error(decision.error),
        answeredBy=_text(decision.answered_by),
        corrects=_text(corrects[-1].id if corrects else None),
    )
    return _event(
        request.correction_id(len(corrects)) if corrects else request.event_id,
        decision.outcome,
        customer_id=request.customer_id,
        cart_id=request.cart_id,
        data=data,
        time=timestamp(now),
        correlationid=request.correlation_id,
        causationid=request.causation_id,
        traceparent=traceparent or request.traceparent,
    )


def copied(entry: Event, data: str, attempts: int) -> Decision:
    """The decision that repeats another request's entry, for a cart that is bought already.

    Raises:
        ValueError: the entry is no outcome that this version knows.
    """
    if entry.outcome is None:
        raise ValueError("an entry of an unknown type answers nobody")
    raw = jsontext.members(data)
    return Decision(entry.outcome, attempts, result=raw.get("result"), error=raw.get("error"), answered_by=entry.id)


def invalid(message: InvalidMessage) -> Event:
    """The outcome of an invalid message. It depends on its bytes alone, so a repeat publishes the same event.

    Whether a deferred copy that this version cannot read was bought is not known: a newer version may have posted it.
    """
    cause = error(
        ErrorClass.INVALID_MESSAGE, f"The message is no checkout request: {message.path}: expected {message.expected}"
    )
    if message.deferred:
        cause = msgspec.structs.replace(cause, advice=_DEFERRED_ADVICE)
    data = _present(
        outcome=_text(Outcome.INVALID),
        customerId=_text(message.customer_id),
        cartId=_text(message.cart_id),
        requestId=_text(message.request_id),
        body=_text(base64.b64encode(message.body[:SHOWN_OF_INVALID]).decode()),
        size=str(len(message.body)),
        sha256=_text(message.sha256),
        truncated="true" if len(message.body) > SHOWN_OF_INVALID else "false",
        deferred="true" if message.deferred else None,
        error=_error(cause, path=message.path, expected=message.expected),
    )
    causation_id = message.causation_id or ""
    return _event(
        message.event_id,
        Outcome.INVALID,
        customer_id=message.customer_id,
        cart_id=message.cart_id,
        data=data,
        causationid=causation_id if 0 < len(causation_id) <= LONGEST_CAUSATION_OF_INVALID else None,
    )


_DEFERRED_ADVICE = (
    "A deferred copy that this version cannot read: look at the cart in Partner Center before sending a new request."
)


def response_ids(response: ServiceResponse, ms_request_id: str, correlation_id: str) -> dict[str, str | int] | None:
    """What Microsoft support asks for: the status and the ids of the exchange. None without a response."""
    if response.status is None:
        return None
    ids = {
        "requestId": response.request_id or ms_request_id,
        "correlationId": response.correlation_id or correlation_id,
        "cv": response.cv,
    }
    return {"status": response.status, **{name: value for name, value in ids.items() if value}}


def timestamp(instant: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(
    event_id: str,
    outcome: Outcome,
    *,
    customer_id: str | None,
    cart_id: str | None,
    data: str,
    **optional: str | None,
) -> Event:
    text = _present(
        specversion='"1.0"',
        id=_text(event_id),
        source=_text(SOURCE),
        type=_text(TYPE + outcome),
        subject=_text(f"customers/{customer_id}/carts/{cart_id}" if customer_id and cart_id else None),
        time=_text(optional.get("time")),
        datacontenttype='"application/json"',
        dataschema=_text(outcome.schema),
        partitionkey=_text(customer_id),
        correlationid=_text(optional.get("correlationid")),
        causationid=_text(optional.get("causationid")),
        traceparent=_text(optional.get("traceparent")),
        data=data,
    )
    return Event(event_id, outcome, text, data)


def _error(cause: Error, **more: str) -> str:
    # no text in it has lone surrogates: `models.parse_lenient` and `printable` replace them
    members: dict[str, Any] = {
        "class": cause.error_class,
        "code": cause.code,
        "description": cause.description,
        "source": cause.source,
        "data": cause.data,
        **more,
        "retryable": cause.retryable,
        "advice": cause.advice,
    }
    return _encode({name: value for name, value in members.items() if value is not None}) or "{}"


def _present(**members: str | None) -> str:
    """A JSON object of the members that are not None: absent values are left out, not null."""
    return _join({name: raw for name, raw in members.items() if raw is not None})


def _join(members: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{raw}' for name, raw in members.items()) + "}"


def _text(value: str | None) -> str | None:
    return None if value is None else _encode(value)


def _string(raw: str) -> str:
    value = json.loads(raw)
    if isinstance(value, str):
        return value
    raise ValueError("an attribute is not a string")


def _encode(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
