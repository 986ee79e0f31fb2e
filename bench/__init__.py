"""The benchmark: what the program costs, beside what it must beat. See docs/benchmarks.md."""
