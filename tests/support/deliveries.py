"""One cart, message by message: send it, deliver it, and read what its log line and its record say."""

import json
import logging
from datetime import timedelta
from typing import Any

import pytest

from shared.core.cart_state import CartState
from shared.core.models import ServiceResponse
from shared.core.state_metadata import to_metadata
from shared.ports import TokenUnavailable
from tests.support.memory import QueuedMessage, Responses
from tests.support.world import CUSTOMER, World

CART = "bebebebe-1111-4222-8333-444444444444"
RECORD = f"{CUSTOMER}/{CART}.json"
NO_ANSWER = ServiceResponse(None, failure="no answer: ReadTimeout")


class WithoutToken(Responses):
    """The service, while no token can be acquired for it."""

    def token(self) -> str:
        raise TokenUnavailable("the identity endpoint is gone")


def send(world: World, cart: str = CART, **members: Any) -> str:
    """Put a request into the carts queue, and return its text."""
    text = json.dumps({"customerId": CUSTOMER, "cartId": cart, "requestId": "order-1", **members})
    world.carts.send(text)
    return text


def deliver(world: World) -> None:
    """Deliver the next message of the carts queue, which must not fail."""
    message = world.carts.receive()
    assert message is not None
    assert world.deliver(message)


def copy_in(world: World) -> QueuedMessage:
    """The one message of the carts queue."""
    (copy,) = world.carts.messages
    return copy


def wait_of(world: World) -> float:
    """The seconds until the one message of the carts queue is visible."""
    return (copy_in(world).visible_at - world.clock.now).total_seconds()


def keep(world: World, state: CartState) -> None:
    """Give the cart a record with this working state, written now."""
    world.container.write(RECORD, b"[]", content_type="application/json", metadata=to_metadata(state))


def kept(world: World) -> dict[str, Any]:
    """What the record says of the cart's latest POST."""
    return dict(json.loads(world.container.blobs[RECORD].metadata["post"]))


def told(world: World) -> tuple[str, str, str]:
    """The last outcome, with the class and the description of its error."""
    data = world.published()[-1]["data"]
    return data["outcome"], data["error"]["class"], data["error"]["description"]


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The last log line, and its level."""
    record = caplog.records[-1]
    return {"level": logging.getLevelName(record.levelno), **json.loads(record.getMessage())}


def started(world: World, age: timedelta) -> dict[str, str]:
    """The retry of a copy whose first message is so old."""
    return {"startedAt": (world.clock.now - age).isoformat()}
