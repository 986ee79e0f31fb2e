"""Writes the tables and plots of the documents from bench/results.json, and from the simulations.

    python -m bench.report

What it writes stands between `<!-- name -->` and `<!-- /name -->`; the text around is written by people.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import figures, studies, table
from bench.figures import column
from bench.results import Run
from bench.spread import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
CAPACITY = ROOT / "docs" / "capacity.md"
README = ROOT / "README.md"
REPEATS = ROOT / "bench" / "repeats"


def main() -> int:
    """Write everything; prints what it wrote."""
    from bench import plots  # noqa: PLC0415  its library is in the benchmark's own environment only

    run = Run.read()
    study, uses = studies.fleets(), studies.uses()
    text = BENCHMARKS.read_text(encoding="utf-8")
    for name, made in sections(run, repeats()).items():
        text = replaced(text, name, made)
    BENCHMARKS.write_text(text, encoding="utf-8")
    text = CAPACITY.read_text(encoding="utf-8")
    text = replaced(replaced(text, "fleet", studies.fleet_table(study)), "slots", studies.slot_table(uses))
    CAPACITY.write_text(text, encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    if "<!-- bench -->" in text:
        README.write_text(replaced(text, "bench", short(run)), encoding="utf-8")
    for file in (BENCHMARKS, CAPACITY, README, plots.competitors(run), plots.fleet(study), plots.slots(uses)):
        print(file.relative_to(ROOT))
    return 0


def sections(run: Run, others: Sequence[Run] = ()) -> dict[str, str]:
    """The generated parts of docs/benchmarks.md."""
    return {
        "run": provenance(run),
        "figures": table.markdown(figures.rows(figures.figures(run.tutorial_threads), run.measurements)),
        "competitors": competitors(run),
        "ceilings": ceilings(run),
        "repeats": repeated([run, *others]),
    }


def repeats() -> list[Run]:
    """The committed runs that bench/results.json is compared with."""
    return [Run.read(file) for file in sorted(REPEATS.glob("*.json"))]


def short(run: Run) -> str:
    """The table of the README, and how it was measured."""
    found = figures.rows(figures.figures(run.tutorial_threads), run.measurements)
    lines = ["| figure | target | measured |", "| --- | --: | --: |"]
    for row in found:
        name, target, median, _, met = table.cells(row)
        lines.append(f"| {name} | {target} | {median}{'' if row.met else f' ({met})'} |")
    return "\n".join([*lines, "", f"`{run.command}`, {run.date}, {run.machine}, Python {run.python}."])


def provenance(run: Run) -> str:
    """When, where, with what."""
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    return f"`{run.command}`, {run.date}, rounds: {run.rounds}, {run.machine}, Python {run.python}; {versions}."


def competitors(run: Run) -> str:
    """Every window that was measured, its medians."""
    lines = ["| measured | carts/s | CPU ms per cart | peak MiB |", "| --- | --: | --: | --: |"]
    for name, found in run.measurements.items():
        if "carts_per_second" in found[0] and "cpu_ms" in found[0]:
            speed, cpu, peak = (
                Spread.of(column(run.measurements, name, each)).median
                for each in ("carts_per_second", "cpu_ms", "peak_mib")
            )
            lines.append(f"| `{name}` | {speed:.1f} | {cpu:.1f} | {peak:.0f} |")
    return "\n".join(lines)


def ceilings(run: Run) -> str:
    """What the back ends bear."""
    lines = ["| back end | carts/s that it bears |", "| --- | --: |"]
    lines += [
        f"| {name.partition('/')[2]} | {found[0]['carts_per_second']:,.0f} |"
        for name, found in run.measurements.items()
        if name.startswith("ceiling/")
    ]
    return "\n".join(lines)


def repeated(runs: Sequence[Run]) -> str:
    """The median of each figure in several runs, and how far the largest is above the smallest."""
    judged = [
        {row.figure.name: row for row in figures.rows(figures.figures(run.tutorial_threads), run.measurements)}
        for run in runs
    ]
    lines = ["| figure |" + "".join(f" run {number} |" for number in range(1, len(runs) + 1)) + " apart |"]
    lines.append("| --- |" + " --: |" * (len(runs) + 1))
    for name in judged[0]:
        found = [each.get(name) for each in judged]
        shown = " | ".join("" if row is None else table.cells(row)[2] for row in found)
        medians = [row.spread.median for row in found if row is not None]
        lines.append(f"| {name} | {shown} | {max(medians) / min(medians) - 1:.0%} |")
    commands = "; ".join(f"`{run.command}`, {run.rounds} rounds" for run in runs)
    return "\n".join([*lines, "", f"{commands}; all on {runs[0].machine}."])


def replaced(text: str, name: str, made: str) -> str:
    """The text with the part of this name made anew.

    Raises:
        ValueError: it has no such part.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no part called {name}")
    return pattern.sub(lambda found: f"{found[1]}{made}\n{found[2]}", text)


if __name__ == "__main__":
    sys.exit(main())
