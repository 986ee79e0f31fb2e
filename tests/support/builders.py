"""Builders that many tests share: a message, its delivery, a request, a response, an event, times."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Event, Outcome, decided

CUSTOMER = "11111111-2222-3333-4444-555555555555"
CART = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
MESSAGE = "99999999-8888-7777-6666-555555555555"
"""The id of the queue message."""
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def after(seconds: float = 0.0, **more: float) -> datetime:
    """Return the time so many seconds after NOW (before it, where negative)."""
    return NOW + timedelta(seconds=seconds, **more)


def text_of(value: object) -> str:
    """Return compact JSON, in which only what UTF-8 cannot encode is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)


def members(**more: Any) -> dict[str, Any]:
    """Return the members of a valid request, and more."""
    return {"customerId": CUSTOMER, "cartId": CART, **more}


def body(**more: Any) -> bytes:
    """Return the body of a valid request."""
    return text_of(members(**more)).encode()


def cloud_event(data: Any = None, **more: Any) -> bytes:
    """Return a CloudEvent 1.0 with a valid request or `data`. A member given as ... is left out."""
    attributes = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/shop",
        "type": "cart.ready",
        "data": members() if data is None else data,
        **more,
    }
    return text_of({name: value for name, value in attributes.items() if value is not ...}).encode()


def delivery(
    message_id: str = MESSAGE, *, count: int = 1, inserted_at: datetime = NOW, from_poison: bool = False
) -> Delivery:
    """One delivery of a queue message."""
    return Delivery(message_id, count, inserted_at, from_poison)


def accepted(content: bytes, **how: Any) -> CheckoutRequest:
    """Return the request in this message. Fails where it is invalid."""
    found = decode(content, delivery(**how))
    assert isinstance(found, CheckoutRequest), found
    return found


def refused(content: bytes, **how: Any) -> InvalidMessage:
    """Return what is wrong with this message. Fails where it is a valid request."""
    found = decode(content, delivery(**how))
    assert isinstance(found, InvalidMessage), found
    return found


def request(request_id: str = "order-4711", **more: Any) -> CheckoutRequest:
    """A valid request."""
    return accepted(body(requestId=request_id, **more))


def answer(status: int | None, tree: Any = None, **more: Any) -> ServiceResponse:
    """Return a response of the service. `tree` is its JSON, or the bytes of its body."""
    return ServiceResponse(status, tree if isinstance(tree, bytes) else text_of(tree).encode(), **more)


def event(outcome: Outcome = Outcome.COMPLETED, of: CheckoutRequest | None = None, **more: Any) -> Event:
    """The outcome of a request."""
    return decided(of or request(), Decision(outcome, 1, **more), NOW)
