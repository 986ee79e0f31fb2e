"""Computes the tables of docs/capacity.md and writes them there, with the date.

    python -m bench.capacity

Two of them come from simulations. All take about a minute.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bench import ROOT
from bench.competitor import IN_FLIGHT
from bench.report import replace_section
from bench.simulation.fleet import Fleet, simulate
from bench.simulation.slots import PAIRS, utilization
from bench.table import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCUMENT = ROOT / "docs" / "capacity.md"
UTILIZATION = 0.85
"""The share of an instance's slots that is busy: the benchmark's lower bound for a lognormal latency."""
CARTS_PER_HOUR = (10_000, 50_000, 200_000, 1_000_000)
LATENCIES = (0.5, 2.0, 10.0)
FLEETS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 30, 40, 50)
BACKLOG, ADMITTED, LATENCY = 20_000, 100.0, 2.0


def main() -> int:
    """Compute everything and write it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    date = f"Computed on {datetime.now(UTC).date()} by `python -m bench.capacity`."
    for name, made in {"date": date, "instances": instances(), "fleet": fleets(), "slots": slots()}.items():
        text = replace_section(text, name, made)
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def instances_for(carts_per_hour: float, latency: float) -> int:
    """How many instances a load needs where the service admits it, by the slots that its latency keeps busy."""
    per_instance = IN_FLIGHT * UTILIZATION / latency
    return max(1, math.ceil(carts_per_hour / 3600 / per_instance - 1e-9))


def instances() -> str:
    """The instances that several loads need, by the latency of the service."""
    head = ["carts an hour", *(f"L = {latency:g} s" for latency in LATENCIES)]
    return markdown(
        head, ([f"{load:,}", *(str(instances_for(load, each)) for each in LATENCIES)] for load in CARTS_PER_HOUR)
    )


def fleets(counts: Iterable[int] = FLEETS) -> str:
    """A backlog at once against a service with a rate limit, with and without the throttle gate."""
    head = "instances", "carts/s", "delay, median", "delay, 95 %", "429s per cart", "no gate: carts/s", "429s per cart"
    rows = []
    for count in counts:
        fleet, ungated = (
            simulate(Fleet(instances=count, latency=LATENCY, admitted=ADMITTED, gate=gate, carts=BACKLOG))
            for gate in (True, False)
        )
        delays = (f"{fleet.delay(share):.0f} s" for share in (0.5, 0.95))
        row = (f"{fleet.rate:.0f}", *delays, f"{fleet.wasted_per_cart:.2f}")
        rows.append((str(count), *row, f"{ungated.rate:.0f}", f"{ungated.wasted_per_cart:.2f}"))
    return markdown(head, rows)


def slots() -> str:
    """The share of 32 slots that is busy, by batchSize and newBatchThreshold."""
    return markdown(
        ("batchSize/newBatchThreshold", "constant latency", "lognormal"),
        (
            (f"{batch}/{threshold}", *(f"{utilization(batch, threshold, sigma=sigma):.2f}" for sigma in (0, 0.5)))
            for batch, threshold in PAIRS
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
