"""The resource usage of a process, measured by the process itself and reported over a local socket."""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

READY = "process metrics are served"
SOCKET = "BENCH_METRICS_SOCKET"
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class ProcessMetrics:
    """CPU seconds (user and system), resident and peak resident bytes, and where asked for the live memory blocks."""

    cpu: float
    rss: int
    peak: int
    live: int = 0

    @classmethod
    def current(cls, *, live: bool = False) -> ProcessMetrics:
        """The usage of this process until now.

        Args:
            live: Collect garbage and count the memory blocks that Python objects hold; else 0.
        """
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(used.ru_utime + used.ru_stime, *_memory(used), _live_blocks() if live else 0)


def _live_blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _memory(used: resource.struct_rusage) -> tuple[int, int]:
    # On Linux ru_maxrss begins with the peak of the parent process; VmHWM is the process's own.
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak


def serve() -> None:
    """Answer on the socket that the environment names, in a background thread, and print `READY`.

    Each line that is received is answered with a line of JSON, the fields of `ProcessMetrics`; the line `live` asks
    for the live blocks too.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ[SOCKET])
    listener.listen()

    def answer() -> None:
        with listener.accept()[0].makefile("rw") as stream:
            for line in stream:
                metrics = ProcessMetrics.current(live=line == "live\n")
                print(json.dumps(asdict(metrics)), file=stream, flush=True)

    threading.Thread(target=answer, name="process-metrics", daemon=True).start()
    print(READY, flush=True)
