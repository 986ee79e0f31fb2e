"""Every scenario of the simulator, from message to outcome, in memory and in no time."""

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
    assert scenario.purchases == world.service.page(CUSTOMER, cart)["purchases"]
    assert 0 == world.service.snapshot()["totals"]["boughtTwice"]
    assert [event["id"]] == [entry["id"] for entry in world.record(cart)]
