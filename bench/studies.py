"""The simulated studies behind docs/capacity.md: which fleets, which pairs, and their tables. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bench import slots
from bench.fleet import Fleet, simulate

INSTANCES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 30, 40, 50)
ADMITTED = 100.0
BACKLOG = 20_000
LATENCY = 2.0


@dataclass(frozen=True, slots=True)
class Point:
    """One simulated fleet; delays in seconds, wasted calls per cart."""

    instances: int
    gate: bool
    rate: float
    median: float
    p95: float
    wasted: float


@dataclass(frozen=True, slots=True)
class FleetStudy:
    """All of them. ``enough``: instances whose slots alone would reach the admitted rate."""

    points: tuple[Point, ...]
    enough: float
    about: str


def fleets(instances: tuple[int, ...] = INSTANCES, carts: int = BACKLOG) -> FleetStudy:
    """A backlog at once, against a service that admits 100 calls a second, counted by the minute."""
    points = []
    for gate in (True, False):
        for count in instances:
            found = simulate(Fleet(instances=count, latency=LATENCY, admitted=ADMITTED, gate=gate, carts=carts))
            points.append(Point(count, gate, found.rate, found.delay(0.5), found.delay(0.95), found.wasted_per_cart))
    about = (
        f"{carts:,} carts at once, {ADMITTED:.0f} calls/s admitted, counted by the minute, mean latency {LATENCY:.0f} s"
    )
    return FleetStudy(tuple(points), ADMITTED * LATENCY / 32, about)


def uses() -> list[tuple[str, float, float]]:
    """For each pair: its name, the slot use with a constant latency, and with a lognormal one."""
    return [(f"{batch}/{rest}", slots.use(batch, rest, sigma=0), slots.use(batch, rest)) for batch, rest in slots.PAIRS]


def fleet_table(study: FleetStudy) -> str:
    """In Markdown."""
    lines = [
        "| instances | carts/s | delay, median | delay, 95 % | 429s per cart | no gate: carts/s | 429s per cart |",
        "| --: | --: | --: | --: | --: | --: | --: |",
    ]
    without = {point.instances: point for point in study.points if not point.gate}
    for point in study.points:
        if point.gate:
            other = without[point.instances]
            lines.append(
                f"| {point.instances} | {point.rate:.0f} | {point.median:.0f} s | {point.p95:.0f} s "
                f"| {point.wasted:.2f} | {other.rate:.0f} | {other.wasted:.2f} |"
            )
    return "\n".join(lines)


def slot_table(found: list[tuple[str, float, float]]) -> str:
    """In Markdown."""
    lines = ["| batchSize/newBatchThreshold | constant latency | lognormal |", "| --- | --: | --: |"]
    lines += [f"| {name} | {constant:.2f} | {lognormal:.2f} |" for name, constant, lognormal in found]
    return "\n".join(lines)
