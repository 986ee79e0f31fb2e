"""A small chaos run on real parts: two hundred carts, three workers that are killed, lines that break."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from local.chaos import main
from local.plan import Kill, Phase, Plan, Sending

if TYPE_CHECKING:
    from local.azurite import Azurite


@pytest.mark.chaos
def test_two_hundred_carts_survive_chaos(azurite: Azurite, capsys: pytest.CaptureFixture[str]) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent: a run starts its own two

    passed = 0 == main(["--carts", "200", "--seed", "small", "--minutes", "4", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert [] == report["violations"]
    assert passed
    assert 200 == report["carts"]
    # it was chaos: each kind of death, five of them by one message, and a line that broke
    assert 10 <= report["injected"]["killed"]
    assert 6 == len(report["injected"]["killed by a message"])
    assert 5 <= report["injected"]["killed by a message"]["before the POST"]
    assert 1 <= report["poisoned"]
    assert any(
        count for line in report["injected"]["lines"].values() for kind, count in line.items() if kind != "requests"
    )


def test_the_seed_fixes_what_happens_when() -> None:
    plan = Plan.of("seed", 500, 3)

    assert plan == Plan.of("seed", 500, 3)
    assert plan.events != Plan.of("another", 500, 3).events
    assert {Kill, Phase, Sending} <= {type(event) for _, event in plan.events}


def test_a_plan_is_mostly_success_with_duplicates_and_nonsense() -> None:
    plan = Plan.of("seed", 2000, 3)

    twice = sum(demand.copies > 1 for demand in plan.demands)
    bought = sum(demand.scenario.expected == "completed" for demand in plan.demands)
    assert 0.07 < twice / len(plan.demands) < 0.13
    assert 0.75 < bought / len(plan.demands) < 0.95
    assert 40 == len(plan.strays)
    assert plan.messages == sum(demand.copies for demand in plan.demands) + len(plan.strays)


def test_carts_with_two_requests_play_what_is_documented_and_all_others_are_strict() -> None:
    plan = Plan.of("seed", 2000, 3)
    requests: dict[str, set[str]] = {}
    for demand in plan.demands:
        requests.setdefault(demand.request.cart_id, set()).add(demand.request.request_id)

    for demand in plan.demands:
        two = len(requests[demand.request.cart_id]) > 1
        assert two == (demand.scenario.documented and demand.scenario.number >= 1000)
