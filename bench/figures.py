"""The figures that must be reached: how each follows from the measurements, its target, and whether it is met. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.spread import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Results = Mapping[str, Sequence[Mapping[str, float]]]

IN_FLIGHT = 32


class Bound(StrEnum):
    """How a figure must lie to its target."""

    AT_MOST = "≤"
    AT_LEAST = "≥"
    BELOW = "<"
    WITHIN = "1 ±"  # the ratio lies no further from 1 than the target
    NONE = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. ``aim``: the target is worth striving for, but missing it fails nothing."""

    name: str
    values: Callable[[Results], Iterable[float]]
    bound: Bound = Bound.NONE
    target: float = 0.0
    unit: str = ""
    aim: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A figure as it was measured. ``met`` is None where there is no target."""

    figure: Figure
    spread: Spread
    met: bool | None

    @property
    def missed(self) -> bool:
        """Whether this fails the run."""
        return self.met is False and not self.figure.aim


def rows(figures: Iterable[Figure], results: Results) -> list[Row]:
    """Judge each figure by its median over the rounds. Figures that were not measured are left out."""
    found = []
    for figure in figures:
        try:
            spread = Spread.of(figure.values(results))
        except KeyError:
            continue
        found.append(Row(figure, spread, judge(figure, spread.median)))
    return found


def judge(figure: Figure, value: float) -> bool | None:
    """Whether the value meets the figure's target; None where it has none."""
    match figure.bound:
        case Bound.AT_MOST:
            return value <= figure.target
        case Bound.AT_LEAST:
            return value >= figure.target
        case Bound.BELOW:
            return value < figure.target
        case Bound.WITHIN:
            return abs(value - 1) <= figure.target + 1e-9
        case Bound.NONE:
            return None


def column(results: Results, measurement: str, name: str) -> list[float]:
    """One value of one measurement, of every round; KeyError where it was not measured."""
    return [each[name] for each in results[measurement]]


def _ratio(name: str, above: str, below: str) -> Callable[[Results], Iterable[float]]:
    return lambda results: ratios(column(results, above, name), column(results, below, name))


def _within(measurement: str, above: str, below: str) -> Callable[[Results], Iterable[float]]:
    return lambda results: ratios(column(results, measurement, above), column(results, measurement, below))


def _of_ideal(measurement: str) -> Callable[[Results], Iterable[float]]:
    """Carts per second, of those that 32 in flight could be if only the service took time."""
    return lambda results: [each["carts_per_second"] * each["latency"] / IN_FLIGHT for each in results[measurement]]


def _value(measurement: str, name: str) -> Callable[[Results], Iterable[float]]:
    return lambda results: column(results, measurement, name)


def figures(tutorial_threads: int) -> tuple[Figure, ...]:
    """All rows of the table, in order; the tutorial's thread count depends on the machine's cores."""
    at_most, at_least, below, within = Bound.AT_MOST, Bound.AT_LEAST, Bound.BELOW, Bound.WITHIN
    few = 0.9 * IN_FLIGHT / tutorial_threads
    speed, cpu, peak = "carts_per_second", "cpu_ms", "peak_mib"
    plain, tls = ("second/ours", "second/tutorial"), ("second_tls/ours", "second_tls/tutorial")
    celery, awake = (("busy_5ms/ours", f"busy_5ms/{who}") for who in ("celery", "celery_awake"))
    awake_at_once = ("busy/ours", "busy/celery_awake")
    first = ("one_by_one_stub/ours", "first_ms")
    both, mib, live = ("ours_cpu_ms", "seven_cpu_ms"), ("many_mib", "few_mib"), ("many_live", "few_live")
    backlogs = ("backlog_20000/ours", "backlog_100/ours")
    return (
        Figure("CPU per checkout, ours : limit", _ratio(cpu, "busy/ours", "busy/limit"), at_most, 1.25),
        Figure("carts/s : 32 ÷ latency, constant 2 s", _of_ideal("two_seconds/ours"), at_least, 0.92),
        Figure("carts/s : 32 ÷ latency, lognormal, mean 2 s", _of_ideal("lognormal/ours"), at_least, 0.85),
        Figure("carts/s at 1 s, ours : tutorial", _ratio(speed, *plain), at_least, few),
        Figure("… over TLS, as in Azure", _ratio(speed, *tls), at_least, few),
        Figure("CPU per cart, ours : tutorial, over TLS", _ratio(cpu, *tls), below, 0.5),
        Figure("… over plain HTTP, which Azure has not", _ratio(cpu, *plain), below, 0.5, aim=True),
        Figure("carts/s at 0.2 s, storage at 5 ms, ours : Celery", _ratio(speed, *celery), at_least, 1.5),
        Figure("… kept awake", _ratio(speed, *awake), at_least, 1.5),
        Figure("… kept awake, storage at once", _ratio(speed, *awake_at_once), at_least, 1.5, aim=True),
        Figure("CPU per cart, ours : Celery", _ratio(cpu, *celery), below, 1),
        Figure("peak memory, ours : Celery", _ratio(peak, *celery), below, 1),
        Figure("import, ours : the seven packages (CPU)", _within("imports", *both), at_most, 1.10),
        Figure("first checkout beyond a warm one", _value(*first), at_most, 150, "ms", aim=True),
        Figure("peak memory, 32 in flight : the seven packages", _of_seven, at_most, 1.4),
        Figure("memory after the most messages : after 1,000", _within("growth/ours", *mib), at_most, 1.05),
        Figure("live objects after the most messages : after 1,000", _within("growth/ours", *live), at_most, 1.05),
        Figure("CPU per cart, backlog 20,000 : 100", _ratio(cpu, *backlogs), within, 0.10),
        Figure("hand-over to outcome, Azurite", _value("one_by_one_azurite/ours", "warm_ms"), at_most, 50, "ms"),
    )  # fmt: skip


def _of_seven(results: Results) -> Iterable[float]:
    return ratios(column(results, "busy/ours", "peak_mib"), column(results, "imports", "seven_peak"))
