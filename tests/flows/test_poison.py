"""The poison queue's handler: how far its copies come apart, what it does where it fails itself, and ordered carts."""

import json
import logging
from typing import NoReturn

import pytest

from shared.core.models import ServiceResponse
from shared.core.retry import RetryPolicy
from shared.steps import Steps
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, World

CART = "bebebebe-1111-4222-8333-444444444444"
NO_ANSWER = ServiceResponse(None, failure="no answer: ReadTimeout")
REFUSED = ServiceResponse(400, b'{"code": 800002, "description": "No such offer."}')
ORDERED = ServiceResponse(200, b'{"status": "Ordered"}')


class Dice:
    """A random source that remembers the ranges it was asked for, and always draws the longest."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def __call__(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return high


@pytest.fixture
def world() -> World:
    return World()


def request(**retry: object) -> str:
    return json.dumps({"customerId": CUSTOMER, "cartId": CART, "requestId": "order-1", "retry": retry})


def renew(world: World, text: str, dequeue_count: int, dice: Dice) -> tuple[str, float]:
    """Deliver a message by the poison queue. Returns its one copy: the text, and the seconds until it is visible."""
    world.poison.send(text)
    message = world.poison.receive()
    assert message is not None
    message.dequeue_count = dequeue_count
    assert world.deliver(message, from_poison=True, checkout=world.worker(dice))
    (copy,) = world.poison.messages
    return copy.text, (copy.visible_at - world.clock.now).total_seconds()


def line(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    """The last log line, and its level."""
    record = caplog.records[-1]
    return {"level": record.levelno, **json.loads(record.getMessage())}


@pytest.mark.parametrize(("renewals", "longest"), [(0, 60), (1, 120), (5, 1920), (6, 3600), (1_000_000, 3600)])
def test_each_renewal_spreads_the_copies_twice_as_far_up_to_an_hour(
    world: World, renewals: int, longest: float
) -> None:
    dice = Dice()
    _, delay = renew(world, request(poisoned=True, renewals=renewals), 2, dice)
    assert ([(0.0, longest)], longest) == (dice.asked, delay)


@pytest.mark.parametrize("dequeue_count", [2, 3, 5])
def test_an_invalid_message_that_failed_comes_back_unchanged_within_a_quarter_of_an_hour(
    world: World, dequeue_count: int, caplog: pytest.LogCaptureFixture
) -> None:
    dice = Dice()
    with caplog.at_level(logging.INFO):
        assert ("nonsense", 900.0) == renew(world, "nonsense", dequeue_count, dice)
    assert [(0.0, 900.0)] == dice.asked
    assert ("renewed", logging.ERROR) == (line(caplog)["result"], line(caplog)["level"])


@pytest.mark.parametrize(("text", "longest"), [("nonsense", 900.0), (request(poisoned=True), 60.0)])
def test_a_bug_in_the_handler_sends_a_copy_after_a_pause(
    world: World, text: str, longest: float, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Steps, "answer", bug)
    monkeypatch.setattr(Steps, "answer_invalid", bug)
    dice = Dice()
    with caplog.at_level(logging.INFO):
        _, delay = renew(world, text, 1, dice)
    assert ([(0.0, longest)], 30.0 + longest) == (dice.asked, delay)
    found = {name: line(caplog)[name] for name in ("result", "exception", "level")}
    assert {"result": "renewed", "exception": "RuntimeError", "level": logging.ERROR} == found


def test_a_killer_whose_cart_is_ordered_is_told_by_one_look_at_the_cart(world: World) -> None:
    service = Responses(NO_ANSWER, cart=ORDERED)
    world.serve(service)
    world.carts.send(request())
    message = world.carts.receive()
    assert message is not None
    world.deliver(message)
    world.carts.messages.clear()
    world.clock.advance(RetryPolicy().settle + 1)

    world.poison.send(request(poisoned=True))
    world.run()

    error = world.outcome()["data"]["error"]
    though = "The cart is ordered, though: The program failed on this message in every delivery."
    assert ("already_ordered", though, None) == (error["class"], error["description"], error.get("code"))
    assert (1, 1) == (service.gets, len(service.posts))


def test_an_ordered_cart_is_told_with_the_words_and_the_code_of_the_refusal(world: World) -> None:
    world.serve(Responses(NO_ANSWER, REFUSED, cart=ORDERED))
    world.carts.send(request())
    world.run()
    error = world.outcome()["data"]["error"]
    told = (error["class"], error["code"], error["description"])
    assert ("already_ordered", "800002", "The cart is ordered, though: No such offer.") == told


def test_a_poisoned_request_goes_back_to_the_carts_queue_once_and_its_deaths_are_counted_anew(world: World) -> None:
    dice = Dice()
    world.poison.send(request(deaths=3, renewals=2))
    message = world.poison.receive()
    assert message is not None
    assert world.deliver(message, from_poison=True, checkout=world.worker(dice))
    retry = world.waiting()
    del retry["startedAt"]
    assert {"poisoned": True, "renewals": 2, "reason": "poisoned"} == retry
    (copy,) = world.carts.messages
    assert ([(0.0, 20.0)], 20.0) == (dice.asked, (copy.visible_at - world.clock.now).total_seconds())
    assert [] == world.poison.messages
