"""A small chaos run on real parts: two hundred carts, three workers that are killed, lines that break."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from local.chaos.__main__ import main
from local.chaos.fault_table import markdown
from local.chaos.plan import CrashPoint, Death, Kill, LineFault, PlannedMessage
from local.chaos.plan_builder import build_plan
from local.simulator.scenarios import SCENARIOS

if TYPE_CHECKING:
    from local.azurite import Azurite


@pytest.mark.chaos
def test_two_hundred_carts_survive_chaos(azurite: Azurite, capsys: pytest.CaptureFixture[str]) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent: a run starts its own two

    passed = 0 == main(["--carts", "200", "--seed", "small-24", "--minutes", "4", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert [] == report["violations"]
    assert passed
    assert (200, "strict") == (report["carts"], report["idempotency"])
    # there were crashes of all kinds, and faults of the lines
    met = report["survived"]
    assert any(met[f"{death}, at a random moment"] for death in Death)
    # a message that another fault stopped before its crash point may never reach that point again
    assert len(CrashPoint) - 1 <= sum(met[f"{Death.WORKER} {point}"] > 0 for point in CrashPoint)
    assert any(count for fault, count in met.items() if fault.startswith(("the queues", "the records")))


def test_the_seed_fixes_what_happens_when() -> None:
    plan = build_plan("seed", 500, 3)

    assert plan == build_plan("seed", 500, 3)
    assert plan.events != build_plan("another", 500, 3).events
    assert {Kill, LineFault, PlannedMessage} <= {type(event) for _, event in plan.events}


def test_a_plan_is_mostly_success_with_duplicates_and_invalid_messages() -> None:
    plan = build_plan("seed", 2000, 3)

    twice = sum(expected.copies > 1 for expected in plan.requests)
    bought = sum(expected.scenario.expected == "completed" for expected in plan.requests)
    assert 0.07 < twice / len(plan.requests) < 0.13
    assert 0.75 < bought / len(plan.requests) < 0.95
    assert not [expected for expected in plan.requests if expected.scenario.lasts_days]
    assert 40 == len(plan.invalid_messages)
    assert plan.messages == sum(expected.copies for expected in plan.requests) + len(plan.invalid_messages)


def test_carts_are_asked_for_again_at_once_and_after_an_outcome_whatever_it_says() -> None:
    plan = build_plan("seed", 2000, 3)
    carts = len({expected.request.cart_id for expected in plan.requests})
    after = {event.after for _, event in plan.events if isinstance(event, PlannedMessage) and event.after}
    again = [expected.scenario for expected in plan.requests if expected.request.cart_id in after]

    assert 0.15 < len(after) / carts < 0.25
    assert 0.02 < (len(plan.requests) - carts - len(after)) / carts < 0.06
    assert {"completed", "action_required", "partial", "failed", "unknown"} == {each.expected for each in again}


def test_a_third_of_the_messages_has_no_request_id() -> None:
    plan = build_plan("seed", 2000, 3)
    names = {expected.name for expected in plan.requests if not expected.named}
    sent = [event for _, event in plan.events if isinstance(event, PlannedMessage)]

    assert 0.28 < sum(event.name in names for event in sent) / len(sent) < 0.38
    assert not [event for event in sent if event.name in names and "requestId" in event.text]


@pytest.mark.parametrize("death", Death)
def test_both_deaths_happen_about_as_often(death: Death) -> None:
    kills = [event for _, event in build_plan("seed", 2000, 3).events if isinstance(event, Kill)]

    assert 0.3 < sum(kill.death is death for kill in kills) / len(kills) < 0.7


def test_what_lasts_for_days_is_what_waits_for_an_operator_or_was_bought_and_is_never_told() -> None:
    lasting = {scenario.name for scenario in SCENARIOS if scenario.lasts_days}

    assert {"never-tells", "conditional-access", "uncoded-403-for-ever", "redirect-for-ever"} <= lasting
    assert not {"never-answers", "service-down", "html-404-for-ever", "unknown-403"} & lasting


def test_several_runs_are_one_table_with_a_column_for_each_seed() -> None:
    report = {
        "carts": 5000, "messages": 5600, "deliveries": 9000, "posts": 7000, "boughtTwice": 0, "corrections": ["one"],
        "residual": [], "outcomes": {"unknown": 7}, "toldMoreThanOnce": 3, "liveCopies": 1.05, "seconds": 540.0,
        "survived": {"a worker process killed, at a random moment": 41},
    }  # fmt: skip
    good = report | {"seed": "alpha", "violations": []}
    bad = report | {"seed": "beta", "violations": ["1: the request x was never answered", "2: two ids"]}

    lines = markdown([good, bad]).splitlines()

    assert "| fault | seed `alpha` | seed `beta` |" == lines[0]
    assert "| a worker process killed, at a random moment | 41 | 41 |" in lines
    assert "| **requests never answered** | 0 | 1 |" in lines
    assert "| deliveries / POSTs | 9,000 / 7,000 | 9,000 / 7,000 |" in lines
