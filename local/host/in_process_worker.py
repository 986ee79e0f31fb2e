"""A worker in this process, for the tests of the host and for the benchmark.

It calls each function in the thread that delivers its message: no pipe and no threads of its own, and it cannot die.
"""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING

from local.host.functions import index
from local.host.protocol import Invocation, InvocationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import azure.functions as func


class InProcessWorker:
    """A started worker.

    Args:
        app: The function app.
        threads: How many functions run at once. More invocations wait, as in the Functions worker.

    Raises:
        IndexingError: A function cannot be indexed.
    """

    def __init__(self, app: func.FunctionApp, threads: int) -> None:
        indexed = index(app)
        self.functions = tuple(indexed)
        self._calls = {function.name: call for function, call in indexed.items()}
        self._free = threading.Semaphore(threads)

    def invoke(self, function: str, body: bytes, metadata: Mapping[str, tuple[str, str]]) -> None:
        """Call a function and wait for its end.

        Raises:
            InvocationFailed: The function raised.
        """
        with self._free:
            try:
                self._calls[function](Invocation(0, function, body, metadata))
            except Exception as error:
                raise InvocationFailed(traceback.format_exc()) from error

    def retire(self) -> None:
        """Nothing replaces it."""

    def stop(self) -> None:
        """Nothing has to end."""
