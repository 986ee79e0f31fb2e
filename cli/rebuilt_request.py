"""Rebuilds a request from the entry that answered it, as far as the entry contains it. No entry contains the UPN."""

import json
from datetime import UTC, datetime

from cli.cart_history import Entry
from cli.times import parse_rfc3339
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import SOURCE, TYPE


def rebuilt_request(
    entry: Entry, request_id: str | None = None, *, started_at: datetime | None = None, upn: str | None = None
) -> CheckoutRequest:
    """The request with its correlation id, `context` and cause; its outcomes have the ids of the original's.

    Args:
        entry: The outcome of the request.
        request_id: Another id to send it under.
        started_at: When it starts anew. None: when the original did.
        upn: The user to assign the licences to.
    """
    correlation, cause = entry.attributes.get("correlationid"), entry.attributes.get("causationid")
    begun = started_at or parse_rfc3339(entry.data.get("startedAt")) or entry.decided_at or datetime.now(UTC)
    fields = {
        "customerId": json.dumps(entry.cart.customer_id),
        "cartId": json.dumps(entry.cart.cart_id),
        "correlationId": json.dumps(correlation) if correlation else None,
        "customerUserUpn": json.dumps(upn) if upn else None,
        "context": entry.raw_context,
    }
    return CheckoutRequest(
        entry.cart.customer_id,
        entry.cart.cart_id,
        entry.request_id if request_id is None else request_id,
        begun,
        correlation=correlation,
        customer_user_upn=upn,
        traceparent=entry.attributes.get("traceparent"),
        context=entry.raw_context,
        causation_id=cause,
        raw_fields={name: raw for name, raw in fields.items() if raw is not None},
        raw_envelope=_envelope(cause) if cause else None,
    )


def _envelope(cause: str) -> dict[str, str]:
    """A CloudEvent's attributes, so that the outcome of a copy names the same cause."""
    attributes = {"specversion": "1.0", "id": cause, "source": SOURCE, "type": f"{TYPE}redrive"}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()}
