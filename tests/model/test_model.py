"""A sample of what `make model` explores: the whole of the smallest worlds, and every mutant."""

import pytest

from tests.model.explorer import Result, explore
from tests.model.mutants import MUTANTS, Mutant
from tests.model.rules import Rules
from tests.model.services import ALL, NOT_ATOMIC, Service
from tests.model.story import Story

SAMPLE = 1_500
"""States of each service: all that happens within the first steps."""


def found(result: Result) -> str:
    return "\n".join([result.wrong, *result.history]) if result.wrong else "sound"


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
def test_no_history_buys_twice_or_tells_a_false_failed(service: Service) -> None:
    assert "sound" == found(explore(Story(Rules(), service), "AB", 1, limit=SAMPLE))


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
def test_every_message_ends_when_no_more_faults_come(service: Service) -> None:
    assert "sound" == found(explore(Story(Rules(), service), "AA", 1, limit=SAMPLE // 3, live=True))


@pytest.mark.parametrize("mutant", [each for each in MUTANTS if each.quick], ids=lambda mutant: mutant.name)
def test_every_mistake_is_found(mutant: Mutant) -> None:
    assert mutant.wrong in mutant.explored().wrong


def test_the_history_is_a_shortest_one_and_names_each_step() -> None:
    mutant = next(each for each in MUTANTS if each.name == "closed without GET")
    assert [
        "A0 enters POST 1 under key 0",
        "A0 sends POST 1 under key 0",
        "the service: POST 1 -> 201, buys",
        "SETTLE_SECONDS pass",
        "B1 gives up: failed",
    ] == explore(mutant.story(), "AB", 0, harm_only=True).history


def test_a_service_that_is_not_atomic_per_key_buys_twice_by_the_posts_of_one_request() -> None:
    result = explore(Story(Rules(), NOT_ATOMIC), "AA", 1)
    assert "the cart is bought twice, under keys 0 and 0" == result.wrong
    assert "sound" == found(explore(Story(Rules(), NOT_ATOMIC), "AB", 0))
