"""A supervised child process: started, watched until it is ready, terminated by its id.

    python -m local.process local.host --app-dir .

runs `python -m local.host --app-dir .` and sends it SIGTERM when its standard input ends. That input is a pipe to the
parent, so a child never outlives its parent, however the parent ended. Each child has a process group of its own: a
Ctrl-C at the terminal reaches the parent alone, which then terminates its children in the right order.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

START_SECONDS = 60.0
_REPEAT_SECONDS = 1.0
"""CPython may miss a signal that arrives just before it waits for a lock, until the next one."""
_MAX_LINES = 200
"""Lines of output that an error quotes."""
_APP_SETTINGS = ("CheckoutStorage", "AzureWebJobs", "PARTNER_CENTER_", "IDENTITY_", "MSI_", "RETRY_", "CHECKOUT_")


class ProcessFailed(Exception):
    """The process ended, or was not ready in time. The text ends with its last output."""


class ManagedProcess:
    """A running child process.

    Args:
        command: The program and its arguments. The program should end when its standard input does.
        name: The name that errors use; `None` takes the program's.
        environ: The whole environment; `None` inherits ours.
        cwd: The working directory; `None` inherits ours.
        on_line: Called with each line of output (stdout and stderr), in a thread of its own.
    """

    def __init__(
        self,
        command: list[str],
        *,
        name: str | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._name = name or command[0]
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._changed = threading.Condition()
        self._popen = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            cwd=cwd,
            env=None if environ is None else dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, name=f"{self._name}-output", daemon=True)
        self._reader.start()

    @classmethod
    def of_module(
        cls,
        *arguments: str,
        environ: Mapping[str, str],
        cwd: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> Self:
        """Run `python -m ARGUMENTS`, terminated when this process ends."""
        command = [sys.executable, "-m", "local.process", *arguments]
        return cls(command, name=arguments[0], environ=environ, cwd=cwd, on_line=on_line)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def output(self) -> str:
        """The last lines of output."""
        with self._changed:
            return "".join(self._lines)

    def wait_until_ready(self, pattern: str, timeout: float = START_SECONDS) -> re.Match[str]:
        """Wait for a line of output in which `pattern` is found, and return the match.

        Raises:
            ProcessFailed: It ended, or there was no such line in time.
        """

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line.rstrip()) for line in self._lines)), None)

        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(lambda: found() or not self._reader.is_alive() or self._ended(), timeout)
            if ready := found():
                return ready
        if time.monotonic() < deadline:
            self.check()
        raise ProcessFailed(f"{self._name} was not ready in {timeout:.0f} s:\n{self.output}")

    def check(self) -> None:
        """Check that it is running.

        Raises:
            ProcessFailed: It ended by itself.
        """
        if self._ended():
            self._reader.join()  # so that the error quotes its last lines
            raise ProcessFailed(f"{self._name} ended with code {self._popen.returncode}:\n{self.output}")

    def kill(self) -> None:
        """Send SIGKILL, without waiting for the end."""
        self._popen.kill()

    def terminate(self, grace: float) -> None:
        """Send SIGTERM, and SIGKILL where it still runs after `grace` seconds or when we are interrupted."""
        try:
            self._popen.terminate()  # once: Azurite does not survive a second one to write its index
            self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            pass
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
                except OSError:  # our own output is closed, as behind `| head`; the child goes on
                    self._on_line = None
            with self._changed:  # after `on_line`, so that all lines up to the ready line are passed on by then
                self._lines.append(line)
                self._changed.notify_all()
        self._popen.wait()
        with self._changed:
            self._changed.notify_all()


def stop_signal() -> Callable[[], None]:
    """Handle SIGTERM and SIGINT from now on, and return a function that waits for one of them."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def wait() -> None:
        while not stop.wait(0.5):
            pass  # a signal just before a wait without a timeout would be missed

    return wait


def child_environment() -> dict[str, str]:
    """Return our environment without app settings, which are for another account, and without a proxy to loopback."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_APP_SETTINGS)}
    loopback = "127.0.0.1,localhost"
    return environ | {name: ",".join(filter(None, (environ.get(name), loopback))) for name in ("NO_PROXY", "no_proxy")}


def _terminate_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_REPEAT_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=_terminate_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
