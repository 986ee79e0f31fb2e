"""The measurements: each starts its competitor anew, warms it up, and measures a window of its work.

A window begins and ends with a checkout that the service answered, so its length is exact. The resource usage of the
process is read at the same moments.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import ROOT
from bench.backend import Backend, MeasurementFailed
from bench.competitor import OURS, Competitor
from bench.competitor_process import CompetitorProcess

if TYPE_CHECKING:
    from collections.abc import Callable

Sample = dict[str, float]
"""What one measurement found in one round, by name: carts per second, milliseconds, MiB."""
Measurement = tuple[str, "Callable[[], Sample]"]
"""The name of a measurement, `<what>/<who>`, and the function that makes it."""

MIB = 2**20
STEP = 1_000
SEVEN = (
    "import azure.functions, azure.identity, azure.storage.blob, azure.storage.queue, msgspec, requests\n"
    "from opentelemetry import metrics, propagate, trace\n"
)
"""The seven packages that the program is built on, imported as a program that uses them imports them."""
_IMPORT = """
import json, time
begin = time.process_time()
{code}
cpu_ms = (time.process_time() - begin) * 1000
from bench.process_metrics import ProcessMetrics
print(json.dumps({{"cpu_ms": cpu_ms, "peak": ProcessMetrics.current().peak / 2**20}}))
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a competitor is given to do.

    Attributes:
        latency: Seconds that a checkout takes, on average.
        warm_up: Carts before the window.
        carts: Carts in the window.
        sigma: Above 0, checkouts take lognormal times.
        depth: Messages that lie ready in the queue.
        storage: Seconds that each request to the stub's storage takes.
    """

    latency: float
    warm_up: int
    carts: int
    sigma: float = 0.0
    depth: int = 200
    storage: float = 0.0


def window(backend: Backend, competitor: Competitor, load: Workload) -> Sample:
    """Carts per second, CPU and memory of a competitor whose queue is never empty."""
    backend.prepare(load.latency, load.sigma, load.storage)
    backend.feed(competitor.message, max(load.depth, 1))
    with CompetitorProcess(competitor, backend) as process:
        first = backend.wait(load.warm_up)
        before = process.metrics()
        last = backend.wait(load.warm_up + load.carts)
        after = process.metrics()
        backend.stop_feeding()
    carts = last.answered - first.answered
    seconds = last.at - first.at
    _check(competitor, last.answered, last.carts)
    return {
        "carts_per_second": carts / seconds,
        "latency": (last.waited - first.waited) / carts,
        "cpu_ms": (after.cpu - before.cpu) / carts * 1000,
        "peak_mib": after.peak / MIB,
        "rss_mib": after.rss / MIB,
        "stub_transactions": (last.transactions - first.transactions) / carts,
        "stub_load": (last.cpu - first.cpu) / seconds,
    }


def one_by_one(backend: Backend, competitor: Competitor, carts: int) -> Sample:
    """Milliseconds of a call, one in flight, while the service answers at once; the first call apart.

    Each message is received alone here, so a cart has a storage transaction of its own for that.
    """
    backend.prepare(0.0)
    backend.feed(competitor.message, carts)
    with CompetitorProcess(competitor, backend, "--batch-size", "1", "--new-batch-threshold", "0") as process:
        begin = backend.wait(1)
        end = backend.wait(carts)
        process.metrics()
        durations = process.call_seconds()
        backend.stop_feeding()
    first, *warm = (seconds * 1000 for seconds in durations)
    return {
        "warm_ms": statistics.median(warm),
        "first_ms": first - statistics.median(warm),
        "stub_transactions": (end.transactions - begin.transactions) / (carts - 1),
    }


def growth(backend: Backend, competitor: Competitor, few: int, many: int) -> Sample:
    """Resident memory and live memory blocks after `few` and after `many` messages, the service answering at once."""
    backend.prepare(0.0)
    backend.feed(competitor.message, 200)
    found, answered = [], 0
    with CompetitorProcess(competitor, backend) as process:
        for count in (few, many):
            while answered < count:  # in steps, since `wait` has a time limit
                answered = min(count, answered + STEP)
                done = backend.wait(answered)
            found.append(process.metrics(live=True))
        backend.stop_feeding()
    _check(competitor, done.answered, done.carts)
    begin, end = found
    resident = {"few_mib": begin.rss / MIB, "many_mib": end.rss / MIB}
    return {"few": few, "many": many, **resident, "few_live": begin.live, "many_live": end.live}


def imports(backend: Backend, times: int = 10) -> Sample:
    """CPU milliseconds and MiB that a fresh process takes to import the seven packages, and to import the program.

    Both are imported in turn, `times` times; the medians count.
    """
    imported("import function_app", backend)  # not counted: it writes the byte code that all others read
    pairs = [(imported(SEVEN, backend), imported("import function_app", backend)) for _ in range(times)]
    found = dict(zip(("seven", "ours"), zip(*pairs, strict=True), strict=True))
    return {
        f"{who}_{name}": statistics.median(each[name] for each in samples)
        for who, samples in found.items()
        for name in ("cpu_ms", "peak")
    }


def imported(code: str, backend: Backend) -> Sample:
    """CPU milliseconds and MiB that a fresh process takes to run an import.

    Raises:
        MeasurementFailed: the import failed.
    """
    environ = {**os.environ, **backend.environment(), **OURS.settings}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the program is compiled like the packages, by the first import
    command = [sys.executable, "-c", _IMPORT.format(code=code)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    if done.returncode:
        raise MeasurementFailed(f"the import failed:\n{done.stderr}")
    found: Sample = json.loads(done.stdout)
    return found


def _check(competitor: Competitor, answered: int, carts: int) -> None:
    """Check that each cart was checked out once: a measured program must work."""
    if not answered <= carts <= answered + competitor.threads:
        raise MeasurementFailed(f"{competitor.name}: {answered} answers to {carts} carts")
