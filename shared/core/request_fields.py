"""The members of a checkout request: their names, and what each may hold. Pure.

`read` checks all of them. A member whose name begins with `$` is passed over, because bindings write some of their own
(`$AzureWebJobsParentId`), and null is an absent optional member.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from shared.core import diagnosis, jsontext
from shared.core.jsontext import NotJson
from shared.core.retry import RetryState

LONGEST_REQUEST_ID = 256

_GUID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|\{([0-9a-f-]{36})\}", re.IGNORECASE | re.ASCII)
_UPN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?", re.ASCII)
_Rfc3339 = Annotated[datetime, msgspec.Meta(tz=True)]

_A_GUID = "a GUID such as 11111111-2222-3333-4444-555555555555"
_A_KEY = f"a string of 1 to {LONGEST_REQUEST_ID} characters without control characters or lone surrogates"
_A_UPN = "a string of 1 to 256 printable ASCII characters: it travels in a header"
_AN_INSTANT = "a time with an offset (RFC 3339) such as 2026-11-22T18:00:00Z"
_A_RETRY = "what the program writes into its own copies: only those carry this member"

T = TypeVar("T")


class InvalidRequest(NotJson):
    """It is JSON, but not a checkout request. `path` and `expected` say where, and what should be there."""


class Fields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The checked values of a request's members. `context` has its own text in the message."""

    customer_id: str
    cart_id: str
    request_id: str | None
    correlation_id: str | None
    customer_user_upn: str | None
    not_after: datetime | None
    traceparent: str | None
    context: Any
    retry: RetryState | None


NAMES = Fields.__struct_encode_fields__
"""The names of all members, in the order of the contract."""
REQUIRED = ("customerId", "cartId")
_FOR_PRODUCERS = [name for name in NAMES if name != "retry"]

# msgspec prepares a type when it is first converted to. Two threads at once, on a worker that has just started:
#   first    prepares the fields ..................... prepares Refusal
#   second              finds a half-prepared type  ->  the process crashes
# So it is prepared here: a module is imported by one thread.
msgspec.json.Decoder(RetryState)


def read(data: Mapping[str, Any], root: str) -> Fields:
    """Check a request's members.

    Args:
        data: The request.
        root: Its JSON path in the message.

    Raises:
        InvalidRequest: a member is unknown, missing or wrong.
    """
    _check_names(data, root)

    def required(name: str) -> str:
        return _checked(data[name], guid_or_none, f"{root}.{name}", _A_GUID)

    def optional(name: str, check: Callable[[object], T | None], expected: str) -> T | None:
        value = data.get(name)
        return None if value is None else _checked(value, check, f"{root}.{name}", expected)

    return Fields(
        customer_id=required("customerId"),
        cart_id=required("cartId"),
        request_id=optional("requestId", key_or_none, _A_KEY),
        correlation_id=optional("correlationId", guid_or_none, _A_GUID),
        customer_user_upn=optional("customerUserUpn", _upn_or_none, _A_UPN),
        not_after=optional("notAfter", _instant_or_none, _AN_INSTANT),
        traceparent=optional("traceparent", _string_or_none, "a string: W3C trace context"),
        context=data.get("context"),
        retry=None if data.get("retry") is None else _retry(data["retry"], f"{root}.retry"),
    )


def _check_names(data: Mapping[str, Any], root: str) -> None:
    for name in data:
        if name not in NAMES and not name.startswith("$"):
            similar = diagnosis.similar(name, _FOR_PRODUCERS)
            hint = f"; did you mean `{similar}`?" if similar else ""
            raise InvalidRequest(root + jsontext.step(name), f"one of {', '.join(_FOR_PRODUCERS)}{hint}")
    for name in REQUIRED:
        if data.get(name) is None:
            raise InvalidRequest(f"{root}.{name}", "a GUID: it is required")


def _checked(value: object, check: Callable[[object], T | None], path: str, expected: str) -> T:
    """The value as `check` returns it.

    Raises:
        InvalidRequest: `check` returned None.
    """
    if (found := check(value)) is not None:
        return found
    met = "" if isinstance(value, str) else f", not {jsontext.kind(value)}"
    raise InvalidRequest(path, expected + met)


def guid_or_none(value: object) -> str | None:
    """A GUID in lower case and without braces, or None for everything else. Only ASCII digits pass."""
    match = _GUID.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    guid = (match[1] or match[2]).lower()
    return guid if _GUID.fullmatch(guid) else None


def key_or_none(value: object) -> str | None:
    """A request id, or None for what cannot be one."""
    text = text_or_none(value)
    if text is None or len(text) > LONGEST_REQUEST_ID or any(unicodedata.category(c) == "Cc" for c in text):
        return None
    return text


def _upn_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and _UPN.fullmatch(value) else None


def text_or_none(value: object) -> str | None:
    """A text that is not empty and has no lone surrogates, or None for everything else."""
    return value if isinstance(value, str) and value and jsontext.encodable(value) else None


def _string_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _instant_or_none(value: object) -> datetime | None:
    try:
        return msgspec.convert(value, _Rfc3339, strict=True).astimezone(UTC) if isinstance(value, str) else None
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError):
        return None


def _retry(value: object, path: str) -> RetryState:
    """The state of a deferred copy, which another copy must be able to carry on.

    Raises:
        InvalidRequest: this version cannot read it, a lone surrogate is in it, or a time has no year in UTC.
    """
    try:
        retry = msgspec.convert(value, RetryState)
        msgspec.json.encode(retry)
        for instant in (retry.since, retry.held, retry.started_at, retry.refused.at if retry.refused else None):
            if instant is not None:
                instant.astimezone(UTC)  # OverflowError for the first and the last representable day in some zones
    except msgspec.ValidationError as error:
        # msgspec says "Expected `int`, got `str` - at `$.attempt`"
        raise InvalidRequest(path + str(error).partition(" - at `$")[2].rstrip("`"), _A_RETRY) from None
    except (UnicodeEncodeError, OverflowError):
        raise InvalidRequest(path, _A_RETRY) from None
    return retry
