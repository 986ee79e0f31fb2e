"""The measurements: each starts its program anew, warms it up, and measures a window of it.

A window begins and ends with a checkout that the service answered, so its length is exact; what the process has
used is asked for at the same moments.
"""

from __future__ import annotations

import json
import operator
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.backend import ROOT, Backend, Stuck
from bench.competitor import OURS, Competitor, Running

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, float]
"""What one measurement found, by name: carts per second, milliseconds, MiB."""

MIB = 2**20
SEVEN = (
    "import azure.functions, azure.identity, azure.storage.blob, azure.storage.queue, msgspec, requests\n"
    "from opentelemetry import metrics, propagate, trace\n"
)
"""The seven packages, imported as a program that uses them imports them."""
_IMPORT = """
import json, time
begin, cpu = time.perf_counter(), time.process_time()
{code}
found = {{"ms": (time.perf_counter() - begin) * 1000, "cpu_ms": (time.process_time() - cpu) * 1000}}
from bench import meter
print(json.dumps({{**found, "peak": meter.usage()["peak"] / 2**20}}))
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is given to a program: latency in seconds (sigma above 0: lognormal), carts to warm up and to measure.

    ``depth``: how many messages lie ready in the queue.
    """

    latency: float
    warm_up: int
    carts: int
    sigma: float = 0.0
    depth: int = 200


def window(backend: Backend, competitor: Competitor, load: Load) -> Figures:
    """Carts per second, CPU and memory of a program that always has enough to do."""
    backend.prepare(load.latency, load.sigma)
    backend.feed(competitor, max(load.depth, 1))
    with Running(competitor, backend) as running:
        first = backend.wait(load.warm_up)
        before = running.usage()
        last = backend.wait(load.warm_up + load.carts)
        after = running.usage()
        backend.starve()
    carts = last.answered - first.answered
    seconds = last.at - first.at
    _check(competitor, last.answered, last.carts)
    return {
        "carts_per_second": carts / seconds,
        "latency": (last.waited - first.waited) / carts,
        "cpu_ms": (after.cpu - before.cpu) / carts * 1000,
        "peak_mib": after.peak / MIB,
        "rss_mib": after.rss / MIB,
        "stub_load": (last.cpu - first.cpu) / seconds,
    }


def one_by_one(backend: Backend, competitor: Competitor, carts: int) -> Figures:
    """From hand-over to outcome accepted, one in flight, the service answering at once; the first apart."""
    backend.prepare(0.0)
    backend.feed(competitor, carts)
    with Running(competitor, backend, "--batch-size", "1", "--new-batch-threshold", "0") as running:
        backend.wait(carts)
        running.usage()
        taken = running.durations()
        backend.starve()
    first, *warm = (seconds * 1000 for seconds in taken)
    return {"warm_ms": statistics.median(warm), "first_ms": first - statistics.median(warm)}


def growth(backend: Backend, competitor: Competitor, few: int, many: int) -> Figures:
    """Resident memory, and live blocks of memory, after ``few`` and after ``many`` messages."""
    backend.prepare(0.0)
    backend.feed(competitor, 200)
    with Running(competitor, backend) as running:
        backend.wait(few)
        begin = running.usage(live=True)
        for answered in range(2 * few, many + 1, few):  # in steps: patience is for one, and not for all
            done = backend.wait(answered)
        end = running.usage(live=True)
        backend.starve()
    _check(competitor, done.answered, done.carts)
    resident = {"few_mib": begin.rss / MIB, "many_mib": end.rss / MIB}
    return {"few": few, "many": many, **resident, "few_live": begin.live, "many_live": end.live}


def imports(code: str, backend: Backend, times: int = 4) -> Figures:
    """Milliseconds and MiB that a fresh process takes to import something: of the one disturbed least.

    The first of all writes the byte code, so that it is never the least.
    """
    return min((_imported(code, backend) for _ in range(times)), key=operator.itemgetter("cpu_ms"))


def _imported(code: str, backend: Backend) -> Figures:
    environ = {**os.environ, **backend.environment(), **OURS.settings}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # ours is compiled like the packages: the first import does it
    command = [sys.executable, "-c", _IMPORT.format(code=code)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise Stuck(f"the import failed:\n{done.stderr}")
    found: Figures = json.loads(done.stdout)
    return found


def _check(competitor: Competitor, answered: int, carts: int) -> None:
    """See that each cart was asked for once: a program that is measured must work."""
    if not answered <= carts <= answered + competitor.threads:
        raise Stuck(f"{competitor.name}: {answered} answers to {carts} carts")


Measurement = tuple[str, "Callable[[], Figures]"]
"""Its name, `<what>/<who>`, and how it is made."""
