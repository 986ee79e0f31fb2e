"""A record that only has a working state is no outcome: not for the story, and not for who checks the invariants."""

import json

import pytest

from local.invariants import recorded_before_published
from shared.core.messages import CheckoutRequest
from shared.records import Records
from tests.support.builders import CART, CUSTOMER, accepted, event
from tests.support.world import CUSTOMER as OF_THE_WORLD
from tests.support.world import World

STATE = {"key": "0", "post_by": "another request"}


def entered(world: World, cart: str) -> None:
    """A POST was entered for this cart, and its request died there."""
    records = Records(world.container)
    records.enter(asked(world), records.load(OF_THE_WORLD, cart), STATE)


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
def test_its_cart_is_decided_as_any_other_and_its_state_is_not_lost(scenario: str) -> None:
    world = World().tap()
    cart = world.enqueue(scenario)
    entered(world, cart)

    world.run()

    assert [] == world.violations()
    assert [world.outcome()] == world.record(cart)
    assert STATE == dict(world.container.blobs[f"{OF_THE_WORLD}/{cart}.json"].metadata)


def test_the_story_reads_a_record_once_and_writes_it_once() -> None:
    """With the entry before the POST there will be one write more."""
    world = World().tap()
    world.enqueue("created")
    world.run()
    steps = [step.name for step in world.journal.steps if not step.name.startswith(("identity", "service", "host"))]
    assert ["records.read", "records.write", "checkout-outcomes.send"] == steps


def test_entering_a_post_costs_one_write() -> None:
    world = World().tap()
    cart = world.enqueue("created")
    records, ours = Records(world.blobs), asked(world)
    record = records.enter(ours, records.load(OF_THE_WORLD, cart), STATE)
    record = records.mark(ours, record, STATE)
    records.append(ours, record, event(of=ours), {"key": "0"})
    steps = [step.name for step in world.journal.steps]
    assert ["records.read", "records.write", "records.set_metadata", "records.write"] == steps
