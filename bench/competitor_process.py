"""A running competitor: started, measured through its metrics socket, ended."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench import process_metrics
from bench.competitor import DEPLOYED
from bench.process_metrics import ProcessMetrics
from local.process import ManagedProcess, ProcessFailed, child_environment

if TYPE_CHECKING:
    from bench.backend import Backend
    from bench.competitor import Competitor

_CALL_SECONDS = re.compile(r"succeeded in ([0-9.]+) s")


class CompetitorProcess:
    """A competitor's process, as a context manager.

    Args:
        competitor: What to run.
        backend: What it talks to.
        more: Further arguments of its command.
    """

    def __init__(self, competitor: Competitor, backend: Backend, *more: str) -> None:
        """Prepare the command and the environment, without anything of the caller's that would configure it."""
        environ = child_environment()
        for name in DEPLOYED:
            environ.pop(name, None)
        environ |= backend.environment() | dict(competitor.settings)
        environ["BENCH_QUEUE_ENDPOINT"] = backend.queue_endpoint
        self._environ = environ
        self._module = [*competitor.module, *more]
        self._root = competitor.root
        self._open = ExitStack()
        self._call_seconds: list[float] = []

    def __enter__(self) -> Self:
        """Start it and return when it takes messages.

        Raises:
            ProcessFailed: it ended or was not ready in time.
        """
        with ExitStack() as stack:
            address = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "metrics")
            environ = {**self._environ, process_metrics.SOCKET: address}
            self._process = ManagedProcess.of_module(*self._module, environ=environ, cwd=self._root, on_line=self._note)
            stack.callback(self._process.terminate, grace=0.0)  # it has no work left to finish
            self._process.wait_until_ready(f"{re.escape(process_metrics.READY)}$")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
                self._stream = stack.enter_context(connection.makefile("rw"))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def metrics(self, *, live: bool = False) -> ProcessMetrics:
        """What it has used until now; with `live` its live memory blocks are counted too.

        Raises:
            ProcessFailed: it has ended.
        """
        try:
            print("live" if live else "", file=self._stream, flush=True)
            return ProcessMetrics(**json.loads(self._stream.readline()))
        except (OSError, ValueError) as error:
            raise ProcessFailed(f"{self._module[0]} ended:\n{self._process.output}") from error

    def call_seconds(self) -> list[float]:
        """The seconds that each call of the function took, in the order of their ends, from the host's log."""
        return list(self._call_seconds)

    def _note(self, line: str) -> None:
        if found := _CALL_SECONDS.search(line):
            self._call_seconds.append(float(found[1]))
