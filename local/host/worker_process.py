"""The worker process of a host: started, replaced when it dies, stopped.

It dies as on Azure, where a function calls `os._exit`, crashes the interpreter or uses up the memory, or somebody
kills it. The host lives on: all invocations of the worker fail together, and the next worker is started at once. Only a
worker that cannot load the app is tried again with growing pauses. Until one can, invocations wait.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from multiprocessing import Pipe
from typing import TYPE_CHECKING

from local.host.protocol import WorkerDied, WorkerFailed
from local.host.worker_channel import WorkerChannel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from local.host.protocol import QueueFunction

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
STOP_SECONDS = 5.0

_log = logging.getLogger("local.host")


class WorkerProcess:
    """The worker of a host. It inherits the environment and stderr, and dies with this process.

    Args:
        app_dir: The folder of function_app.py.
    """

    def __init__(self, app_dir: Path) -> None:
        self.functions: tuple[QueueFunction, ...] = ()
        self._app_dir = app_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: WorkerChannel | None = None
        self._changed = threading.Condition()
        self._retired = threading.Event()

    def start(self) -> None:
        """Start the first worker.

        Raises:
            WorkerFailed: It cannot load the app.
        """
        self._start_worker()

    def invoke(self, function: str, body: bytes, metadata: Mapping[str, tuple[str, str]]) -> None:
        """Call a function and wait for its end. While the worker is replaced, wait for the next one.

        Raises:
            InvocationFailed: The function raised.
            WorkerDied: The worker ended, or there will be no other.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._channel is not None or self._retired.is_set())
            channel = self._channel
        if channel is None:
            raise WorkerDied("there is no worker any more")
        channel.invoke(function, body, metadata)

    def retire(self) -> None:
        """Do not replace the worker any more. Its invocations continue; those that wait for another one fail."""
        with self._changed:
            self._retired.set()
            self._changed.notify_all()

    def stop(self) -> None:
        """End the worker once its invocations have ended; kill it where that takes too long."""
        self.retire()
        with self._changed:
            process, channel = self._process, self._channel
        if process is None:
            return
        try:
            if channel is not None:
                channel.ask_to_stop()
                process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _log.warning("the worker %d does not end and is killed", process.pid)
        finally:
            process.kill()
            process.wait()

    def _start_worker(self) -> None:
        """Start a worker, and return when it has loaded the app.

        Raises:
            WorkerFailed: It could not.
        """
        ours, theirs = Pipe()
        with theirs, self._changed:
            if self._retired.is_set():
                raise WorkerFailed("the host stops")
            self._process = process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", "local.host.worker", str(theirs.fileno()), str(self._app_dir)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # a Ctrl-C at the terminal reaches the host alone, which lets running functions end
            )
        channel = WorkerChannel(ours)
        try:
            channel.start(lambda failed: self._on_end(process, failed))
        except WorkerFailed:
            ours.close()
            process.wait()
            raise
        _log.info("worker %d started", process.pid)
        with self._changed:
            self.functions = self.functions or channel.functions
            if process.poll() is None:  # else `_on_end` has been called for it, or is about to be
                self._channel = channel
            self._changed.notify_all()

    def _on_end(self, process: subprocess.Popen[bytes], failed: int) -> None:
        """Replace a worker that died, in a thread of its own."""
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its pipe, and is of no use
            process.kill()
            code = process.wait()
        with self._changed:
            self._channel = None
            replace = not self._retired.is_set()
        if replace or failed:
            _log.warning("worker %d died (exit code %d): %d invocations fail", process.pid, code, failed)
        if replace:
            threading.Thread(target=self._replace, name="worker-start", daemon=True).start()

    def _replace(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._retired.is_set():
            try:
                self._start_worker()
            except WorkerFailed as failed:
                if self._retired.is_set():
                    return
                _log.warning("no worker, so messages wait; the next try is in %.0f s: %s", pause, failed)
                self._retired.wait(pause)
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
            else:
                return
