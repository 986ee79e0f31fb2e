"""A fault that is planned must be counted: each alone changes the fault table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import assert_never

import pytest

from local.chaos.fault_proxy import ProxyFaultKind
from local.chaos.fault_table import InjectedFaults, count_faults
from local.chaos.plan import LINES, Action, CrashPoint, Death, Kill, LineFault, PlannedMessage, ServiceFault
from local.chaos.plan_builder import PLAYED, build_plan
from local.simulator.scenarios import BY_NAME, ScenarioGroup
from tests.docs.test_docs import ROOT, table

PLAN = build_plan("seed", 2000, 3)
NOTHING = replace(PLAN, requests=(), invalid_messages=())
NO_FAULTS = InjectedFaults(kills={}, crashes={}, lines={}, service={})


def planned_faults() -> dict[str, InjectedFaults]:
    """Each fault of the plan by its name, as if it occurred once and no other did."""
    faults = {f"crash {crash.point}": replace(NO_FAULTS, crashes={crash.point: 1}) for crash in PLAN.crashes.values()}
    for _, event in PLAN.events:
        match event:
            case LineFault(line, _, fault, _):
                faults[f"{line} {fault.kind}"] = replace(NO_FAULTS, lines={line: {fault.kind: 1}})
            case Action(_, _, fault):
                if fault is not None:
                    faults[f"service {fault}"] = replace(NO_FAULTS, service={fault: 1})
            case Kill(_, death):
                faults[f"kill {death}"] = replace(NO_FAULTS, kills={death: 1})
            case PlannedMessage():
                pass
            case _:
                assert_never(event)
    return faults


FAULTS = planned_faults()


@pytest.mark.parametrize("name", FAULTS)
def test_each_planned_fault_is_counted_in_one_row(name: str) -> None:
    assert 1 == sum(count_faults(NOTHING, FAULTS[name]).values())


def test_a_plan_has_every_fault_that_there_is() -> None:
    lines = {f"{line} {kind}" for line in LINES for kind in ProxyFaultKind if kind is not ProxyFaultKind.PASS}
    crashes = {f"crash {point}" for point in CrashPoint}
    service = {f"service {fault}" for fault in ServiceFault}
    deaths = {f"kill {death}" for death in Death}

    assert lines | crashes | service | deaths == FAULTS.keys()


@pytest.mark.parametrize("name", PLAYED)
def test_each_scenario_of_a_plan_is_counted_in_one_row_unless_it_is_smooth(name: str) -> None:
    scenario = BY_NAME[name]
    request = replace(PLAN.requests[0], scenario=scenario, copies=1, name="one", named=True)

    rows = count_faults(replace(NOTHING, requests=(request,)), NO_FAULTS)

    expected = {} if scenario.group is ScenarioGroup.SMOOTH else {str(scenario.group): 1}
    assert expected == +Counter(rows)


def test_every_group_of_scenarios_is_played() -> None:
    assert {*ScenarioGroup} == {expected.scenario.group for expected in PLAN.requests}


def test_the_document_has_a_row_for_every_fault() -> None:
    rows = count_faults(PLAN, NO_FAULTS)

    assert [*rows] == [row[0] for row in table(ROOT / "docs" / "chaos.md", "Results")[: len(rows)]]
