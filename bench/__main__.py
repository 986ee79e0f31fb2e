"""Runs the benchmark and prints its table: `make bench`.

    python -m bench [--quick] [--rounds N] [--only NAME] [--save [FILE]]

The exit code is 1 when a target is missed. With ``--save`` the run is kept in bench/results.json, from which
`python -m bench.report` makes the tables and plots of the documents; a file in bench/repeats is compared with it.
With ``--only`` as well, what was measured takes the place of its like in that file.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench import figures, rounds, table
from bench.results import FILE, Run


def main(arguments: list[str] | None = None) -> int:
    """Measure, and judge.

    Returns:
        0 when every target is met, else 1.
    """
    parser = argparse.ArgumentParser(prog="make bench", description="What the program costs, beside what it must beat.")
    parser.add_argument("--quick", action="store_true", help="one short round, under two minutes")
    parser.add_argument(
        "--rounds", type=int, help=f"how often everyone is measured (default: {rounds.FULL_ROUNDS}; quick: 1)"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="the measurements whose names begin so")
    parser.add_argument(
        "--save", nargs="?", type=Path, const=FILE, metavar="FILE", help="keep the run (default: in bench/results.json)"
    )
    chosen = parser.parse_args(arguments)
    count = chosen.rounds or (1 if chosen.quick else rounds.FULL_ROUNDS)
    found = rounds.run(count, lambda line: print(line, flush=True), quick=chosen.quick, only=chosen.only)
    options = ["--quick"] * chosen.quick + ([f"--rounds {chosen.rounds}"] if chosen.rounds else [])
    options += [f"--only {chosen.only}"] if chosen.only else []
    command = "make bench" + (f' ARGS="{" ".join(options)}"' if options else "")
    run = Run.now(found, command=command, rounds=count, quick=chosen.quick)
    if chosen.save is not None and chosen.only:
        kept = Run.read(chosen.save)
        run = replace(kept, measurements=kept.measurements | run.measurements)
    if chosen.save is not None:
        run.write(chosen.save)
    return verdict(run)


def verdict(run: Run) -> int:
    """Print the table; 1 when a target is missed, else 0."""
    judged = figures.rows(figures.figures(run.tutorial_threads), run.measurements)
    missed = table.missed(judged)
    print(f"\n{run.machine}; Python {run.python}; {run.date}; {run.command}; rounds: {run.rounds}\n")
    print(table.text(judged))
    print(f"\n{missed} targets are missed." if missed else "\nAll targets are met.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
