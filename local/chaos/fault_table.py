"""What a chaos run survived: a table of faults and how often each was met, of one run or of several.

make chaos ARGS="--seed alpha --json" > alpha.json
python -m local.chaos.fault_table alpha.json beta.json gamma.json     the README's table
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from local.chaos.plan import Plan

Report = dict[str, Any]
Rows = dict[str, int]

SERVICE = {
    "the service: the connection is lost before the request arrives": (
        "dropped-before",
        "dropped-twice",
        "dropped-before-then-refused",
    ),
    "the service: it orders, and the answer is lost or cut": (
        "dropped-after",
        "dropped-mid-body",
        "dropped-after-then-refused",
        "coded-500-after-purchase",
        "refuses-a-repeat",
        "ordered-at-a-repeat",
    ),
    "the service: slow, too slow, trickling, silent": (
        "slow",
        "too-slow",
        "trickle",
        "endless-trickle",
        "never-answers",
        "never-tells",
    ),
    "the service: 5xx, gateways' pages, answers that are none": (
        "html-502",
        "plain-503",
        "uncoded-500",
        "coded-500",
        "coded-500-twice",
        "html-404",
        "login-page",
        "empty-object-for-ever",
        "empty-body",
        "no-orders",
        "unknown-400",
    ),
    "the service: 401, 409 and 429 for one cart": (
        "unauthorized-once",
        "in-progress",
        "already-ordered",
        "throttled",
        "throttled-thrice",
    ),
    "the service: half a success, or a person's turn": (
        "partial",
        "order-in-error",
        "pending",
        "pending-review",
        "pending-po-upload",
    ),
    "the service: refusals with a code": (
        "only-order-errors",
        "fault-403-900323",
        "fault-404-800008",
        "fault-500-800083",
    ),
}
"""What a cart's own scenario does to it, by what the report calls it. `SMOOTH` are the others."""
SMOOTH = ("created", "ok", "accepted", "two-order-groups", "byte-order-mark", "huge-result")
_LINES = {
    "cut": "connections cut, and new ones refused",
    "drop_before": "requests dropped",
    "drop_after": "requests done, and the reply dropped",
    "delay": "requests delayed",
}


def survived(plan: Plan, injected: Report, throttled: int) -> Rows:
    """How often each fault was met, by its name. Those of a cart's scenario are counted by carts."""
    by_message: Rows = injected["killed by a message"]
    rows = {"a worker killed at a random moment": injected["service"].get("killed at a time", 0)}
    rows |= {f"a worker killed {point}": count for point, count in sorted(by_message.items())}
    for line, name in (("queue", "queues"), ("blob", "records"), ("service", "line to the service")):
        counts = injected["lines"][line]
        rows |= {f"the {name}: {words}": counts.get(kind, 0) for kind, words in _LINES.items()}
    rows["the service: away for all"] = injected["service"].get("outage", 0)
    rows["the service: tokens taken back"] = injected["service"].get("revoked tokens", 0)
    rows["the service: 429 in a storm"] = throttled
    played = [demand.scenario.name for demand in plan.demands]
    rows |= {words: sum(map(played.count, names)) for words, names in SERVICE.items()}
    carts = [demand.request.cart_id for demand in plan.demands]
    rows["messages that came twice"] = sum(demand.copies > 1 for demand in plan.demands)
    rows["carts asked for by two requests"] = len(carts) - len({*carts})
    rows["messages that are no request"] = len(plan.strays)
    return rows


def markdown(reports: Sequence[Report]) -> str:
    """Several runs' tables as one, a column for each seed, and below the line what came of it."""
    heads = [f"seed `{report['seed']}`" for report in reports]
    lines = [f"| fault | {' | '.join(heads)} |", f"|---|{'---:|' * len(reports)}"]
    lines += [_row(name, [report["survived"].get(name, 0) for report in reports]) for name in reports[0]["survived"]]
    came: dict[str, Callable[[Report], object]] = {
        "**carts / messages for them**": lambda of: f"{of['carts']:,} / {of['messages']:,}",
        "deliveries / POSTs": lambda of: f"{of['deliveries']:,} / {of['posts']:,}",
        "**requests never answered**": lambda of: _broken(of, "1:"),
        "**carts bought twice**": lambda of: of["boughtTwice"],
        "**requests told under two ids, uncorrected**": lambda of: _broken(of, "2:"),
        "corrections": lambda of: len(of["corrections"]),
        "residuals, [as accepted](docs/failures.md#what-is-accepted)": lambda of: len(of["residual"]),
        "told as `unknown`": lambda of: of["outcomes"].get("unknown", 0),
        "outcomes told more than once, under one id": lambda of: of["toldMoreThanOnce"],
        "live messages for each that was sent": lambda of: of["liveCopies"],
        "minutes": lambda of: round(of["seconds"] / 60, 1),
    }
    lines += [_row(name, [value(report) for report in reports]) for name, value in came.items()]
    return "\n".join(lines)


def _broken(report: Report, invariant: str) -> int:
    return sum(violation.startswith(invariant) for violation in report["violations"])


def _row(name: str, values: Sequence[object]) -> str:
    shown = (f"{value:,}" if isinstance(value, int) else str(value) for value in values)
    return f"| {name} | {' | '.join(shown)} |"


if __name__ == "__main__":
    print(markdown([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]))
