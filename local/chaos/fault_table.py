"""Counts the faults of a chaos run, and prints the table of one run or several.

make chaos ARGS="--seed alpha --json" > alpha.json
python -m local.chaos.fault_table alpha.json beta.json gamma.json     the table in docs/chaos.md
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.chaos.fault_proxy import ProxyFaultKind
from local.chaos.plan import CrashPoint, Death, Line, PlannedMessage, ServiceFault
from local.simulator.scenarios import ScenarioGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local.chaos.plan import ChaosPlan

_LINES: dict[Line, str] = {"queue": "the queues", "blob": "the records", "service": "the line to the service"}
_LINE_FAULTS = {
    ProxyFaultKind.REFUSE: "connections cut, and new ones refused",
    ProxyFaultKind.DROP_BEFORE: "requests dropped",
    ProxyFaultKind.DROP_AFTER: "requests done, and the reply dropped",
    ProxyFaultKind.DELAY: "requests delayed",
}


@dataclass(frozen=True, slots=True)
class InjectedFaults:
    """How often each fault occurred.

    `kills`: at random times. `crashes`: of worker processes by the message that they handled. `lines`: the affected
    requests, by line. `service`: how often each fault began; for throttling, how many responses were 429.
    """

    kills: Mapping[Death, int]
    crashes: Mapping[CrashPoint, int]
    lines: Mapping[Line, Mapping[str, int]]
    service: Mapping[ServiceFault, int]


def count_faults(plan: ChaosPlan, injected: InjectedFaults) -> dict[str, int]:
    """Return how often each fault occurred, by its name. Those of scenarios are counted by requests."""
    rows = {f"{death}, at a random moment": injected.kills.get(death, 0) for death in Death}
    rows |= {f"{Death.WORKER} {point}": injected.crashes.get(point, 0) for point in CrashPoint}
    for line, name in _LINES.items():
        counts = injected.lines.get(line, {})
        faults = (kind for kind in ProxyFaultKind if kind is not ProxyFaultKind.PASS)
        rows |= {f"{name}: {_LINE_FAULTS[kind]}": counts.get(kind, 0) for kind in faults}
    rows |= {str(fault): injected.service.get(fault, 0) for fault in ServiceFault}
    groups = Counter(expected.scenario.group for expected in plan.requests)
    rows |= {str(group): groups[group] for group in ScenarioGroup if group is not ScenarioGroup.SMOOTH}
    rows["messages that came twice"] = sum(expected.copies > 1 for expected in plan.requests)
    sent = [event for _, event in plan.events if isinstance(event, PlannedMessage)]
    names = {expected.name for expected in plan.requests}
    afterwards = {message.name for message in sent if message.after is not None} & names
    carts = {expected.request.cart_id for expected in plan.requests}
    rows["second requests after an outcome"] = len(afterwards)
    rows["second requests beside the first"] = len(plan.requests) - len(carts) - len(afterwards)
    unnamed = {expected.name for expected in plan.requests if not expected.named}
    rows["messages without `requestId`"] = sum(message.name in unnamed for message in sent)
    rows["messages that are no request"] = len(plan.invalid_messages)
    return rows


def markdown(reports: Sequence[dict[str, Any]]) -> str:
    """Format the reports of several runs as one table with a column for each: their faults, then their results."""
    heads = [f"seed `{report['seed']}`" for report in reports]
    lines = [f"| fault | {' | '.join(heads)} |", f"|---|{'---:|' * len(reports)}"]
    lines += [_row(name, [report["survived"].get(name, 0) for report in reports]) for name in reports[0]["survived"]]
    results: dict[str, Callable[[dict[str, Any]], object]] = {
        "**carts / messages for them**": lambda of: f"{of['carts']:,} / {of['messages']:,}",
        "deliveries / POSTs": lambda of: f"{of['deliveries']:,} / {of['posts']:,}",
        "**requests never answered**": lambda of: _violations(of, "1:"),
        "**carts bought twice**": lambda of: of["boughtTwice"],
        "**requests with two event ids, uncorrected**": lambda of: _violations(of, "2:"),
        "corrections": lambda of: len(of["corrections"]),
        "`failed` though bought, by a POST that [outlived](failures.md#what-is-accepted) SETTLE_SECONDS": lambda of: (
            len(of["residual"])
        ),
        "outcomes `unknown`": lambda of: of["outcomes"].get("unknown", 0),
        "outcomes published more than once, under one id": lambda of: of["toldMoreThanOnce"],
        "live messages for each that was sent": lambda of: of["liveCopies"],
        "minutes": lambda of: round(of["seconds"] / 60, 1),
    }
    lines += [_row(name, [value(report) for report in reports]) for name, value in results.items()]
    return "\n".join(lines)


def _violations(report: dict[str, Any], invariant: str) -> int:
    return sum(violation.startswith(invariant) for violation in report["violations"])


def _row(name: str, values: Sequence[object]) -> str:
    shown = (f"{value:,}" if isinstance(value, int) else str(value) for value in values)
    return f"| {name} | {' | '.join(shown)} |"


if __name__ == "__main__":
    print(markdown([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]))
