"""A shop on a laptop: carts go in, outcomes come out, and things break on purpose. Everything but Azure is real.

    make demo                        a live table, then what was proved; the exit code is 0 only for PASS
    make demo ARGS="--json"          the same for machines
    make demo ARGS="--seed summer"   other customers, carts and ids

The stack is started for the run, in memory, and ended after it.
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
from local.demo.checks import Check, prove
from local.demo.shop import InvalidRow, Order, Row, Shop
from local.demo.table import live, table
from local.process import ProcessFailed
from local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 90.0
"""Seconds until what has not come by then is a failure."""

QUICK = {
    "CHECKOUT_TIMEOUT_SECONDS": "3",
    "SETTLE_SECONDS": "3",
    "RETRY_BASE_SECONDS": "1",
    "RETRY_CAP_SECONDS": "2",
    "RETRY_MAX_AGE_SECONDS": "6",
}
"""A deployment waits minutes where this one waits seconds; the program does not know the difference."""

LATENCY = 0.1

ROWS = (
    # bought
    Row("created", "bought; its message comes twice", copies=2),
    Row("created", "another request for that cart", cart_of="created"),
    Row("ok", "its message is base64", form="base64"),
    Row("pending", "its message is a CloudEvent", form="cloudevent"),
    Row("two-order-groups", "two order groups, two orders"),
    Row("byte-order-mark", "the answer begins with a BOM"),
    Row("huge-result", "200 lines: the result is in a blob"),
    # bought, and somebody must act
    Row("pending-review", "ordered, but held for a review"),
    Row("pending-po-upload", "ordered, purchase order missing"),
    # bought in part: never repeated by itself
    Row("partial", "one of two groups; comes twice", copies=2),
    Row("order-in-error", "one of two orders is in error"),
    # refused
    Row("only-order-errors", "201, but no group was bought"),
    Row("fault-in-a-200", "200 with a fault in it"),
    Row("fault-403-900323", "the cart's owner must change it"),
    Row("fault-403-13605", "no customer agreement"),
    Row("fault-404-800008", "no such cart, or it expired"),
    Row("fault-400-900127", "a limit of the sandbox"),
    Row("fault-500-800083", "a 500 that is final"),
    Row("unknown-400", "undocumented code; cart is active"),
    # no answer in the answer
    Row("empty-body", "bought behind an empty 200"),
    Row("no-orders", "bought behind an empty list"),
    Row("login-page", "200 with a login page"),
    Row("empty-object-for-ever", "never more than {}"),
    # throttled: one after the other, since two throttled customers close the gate for the whole tenant
    Row("throttled", "429, Retry-After in seconds"),
    Row("throttled-until", "429, Retry-After is a date", after="throttled"),
    Row("throttled-thrice", "429 three times: no try counts", after="throttled-until"),
    # slow
    Row("slow", "slow, but in time"),
    Row("too-slow", "answers when nobody listens"),
    Row("endless-trickle", "drop by drop, past our patience"),
    # lost
    Row("dropped-before", "line dies before the purchase"),
    Row("dropped-after", "line dies after it; comes twice", copies=2),
    Row("dropped-mid-body", "line dies in the answer's body"),
    Row("dropped-before-then-refused", "dies, refuses; cart is active"),
    Row("dropped-after-then-refused", "bought, dies, then refuses"),
    Row("never-answers", "every line dies"),
    Row("never-tells", "bought; every line dies"),
    # the service and its gateways fail
    Row("html-502", "bought behind a gateway's 502"),
    Row("empty-500", "bought behind an empty 500"),
    Row("coded-500-twice", "each fault: a new MS-RequestId"),
    Row("html-404", "a gateway's 404, then bought"),
    Row("in-progress", "409 twice, then bought"),
    Row("already-ordered", "somebody else checked it out"),
    # not admitted
    Row("unauthorized-once", "401, then a new token"),
    Row("conditional-access", "403 for ever: a policy"),
    Row("redirect", "302, not followed, then bought"),
)

_GUID = "c0ffee00-1111-4222-8333-444444444444"
STRAYS = (
    InvalidRow(
        "a typo", "requestID instead of requestId", f'{{"customerId":"{_GUID}","cartId":"{_GUID}","requestID":"1"}}'
    ),
    InvalidRow("nonsense", "a message that is no JSON", "please buy everything"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0: all that must hold held; 1: it did not, or the stack cannot run; 130: interrupted.
    """
    parser = argparse.ArgumentParser(prog="make demo", description="Carts go in, outcomes come out, things break.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--seed", default="demo", help="what customers, carts and request ids are made of")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: by unwinding
    # A pipe has no width of its own; a table cut to 80 columns would be of no use in a log.
    console = Console(width=None if sys.stdout.isatty() else 120, quiet=options.json, highlight=False)
    began = time.monotonic()
    try:
        console.print("Starting storage (Azurite), Partner Center (a simulator) and the function's host ...")
        with Stack(settings=QUICK, latency=LATENCY) as stack:
            ready = time.monotonic()
            console.print(f"Ready after {ready - began:.1f} s.")
            shop = Shop(stack, ROWS, STRAYS, options.seed)
            _watch(stack, shop, console)
            checks, seconds = prove(shop), time.monotonic() - ready
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (AzuriteUnavailable, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(_result(shop, checks, seconds, options.seed), indent=2))
    else:
        _report(shop, checks, seconds, console)
    return 0 if all(check.holds for check in checks) else 1


def _watch(stack: Stack, shop: Shop, console: Console) -> None:
    """Until all is told and the queues are empty, or patience ends."""
    if not console.is_terminal or console.quiet:
        _until_done(stack, shop, _progress(shop, console))
        return

    with Live(console=console, transient=True, auto_refresh=False) as screen:
        _until_done(stack, shop, lambda: screen.update(live(shop.orders, console.height), refresh=True))


def _until_done(stack: Stack, shop: Shop, show: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while time.monotonic() < deadline:
        stack.check()
        told = shop.step()
        show()
        if not told:
            if shop.done:
                return
            pause.wait(0.1)


def _progress(shop: Shop, console: Console) -> Callable[[], None]:
    """A line now and then, where nothing can be drawn over."""
    began = time.monotonic()
    following = began

    def show() -> None:
        nonlocal following
        if time.monotonic() >= following:
            following += 3.0
            console.print(f"{time.monotonic() - began:4.0f} s  {shop.answered} of {len(shop.orders)} answered")

    return show


def _report(shop: Shop, checks: list[Check], seconds: float, console: Console) -> None:
    console.print(table(shop.orders))
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
        console.print(f"PASS {len(shop.orders)} requests in {seconds:.1f} s", style="bold green")


def _result(shop: Shop, checks: list[Check], seconds: float, seed: str) -> dict[str, Any]:
    return {
        "passed": all(check.holds for check in checks),
        "seconds": round(seconds, 1),
        "seed": seed,
        "checks": [
            {"claim": check.claim, "holds": check.holds, "counted": check.counted, "faults": check.faults}
            for check in checks
        ],
        "requests": [_told(order) for order in shop.orders],
        "totals": shop.books["totals"],
    }


def _told(order: Order) -> dict[str, Any]:
    return {
        "name": order.name,
        "cartId": order.cart_id or None,
        "eventId": order.event_id,
        "expected": str(order.expected),
        "came": str(order.came) if order.came else None,
        "told": len(order.events),
        "posts": order.posts,
        "attempts": order.data.get("attempts"),
        "seconds": None if order.seconds is None else round(order.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
