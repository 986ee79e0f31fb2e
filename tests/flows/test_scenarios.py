"""Every scenario of the simulator, from message to outcome, in memory and in no time."""

from typing import Any

import pytest

from local.simulator.scenarios import SCENARIOS, Scenario
from tests.support.world import CUSTOMER, World


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_cart_ends_in_the_outcome_that_its_scenario_expects(scenario: Scenario) -> None:
    world = World()
    cart = world.enqueue(scenario.name)

    world.run()

    event = world.outcome()
    data = world.data(event)
    error = data.get("error", {})
    assert (scenario.expected, scenario.error_class, scenario.code) == (
        data["outcome"],
        error.get("class"),
        error.get("code"),
    )
    assert event["type"] == f"partnercenter.cart.checkout.{scenario.expected}"
    page = world.service.page(CUSTOMER, cart)
    assert scenario.purchases == page["purchases"]
    assert {order["id"] for order in orders(data)} <= {*page["orderIds"]}, "told, but not bought for this cart"
    assert 0 == world.service.snapshot()["totals"]["boughtTwice"]
    assert [event["id"]] == [entry["id"] for entry in world.record(cart)]


def orders(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The orders that an outcome tells: those of a result, or the one that a result is."""
    result: dict[str, Any] = data.get("result") or {}
    return list(result.get("orders") or ([result] if "lineItems" in result else []))
