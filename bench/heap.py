"""Where resident memory goes: this program and the limit under several settings of glibc's malloc.

    python -m bench.heap

About ten minutes. It writes the table of docs/benchmarks.md; no target hangs on it.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from bench import measure
from bench.backend import Backend
from bench.competitor import LIMIT, OURS, THREADS, Competitor
from bench.report import BENCHMARKS, replaced

COUNTS = (1_000, 3_000, 10_000)
_NO_CACHES = "glibc.malloc.tcache_count=0"
ROWS = {
    "ours, glibc's defaults": (OURS, {}),
    "ours, one heap: `MALLOC_ARENA_MAX=1`": (OURS, {"MALLOC_ARENA_MAX": "1"}),
    f"ours, no caches: `GLIBC_TUNABLES={_NO_CACHES}`": (OURS, {"GLIBC_TUNABLES": _NO_CACHES}),
    "ours, one heap and no caches": (OURS, {"GLIBC_TUNABLES": _NO_CACHES, "MALLOC_ARENA_MAX": "1"}),
    "limit, glibc's defaults": (LIMIT, {}),
}


def main() -> int:
    """Measure, print, and write the table."""
    with Backend() as backend:
        found = {name: resident(backend, who, settings) for name, (who, settings) in ROWS.items()}
    made = table(found)
    print(made)
    page = BENCHMARKS.read_text(encoding="utf-8")
    BENCHMARKS.write_text(replaced(page, "heap", made), encoding="utf-8")
    return 0


def resident(backend: Backend, who: Competitor, settings: dict[str, str]) -> list[float]:
    """MiB resident after each of `COUNTS` messages, with these settings instead of the deployment's."""
    chosen = replace(who, settings={"PYTHON_THREADPOOL_THREAD_COUNT": str(THREADS), **settings})
    return [usage.rss / measure.MIB for usage in measure.usages(backend, chosen, COUNTS)]


def table(found: dict[str, list[float]]) -> str:
    """For a page."""
    lines = ["| messages |" + "".join(f" {count:,} |" for count in COUNTS), "| --- |" + " --: |" * len(COUNTS)]
    lines += [f"| {name} |" + "".join(f" {mib:.1f} |" for mib in mibs) for name, mibs in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
