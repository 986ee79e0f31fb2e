"""Run the demo: send requests while the service and its connections fail on purpose, and check the outcomes.

    make demo                        a live table, then the checks; the exit code is 0 only for PASS
    make demo ARGS="--json"          the same as JSON
    make demo ARGS="--seed summer"   other customers, carts and ids

The stack is started for the run, with its storage in memory, and ended after it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live

from local.azurite import AzuriteUnavailable
from local.demo.checks import DemoCheck, check_demo
from local.demo.rows import INVALID_ROWS, ROWS
from local.demo.run import QUICK, DemoRun
from local.demo.table import live_table, table
from local.process import ProcessFailed
from local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.demo.requests import DemoRequest

TIMEOUT = 90.0
"""Seconds after which an outcome that has not arrived is a failure."""

LATENCY = 0.1
"""Seconds that each checkout takes."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0: every check holds; 1: one does not, or the stack cannot run; 130: interrupted.
    """
    parser = argparse.ArgumentParser(prog="make demo", description="Send carts, inject faults, check outcomes.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--seed", default="demo", help="determines customers, carts and request ids")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: by unwinding
    # A pipe has no width, and rich would cut the table to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 120, quiet=options.json, highlight=False)
    started = time.monotonic()
    try:
        console.print("Starting storage (Azurite), Partner Center (a simulator) and the function's host ...")
        with Stack(settings=QUICK, latency=LATENCY) as stack:
            ready = time.monotonic()
            console.print(f"Ready after {ready - started:.1f} s.")
            run = DemoRun(stack, ROWS, INVALID_ROWS, options.seed)
            _watch(stack, run, console)
            checks, seconds = check_demo(run), time.monotonic() - ready
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (AzuriteUnavailable, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(_result_json(run, checks, seconds, options.seed), indent=2))
    else:
        _report(run, checks, seconds, console)
    return 0 if all(check.holds for check in checks) else 1


def _watch(stack: Stack, run: DemoRun, console: Console) -> None:
    """Show the progress until every outcome has arrived and the queues are empty, or the time is over."""
    if not console.is_terminal or console.quiet:
        _until_done(stack, run, _progress(run, console))
        return

    with Live(console=console, transient=True, auto_refresh=False) as screen:
        _until_done(stack, run, lambda: screen.update(live_table(run.requests, console.height), refresh=True))


def _until_done(stack: Stack, run: DemoRun, show: Callable[[], None]) -> None:
    deadline = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while time.monotonic() < deadline:
        stack.check()
        arrived = run.step()
        show()
        if not arrived:
            if run.done:
                return
            pause.wait(0.1)


def _progress(run: DemoRun, console: Console) -> Callable[[], None]:
    """Print a line every 3 seconds, for outputs that cannot be redrawn."""
    started = time.monotonic()
    next_line = started

    def show() -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line += 3.0
            console.print(f"{time.monotonic() - started:4.0f} s  {run.answered} of {len(run.requests)} answered")

    return show


def _report(run: DemoRun, checks: list[DemoCheck], seconds: float, console: Console) -> None:
    console.print(table(run.requests))
    console.print()
    for check in checks:
        mark = "[green]yes[/]" if check.holds else "[bold white on red]NO [/]"
        console.print(f"{mark}  {check.claim} [dim]({check.counted})[/]")
        for fault in check.faults:
            console.print(f"     {fault}", markup=False, soft_wrap=True)
    console.print()
    broken = [check.claim for check in checks if not check.holds]
    if broken:
        console.print(f"FAIL after {seconds:.1f} s, it does not hold that " + "; that ".join(broken), style="bold red")
    else:
        console.print(f"PASS {len(run.requests)} requests in {seconds:.1f} s", style="bold green")


def _result_json(run: DemoRun, checks: list[DemoCheck], seconds: float, seed: str) -> dict[str, Any]:
    return {
        "passed": all(check.holds for check in checks),
        "seconds": round(seconds, 1),
        "seed": seed,
        "checks": [
            {"claim": check.claim, "holds": check.holds, "counted": check.counted, "faults": check.faults}
            for check in checks
        ],
        "requests": [_request_json(request) for request in run.requests],
        "totals": run.books["totals"],
    }


def _request_json(request: DemoRequest) -> dict[str, Any]:
    return {
        "name": request.name,
        "cartId": request.cart_id or None,
        "eventId": request.event_id,
        "expected": str(request.expected),
        "came": str(request.received) if request.received else None,
        "told": len(request.events),
        "posts": request.posts,
        "attempts": request.data.get("attempts"),
        "seconds": None if request.seconds is None else round(request.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
