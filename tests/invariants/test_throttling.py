"""Many carts against a limiter, in virtual time: the gate keeps calls from being wasted, and nobody is failed."""

import pytest

from local.memory import MemoryPartnerCenter, MemoryQueue
from tests.schedule import Schedule, process
from tests.world import CUSTOMER, World


def throttled_world(messages: int, *, limit: int, window: float, latency: float, processes: int) -> World:
    """Deliver this many carts, each of its own customer, by this many processes, until all are answered."""
    world = World()
    schedule = world.clock = Schedule()
    world.books.latency = latency
    world.books.limiter.limit, world.books.limiter.window = limit, window
    world.service = MemoryPartnerCenter(world.books, schedule)
    world.carts, world.outcomes = MemoryQueue(schedule), MemoryQueue(schedule)
    world.queues |= {"carts": world.carts, "checkout-outcomes": world.outcomes}
    for number in range(messages):
        world.enqueue("created", f"order-{number}", seed=number, customerId=f"{number:08x}{CUSTOMER[8:]}")
    for _ in range(processes):
        process(schedule, world.carts, world.worker())
    schedule.run()
    return world


@pytest.mark.parametrize(("processes", "latency", "most"), [(1, 0.3, 1.2), (4, 3.0, 1.6)])
def test_a_thousand_carts_pass_a_limiter_with_few_wasted_calls(processes: int, latency: float, most: float) -> None:
    world = throttled_world(1000, limit=60, window=60.0, latency=latency, processes=processes)

    totals = world.books.snapshot()["totals"]
    minutes = (world.clock.now - world.carts_began).total_seconds() / 60
    assert 1000 == totals["purchases"]
    assert {"completed"} == {event["data"]["outcome"] for event in world.told()}
    assert (totals["posts"] + totals["throttled"]) / 1000 <= most
    assert 1000 / minutes >= 0.95 * 60
