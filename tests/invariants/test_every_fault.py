"""Every I/O step of every kind of message, and every way in which it can go wrong: the invariants hold.

The steps are those that a faultless run takes: the test writes them down itself, so none can be forgotten.
"""

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from local.simulator import scenarios
from local.simulator.carts import Idempotency
from tests.support.history import Failure
from tests.support.world import CUSTOMER, SETTINGS, World

# quick to give up, and with few deliveries until the cart's last day: a service that stays down is a short story
HASTY = replace(SETTINGS, retry_cap=20_000.0, retry_max_age=60.0)
SERVICES: tuple[Idempotency, ...] = ("documented", "strict", "remembering")


def cart(scenario: str) -> Callable[[World], None]:
    return lambda world: void(world.enqueue(scenario))


def twice(scenario: str) -> Callable[[World], None]:
    return lambda world: void(world.enqueue(scenario), world.enqueue(scenario))


def without_request_id(scenario: str) -> Callable[[World], None]:
    return lambda world: void(world.enqueue(scenario, None))


def two_requests_at_once(scenario: str) -> Callable[[World], None]:
    return lambda world: void(world.enqueue(scenario, "order-1"), world.enqueue(scenario, "order-2"))


def a_second_request_after_the_outcome(scenario: str) -> Callable[[World], None]:
    def story(world: World) -> None:
        world.enqueue(scenario, "order-1")
        world.run(most=4000)
        world.enqueue(scenario, "order-2")

    return story


def cloudevent(world: World) -> None:
    data = {"customerId": CUSTOMER, "cartId": scenarios.cart_id("plain-503", "event")}
    event = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed", "data": data}
    world.carts.send(json.dumps(event))


def poisoned(world: World) -> None:
    world.enqueue("created")
    world.poison.send(world.carts.messages.pop().text)


def poisoned_invalid(world: World) -> None:
    world.poison.send("nonsense")


def invalid(world: World) -> None:
    world.carts.send("nonsense")


def bought_by_another_request(world: World) -> None:
    world.enqueue("created", "order-0")
    world.run()
    world.enqueue("created", "order-1")


def huge_by_another_request(world: World) -> None:
    world.enqueue("huge-result", "order-0")
    world.run()
    world.enqueue("huge-result", "order-1")


def poisoned_after_another_request(world: World) -> None:
    world.enqueue("created", "order-0")
    world.run()
    world.enqueue("created", "order-1")
    world.poison.send(world.carts.messages.pop().text)


def void(*_: object) -> None:
    """Only the effect is wanted."""


EVERYTHING = bool(os.environ.get("EVERY_FAULT"))
"""Whether all faults of all stories are tried, in every service. It takes an hour or two: `make faults`."""
CARTS = (
    "created",
    "huge-result",
    "partial",
    "pending-review",
    "fault-400-800013",
    "only-order-errors",
    "unknown-400",
    "unknown-400-when-ordered",
    "already-ordered",
    "throttled",
    "coded-500",
    "uncoded-500",
    "plain-503",
    "in-progress",
    "empty-body",
    "dropped-before",
    "dropped-after",
    "dropped-mid-body",
    "dropped-before-then-refused",
    "dropped-after-then-refused",
    "dropped-then-refused-and-mute",
    "refuses-a-repeat",
    "refused-then-ordered-late",
    "refused-for-ever-though-ordered-late",
    "busy-until-ordered-late",
    "coded-500-then-refused-then-ordered-late",
    "unknown-400-ordered-late",
    "in-progress-then-refused",
    "coded-500-after-purchase",
    "refused-and-stale",
    "throttled-after-purchase",
    "unauthorized-after-purchase",
    "forbidden-repeat",
    "ordered-at-a-repeat",
    "service-down",
    "never-tells",
    "uncoded-403-for-ever",
)
STORIES: dict[str, Callable[[World], None]] = {name: cart(name) for name in CARTS} | {
    "enqueued twice": twice("created"),
    "failed and enqueued twice": twice("fault-400-800013"),
    "cloudevent": cloudevent,
    "invalid": invalid,
    "poisoned": poisoned,
    "poisoned invalid": poisoned_invalid,
    "bought by another request": bought_by_another_request,
    "huge, bought by another request": huge_by_another_request,
    "poisoned after another request": poisoned_after_another_request,
}


REQUESTS = {
    "no request id": without_request_id,
    "two at once": two_requests_at_once,
    "another after the outcome": a_second_request_after_the_outcome,
}
MORE = {f"{name}, {kind}": make(name) for name in CARTS for kind, make in REQUESTS.items()}


def play(
    story: Callable[[World], None], plan: dict[int, Failure] | None = None, idempotency: Idempotency = "strict"
) -> World:
    world = World(HASTY, idempotency=idempotency).tap(plan)
    story(world)
    world.run(most=4000)
    return world


def wrong(name: str, idempotency: Idempotency, most: int) -> dict[str, Any]:
    """Every invariant that a fault breaks. Of more than `most` faults a sample is tried, the same in every run."""
    story = (STORIES | MORE)[name]
    faultless = play(story, idempotency=idempotency)
    found: dict[str, Any] = {"no fault": violated} if (violated := faultless.violations()) else {}
    faults = [(step, how) for step in faultless.journal.steps for how in Failure]
    if len(faults) > most and not EVERYTHING:
        faults = random.Random(f"{name} {idempotency}").sample(faults, most)
    for step, how in faults:
        if violated := play(story, {step.number: how}, idempotency).violations():
            found[f"step {step.number}, {step.name}, {how}"] = violated
    return found


@pytest.mark.parametrize("name", STORIES)
def test_the_invariants_hold_whichever_step_fails_in_whichever_way(name: str) -> None:
    assert {} == wrong(name, "strict", 80)


@pytest.mark.parametrize("idempotency", SERVICES)
@pytest.mark.parametrize("name", [*STORIES, *MORE])
def test_the_invariants_hold_for_several_requests_in_every_service(name: str, idempotency: Idempotency) -> None:
    assert {} == wrong(name, idempotency, 2)


def test_the_cases_cover_every_step() -> None:
    taken = {step.name for story in STORIES.values() for step in play(story).journal.steps}

    assert {
        "records.read",
        "records.write",
        "records.set_metadata",
        "identity.token",
        "identity.renew",
        "service.checkout",
        "service.get_cart",
        "service.list_orders",
        "carts.send",
        "checkout-outcomes.send",
        "host.return",
    } == taken - {"carts-poison.send"}
