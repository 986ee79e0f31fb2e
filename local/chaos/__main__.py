"""Run thousands of carts on real parts while workers are killed, connections fail and the service fails.

    make chaos                                   5,000 carts; the exit code is 0 only if every check holds
    make chaos ARGS="--carts 1000 --seed storm"  another run; the seed fixes the plan
    make chaos ARGS=--json                       the report as JSON

What must hold is in `local.invariants`, what happens in `local.chaos.plan_builder`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from local.azurite import AzuriteUnavailable
from local.chaos.checks import check
from local.chaos.plan_builder import build_plan
from local.chaos.report import chaos_report, journals
from local.chaos.run import ChaosRun
from local.process import ProcessFailed
from local.simulator.carts import Idempotency

CARTS, PROCESSES, MINUTES = 5000, 3, 30.0
MAX_SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run chaos.

    Returns:
        0: every check holds; 1: one does not, the time is over, or it cannot run; 130: interrupted.
    """
    parser = argparse.ArgumentParser(prog="make chaos", description="Chaos on real parts.")
    parser.add_argument("--carts", type=int, default=CARTS, help="how many (%(default)s)")
    parser.add_argument("--seed", default="chaos", help="determines carts, scenarios, faults and kill times")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="how many instances (%(default)s)")
    parser.add_argument(
        "--idempotency",
        choices=get_args(Idempotency),
        default="strict",
        help="how the simulated service keeps its promise: see local/simulator/carts.py (%(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long it may take (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the report")
    options = parser.parse_args(arguments)
    if options.carts < 50 or options.processes < 1:  # noqa: PLR2004  the smallest plan
        parser.error("at least 50 carts and one process")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: by unwinding
    console = Console(width=None if sys.stdout.isatty() else 120, quiet=options.json, highlight=False)
    plan = build_plan(options.seed, options.carts, options.processes, options.idempotency)
    try:
        console.print("Starting storage (Azurite), Partner Center (a simulator) and the workers ...")
        with ChaosRun(plan, options.processes, console.print) as run:
            evidence = run.run(options.minutes * 60)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (AzuriteUnavailable, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1
    findings = check(evidence)
    report = chaos_report(evidence, findings)
    if options.json:
        print(json.dumps(report | {"journals": journals(evidence, findings)}, indent=2))
    else:
        _show(report, console)
    return 0 if report["passed"] else 1


def _show(report: dict[str, Any], console: Console) -> None:
    """Print the report: the faults, a table of figures, and the findings."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in report.items():
        if name in ("passed", "survived", "violations", "residual", "corrections", "differing"):
            continue
        text = ", ".join(f"{key}: {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name, text)
    console.print("[bold]Faults", *(f"{count:6}  {fault}" for fault, count in report["survived"].items()), sep="\n")
    console.print()
    console.print(table)
    for name in ("corrections", "residual", "differing", "violations"):
        found = report[name]
        console.print(f"{name}: {len(found)}")
        for line in found[:MAX_SHOWN]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print()
    lost = sum(violation.startswith("1:") for violation in report["violations"])
    console.print(
        f"{lost} lost, {report['boughtTwice']} bought twice, {len(report['residual'])} residuals, "
        f"{report['unknownTold']} unknown"
    )
    if report["passed"]:
        console.print(f"PASS {report['requests']} requests in {report['seconds']} s", style="bold green")
    else:
        console.print(f"FAIL {len(report['violations'])} violations", style="bold red")


if __name__ == "__main__":
    sys.exit(main())
