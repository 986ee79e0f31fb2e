"""A record that only has a working state is no outcome: not for the story, and not for who checks the invariants."""

import json
from datetime import timedelta

import pytest

from local.invariants import recorded_before_published
from shared.core.cart_state import CartState, Post
from shared.core.messages import CheckoutRequest
from shared.core.state_metadata import to_metadata
from shared.records import Records
from tests.support.builders import CART, CUSTOMER, accepted, event
from tests.support.world import CUSTOMER as OF_THE_WORLD
from tests.support.world import World

STATE = CartState(0, Post("another request", World().carts_began, delivery="died"))


def entered(world: World, cart: str) -> None:
    """A POST was entered for this cart, and its request died there."""
    records = Records(world.container)
    records.enter(asked(world), records.load(OF_THE_WORLD, cart), to_metadata(STATE))


def asked(world: World) -> CheckoutRequest:
    """The request that waits in the carts queue."""
    (message,) = world.carts.messages
    return accepted(message.text.encode())


def test_no_event_is_recorded_in_it() -> None:
    told = json.loads(event().text)
    records: dict[str, list[dict[str, object]]] = {f"{CUSTOMER}/{CART}": []}
    assert [] == list(recorded_before_published([], records))
    assert [f"3: the event {told['id']} was published but not recorded"] == list(
        recorded_before_published([told], records)
    )


@pytest.mark.parametrize("scenario", ["created", "coded-500", "dropped-after-then-refused", "partial"])
def test_its_cart_is_decided_as_any_other(scenario: str) -> None:
    world = World().tap()
    cart = world.enqueue(scenario)
    entered(world, cart)

    world.run()

    assert [] == world.violations()
    assert [world.outcome()] == world.record(cart)
    state = world.state(cart)
    assert state.post is None
    assert state.key is not None


def test_a_request_waits_until_the_post_of_another_one_that_died_is_settled() -> None:
    world = World().tap()
    cart = world.enqueue("created")
    entered(world, cart)

    world.run()

    assert timedelta(seconds=600) <= world.clock.now - world.carts_began < timedelta(seconds=632)
    assert 1 == world.page(cart)["posts"]


def test_a_cart_costs_one_read_two_writes_and_one_message() -> None:
    world = World().tap()
    world.enqueue("created")
    world.run()
    steps = [step.name for step in world.journal.steps if not step.name.startswith(("identity", "service", "host"))]
    assert ["records.read", "records.write", "records.write", "checkout-outcomes.send"] == steps


def test_a_deferral_costs_one_write_which_says_what_the_answer_left() -> None:
    world = World().tap()
    world.enqueue("throttled")
    assert world.deliver(world.carts.receive())  # type: ignore[arg-type]
    steps = [step.name for step in world.journal.steps if not step.name.startswith(("identity", "service", "host"))]
    assert ["records.read", "records.write", "carts.send", "records.set_metadata"] == steps
