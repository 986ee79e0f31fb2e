"""Every I/O step of every kind of message, and every way in which it can go wrong: the invariants hold.

The steps are those that a faultless run takes: the test writes them down itself, so none can be forgotten.
"""

import json
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from local.simulator import scenarios
from tests.support.history import Failure
from tests.support.world import CUSTOMER, SETTINGS, World

# quick to give up, so that a service that stays down is a short story
HASTY = replace(SETTINGS, retry_base=5.0, retry_cap=20.0, retry_max_age=60.0, settle=600.0)


def cart(scenario: str) -> Callable[[World], None]:
    return lambda world: void(world.enqueue(scenario))


def twice(scenario: str) -> Callable[[World], None]:
    return lambda world: void(world.enqueue(scenario), world.enqueue(scenario))


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


STORIES: dict[str, Callable[[World], None]] = {
    name: cart(name)
    for name in (
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
        "ordered-at-a-repeat",
        "service-down",
        "never-tells",
        "uncoded-403-for-ever",
    )
} | {
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


def play(story: Callable[[World], None], plan: dict[int, Failure] | None = None) -> World:
    world = World(HASTY).tap(plan)
    story(world)
    world.run(most=500)
    return world


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_the_invariants_hold_whichever_step_fails_in_whichever_way(story: Callable[[World], None]) -> None:
    faultless = play(story)
    assert [] == faultless.violations()
    steps = [(step.number, step.name) for step in faultless.journal.steps]
    assert {"host.return"} < {name for _, name in steps}

    found = {
        f"step {number}, {name}, {how}": wrong
        for number, name in steps
        for how in Failure
        if (wrong := play(story, {number: how}).violations())
    }

    assert {} == found


def test_the_cases_cover_every_step() -> None:
    taken = {step.name for story in STORIES.values() for step in play(story).journal.steps}

    assert {
        "records.read",
        "records.write",
        "records.overwrite",
        "identity.token",
        "service.checkout",
        "service.get_cart",
        "service.list_orders",
        "carts.send",
        "checkout-outcomes.send",
        "host.return",
    } == taken - {"carts-poison.send"}
