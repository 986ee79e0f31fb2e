"""The checkout request: from a queue message's bytes to a checked value, and back for a deferred copy. Pure.

    bytes ── plain or base64 ──► JSON ── one object, or in a CloudEvent 1.0 ──────► CheckoutRequest
                  └────────────────┴─────────── anything else ───────────────────────────► InvalidMessage

The way to the one object is `shared.core.envelope`, its members `shared.core.request_fields`.
`decode` never raises: a message that cannot be read is a value too, and gets an outcome like any other.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import ClassVar

import msgspec

from shared.core import diagnosis, envelope, jsontext, request_fields
from shared.core.envelope import Received
from shared.core.jsontext import NotJson
from shared.core.redacted import Redacted
from shared.core.request_fields import Fields, InvalidRequest, guid_or_none, key_or_none, text_or_none
from shared.core.retry import RetryState

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout")
LONGEST = 44 * 1024
"""Bytes of a decoded message. A deferred copy may be longer by its `retry`."""
LONGEST_COPY = 47 * 1024
"""Bytes of a deferred copy."""
_PINNED = 512
"""Bytes that a copy may have more than its message beside the value of `retry`: the request id, at its first time."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


@lru_cache(1024)  # one message asks for the same four ids ten times
def derive(*parts: str | int) -> str:
    """The id derived from these parts: uuid5 over their compact JSON array, so that every retry derives it again."""
    return str(uuid.uuid5(NAMESPACE, json.dumps(parts, ensure_ascii=False, separators=(",", ":"))))


def ms_request_id(customer_id: str, cart_id: str, key: int) -> str:
    """MS-RequestId, the service's idempotency key. It is the cart's: the same for every request that asks for it."""
    return derive("ms-request", customer_id, cart_id, key)


class Delivery(msgspec.Struct, frozen=True):
    """One delivery of a queue message, by the carts queue or, with `from_poison`, by its poison queue."""

    message_id: str
    dequeue_count: int
    inserted_at: datetime
    from_poison: bool = False

    @property
    def name(self) -> str:
        """Its name among all deliveries: a redelivery has a higher count, a copy another message id."""
        return f"{self.message_id}/{self.dequeue_count}"


class CheckoutRequest(Redacted, frozen=True):
    """A valid request. GUIDs are in lower case, and `context` is the producer's JSON as it was written."""

    redacted_fields: ClassVar[frozenset[str]] = frozenset(
        {"customer_user_upn", "context", "raw_fields", "raw_envelope"}
    )

    customer_id: str
    cart_id: str
    request_id: str
    started_at: datetime
    retry: RetryState = RetryState()
    deferred: bool = False
    correlation: str | None = None
    customer_user_upn: str | None = None
    not_after: datetime | None = None
    traceparent: str | None = None
    context: str | None = None
    causation_id: str | None = None
    raw_fields: Mapping[str, str] = {}
    raw_envelope: Mapping[str, str] | None = None

    def _id(self, kind: str, *more: int) -> str:
        return derive(kind, self.customer_id, self.cart_id, self.request_id, *more)

    @property
    def event_id(self) -> str:
        """The id of this request's outcome: one request, one id."""
        return self._id("event")

    def correction_id(self, number: int = 1) -> str:
        """The id of the correction of this request's outcome, or of its correction number `number` - 1."""
        return self._id("correction") if number == 1 else self._id("correction", number)

    @property
    def correlation_id(self) -> str:
        """MS-CorrelationId: the message's own, else one derived from the request."""
        return self.correlation or self._id("ms-correlation")

    def copy(self, retry: RetryState) -> bytes:
        """This message again, as compact JSON, with its request id pinned and with `retry`.

        Every other member of the contract keeps the text it came with, and those that begin with `$` are left out. A
        CloudEvent stays that CloudEvent, with the request as its `data`.
        """
        pinned = msgspec.structs.replace(retry, started_at=self.started_at)
        data = jsontext.build(
            {
                **self.raw_fields,
                "requestId": json.dumps(self.request_id, ensure_ascii=False),
                "retry": msgspec.json.encode(pinned).decode(),
            }
        )
        return (data if self.raw_envelope is None else jsontext.build({**self.raw_envelope, "data": data})).encode()


class InvalidMessage(Redacted, frozen=True):
    """A message that is not a valid request: the JSON path of the fault, and what was expected there.

    `deferred`: it carries `retry`, so another version of this program may have made a POST for it.
    """

    redacted_fields: ClassVar[frozenset[str]] = frozenset({"body"})

    body: bytes
    path: str
    expected: str
    deferred: bool = False
    customer_id: str | None = None
    cart_id: str | None = None
    request_id: str | None = None
    causation_id: str | None = None

    def copy(self, retry: RetryState) -> bytes:
        """The same bytes, so that the outcome keeps its id. They cannot carry `retry`."""
        del retry
        return self.body

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text as the queue held it, in hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def event_id(self) -> str:
        """The id of its outcome: the same bytes get the same id."""
        return derive("invalid", self.sha256)


def decode(body: bytes, delivery: Delivery) -> CheckoutRequest | InvalidMessage:
    """Read a queue message's text, as the queue held it. Never raises."""
    try:
        received = envelope.read(body)
        _check_size(received)
        return _request(received, request_fields.read(received.data, received.root), delivery)
    except NotJson as error:
        return _invalid(body, error)


def _check_size(received: Received) -> None:
    size, longest = received.size, LONGEST if received.data.get("retry") is None else LONGEST_COPY
    if size > longest:
        raise InvalidRequest("$", f"at most {longest} bytes, not {size}")
    if (without := size - len(received.raw.get("retry", "").encode())) > LONGEST + _PINNED:  # `retry` may grow yet
        raise InvalidRequest("$", f"at most {LONGEST + _PINNED} bytes beside its retry, not {without}")


def _request(received: Received, fields: Fields, delivery: Delivery) -> CheckoutRequest:
    event = received.tree if received.envelope is not None else {}
    default_id = derive("cloudevent", event["source"], event["id"]) if event else delivery.message_id
    retry = fields.retry or RetryState()
    traceparents = (fields.traceparent, event.get("traceparent"))  # the request's own, else the envelope's
    return CheckoutRequest(
        customer_id=fields.customer_id,
        cart_id=fields.cart_id,
        request_id=fields.request_id or default_id,
        started_at=retry.started_at or delivery.inserted_at,
        retry=retry,
        deferred=fields.retry is not None,
        correlation=fields.correlation_id or guid_or_none(event.get("correlationid")),
        customer_user_upn=fields.customer_user_upn,
        not_after=fields.not_after,
        traceparent=next((t for t in traceparents if isinstance(t, str) and _TRACEPARENT.fullmatch(t)), None),
        context=None if fields.context is None else received.raw["context"],
        causation_id=event.get("id"),
        raw_fields={name: text for name, text in received.raw.items() if name in request_fields.NAMES},
        raw_envelope=received.envelope,
    )


def _invalid(body: bytes, error: NotJson) -> InvalidMessage:
    """Describe a message that is not a valid request, with its ids where those are valid."""
    tree = diagnosis.object_in(body)
    known = diagnosis.request_in(tree)
    return InvalidMessage(
        body=body,
        path=error.path,
        expected=error.expected,
        deferred=known.get("retry") is not None,
        customer_id=diagnosis.member(known, "customerId", guid_or_none),
        cart_id=diagnosis.member(known, "cartId", guid_or_none),
        request_id=diagnosis.member(known, "requestId", key_or_none),
        causation_id=diagnosis.member(tree, "id", text_or_none) if diagnosis.is_event(tree) else None,
    )
