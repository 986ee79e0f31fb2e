"""The measurements: each starts its program anew, warms it up, and measures a window of it.

A window begins and ends with a checkout that the service answered, so its length is exact; what the process has
used is asked for at the same moments.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.backend import ROOT, Backend, Stuck
from bench.competitor import OURS, Competitor, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.competitor import Usage

Figures = dict[str, float]
"""What one measurement found, by name: carts per second, milliseconds, MiB."""

MIB = 2**20
STEP = 1_000
SEVEN = (
    "import azure.functions, azure.identity, azure.storage.blob, azure.storage.queue, msgspec, requests\n"
    "from opentelemetry import metrics, propagate, trace\n"
)
"""The seven packages, imported as a program that uses them imports them."""
_IMPORT = """
import json, time
begin = time.process_time()
{code}
cpu_ms = (time.process_time() - begin) * 1000
from bench import meter
print(json.dumps({{"cpu_ms": cpu_ms, "peak": meter.usage()["peak"] / 2**20}}))
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is given to a program: latency in seconds (sigma above 0: lognormal), carts to warm up and to measure.

    ``depth``: how many messages lie ready in the queue. ``storage``: seconds that each request to the stub's storage
    takes.
    """

    latency: float
    warm_up: int
    carts: int
    sigma: float = 0.0
    depth: int = 200
    storage: float = 0.0


def window(backend: Backend, competitor: Competitor, load: Load) -> Figures:
    """Carts per second, CPU and memory of a program that always has enough to do."""
    backend.prepare(load.latency, load.sigma, load.storage)
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
    begin, end = usages(backend, competitor, (few, many))
    resident = {"few_mib": begin.rss / MIB, "many_mib": end.rss / MIB}
    return {"few": few, "many": many, **resident, "few_live": begin.live, "many_live": end.live}


def usages(backend: Backend, competitor: Competitor, counts: Iterable[int]) -> list[Usage]:
    """What a program uses after each of so many messages, its live blocks included; the service answers at once."""
    backend.prepare(0.0)
    backend.feed(competitor, 200)
    found, answered = [], 0
    with Running(competitor, backend) as running:
        for count in counts:
            while answered < count:  # in steps: the back end's patience is for one of them
                answered = min(count, answered + STEP)
                done = backend.wait(answered)
            found.append(running.usage(live=True))
        backend.starve()
    _check(competitor, done.answered, done.carts)
    return found


def imports(backend: Backend, times: int = 10) -> Figures:
    """CPU milliseconds and MiB that a fresh process takes to import something: the seven packages, and ours.

    Taken in turn; of each the medians.
    """
    imported("import function_app", backend)  # not counted: it writes the byte code that all others read
    pairs = [(imported(SEVEN, backend), imported("import function_app", backend)) for _ in range(times)]
    found = dict(zip(("seven", "ours"), zip(*pairs, strict=True), strict=True))
    return {
        f"{who}_{name}": statistics.median(each[name] for each in those)
        for who, those in found.items()
        for name in ("cpu_ms", "peak")
    }


def imported(code: str, backend: Backend) -> Figures:
    """What it takes once to import something in a fresh process.

    Raises:
        Stuck: it cannot be imported.
    """
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
