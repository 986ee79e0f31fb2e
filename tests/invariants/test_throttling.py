"""Many carts against a limiter, in virtual time: the gate avoids wasted calls, and no cart fails."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest

from tests.support.memory import MemoryPartnerCenter, MemoryQueue
from tests.support.schedule import Schedule, process
from tests.support.world import CUSTOMER, World


def throttled_world(
    carts: int,
    *,
    limit: int,
    window: float,
    latency: float = 0.3,
    processes: int = 1,
    per: Literal["tenant", "customer"] = "tenant",
    customer_of: Callable[[int], int] = lambda number: number,
) -> World:
    """Deliver this many carts by this many processes, until all are answered; by default, each has its customer."""
    world = World()
    schedule = world.clock = Schedule()
    world.service.latency = latency
    world.service.limiter.limit, world.service.limiter.window, world.service.limiter.per = limit, window, per
    world.partner_center = MemoryPartnerCenter(world.service, schedule)
    world.carts, world.outcomes = MemoryQueue(schedule), MemoryQueue(schedule)
    world.queues |= {"carts": world.carts, "checkout-outcomes": world.outcomes}
    for number in range(carts):
        customer = f"{customer_of(number):08x}{CUSTOMER[8:]}"
        world.enqueue("created", f"order-{number}", seed=number, customerId=customer)
    for _ in range(processes):
        process(schedule, world.carts, world.worker())
    schedule.run()
    return world


@pytest.mark.parametrize(("processes", "latency", "most"), [(1, 0.3, 1.2), (4, 3.0, 1.6)])
def test_a_thousand_carts_pass_a_limiter_with_few_wasted_calls(processes: int, latency: float, most: float) -> None:
    world = throttled_world(1000, limit=60, window=60.0, latency=latency, processes=processes)

    totals = world.service.snapshot()["totals"]
    minutes = took(world) / timedelta(minutes=1)
    assert 1000 == totals["purchases"]
    assert {"completed"} == {event["data"]["outcome"] for event in world.published()}
    assert (totals["posts"] + totals["throttled"]) / 1000 <= most
    assert 1000 / minutes >= 0.95 * 60


def test_a_throttled_request_may_wait_longer_than_a_failing_one() -> None:
    # 50,000 carts against 30 a minute are 27.8 hours of line, more than RETRY_MAX_AGE_SECONDS; so are 84 against three
    # an hour, and they come out of the queue far less often
    world = throttled_world(84, limit=3, window=3600.0)

    assert {"completed"} == {event["data"]["outcome"] for event in world.published()}
    assert 84 == len(world.published()) == world.service.snapshot()["totals"]["purchases"]
    assert timedelta(hours=26) < took(world) < timedelta(hours=30)


def test_other_customers_carts_go_on_while_one_customer_is_throttled() -> None:
    # every second cart is of one customer, who is let in six times a minute; each other one has a customer of its own
    world = throttled_world(
        200, limit=6, window=60.0, per="customer", customer_of=lambda number: number if number % 2 else 0
    )

    done = {event["data"]["requestId"]: finished(event) - world.carts_began for event in world.published()}
    others = [after for request, after in done.items() if int(request.removeprefix("order-")) % 2]
    assert 100 == len(others) == len(done) - 100
    assert max(others) < timedelta(seconds=30)
    assert max(done.values()) > timedelta(minutes=15)


def took(world: World) -> timedelta:
    return world.clock.now - world.carts_began


def finished(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["data"]["finishedAt"])
