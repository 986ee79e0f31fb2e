"""Long outages, in memory under a virtual clock: nothing is lost, published falsely or called too often."""

import pytest

from shared.ports import StorageUnavailable
from tests.support.history import Failure
from tests.support.world import World

HOUR = 3600.0
CARTS = 10


class Outage:
    """Makes storage calls fail while it lasts."""

    def __init__(self, port: object, *methods: str) -> None:
        self.port, self.methods, self.lasting = port, methods, True

    def __getattr__(self, method: str) -> object:
        if self.lasting and method in self.methods:
            raise StorageUnavailable(f"{method}: storage is down")
        return getattr(self.port, method)


def enqueue(world: World, scenario: str = "created", carts: int = CARTS) -> list[str]:
    return [world.enqueue(scenario, f"order-{number}", seed=number) for number in range(carts)]


def run_for(world: World, seconds: float) -> None:
    end = world.clock.epoch() + seconds
    world.run(until=lambda: world.clock.epoch() >= end, most=200_000)


def most_deliveries(world: World) -> int:
    return max((message.dequeue_count for message in world.carts.messages), default=0)


@pytest.mark.parametrize("outage", ["503", "drop"])
def test_after_23_hours_without_the_service_every_cart_is_bought_and_no_delivery_was_used_up(outage: str) -> None:
    world = World().tap()
    carts = enqueue(world)
    world.service.outage = outage  # type: ignore[assignment]
    run_for(world, 23 * HOUR)
    calls = world.service.snapshot()["totals"]["outages"]
    assert 0 == most_deliveries(world)
    world.service.outage = None

    world.run()

    assert [] == world.violations()
    assert CARTS == len(world.published())
    assert {"completed"} == {event["data"]["outcome"] for event in world.published()}
    assert [1] * CARTS == [world.purchases(cart) for cart in carts]
    assert [] == world.poison.messages
    # base 5 s, doubling to the cap of 900 s: eight tries on the way up, then at most one in 7.5 minutes
    assert calls <= CARTS * (9 + 23 * HOUR / 450)


def test_after_25_hours_without_a_response_every_cart_is_published_as_failed_once_get_cart_says_active() -> None:
    world = World().tap()
    enqueue(world)
    world.service.outage = "drop"
    run_for(world, 25.5 * HOUR)
    world.service.outage = None

    world.run()

    assert [] == world.violations()
    assert {("failed", "service")} == {
        (event["data"]["outcome"], event["data"]["error"]["class"]) for event in world.published()
    }
    assert CARTS == len(world.published())


def test_after_49_hours_of_refused_admission_every_cart_is_published_as_failed_since_no_order_can_exist() -> None:
    world = World().tap()
    carts = enqueue(world, "uncoded-403-for-ever")

    world.run(most=200_000)

    assert [] == world.violations()
    assert {("failed", "configuration")} == {
        (event["data"]["outcome"], event["data"]["error"]["class"]) for event in world.published()
    }
    assert [0] * CARTS == [world.purchases(cart) for cart in carts]


def test_after_an_hour_without_storage_nothing_is_lost_and_the_service_was_not_called() -> None:
    world = World()
    down = [Outage(world.blobs, "read", "write", "set_metadata"), Outage(world.outcomes, "send")]
    world.blobs, world.queues["checkout-outcomes"] = down
    world.tap()
    enqueue(world)
    run_for(world, HOUR)
    assert [] == world.published()
    assert [] == world.service.snapshot()["carts"]
    for outage in down:
        outage.lasting = False

    world.run()

    assert [] == world.violations()
    assert CARTS == len(world.published())
    assert 0 == most_deliveries(world)


def test_while_records_can_be_read_but_not_written_nothing_is_posted() -> None:
    world = World()
    readonly = world.blobs = Outage(world.blobs, "write", "set_metadata")
    world.tap()
    carts = enqueue(world)
    run_for(world, HOUR)
    assert [] == world.published()
    assert [] == world.service.snapshot()["carts"]
    readonly.lasting = False

    world.run()

    assert [] == world.violations()
    assert {"completed"} == {event["data"]["outcome"] for event in world.published()}
    assert [1] * CARTS == [world.purchases(cart) for cart in carts]


def test_without_the_whole_storage_account_every_message_is_left_to_the_host() -> None:
    world = World()
    down = [Outage(world.blobs, "read", "write", "set_metadata")]
    down += [Outage(queue, "send") for queue in world.queues.values()]
    world.blobs = down[0]
    world.queues = dict(zip(world.queues, down[1:], strict=True))
    world.tap()
    enqueue(world, carts=3)
    for _ in range(3):  # three deliveries each, with nothing to be sent anywhere
        for _ in range(3):
            message = world.carts.receive()
            assert message is not None
            assert not world.deliver(message)
        world.clock.advance(30)
    for outage in down:
        outage.lasting = False

    world.run()

    assert [] == world.violations()
    assert 3 == len(world.published())


def test_five_kills_in_a_row_end_in_one_correct_outcome() -> None:
    world = World().tap()
    # load, token, entry, POST: every worker dies just after the service has bought the cart
    world.journal.plan = {4 * death + 3: Failure.KILLED_AFTER for death in range(5)}
    cart = world.enqueue("created", None)  # and no request id: it is poisoned under another message id

    world.run()

    assert [] == world.violations()
    assert 6 == world.page(cart)["posts"]
    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == world.purchases(cart)


def test_five_kills_before_the_post_and_five_more_end_in_failed_since_nothing_was_posted() -> None:
    world = World().tap()
    world.journal.plan = {3 * death + 2: Failure.KILLED_BEFORE for death in range(5)}  # load, token, entry
    world.journal.plan |= {4 + 3 * death + 15: Failure.KILLED_BEFORE for death in range(5)}
    cart = world.enqueue("created")

    world.run()

    assert [] == world.violations()
    data = world.outcome()["data"]
    assert ("failed", "internal") == (data["outcome"], data["error"]["class"])
    assert {} == world.page(cart)
