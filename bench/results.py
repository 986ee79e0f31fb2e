"""A run of the benchmark as a file: what was measured, when, where, and with which command."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from bench.competitor import TUTORIAL

FILE = Path(__file__).with_name("results.json")
_PACKAGES = (
    "azure-functions", "azure-identity", "azure-storage-blob", "azure-storage-queue", "msgspec",
    "opentelemetry-api", "requests", "celery", "kombu",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """One run; `measurements` has by name (see `bench.suite`) what each round found."""

    date: str
    command: str
    machine: str
    python: str
    versions: dict[str, str]
    rounds: int
    quick: bool
    tutorial_threads: int
    measurements: dict[str, list[dict[str, float]]]

    @classmethod
    def now(cls, measurements: dict[str, list[dict[str, float]]], *, command: str, rounds: int, quick: bool) -> Self:
        """A run that has just ended on this machine."""
        return cls(
            date=datetime.now(UTC).date().isoformat(),
            command=command,
            machine=machine(),
            python=platform.python_version(),
            versions={name: version(name) for name in _PACKAGES},
            rounds=rounds,
            quick=quick,
            tutorial_threads=TUTORIAL.threads,
            measurements=measurements,
        )

    @classmethod
    def read(cls, file: Path = FILE) -> Self:
        """Read a run from a file."""
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return cls(**found)

    def write(self, file: Path = FILE) -> None:
        """Write it to a file, each round on a line of its own."""
        head = {name: value for name, value in asdict(self).items() if name != "measurements"}
        lines = [
            f"  {json.dumps(name)}: [\n   " + ",\n   ".join(json.dumps(_rounded(each)) for each in found) + "\n  ]"
            for name, found in self.measurements.items()
        ]
        text = (
            json.dumps(head, indent=1).removesuffix("\n}") + ',\n "measurements": {\n' + ",\n".join(lines) + "\n }\n}\n"
        )
        file.write_text(text, encoding="utf-8")


def machine() -> str:
    """The processor, its cores, the memory, and the operating system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = named[0] if named else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def _rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in found.items()}
