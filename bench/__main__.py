"""Runs the benchmark and prints its table: `make bench`.

    python -m bench [--quick] [--rounds N] [--only NAME] [--before FOLDER] [--save [FILE]]

The exit code is 1 when a target is missed. With `--save` the run is written to bench/results.json, from which
`python -m bench.report` makes the tables and the plot of docs/benchmarks.md. With `--only` as well, the new
measurements replace those of the same names in that file. With `--before` another version of the program, checked out
in a folder of its own (`git worktree add FOLDER COMMIT`), is measured beside this one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench import suite, table, targets
from bench.competitor import before
from bench.results import FILE, BenchmarkRun


def main(arguments: list[str] | None = None) -> int:
    """Measure and compare with the targets.

    Returns:
        0 when every target is met, else 1.
    """
    args = _parser().parse_args(arguments)
    rounds = args.rounds or (1 if args.quick else suite.FULL_ROUNDS)
    others = (before(args.before),) if args.before else ()
    found = suite.run_suite(
        rounds, lambda line: print(line, flush=True), quick=args.quick, only=args.only, others=others
    )
    options = ["--quick"] * args.quick + ([f"--rounds {args.rounds}"] if args.rounds else [])
    options += [f"--only {args.only}"] if args.only else []
    options += ["--before ..."] if args.before else []
    command = "make bench" + (f' ARGS="{" ".join(options)}"' if options else "")
    run = BenchmarkRun.now(found, command=command, rounds=rounds, quick=args.quick)
    if args.save is not None and args.only:
        saved = BenchmarkRun.read(args.save)
        run = replace(saved, measurements=saved.measurements | run.measurements)
    if args.save is not None:
        run.write(args.save)
    return print_results(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure what the program costs, beside others.")
    parser.add_argument("--quick", action="store_true", help="one short round, about two minutes")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"number of rounds (default: {suite.FULL_ROUNDS}; with --quick: 1)"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="only the measurements whose names begin with NAME")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="measure the version of the program in this folder too"
    )
    parser.add_argument(
        "--save", nargs="?", type=Path, const=FILE, metavar="FILE", help="save the run (default: bench/results.json)"
    )
    return parser


def print_results(run: BenchmarkRun) -> int:
    """Print the table; return 1 when a target is missed, else 0."""
    results = targets.evaluate(targets.targets(run.tutorial_threads), run.measurements)
    missed = sum(result.fails_run for result in results)
    print(f"\n{run.machine}; Python {run.python}; {run.date}; {run.command}; rounds: {run.rounds}\n")
    print(table.text(results))
    print(f"\n{missed} targets are missed." if missed else "\nAll targets are met.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
