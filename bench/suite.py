"""The measurements of a run and their order.

Each round measures every competitor once, so that a slow minute affects all of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bench import backend_limit, measure
from bench.backend import Backend
from bench.competitor import BASELINE, CELERY, CELERY_AWAKE, IN_FLIGHT, OURS, TUTORIAL, Competitor
from bench.measure import Measurement, Sample, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

Results = dict[str, list[Sample]]
"""By the name of a measurement, what each round found."""

FULL_ROUNDS = 7
WARM_UP = 6 * IN_FLIGHT
"""Carts of a warm-up at constant latency. All threads start at the same moment and first compete for the processor. It
takes about six times 32 carts until their calls are spread evenly over the latency."""
STORAGE_LATENCY = 0.005
"""An assumption: a storage account in the same region takes some milliseconds for each request."""
LOGNORMAL_SIGMA = 0.5
"""With a mean of 2 s, the slowest 1 % of the checkouts take 5.7 s or more."""


@dataclass(frozen=True, slots=True)
class Backends:
    """The three back ends of a run."""

    stub: Backend
    tls: Backend
    azurite: Backend


def measurements(ends: Backends, *, quick: bool, others: tuple[Competitor, ...] = ()) -> list[Measurement]:
    """The measurements of one round, in order. `others`: further competitors that are measured beside ours."""

    def on(what: str, backend: Backend, who: Competitor, load: Workload) -> Measurement:
        if quick:  # a third of the carts, in multiples of what is in flight
            load = replace(load, carts=max(12, load.carts // (3 * IN_FLIGHT) * IN_FLIGHT))
        return f"{what}/{who.name}", partial(measure.window, backend, who, load)

    busy = Workload(0.2, 160, 640)
    # the quick mode leaves out only what no target needs
    near = (BASELINE, OURS, *others) if quick else (BASELINE, OURS, *others, CELERY_AWAKE)
    far = (OURS, CELERY, CELERY_AWAKE) if quick else (BASELINE, OURS, CELERY, CELERY_AWAKE)
    second, few = Workload(1.0, WARM_UP, 192), Workload(1.0, 12, 36)
    found: list[Measurement] = [
        ("imports", partial(measure.imports, ends.stub)),
        *(on("busy", ends.stub, who, busy) for who in near),
        *(on("busy_5ms", ends.stub, who, replace(busy, storage=STORAGE_LATENCY)) for who in far),
        on("two_seconds", ends.stub, OURS, Workload(2.0, WARM_UP, 192)),
        on("lognormal", ends.stub, OURS, Workload(2.0, 96, 288, sigma=LOGNORMAL_SIGMA)),
        on("second", ends.stub, OURS, second),
        on("second", ends.stub, TUTORIAL, few),
        on("second_tls", ends.tls, OURS, second),
        on("second_tls", ends.tls, TUTORIAL, few),
        on("backlog_100", ends.stub, OURS, replace(busy, depth=100)),
        on("backlog_20000", ends.stub, OURS, replace(busy, depth=20_000)),
        *((f"one_by_one_stub/{who.name}", partial(measure.one_by_one, ends.stub, who, 30)) for who in (OURS, *others)),
        *(
            (f"one_by_one_azurite/{who.name}", partial(measure.one_by_one, ends.azurite, who, 60))
            for who in (BASELINE, OURS, *others)
        ),
    ]
    if not quick:
        backlog = Workload(0.2, 64, 192, depth=400)
        found += [on("azurite", ends.azurite, who, backlog) for who in (BASELINE, OURS, CELERY, TUTORIAL)]
    return found


def run_suite(
    rounds: int,
    say: Callable[[str], None],
    *,
    quick: bool = False,
    only: str = "",
    others: tuple[Competitor, ...] = (),
) -> Results:
    """Measure everything in each round, and once the limits of the back ends and the growth of memory.

    Args:
        rounds: How often.
        say: Called with a line for each measurement.
        quick: Small workloads, and without what no target needs.
        only: Only the measurements whose names begin so.
        others: Further competitors that are measured beside ours.
    """
    results: Results = defaultdict(list)
    with ExitStack() as stack:
        ends = Backends(*(stack.enter_context(made) for made in (Backend(), Backend(tls=True), Backend(azurite=True))))
        plan = measurements(ends, quick=quick, others=others)
        for number in range(1, rounds + 1):
            for name, make in plan:
                if name.startswith(only):
                    _measure(results, name, make, say, f"{number}/{rounds}")
        few, many = (200, 600) if quick else (1_000, 50_000)
        carts = 200 if quick else 1_000
        once: list[Measurement] = [
            ("growth/ours", partial(measure.growth, ends.stub, OURS, few, many)),
            ("backend_limit/stub", partial(backend_limit.measure, ends.stub, carts)),
            ("backend_limit/azurite", partial(backend_limit.measure, ends.azurite, carts)),
        ]
        for name, make in once:
            if name.startswith(only):
                _measure(results, name, make, say, "once")
    return dict(results)


def _measure(results: Results, name: str, make: Callable[[], Sample], say: Callable[[str], None], which: str) -> None:
    started = time.perf_counter()
    sample = make()
    results[name].append(sample)
    values = ", ".join(f"{key} {value:.4g}" for key, value in sample.items())
    say(f"{which:>5} {name:26} {time.perf_counter() - started:5.1f} s  {values}")
