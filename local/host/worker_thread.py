"""A worker in a thread of this process, for the tests of the host and for the benchmark.

It has the pipe and the threads of a real one, but cannot die.
"""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from typing import TYPE_CHECKING

from local.host.functions import index
from local.host.worker import serve
from local.host.worker_channel import WorkerChannel

if TYPE_CHECKING:
    from collections.abc import Mapping

    import azure.functions as func

    from local.host.protocol import QueueFunction


class WorkerThread:
    """A started worker.

    Args:
        app: The function app.
        threads: How many functions run at once.

    Raises:
        IndexingError: A function cannot be indexed.
    """

    def __init__(self, app: func.FunctionApp, threads: int) -> None:
        ours, theirs = Pipe()

        def run() -> None:
            with theirs:
                serve(theirs, functions, threads, lambda _: None)

        functions = index(app)
        threading.Thread(target=run, name="worker", daemon=True).start()
        self._channel = WorkerChannel(ours)
        self._channel.start(lambda _: None)

    @property
    def functions(self) -> tuple[QueueFunction, ...]:
        """The functions that it has indexed."""
        return self._channel.functions

    def invoke(self, function: str, body: bytes, metadata: Mapping[str, tuple[str, str]]) -> None:
        """Call a function and wait for its end.

        Raises:
            InvocationFailed: The function raised.
        """
        self._channel.invoke(function, body, metadata)

    def retire(self) -> None:
        """Nothing replaces it."""

    def stop(self) -> None:
        """End it once its invocations have ended."""
        self._channel.ask_to_stop()
