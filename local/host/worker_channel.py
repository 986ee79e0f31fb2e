"""The host's end of the pipe to one worker."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from local.host.protocol import Invocation, InvocationFailed, InvocationResult, WorkerDied, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

    from local.host.protocol import QueueFunction


class WorkerChannel:
    """Sends invocations to a worker and awaits their results. All that wait fail together when the worker ends.

    Args:
        connection: To the worker. Closed when the worker ends.
    """

    def __init__(self, connection: Connection) -> None:
        self.functions: tuple[QueueFunction, ...] = ()
        self._connection = connection
        self._ids = count()
        self._waiting: dict[int, Future[None]] = {}
        self._open = True
        self._sending, self._lock = threading.Lock(), threading.Lock()

    def start(self, on_end: Callable[[int], None]) -> None:
        """Wait until the worker has loaded the app.

        Args:
            on_end: Called when the worker has ended, with the number of invocations that are failed by it, before
                they fail.

        Raises:
            WorkerFailed: It could not, or it ended.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerFailed("the worker ended while it loaded the app") from error
        if isinstance(answer, str):
            raise WorkerFailed(answer)
        self.functions = answer
        threading.Thread(target=self._read, args=(on_end,), name="worker-results", daemon=True).start()

    def invoke(self, function: str, body: bytes, metadata: Mapping[str, tuple[str, str]]) -> None:
        """Call a function and wait for its end.

        Raises:
            InvocationFailed: The function raised.
            WorkerDied: The worker ended.
        """
        result: Future[None] = Future()
        with self._lock:
            # Either the future is in `_waiting` before the worker is seen dead, and fails with the others, or:
            if not self._open:
                raise WorkerDied("the worker has ended")
            id_ = next(self._ids)
            self._waiting[id_] = result
        with self._sending, suppress(OSError):  # the worker ended: then `_read` fails the invocation
            self._connection.send(Invocation(id_, function, body, metadata))
        result.result()

    def ask_to_stop(self) -> None:
        """Let the worker end once its invocations have ended."""
        with self._sending, suppress(OSError):
            self._connection.send(None)

    def _read(self, on_end: Callable[[int], None]) -> None:
        while True:
            try:
                answer: InvocationResult = self._connection.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                waiting = self._waiting.pop(answer.id)
            if answer.error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(InvocationFailed(answer.error))
        with self._lock:
            self._open = False
            failed = [*self._waiting.values()]
            self._waiting.clear()
        on_end(len(failed))
        for each in failed:
            each.set_exception(WorkerDied("the worker died"))
        with self._sending:
            self._connection.close()
