"""How many instances a load needs, and what it costs. Pure arithmetic; docs/capacity.md tells the reasoning.

python -m bench.capacity --carts-per-hour 50000 --latency 2 --admitted 20
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass

IN_FLIGHT = 32
USE = 0.85
"""The share of an instance's slots that is busy: the benchmark's lower bound for a lognormal latency."""
REQUESTS = {"fetch": 0.25, "read record": 1.0, "write record": 1.0, "send outcome": 1.0, "delete message": 1.0}
"""Storage requests of one cart that is bought at its first try; messages are fetched four at a time."""
PRODUCER_AND_CONSUMER = {"enqueue": 1.0, "fetch outcome": 1 / 32, "delete outcome": 1.0}
"""What those at both ends of it add, where they use the same account; 32 outcomes are fetched at a time."""
DEFERRAL = {"send copy": 1.0, "fetch": 0.25, "read record": 1.0, "delete message": 1.0, "write note": 1.0}
"""What each deferral after a call adds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load needs. ``limited_by``: `slots`, or `service` where it admits less than what is asked for."""

    carts_per_second: float
    instances: int
    limited_by: str


def plan(carts_per_hour: float, latency: float, admitted: float = math.inf, cpu_ms: float = 0.0) -> Plan:
    """Instances for so many carts an hour.

    ``latency``: the service's mean in seconds; ``admitted``: calls a second that it admits; ``cpu_ms``: CPU per
    cart, since one process uses one core at most.
    """
    wanted = carts_per_hour / 3600
    rate = min(wanted, admitted)
    of_one = IN_FLIGHT * USE / latency
    if cpu_ms:
        of_one = min(of_one, 1000 / cpu_ms)
    if admitted < wanted:  # one instance too many is throttled, and buys less than one too few: see `bench.fleet`
        return Plan(rate, max(1, math.floor(rate * latency / IN_FLIGHT + 1e-9)), "service")
    return Plan(rate, max(1, math.ceil(rate / of_one - 1e-9)), "slots")


def transactions(carts: float, deferrals_per_cart: float = 0.0, *, ends: bool = True) -> float:
    """Storage requests of so many carts; ``ends``: those of the producer and the consumer too."""
    of_one = sum(REQUESTS.values()) + deferrals_per_cart * sum(DEFERRAL.values())
    return carts * (of_one + (sum(PRODUCER_AND_CONSUMER.values()) if ends else 0.0))


def gigabyte_seconds(carts: float, latency: float, memory_gb: float, in_flight: float = IN_FLIGHT * USE) -> float:
    """What a plan that is billed by memory and time counts: an instance's memory for as long as it is busy.

    ``in_flight``: carts that an instance has in flight on average; one at a time costs 27 times as much as 27.
    """
    return carts * latency / in_flight * memory_gb


def main(arguments: list[str] | None = None) -> int:
    """Print the plan."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity")
    parser.add_argument("--carts-per-hour", type=float, required=True)
    parser.add_argument("--latency", type=float, default=2.0, help="the service's mean, in seconds (%(default)s)")
    parser.add_argument("--admitted", type=float, default=math.inf, help="calls a second that the service admits")
    parser.add_argument("--cpu-ms", type=float, default=0.0, help="CPU per cart on one core, from docs/benchmarks.md")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="an instance's memory (%(default)s)")
    chosen = parser.parse_args(arguments)
    found = plan(chosen.carts_per_hour, chosen.latency, chosen.admitted, chosen.cpu_ms)
    million = 1_000_000
    print(f"carts a second                    {found.carts_per_second:.2f}, limited by: {found.limited_by}")
    print(f"maximumInstanceCount              {found.instances}")
    print(f"storage requests per million      {transactions(million):,.0f}")
    seconds = gigabyte_seconds(million, chosen.latency, chosen.memory_gb)
    print(f"GB-seconds per million            {seconds:,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
