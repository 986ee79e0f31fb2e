"""What the log line of a delivery says, beside its level and its result: operators search for these facts."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from shared import checkout
from shared.core.cart_state import CartState, Post
from shared.core.messages import CheckoutRequest, Delivery, ms_request_id
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.ports import Conflict, StorageUnavailable
from shared.records import Records
from shared.time_budget import TimeBudget
from tests.support.builders import accepted, answer
from tests.support.deliveries import CART, RECORD, deliver, keep, line, send
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, World

ORDERED = answer(200, {"status": "Ordered"})
BOUGHT = answer(201, {"orders": [{"id": "o1", "status": "completed"}]})
SERVICE = answer(500, {"code": 800003, "description": "Internal error."})


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def logging_at_info(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


@pytest.mark.parametrize(
    ("posted", "steps"),
    [
        (BOUGHT, {"recall", "enter", "post", "keep", "publish"}),
        (SERVICE, {"recall", "enter", "post", "defer", "mark"}),
        (
            answer(400, {"code": 800065}),
            {"recall", "enter", "post", "get_cart", "list_orders", "keep", "publish"},
        ),
    ],
    ids=["bought", "deferred", "ordered"],
)
def test_each_step_is_timed_under_its_name(
    posted: ServiceResponse, steps: set[str], world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.serve(Responses(posted, cart=ORDERED))
    send(world)
    deliver(world)
    assert steps == line(caplog)["ms"].keys()


def test_the_line_names_the_answer_and_the_key_that_it_was_sent_under(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    keep(world, CartState(3))
    world.serve(Responses(SERVICE))
    send(world)
    deliver(world)
    facts = line(caplog)
    assert (500, "800003", ms_request_id(CUSTOMER, CART, 3)) == tuple(
        facts[name] for name in ("status", "code", "msRequestId")
    )


def test_the_line_of_a_deferral_says_for_how_long_to_a_tenth_of_a_second(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.checkout = world.worker(uniform=lambda low, high: low + (high - low) * 0.123)
    keep(world, CartState(0, Post("another", world.clock.now - timedelta(seconds=3.25))))
    world.serve(Responses(answer(429, {}, retry_after="40")))
    world.checkout = world.worker(uniform=lambda _, high: high - 0.123)
    send(world, retry={})
    world.clock.advance(700)
    deliver(world)
    assert ("deferred", "throttled", 44.9) == tuple(line(caplog)[name] for name in ("result", "reason", "delay"))


def test_a_mark_that_could_not_be_written_is_said_to_be_lost(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def failing(*_: object, **__: object) -> str:
        raise StorageUnavailable("away")

    world.container.set_metadata = failing  # type: ignore[method-assign]
    world.serve(Responses(SERVICE))
    send(world)
    deliver(world)
    assert ("deferred", "lost") == (line(caplog)["result"], line(caplog)["mark"])


def test_what_is_wrong_with_storage_stands_in_the_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.container.overwrite(RECORD, b"no record")
    send(world)
    deliver(world)
    assert ("StorageUnavailable", f"the record {RECORD} is damaged") == (
        line(caplog)["exception"],
        line(caplog)["detail"],
    )


def test_a_race_that_was_lost_too_often_stands_in_the_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def losing(*_: object, **__: object) -> str:
        raise Conflict

    world.container.write = losing  # type: ignore[method-assign]
    send(world)
    deliver(world)
    assert "lost the race for the record too often" == line(caplog)["detail"]


class TwiceBought(Responses):
    """A service whose POST is answered with two orders, after another delivery has recorded one or both of them."""

    def __init__(self, world: World, recorded: list[str]) -> None:
        super().__init__(answer(201, {"orders": [{"id": each, "status": "completed"} for each in ("o1", "o2")]}))
        self._world, self._recorded = world, recorded
        self.request: CheckoutRequest | None = None

    def checkout(self, request: CheckoutRequest, **how: Any) -> ServiceResponse:
        records = Records(self._world.container)
        orders = ",".join(f'{{"id":"{each}"}}' for each in self._recorded)
        decision = Decision(Outcome.COMPLETED, 1, f'{{"orders":[{orders}]}}')
        other = decided(self.request or request, decision, self._world.clock.now)
        records.append(request, records.load(CUSTOMER, CART), other)
        return super().checkout(request, **how)


@pytest.mark.parametrize(
    ("recorded", "level", "others"),
    [(["o1", "o2"], "INFO", None), (["o1"], "ERROR", "o2"), (["o9"], "ERROR", "o1 o2")],
)
def test_orders_beside_those_recorded_are_an_error_that_names_them(
    recorded: list[str], level: str, others: str | None, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.serve(TwiceBought(world, recorded))
    send(world)
    deliver(world)
    assert (level, others) == (line(caplog)["level"], line(caplog).get("otherOrders"))


def test_orders_beside_those_of_another_request_are_told_to_both(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    service = TwiceBought(world, ["o9"])
    service.request = accepted(send(world, requestId="order-0").encode())
    world.carts.messages.clear()
    world.serve(service)
    send(world)
    deliver(world)
    data = world.published()[-1]["data"]
    assert ("completed", ["o1", "o2"]) == (data["outcome"], data["error"]["data"])
    assert "other ones are recorded: the cart may be bought twice" in data["error"]["description"]
    assert "o1 o2" == line(caplog)["otherOrders"]


def test_what_a_cart_has_recorded_is_not_published_from_poison_where_no_time_is_left(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.serve(Responses(answer(400, {"code": 800002})))
    send(world)
    world.run()
    slow = world.container.read

    def reading(name: str) -> Any:
        world.clock.advance(539)
        return slow(name)

    world.container.read = reading  # type: ignore[method-assign]
    body = f'{{"customerId":"{CUSTOMER}","cartId":"{CART}"}}'.encode()
    world.checkout.handle(body, Delivery("m", 1, world.clock.now, from_poison=True))
    assert "no time is left to publish what is recorded" == line(caplog)["detail"]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("from_poison", [False, True])
@pytest.mark.parametrize("spare", [0.0, -0.1])
def test_the_outcome_of_another_request_is_copied_only_where_there_is_time_for_it(
    *,
    large: bool,
    from_poison: bool,
    spare: float,
    world: World,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large one is read first, and from the poison queue it is published under the other request's id too."""
    limits = world.checkout._limits
    world.serve(Responses(answer(201, {"orders": [{"id": "x" * 60_000 * large + "o", "status": "completed"}]})))
    send(world)
    world.run()
    needed = limits.ending + limits.read * large + limits.write * from_poison
    monkeypatch.setattr(checkout, "TimeBudget", partial(TimeBudget, longest=needed + spare))
    body = send(world, requestId="order-2").encode()

    world.checkout.handle(body, Delivery("m", 1, world.clock.now, from_poison=from_poison))

    found = line(caplog)
    if spare < 0:
        assert ("deferred", "no time is left to copy the outcome") == (found["result"], found["detail"])
    else:
        assert ("told", "completed") == (found["result"], found["outcome"])
