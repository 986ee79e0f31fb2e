"""What is measured, in which order: every round measures everyone once, so that a slow minute hits all alike."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bench import ceiling, measure
from bench.backend import Backend
from bench.competitor import CELERY, CELERY_AWAKE, LIMIT, OURS, THREADS, TUTORIAL, Competitor
from bench.measure import Figures, Load, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

Results = dict[str, list[Figures]]
"""By measurement, what each round found."""

FULL_ROUNDS = 7
APART = 6 * THREADS
"""Carts of a warm-up at constant latency. All threads begin in step, and then all want the processor at once; it
takes about six rounds of 32 until they are spread over the latency, and there they stay."""
STORAGE_LATENCY = 0.005
"""Assumed, not measured: a storage account in the same region takes some milliseconds for each request."""
LOGNORMAL_SIGMA = 0.5
"""The service's slowest hundredth then takes 5.7 s where the mean is 2 s."""


@dataclass(frozen=True, slots=True)
class Backends:
    """The three back ends of a run."""

    stub: Backend
    tls: Backend
    azurite: Backend


def measurements(ends: Backends, *, quick: bool) -> list[Measurement]:
    """One round, in order."""

    def on(what: str, backend: Backend, who: Competitor, load: Load) -> Measurement:
        load = replace(load, carts=_few(load.carts)) if quick else load
        return f"{what}/{who.name}", partial(measure.window, backend, who, load)

    def _few(carts: int) -> int:
        return max(12, carts // (3 * THREADS) * THREADS)  # a third, in whole waves of what is in flight

    busy = Load(0.2, 160, 640)
    # no target hangs on what the quick mode leaves out
    near = (LIMIT, OURS) if quick else (LIMIT, OURS, CELERY_AWAKE)
    far = (OURS, CELERY, CELERY_AWAKE) if quick else (LIMIT, OURS, CELERY, CELERY_AWAKE)
    second, few = Load(1.0, APART, 192), Load(1.0, 12, 36)
    found: list[Measurement] = [
        ("imports", partial(measure.imports, ends.stub)),
        *(on("busy", ends.stub, who, busy) for who in near),
        *(on("busy_5ms", ends.stub, who, replace(busy, storage=STORAGE_LATENCY)) for who in far),
        on("two_seconds", ends.stub, OURS, Load(2.0, APART, 192)),
        on("lognormal", ends.stub, OURS, Load(2.0, 96, 288, sigma=LOGNORMAL_SIGMA)),
        on("second", ends.stub, OURS, second),
        on("second", ends.stub, TUTORIAL, few),
        on("second_tls", ends.tls, OURS, second),
        on("second_tls", ends.tls, TUTORIAL, few),
        on("backlog_100", ends.stub, OURS, replace(busy, depth=100)),
        on("backlog_20000", ends.stub, OURS, replace(busy, depth=20_000)),
        ("one_by_one_stub/ours", partial(measure.one_by_one, ends.stub, OURS, 30)),
        ("one_by_one_azurite/ours", partial(measure.one_by_one, ends.azurite, OURS, 60)),
        ("one_by_one_azurite/limit", partial(measure.one_by_one, ends.azurite, LIMIT, 60)),
    ]
    if not quick:
        crowd = Load(0.2, 64, 192, depth=400)
        found += [on("azurite", ends.azurite, who, crowd) for who in (LIMIT, OURS, CELERY, TUTORIAL)]
    return found


def run(rounds: int, say: Callable[[str], None], *, quick: bool = False, only: str = "") -> Results:
    """Measure everything, ``rounds`` times; the ceilings and the memory's growth once.

    ``only``: nothing but the measurements whose names begin so.
    """
    results: Results = defaultdict(list)
    with ExitStack() as stack:
        ends = Backends(*(stack.enter_context(made) for made in (Backend(), Backend(tls=True), Backend(azurite=True))))
        plan = measurements(ends, quick=quick)
        for number in range(1, rounds + 1):
            for name, make in plan:
                if name.startswith(only):
                    _measure(results, name, make, say, f"{number}/{rounds}")
        few, many = (200, 600) if quick else (1_000, 50_000)
        carts = 200 if quick else 1_000
        once: list[Measurement] = [
            ("growth/ours", partial(measure.growth, ends.stub, OURS, few, many)),
            ("ceiling/stub", partial(ceiling.measure, ends.stub, carts)),
            ("ceiling/azurite", partial(ceiling.measure, ends.azurite, carts)),
        ]
        for name, make in once:
            if name.startswith(only):
                _measure(results, name, make, say, "once")
    return dict(results)


def _measure(results: Results, name: str, make: Callable[[], Figures], say: Callable[[str], None], which: str) -> None:
    began = time.perf_counter()
    figures = make()
    results[name].append(figures)
    told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
    say(f"{which:>5} {name:26} {time.perf_counter() - began:5.1f} s  {told}")
