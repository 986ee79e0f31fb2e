"""A module of this package as a process of its own: started, watched until it is ready, ended by its id.

    python -m local.process local.host.local_host --app-dir .

runs ``python -m local.host --app-dir .`` and sends it SIGTERM when its standard input ends: that is a pipe to
its parent, so a child outlives nobody, however the parent died. A Ctrl-C at the terminal goes to the parent
alone, which then ends its children in the right order.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

START_SECONDS = 60.0
AGAIN_SECONDS = 1.0
"""CPython may sleep through a signal that comes just before it waits for a lock; the next one wakes it."""
_REMEMBERED = 200  # lines of output, for the error that quotes them


class ProcessFailed(Exception):
    """The process ended, or was not ready in time. The text ends with the last that it printed."""


class ManagedProcess:
    """One running process.

    Args:
        module: What ``python -m`` is to run, and its arguments.
        environ: The whole environment.
        folder: The working directory.
        on_line: Called with each line of output, in a thread of its own.
    """

    def __init__(
        self,
        module: list[str],
        *,
        environ: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Start it."""
        self._name = module[0]
        self._on_line = on_line
        self._said: deque[str] = deque(maxlen=_REMEMBERED)
        self._news = threading.Condition()
        self._popen = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "local.process", *module],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, name=f"{self._name}-output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def output(self) -> str:
        """The last lines it printed."""
        with self._news:
            return "".join(self._said)

    def wait_until_it_says(self, ready: str, timeout: float = START_SECONDS) -> None:
        """Return as soon as a line of its output ends with ``ready``.

        Raises:
            ChildFailed: It ended, or did not say so in time.
        """

        def said() -> bool:
            return any(line.rstrip().endswith(ready) for line in self._said)

        deadline = time.monotonic() + timeout
        with self._news:
            self._news.wait_for(lambda: said() or not self._reader.is_alive() or self._ended(), timeout)
            if said():
                return
        if time.monotonic() < deadline:
            self.check()
        raise ProcessFailed(f"{self._name} was not ready in {timeout:.0f} s:\n{self.output}")

    def check(self) -> None:
        """See that it runs.

        Raises:
            ChildFailed: It ended by itself.
        """
        if self._ended():
            self._reader.join()  # its last words
            raise ProcessFailed(f"{self._name} ended with code {self._popen.returncode}:\n{self.output}")

    def end(self, patience: float) -> None:
        """Ask it to end, and see that it does: killed after ``patience`` seconds, or when we are interrupted."""
        deadline = time.monotonic() + patience
        try:
            while not self._ended() and time.monotonic() < deadline:
                self._popen.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._popen.wait(min(AGAIN_SECONDS, patience))
        finally:
            self._popen.kill()
            self._popen.wait()
            self._reader.join()
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    pipe.close()

    def _ended(self) -> bool:
        return self._popen.poll() is not None

    def _read(self) -> None:
        """Drain its output, or it would block on a full pipe."""
        for line in self._popen.stdout or ():
            if self._on_line is not None:
                try:
                    self._on_line(line)
                except OSError:  # nobody reads it any more, as behind `| head`; the child goes on
                    self._on_line = None
            with self._news:  # after that, so that what it said before it was ready is passed on by then
                self._said.append(line)
                self._news.notify_all()
        self._popen.wait()
        with self._news:
            self._news.notify_all()


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
