"""Which worker process each instance has, read from what its host prints."""

from __future__ import annotations

import re
import threading

_STARTED = re.compile(r"worker (\d+) started$")
_DIED = re.compile(r"worker (\d+) died \(exit code -?\d+\)")


class WorkerPids:
    """The process ids of the workers, by instance. `crashed` lists the deaths that nobody asked for. Thread-safe.

    worker 11 started ── take: 11 ── ✕ ── worker 11 died       expected
    worker 12 started ─────────────────── worker 12 died       by itself: `crashed`
    """

    def __init__(self) -> None:
        self.crashed: list[str] = []
        self._present: dict[int, int] = {}
        self._taken: set[int] = set()
        self._lock = threading.Lock()

    def read(self, instance: int, line: str) -> None:
        """Note what a line of a host says."""
        started, died = _STARTED.search(line.rstrip()), _DIED.search(line)
        with self._lock:
            if started is not None:
                self._present[instance] = int(started[1])
            if died is None:
                return
            pid = int(died[1])
            if pid not in self._taken:
                self.crashed.append(line.rstrip())
            self._taken.discard(pid)
            if self._present.get(instance) == pid:
                del self._present[instance]

    def of(self, instance: int) -> int | None:
        """The worker of an instance, or None where it has none now."""
        with self._lock:
            return self._present.get(instance)

    def take(self, instance: int, pid: int | None = None) -> int | None:
        """The same worker to be killed, once. `pid`: the one that is meant; None is returned if it is another."""
        with self._lock:
            present = self._present.get(instance)
            if present is None or pid not in (None, present):
                return None
            self._taken.add(present)
            return self._present.pop(instance)

    def forget(self, instance: int) -> None:
        """The instance is gone, and its worker with it."""
        with self._lock:
            self._present.pop(instance, None)
