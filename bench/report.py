"""Writes the tables and the plot of docs/benchmarks.md from bench/results.json.

    python -m bench.report

The generated parts stand between `<!-- name -->` and `<!-- /name -->`.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from bench import ROOT, targets
from bench.quartiles import Quartiles
from bench.results import BenchmarkRun
from bench.table import markdown, markdown_results
from bench.targets import column

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCHMARKS = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Write everything."""
    from bench import plots  # noqa: PLC0415  its library is in the benchmark's own environment only

    run = BenchmarkRun.read()
    text = BENCHMARKS.read_text(encoding="utf-8")
    for name, made in sections(run).items():
        text = replace_section(text, name, made)
    BENCHMARKS.write_text(text, encoding="utf-8")
    plots.competitors(run)
    return 0


def sections(run: BenchmarkRun) -> dict[str, str]:
    """The generated parts of docs/benchmarks.md."""
    return {
        "run": provenance(run),
        "targets": markdown_results(targets.evaluate(targets.targets(run.tutorial_threads), run.measurements)),
        "competitors": competitors(run),
        "backend-limits": backend_limits(run),
    }


def provenance(run: BenchmarkRun) -> str:
    """When, where, and with what it was measured."""
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    return f"`{run.command}`, {run.date}, rounds: {run.rounds}, {run.machine}, Python {run.python}; {versions}."


def competitors(run: BenchmarkRun) -> str:
    """The medians of every measured window."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, samples in run.measurements.items():
            if "carts_per_second" in samples[0] and "cpu_ms" in samples[0]:
                speed, cpu, peak = (
                    Quartiles.of(column(run.measurements, name, each)).median
                    for each in ("carts_per_second", "cpu_ms", "peak_mib")
                )
                yield f"`{name}`", f"{speed:.1f}", f"{cpu:.1f}", f"{peak:.0f}"

    return markdown(("measured", "carts/s", "CPU ms per cart", "peak MiB"), rows())


def backend_limits(run: BenchmarkRun) -> str:
    """What the back ends can serve."""
    rows = (
        (name.partition("/")[2], f"{samples[0]['carts_per_second']:,.0f}")
        for name, samples in run.measurements.items()
        if name.startswith("backend_limit/")
    )
    return markdown(("back end", "carts/s at most"), rows)


def replace_section(text: str, name: str, made: str) -> str:
    """Replace the generated part of this name.

    Raises:
        ValueError: the text has no such part.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no part called {name}")
    return pattern.sub(lambda found: f"{found[1]}{made}\n{found[2]}", text)


if __name__ == "__main__":
    sys.exit(main())
