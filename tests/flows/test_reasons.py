"""What an outcome says where the program itself ended the request: people act by these words."""

import logging
from datetime import timedelta

import pytest

from shared.core.cart_state import CartState, Post
from shared.core.errors import UNRESOLVED
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.core.retry import LAST_DAY
from shared.records import Records
from tests.support.builders import accepted, answer
from tests.support.deliveries import (
    CART,
    NO_ANSWER,
    RECORD,
    WithoutToken,
    deliver,
    keep,
    line,
    send,
    started,
    told,
)
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, World

OTHER_CART = "bebebebe-2222-4222-8333-444444444444"
THROTTLED = ServiceResponse(429, b"", retry_after="3600")
ORDERED = answer(200, {"status": "Ordered"})
DAY = timedelta(days=1)


@pytest.fixture
def world() -> World:
    return World()


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
    keep(world, CartState(0, Post("another", world.clock.now)))
    world.clock.advance(700)
    send(world, retry=started(world, LAST_DAY))

    with caplog.at_level(logging.INFO):
        deliver(world)

    assert ("unknown", "already_ordered", "The cart is ordered, though: the identity endpoint is gone") == told(world)
    assert "ERROR" == line(caplog)["level"]


def test_an_expired_request_is_told_when_it_expired(world: World) -> None:
    world.serve(Responses(NO_ANSWER))
    send(world, notAfter="2026-11-22T11:00:00+01:00")  # now

    deliver(world)

    assert ("failed", "expired", "Not bought before 2026-11-22T10:00:00+00:00") == told(world)


@pytest.mark.parametrize(
    ("clock", "reason", "told_as"),
    [
        ("since", "in_progress", "in_progress"),
        ("since", "throttled", "throttled"),
        ("since", "settling", "service"),
        ("since", None, "service"),
        ("held", "configuration", "configuration"),
    ],
)
def test_a_request_whose_last_post_got_no_answer_is_given_up_with_the_class_of_the_answer_before(
    world: World, clock: str, reason: str | None, told_as: str
) -> None:
    world.serve(Responses(NO_ANSWER))
    began = (world.clock.now - 3 * DAY).isoformat()
    text = send(world, retry={clock: began, **({"reason": reason} if reason else {})})
    keep(world, CartState(0, Post(accepted(text.encode()).event_id, world.clock.now)))
    world.clock.advance(700)

    deliver(world)

    assert ("failed", told_as, "The last POST got no certain answer") == told(world)


def test_a_cart_whose_record_has_lost_its_state_is_unknown_where_get_cart_proves_nothing(world: World) -> None:
    world.serve(Responses(NO_ANSWER, cart=answer(200, {"status": "Expired"})))
    world.container.overwrite(RECORD, b"[]")
    world.clock.advance(700)
    send(world)

    deliver(world)

    said = "The record had lost its state; GET cart then said: unclear"
    assert ("unknown", "unanswered", said) == told(world)


def test_an_ordered_cart_corrects_what_a_copy_of_its_message_was_told_meanwhile(world: World) -> None:
    """This one   enter ─ POST ─ 800065 ──────────── enter ✕ Conflict ─ load: its own `failed` ─ `unknown`.

    a copy                          append `failed`
    """

    def a_copy_fails_meanwhile() -> ServiceResponse:
        records = Records(world.container)
        record = records.load(CUSTOMER, CART)
        records.append(request, record, decided(request, Decision(Outcome.FAILED, 1), world.clock.now))
        return answer(400, {"code": 800065, "description": "Already ordered."})

    world.serve(Responses(a_copy_fails_meanwhile, cart=ORDERED))
    request = accepted(send(world).encode())

    deliver(world)

    assert ("unknown", "already_ordered", "GET cart says that it is ordered") == told(world)
    failed, corrected = world.record(CART)
    assert failed["id"] == corrected["data"]["corrects"]


def test_a_refusal_that_stays_unresolved_is_told_with_its_source_and_what_to_do(world: World) -> None:
    refused = answer(400, {"code": 999999, "description": "no", "source": "PartnerFD"})
    world.serve(Responses(refused, cart=answer(200, {"status": "Expired"})))
    send(world)

    world.run()

    error = world.outcome()["data"]["error"]
    assert ("unanswered", "no; GET cart then said: unclear", "999999", "PartnerFD", UNRESOLVED) == tuple(
        error[name] for name in ("class", "description", "code", "source", "advice")
    )


def test_a_request_that_is_given_up_is_not_blamed_on_the_lines_of_its_cart(world: World) -> None:
    """What GET cart says of the lines explains a refusal, and not a service that was away."""
    lines = [{"id": 0, "error": {"errorCode": 10013, "errorDescription": "plan"}}]
    world.serve(Responses(answer(503), cart=answer(200, {"status": "Active", "lineItems": lines})))
    send(world, retry={"since": (world.clock.now - 2 * DAY).isoformat()})

    world.run()

    data = world.outcome()["data"]
    assert ("failed", "service", None) == (data["outcome"], data["error"]["class"], data["error"].get("data"))


def test_a_request_that_waits_until_it_can_be_given_up_names_the_class_of_its_answer(world: World) -> None:
    """An alert matches the classes that wait for an operator, and this wait is theirs too."""
    world.serve(Responses(NO_ANSWER))
    send(world, retry={"since": (world.clock.now - 2 * DAY).isoformat()})

    deliver(world)

    assert "service" == world.waiting()["reason"]


def test_an_expired_request_that_waits_until_its_post_is_settled_says_so(world: World) -> None:
    world.serve(Responses(NO_ANSWER))
    text = send(world, notAfter=world.clock.now.isoformat())
    keep(world, CartState(0, Post(accepted(text.encode()).event_id, world.clock.now)))

    deliver(world)

    assert "settling" == world.waiting()["reason"]


def test_a_request_that_is_given_up_has_the_ids_of_the_last_answer(world: World) -> None:
    world.serve(Responses(answer(429, {}, request_id="of-the-post")))
    send(world, retry=started(world, LAST_DAY))

    world.run()

    data = world.outcome()["data"]
    assert ("failed", "throttled") == (data["outcome"], data["error"]["class"])
    assert (429, "of-the-post") == (data["response"]["status"], data["response"]["requestId"])
