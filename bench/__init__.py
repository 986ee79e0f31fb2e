"""The benchmark: what the program costs in comparison with other ways to do the same. See docs/benchmarks.md."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
