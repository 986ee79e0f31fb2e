"""What a process has used, told by the process itself: one JSON line for each line on its standard input.

Where that line says `live`, it also collects its garbage and counts the blocks of memory that Python's objects hold.
The process under test calls `serve`. Standard output is the meter's alone; what the program prints there goes
to standard error. When standard input ends, so does the process: nobody is left to measure it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


def usage(*, live: bool = False) -> dict[str, Any]:
    """CPU seconds (user and system), current and peak resident bytes, and the time in seconds.

    Where `live` is asked for, also the blocks of memory that objects hold; else 0.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    current, peak = _memory(used)
    found = {"cpu": used.ru_utime + used.ru_stime, "rss": current, "peak": peak, "at": time.perf_counter(), "live": 0}
    return {**found, "live": _live()} if live else found


def _live() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _memory(used: resource.struct_rusage) -> tuple[int, int]:
    # Linux lets ru_maxrss begin with the peak of whoever started the process; VmHWM is the process's own.
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak


def serve() -> None:
    """Answer in a thread of its own from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer() -> None:
        for asked in sys.stdin:
            print(json.dumps(usage(live=asked.strip() == "live")), file=out, flush=True)
        os._exit(0)

    print(json.dumps(usage()), file=out, flush=True)
    threading.Thread(target=answer, name="meter", daemon=True).start()
