"""The targets of the benchmark: how each follows from the measurements, and whether it is met. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.competitor import IN_FLIGHT
from bench.quartiles import Quartiles, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Results = Mapping[str, Sequence[Mapping[str, float]]]
    Values = Callable[[Results], Iterable[float]]


class Comparison(StrEnum):
    """How a value must compare with its limit."""

    AT_MOST = "≤"
    AT_LEAST = "≥"
    BELOW = "<"
    WITHIN = "1 ±"  # the ratio is no further from 1 than the limit


@dataclass(frozen=True, slots=True)
class BenchmarkTarget:
    """One row of the table: a value, computed for each round, and its limit.

    Attributes:
        name: As it stands in the table.
        values: Computes the value of each round.
        comparison: How the median must compare with `limit`.
        limit: The limit.
        unit: The unit of both; none for a ratio.
        aim: The target is desirable, but missing it does not fail the run.
    """

    name: str
    values: Values
    comparison: Comparison
    limit: float
    unit: str = ""
    aim: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a value meets the target."""
        match self.comparison:
            case Comparison.AT_MOST:
                return value <= self.limit
            case Comparison.AT_LEAST:
                return value >= self.limit
            case Comparison.BELOW:
                return value < self.limit
            case Comparison.WITHIN:
                return abs(value - 1) <= self.limit + 1e-9


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What was measured for a target."""

    target: BenchmarkTarget
    quartiles: Quartiles

    @property
    def is_met(self) -> bool:
        """Whether the median meets the target."""
        return self.target.is_met(self.quartiles.median)

    @property
    def fails_run(self) -> bool:
        """Whether the target is missed and is not only an aim."""
        return not (self.is_met or self.target.aim)


def evaluate(targets: Iterable[BenchmarkTarget], results: Results) -> list[TargetResult]:
    """Compute the quartiles of each target over the rounds. Targets that were not measured are left out."""
    found = []
    for target in targets:
        try:
            quartiles = Quartiles.of(target.values(results))
        except KeyError:
            continue
        found.append(TargetResult(target, quartiles))
    return found


def column(results: Results, measurement: str, name: str) -> list[float]:
    """One value of one measurement in every round.

    Raises:
        KeyError: it was not measured.
    """
    return [each[name] for each in results[measurement]]


def _ratio(name: str, above: str, below: str) -> Values:
    return lambda results: ratios(column(results, above, name), column(results, below, name))


def _within(measurement: str, above: str, below: str) -> Values:
    return lambda results: ratios(column(results, measurement, above), column(results, measurement, below))


def _of_ideal(measurement: str) -> Values:
    """Carts per second, as a share of what `IN_FLIGHT` could reach if only the service took time."""
    return lambda results: [each["carts_per_second"] * each["latency"] / IN_FLIGHT for each in results[measurement]]


def _value(measurement: str, name: str) -> Values:
    return lambda results: column(results, measurement, name)


def _memory_of_imports(results: Results) -> Iterable[float]:
    return ratios(column(results, "busy/ours", "peak_mib"), column(results, "imports", "seven_peak"))


def targets(tutorial_threads: int) -> tuple[BenchmarkTarget, ...]:
    """All targets in the order of the table; the tutorial's thread count depends on the cores of the machine."""
    at_most, at_least, below, within = Comparison
    few = 0.9 * IN_FLIGHT / tutorial_threads
    speed, cpu, peak = "carts_per_second", "cpu_ms", "peak_mib"
    plain, tls = ("second/ours", "second/tutorial"), ("second_tls/ours", "second_tls/tutorial")
    celery, awake = (("busy_5ms/ours", f"busy_5ms/{who}") for who in ("celery", "celery_awake"))
    awake_at_once = ("busy/ours", "busy/celery_awake")
    first = ("one_by_one_stub/ours", "first_ms")
    both, mib, live = ("ours_cpu_ms", "seven_cpu_ms"), ("many_mib", "few_mib"), ("many_live", "few_live")
    versions, at_once, azurite = (
        (f"{what}/ours", f"{what}/before") for what in ("busy", "one_by_one_stub", "one_by_one_azurite")
    )
    backlogs = ("backlog_20000/ours", "backlog_100/ours")
    return (
        BenchmarkTarget("CPU per checkout, ours : baseline", _ratio(cpu, "busy/ours", "busy/baseline"), at_most, 1.25),
        BenchmarkTarget("carts/s : 32 ÷ latency, constant 2 s", _of_ideal("two_seconds/ours"), at_least, 0.92),
        BenchmarkTarget("carts/s : 32 ÷ latency, lognormal, mean 2 s", _of_ideal("lognormal/ours"), at_least, 0.85),
        BenchmarkTarget("carts/s at 1 s, ours : tutorial", _ratio(speed, *plain), at_least, few),
        BenchmarkTarget("… over TLS, as in Azure", _ratio(speed, *tls), at_least, few),
        BenchmarkTarget("CPU per cart, ours : tutorial, over TLS", _ratio(cpu, *tls), below, 0.5),
        BenchmarkTarget("… over plain HTTP, which Azure has not", _ratio(cpu, *plain), below, 0.5, aim=True),
        BenchmarkTarget("carts/s at 0.2 s, storage at 5 ms, ours : Celery", _ratio(speed, *celery), at_least, 1.5),
        BenchmarkTarget("… kept awake", _ratio(speed, *awake), at_least, 1.5),
        BenchmarkTarget("… kept awake, storage at once", _ratio(speed, *awake_at_once), at_least, 1.5, aim=True),
        BenchmarkTarget("CPU per cart, ours : Celery", _ratio(cpu, *celery), below, 1),
        BenchmarkTarget("peak memory, ours : Celery", _ratio(peak, *celery), below, 1),
        BenchmarkTarget("import, ours : the seven packages (CPU)", _within("imports", *both), at_most, 1.10),
        BenchmarkTarget("first checkout beyond a warm one", _value(*first), at_most, 150, "ms", aim=True),
        BenchmarkTarget("peak memory, 32 in flight : the seven packages", _memory_of_imports, at_most, 1.4),
        BenchmarkTarget("memory after the most messages : after 1,000", _within("growth/ours", *mib), at_most, 1.05),
        BenchmarkTarget(
            "live objects after the most messages : after 1,000", _within("growth/ours", *live), at_most, 1.05
        ),
        BenchmarkTarget("CPU per cart, backlog 20,000 : 100", _ratio(cpu, *backlogs), within, 0.10),
        BenchmarkTarget(
            "hand-over to outcome, Azurite", _value("one_by_one_azurite/ours", "warm_ms"), at_most, 50, "ms"
        ),
        BenchmarkTarget("storage transactions per cart", _value("busy/ours", "stub_transactions"), at_most, 5.4),
        # only where an earlier version is measured too
        BenchmarkTarget("… ours : before", _ratio("stub_transactions", *versions), at_most, 1, aim=True),
        BenchmarkTarget("CPU per cart, ours : before", _ratio(cpu, *versions), at_most, 1.1, aim=True),
        BenchmarkTarget("carts/s at 0.2 s, ours : before", _ratio(speed, *versions), at_least, 0.9, aim=True),
        BenchmarkTarget("hand-over to outcome, ours : before", _ratio("warm_ms", *at_once), at_most, 1.1, aim=True),
        BenchmarkTarget("… on Azurite", _ratio("warm_ms", *azurite), at_most, 1.1, aim=True),
    )
