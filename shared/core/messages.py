"""The checkout request: from a queue message's bytes to a checked value, and back for a deferred copy. Pure.

    bytes ── plain or base64 ──► JSON ── one object, or the `data` of a CloudEvent 1.0 ──► CheckoutRequest
                  └────────────────┴─────────── anything else ───────────────────────────► InvalidMessage

`decode` never raises: a message that cannot be read is a value too, and gets an outcome like any other.
"""

import base64
import binascii
import hashlib
import json
import re
import unicodedata
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import msgspec

from shared.core import jsontext
from shared.core.jsontext import NotJson
from shared.core.redacted import Redacted
from shared.core.retry import RetryState

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout")
LONGEST = 44 * 1024
"""Bytes of a decoded message. A deferred copy may be longer by its `retry`."""
LONGEST_COPY = 47 * 1024
"""Bytes of a deferred copy."""
_PINNED = 512
"""Bytes that a copy may have more than its message beside the value of `retry`: the request id, at its first time."""
LONGEST_REQUEST_ID = 256

_BOM = b"\xef\xbb\xbf"
_GUID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|\{([0-9a-f-]{36})\}", re.IGNORECASE | re.ASCII)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_UPN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?", re.ASCII)


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

        Every other member keeps the text it came with. A CloudEvent stays that CloudEvent.
        """
        pinned = msgspec.structs.replace(retry, started_at=self.started_at)
        data = _object(
            {
                **self.raw_fields,
                "requestId": json.dumps(self.request_id, ensure_ascii=False),
                "retry": msgspec.json.encode(pinned).decode(),
            }
        )
        return (data if self.raw_envelope is None else _object({**self.raw_envelope, "data": data})).encode()


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


_Rfc3339 = Annotated[datetime, msgspec.Meta(tz=True)]


class _Invalid(ValueError):
    def __init__(self, path: str, expected: str) -> None:
        super().__init__(path, expected)
        self.path = jsontext.printable(path, 100)
        self.expected = expected


class _Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The members of a request, by name and JSON type. Their values are checked below."""

    customer_id: str
    cart_id: str
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    correlation_id: str | msgspec.UnsetType = msgspec.UNSET
    customer_user_upn: str | msgspec.UnsetType = msgspec.UNSET
    not_after: str | msgspec.UnsetType = msgspec.UNSET
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    context: Any = None
    retry: RetryState | msgspec.UnsetType = msgspec.UNSET


# msgspec prepares a type when it is first converted to. Two threads at once, on a worker that has just started:
#   first    prepares the fields ..................... prepares Retry
#   second              finds a half-prepared type  ->  the process crashes
# So it is prepared here: a module is imported by one thread.
msgspec.json.Decoder(_Fields)

_REQUIRED = {field.encode_name: field.required for field in msgspec.structs.fields(_Fields)}


def decode(body: bytes, delivery: Delivery) -> CheckoutRequest | InvalidMessage:
    """Read a queue message's text, as the queue held it. Never raises."""
    try:
        text = _plain(body)
        return _request(text, jsontext.load(text, unique_keys=True), delivery)
    except (NotJson, _Invalid) as error:
        return _invalid(body, error)


def _plain(body: bytes) -> bytes:
    """The JSON text: the body, or what it decodes to as base64. Strict, so that a text has one interpretation."""
    if _opens_object(body):
        return body
    try:
        text = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        text = b""
    if not _opens_object(text) or base64.b64encode(text) != body:
        raise _Invalid("$", "a JSON object in UTF-8, as it is or in standard, padded base64 without line breaks")
    return text


def _opens_object(text: bytes) -> bool:
    return text.removeprefix(_BOM).lstrip(b" \t\r\n").startswith(b"{")


def _request(text: bytes, tree: dict[str, Any], delivery: Delivery) -> CheckoutRequest:
    raw = jsontext.members(jsontext.decode(text))
    if "specversion" in tree:
        source, event_id = _envelope(tree)
        envelope, root, data = raw, "$.data", tree["data"]
        raw = jsontext.members(raw["data"])
        default_id = derive("cloudevent", source, event_id)
    else:
        envelope, root, data = None, "$", tree
        event_id, default_id = None, delivery.message_id
    longest = LONGEST_COPY if "retry" in data else LONGEST
    if len(text) > longest:
        raise _Invalid("$", f"at most {longest} bytes, not {len(text)}")
    if (without := len(text) - len(raw.get("retry", "").encode())) > LONGEST + _PINNED:  # `retry` may grow yet
        raise _Invalid("$", f"at most {LONGEST + _PINNED} bytes beside its retry, not {without}")
    fields = _fields(data, root)
    retry = fields.retry or RetryState()
    traceparents = (fields.traceparent, tree.get("traceparent"))  # the request's own, else the envelope's
    return CheckoutRequest(
        customer_id=_guid(fields.customer_id, f"{root}.customerId"),
        cart_id=_guid(fields.cart_id, f"{root}.cartId"),
        request_id=default_id if fields.request_id is msgspec.UNSET else _key(fields.request_id, f"{root}.requestId"),
        started_at=retry.started_at or delivery.inserted_at,
        retry=retry,
        deferred=fields.retry is not msgspec.UNSET,
        correlation=_optional_guid(fields.correlation_id, f"{root}.correlationId"),
        customer_user_upn=_upn(fields.customer_user_upn, f"{root}.customerUserUpn"),
        not_after=_instant(fields.not_after, f"{root}.notAfter"),
        traceparent=next((t for t in traceparents if isinstance(t, str) and _TRACEPARENT.fullmatch(t)), None),
        context=raw.get("context"),
        causation_id=event_id,
        raw_fields=raw,
        raw_envelope=envelope,
    )


def _envelope(tree: dict[str, Any]) -> tuple[str, str]:
    """Check what CloudEvents 1.0 requires of an event, and return its source and id."""
    if tree["specversion"] != "1.0":
        raise _Invalid("$.specversion", 'the CloudEvents version "1.0"')
    for name in ("id", "source", "type"):
        value = tree.get(name)
        if not (isinstance(value, str) and value and _encodable(value)):
            raise _Invalid(f"$.{name}", "a non-empty string, as CloudEvents 1.0 requires")
    if not all(_encodable(name) for name in tree):
        raise _Invalid("$", "attribute names without lone surrogates")
    if not isinstance(tree.get("data"), dict):
        raise _Invalid("$.data", "a JSON object: the checkout request (data_base64 is not accepted)")
    return tree["source"], tree["id"]


def _fields(data: dict[str, Any], root: str) -> _Fields:
    for name in data:
        if name not in _REQUIRED:
            raise _Invalid(root + jsontext.step(name), f"one of {', '.join(_REQUIRED)}")
    for name, required in _REQUIRED.items():
        if required and name not in data:
            raise _Invalid(f"{root}.{name}", "a GUID: it is required")
    try:
        fields = msgspec.convert(data, _Fields)
        if fields.retry:
            msgspec.json.encode(fields.retry)  # a copy must be able to encode it again
            _in_utc(fields.retry)
    except msgspec.ValidationError as error:
        # msgspec says "Expected `str`, got `int` - at `$.customerId`"
        expected, _, path = str(error).partition(" - at `$")
        raise _Invalid(root + path.rstrip("`"), expected.removeprefix("Expected ").replace("`", "")) from None
    except UnicodeEncodeError:
        raise _Invalid(f"{root}.retry", "text without lone surrogates") from None
    except OverflowError:
        raise _Invalid(f"{root}.retry", "times between the years 1 and 9999 in UTC") from None
    return fields


def _in_utc(retry: RetryState) -> None:
    refused_at = retry.refused.at if retry.refused else None
    for instant in (retry.since, retry.held, retry.started_at, refused_at):
        if instant is not None:
            instant.astimezone(UTC)  # raises OverflowError for the first and the last representable day in some zones


def _guid(value: str, path: str) -> str:
    if guid := guid_or_none(value):
        return guid
    raise _Invalid(path, "a GUID such as 11111111-2222-3333-4444-555555555555")


def _optional_guid(value: str | msgspec.UnsetType, path: str) -> str | None:
    return None if value is msgspec.UNSET else _guid(value, path)


def guid_or_none(value: object) -> str | None:
    """A GUID in lower case and without braces, or None for everything else. Only ASCII digits pass."""
    match = _GUID.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    guid = (match[1] or match[2]).lower()
    return guid if _GUID.fullmatch(guid) else None


def _key(value: str, path: str) -> str:
    if (
        1 <= len(value) <= LONGEST_REQUEST_ID
        and _encodable(value)
        and not any(unicodedata.category(c) == "Cc" for c in value)
    ):
        return value
    raise _Invalid(path, "1 to 256 characters without control characters or lone surrogates")


def _upn(value: str | msgspec.UnsetType, path: str) -> str | None:
    if value is msgspec.UNSET:
        return None
    if _UPN.fullmatch(value):
        return value
    raise _Invalid(path, "1 to 256 printable ASCII characters: it travels in a header")


def _instant(value: str | msgspec.UnsetType, path: str) -> datetime | None:
    if value is msgspec.UNSET:
        return None
    try:
        return msgspec.convert(value, _Rfc3339, strict=True).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError):
        raise _Invalid(path, "a time with an offset (RFC 3339) such as 2026-11-22T18:00:00Z") from None


def _encodable(value: str) -> bool:
    """Whether UTF-8 can encode it: a JSON escape may be a lone surrogate, which UTF-8 cannot."""
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def _object(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{raw}" for name, raw in members.items()) + "}"


def _invalid(body: bytes, error: NotJson | _Invalid) -> InvalidMessage:
    """Describe a message that is not a valid request, with its ids where those are valid."""
    tree: dict[str, Any] = {}
    with suppress(NotJson, _Invalid):
        tree = jsontext.load(_plain(body))
    data = tree.get("data") if "specversion" in tree else tree
    known = data if isinstance(data, dict) else {}
    return InvalidMessage(
        body=body,
        path=error.path,
        expected=error.expected,
        deferred="retry" in known,
        customer_id=guid_or_none(known.get("customerId")),
        cart_id=guid_or_none(known.get("cartId")),
        request_id=_key_or_none(known.get("requestId")),
        causation_id=_key_or_none(tree.get("id")) if "specversion" in tree else None,
    )


def _key_or_none(value: object) -> str | None:
    with suppress(_Invalid):
        return _key(value, "") if isinstance(value, str) else None
    return None
