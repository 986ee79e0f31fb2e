"""Two workers and one cart: a concurrent action happens at an exact point, just before or just after a named step.

Each case runs with the concurrent action before and after every step that the first worker takes, so that every point
is covered.
"""

import base64
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Decision, Outcome, decided
from shared.records import Records
from tests.support.history import Failure
from tests.support.world import CUSTOMER, SETTINGS, World

HASTY = replace(SETTINGS, retry_cap=20_000.0, retry_max_age=60.0)
Rival = Callable[[World], None]


def duplicate(world: World) -> None:
    """The same message once more, delivered by another worker."""
    world.enqueue("created")
    deliver_newest(world)


def another_request(world: World) -> None:
    """Another request for the same cart, delivered by another worker."""
    world.enqueue("created", "order-2")
    deliver_newest(world)


def expired_lease(world: World) -> None:
    """The lease ends while the first worker is still at it: the same message, a second delivery."""
    first = world.carts.messages[0]
    first.visible_at = world.clock.now
    message = world.carts.receive()
    assert message is first
    world.deliver(message, checkout=world.worker())


def poison_copy(world: World) -> None:
    """The same body out of the poison queue."""
    world.enqueue("created")
    world.poison.send(world.carts.messages.pop().text)
    message = world.poison.receive()
    assert message is not None
    world.deliver(message, from_poison=True, checkout=world.worker())


def deliver_newest(world: World) -> None:
    message = world.carts.messages[-1]
    message.dequeue_count, message.visible_at = 1, world.clock.now + timedelta(seconds=600)
    world.deliver(message, checkout=world.worker())


def play(rival: Rival | None, point: str | None, plan: dict[int, Failure] | None = None) -> World:
    world = World(HASTY).tap(plan)
    if rival is not None and point is not None:
        world.journal.actions[point].append(lambda: rival(world))
    world.enqueue("created")
    message = world.carts.receive()
    assert message is not None
    world.deliver(message)
    world.run(most=4000)
    return world


POINTS = [f"{when} {step.name}" for step in play(None, None).journal.steps for when in ("before", "after")]


RIVALS = [
    pytest.param(rival, point, id=f"{rival.__name__} {point}")
    for rival in (duplicate, another_request, expired_lease, poison_copy)
    for point in POINTS
    if (rival, point) != (expired_lease, "after host.return")  # a settled message has no lease
]


@pytest.mark.parametrize(("rival", "point"), RIVALS)
def test_the_invariants_hold_with_a_concurrent_delivery_at_any_point(rival: Rival, point: str) -> None:
    world = play(rival, point)

    assert [] == world.violations()
    assert "completed" == world.published()[-1]["data"]["outcome"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("rival", [duplicate, another_request], ids=lambda f: f.__name__)
def test_the_invariants_hold_with_a_concurrent_delivery_and_a_fault(rival: Rival, point: str) -> None:
    steps = len(play(rival, point).journal.steps)

    for number in range(steps):
        for how in Failure:
            world = play(rival, point, plan={number: how})
            assert [] == world.violations(), f"{point}, and step {number} {how}"


def record_meanwhile(world: World, request: CheckoutRequest, outcome: Outcome, result: str | None = None) -> None:
    """An outcome that this program would not record beside a POST at work: an assumption of it was broken."""
    records = Records(world.blobs)
    record = records.load(request.customer_id, request.cart_id)
    event = decided(request, Decision(outcome, 1, result), world.clock.now, revision=len(record.entries) + 1)
    records.append(request, record, event)


def failed_meanwhile(world: World) -> None:
    record_meanwhile(world, next(iter(world.accepted.values())), Outcome.FAILED)
    duplicate(world)  # which publishes it


def test_a_confirmed_purchase_corrects_the_failure_that_was_recorded_meanwhile() -> None:
    world = play(failed_meanwhile, "after service.checkout")

    failed, corrected = world.published()
    assert [] == world.violations()
    assert ("failed", "completed") == (failed["data"]["outcome"], corrected["data"]["outcome"])
    assert failed["id"] == corrected["data"]["corrects"]


def test_a_correction_copies_the_purchase_of_another_request() -> None:
    def both(world: World) -> None:
        failed_meanwhile(world)
        own = next(iter(world.accepted.values()))
        record_meanwhile(world, replace(own, request_id="order-2"), Outcome.COMPLETED, '{"orders":[{"id":"theirs"}]}')
        another_request(world)  # which publishes it

    world = play(both, "after service.checkout")

    failed, bought, corrected = world.published()
    assert [] == world.violations()
    assert ["failed", "completed", "completed"] == [e["data"]["outcome"] for e in (failed, bought, corrected)]
    assert failed["id"] == corrected["data"]["corrects"]
    assert bought["id"] == corrected["data"]["answeredBy"]
    assert bought["data"]["result"] == corrected["data"]["result"]


def test_two_different_purchases_of_one_cart_are_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def bought_by_another(world: World) -> None:
        own = next(iter(world.accepted.values()))
        record_meanwhile(world, replace(own, request_id="order-2"), Outcome.COMPLETED, '{"orders":[{"id":"theirs"}]}')
        another_request(world)

    world = play(bought_by_another, "after service.checkout")

    data = world.published()[-1]["data"]
    assert ("completed", "already_ordered") == (data["outcome"], data["error"]["class"])
    (line,) = [json.loads(record.message) for record in caplog.records if record.levelname == "ERROR"]
    assert set(world.page(line["cartId"])["orderIds"]) == set(line["otherOrders"].split()) == set(data["error"]["data"])


def test_a_new_request_before_the_redelivery_of_a_recorded_one_copies_its_order() -> None:
    world = World(HASTY).tap({5: Failure.KILLED_BEFORE})  # it was recorded and not published
    cart = world.enqueue("created")
    first = world.carts.receive()
    assert first is not None
    assert not world.deliver(first)
    assert [] == world.published()
    world.enqueue("created", "order-2")

    world.run()

    borrowed, published = world.published()
    assert [] == world.violations()
    assert ("order-2", "order-1") == (borrowed["data"]["requestId"], published["data"]["requestId"])
    assert published["id"] == borrowed["data"]["answeredBy"]
    assert 1 == world.service.page(CUSTOMER, cart)["posts"]


def test_a_deferred_copy_and_its_original_are_one_request() -> None:
    # the copy is sent, and the worker dies before it returns: two live messages
    faultless = World(HASTY).tap()
    faultless.enqueue("plain-503")
    faultless.run()
    sent = next(step.number for step in faultless.journal.steps if step.name == "carts.send")
    world = World(HASTY).tap({sent: Failure.KILLED_AFTER})
    cart = world.enqueue("plain-503")

    world.run()

    assert [] == world.violations()
    assert 2 == len(world.published())
    assert 1 == len({event["id"] for event in world.published()})
    assert 1 == world.service.page(CUSTOMER, cart)["purchases"]


def test_a_poison_copy_beside_a_deferred_copy_is_the_same_request_too() -> None:
    world = World(HASTY).tap()
    world.enqueue("plain-503")
    world.poison.send(world.carts.messages[0].text)
    message = world.carts.receive()
    assert message is not None
    world.deliver(message)
    assert "order-1" == json.loads(base64.b64decode(world.carts.messages[0].text))["requestId"]

    world.run()

    assert [] == world.violations()
    assert 1 == len({event["id"] for event in world.published()})
