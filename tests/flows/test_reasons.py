"""What an outcome says where the program itself ended the request: people act by these words."""

import json
import logging
from datetime import timedelta
from typing import Any

import pytest

from shared.core.cart_state import CartState, Post
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.core.retry import LAST_DAY
from shared.core.state_metadata import to_metadata
from shared.ports import TokenUnavailable
from shared.records import Records
from tests.support.builders import accepted, answer
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, World

CART = "bebebebe-1111-4222-8333-444444444444"
OTHER_CART = "bebebebe-2222-4222-8333-444444444444"
NO_ANSWER = ServiceResponse(None, failure="no answer: ReadTimeout")
THROTTLED = ServiceResponse(429, b"", retry_after="3600")
ORDERED = answer(200, {"status": "Ordered"})
DAY = timedelta(days=1)


class WithoutToken(Responses):
    def token(self) -> str:
        raise TokenUnavailable("the identity endpoint is gone")


@pytest.fixture
def world() -> World:
    return World()


def send(world: World, cart: str = CART, **members: Any) -> str:
    text = json.dumps({"customerId": CUSTOMER, "cartId": cart, "requestId": "order-1", **members})
    world.carts.send(text)
    return text


def deliver(world: World) -> None:
    message = world.carts.receive()
    assert message is not None
    assert world.deliver(message)


def enter(world: World, state: CartState) -> None:
    """Give the cart a record with this working state."""
    world.container.write(
        f"{CUSTOMER}/{CART}.json", b"[]", content_type="application/json", metadata=to_metadata(state)
    )


def told(world: World) -> tuple[str, str, str]:
    """The last outcome, with the class and the description of its error."""
    data = world.published()[-1]["data"]
    return data["outcome"], data["error"]["class"], data["error"]["description"]


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The last log line, and its level."""
    record = caplog.records[-1]
    return {"level": record.levelno, **json.loads(record.getMessage())}


def started(world: World, age: timedelta) -> dict[str, str]:
    """The retry of a copy whose first message is so old."""
    return {"startedAt": (world.clock.now - age).isoformat()}


@pytest.mark.parametrize("too_early", [timedelta(seconds=1), timedelta()])
def test_a_request_behind_a_closed_gate_is_given_up_on_the_carts_last_day(world: World, too_early: timedelta) -> None:
    world.serve(Responses(THROTTLED))
    send(world, OTHER_CART)
    deliver(world)
    send(world, retry=started(world, LAST_DAY - too_early))

    deliver(world)

    if too_early:
        assert [] == world.published()
    else:
        assert ("failed", "throttled", "Throttled until the cart's last day") == told(world)


def test_a_request_without_a_token_is_told_why_on_the_carts_last_day(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.serve(WithoutToken(NO_ANSWER))
    send(world, retry=started(world, LAST_DAY))

    with caplog.at_level(logging.INFO):
        deliver(world)

    assert ("failed", "authentication", "the identity endpoint is gone") == told(world)
    assert ("TokenUnavailable", "the identity endpoint is gone") == (
        line(caplog)["exception"],
        line(caplog)["detail"],
    )


def test_a_request_without_a_token_is_an_error_in_the_log_whatever_its_cart_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An ordered cart is told as `unknown`, of the class `already_ordered`: no alert would match that alone."""
    world.serve(WithoutToken(NO_ANSWER, cart=ORDERED))
    enter(world, CartState(0, Post("another", world.clock.now)))
    world.clock.advance(700)
    send(world, retry=started(world, LAST_DAY))

    with caplog.at_level(logging.INFO):
        deliver(world)

    assert ("unknown", "already_ordered", "The cart is ordered, though: the identity endpoint is gone") == told(world)
    assert logging.ERROR == line(caplog)["level"]


def test_an_expired_request_is_told_when_it_expired(world: World) -> None:
    world.serve(Responses(NO_ANSWER))
    send(world, notAfter="2026-11-22T11:00:00+01:00")  # now

    deliver(world)

    assert ("failed", "expired", "Not bought before 2026-11-22T10:00:00+00:00") == told(world)


@pytest.mark.parametrize(
    ("reason", "told_as"),
    [("in_progress", "in_progress"), ("throttled", "throttled"), ("settling", "service"), (None, "service")],
)
def test_a_request_whose_last_post_got_no_answer_is_given_up_with_the_class_of_the_answer_before(
    world: World, reason: str | None, told_as: str
) -> None:
    world.serve(Responses(NO_ANSWER))
    since = world.clock.now - 2 * DAY
    text = send(world, retry={"since": since.isoformat(), **({"reason": reason} if reason else {})})
    enter(world, CartState(0, Post(accepted(text.encode()).event_id, world.clock.now)))
    world.clock.advance(700)

    deliver(world)

    assert ("failed", told_as, "The last POST got no certain answer") == told(world)


def test_a_cart_whose_record_has_lost_its_state_is_unknown_where_get_cart_proves_nothing(world: World) -> None:
    world.serve(Responses(NO_ANSWER, cart=answer(200, {"status": "Expired"})))
    world.container.overwrite(f"{CUSTOMER}/{CART}.json", b"[]")
    world.clock.advance(700)
    send(world)

    deliver(world)

    said = "The record had lost its state; GET cart then said: unclear"
    assert ("unknown", "unanswered", said) == told(world)


def test_an_ordered_cart_corrects_what_a_copy_of_its_message_was_told_meanwhile(world: World) -> None:
    """This one   enter ─ POST ─ 800065 ──────────── enter ✕ Conflict ─ load: its own `failed` ─ `unknown`.

    a copy                          append `failed`
    """
    request: list[CheckoutRequest] = []

    def a_copy_fails_meanwhile() -> ServiceResponse:
        records = Records(world.container)
        record = records.load(CUSTOMER, CART)
        records.append(request[0], record, decided(request[0], Decision(Outcome.FAILED, 1), world.clock.now))
        return answer(400, {"code": 800065, "description": "Already ordered."})

    world.serve(Responses(a_copy_fails_meanwhile, cart=ORDERED))
    request.append(accepted(send(world).encode()))

    deliver(world)

    assert ("unknown", "already_ordered", "GET cart says that it is ordered") == told(world)
    failed, corrected = world.record(CART)
    assert failed["id"] == corrected["data"]["corrects"]
