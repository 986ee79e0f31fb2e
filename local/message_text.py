"""The texts of the queue messages that the demo and the chaos run send."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode

if TYPE_CHECKING:
    from collections.abc import Mapping

Form = Literal["plain", "base64", "cloudevent"]


def request_text(request: Mapping[str, Any], form: Form, sender: str) -> str:
    """Format a checkout request as a queue message.

    A CloudEvent carries no `requestId`: the function derives one from its source, which names the sender, and its id.
    """
    match form:
        case "plain":
            return json.dumps(request)
        case "base64":
            return base64.b64encode(json.dumps(request).encode()).decode()
        case "cloudevent":
            data = dict(request)
            event = {"specversion": "1.0", "id": data.pop("requestId"), "source": f"urn:{sender}"}
            return json.dumps({**event, "type": f"{sender}.order.placed", "data": data})


def decode_text(text: str) -> CheckoutRequest | InvalidMessage:
    """Decode a message as the function does. Its event ids do not depend on the delivery."""
    return decode(text.encode(), Delivery("", 1, datetime(2026, 1, 1, tzinfo=UTC)))
