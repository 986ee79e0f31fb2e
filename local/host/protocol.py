"""What the host and its worker say to each other, over a pipe of length-prefixed pickles.

    host                                        worker
     │ ◄── tuple of QueueFunction, or a reason ──── │   once, when the app is loaded or cannot be
     │ ──── Invocation ───────────────────────────► │   any number at a time
     │ ◄────────────────────── InvocationResult ─── │   in the order in which they end
     │ ──── None ─────────────────────────────────► │   end when the last invocation has ended

A worker whose pipe ends without that `None` has lost its host, and ends at once. A host whose pipe ends has lost its
worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class QueueFunction(NamedTuple):
    """A function as it is declared. `queue_name` and `connection` are not resolved."""

    name: str
    queue_name: str
    connection: str


class Invocation(NamedTuple):
    """A call of a function. `metadata`: value and type of each item of trigger metadata."""

    id: int
    function: str
    body: bytes
    metadata: Mapping[str, tuple[str, str]]


class InvocationResult(NamedTuple):
    """How an invocation ended. `error`: the traceback, or `None` where the function returned."""

    id: int
    error: str | None


class InvocationFailed(Exception):
    """The function raised. The text is its traceback."""


class WorkerDied(InvocationFailed):
    """The worker ended before the function did."""


class WorkerFailed(Exception):
    """A worker cannot run the app. The text says why."""


class Worker(Protocol):
    """What the host needs of a worker that is started."""

    @property
    def functions(self) -> tuple[QueueFunction, ...]:
        """The functions that it has indexed."""

    def invoke(self, function: str, body: bytes, metadata: Mapping[str, tuple[str, str]]) -> None:
        """Call a function and wait for its end. While the worker is replaced, wait for the next one.

        Raises:
            InvocationFailed: The function raised.
            WorkerDied: The worker ended, or there will be no other.
        """

    def retire(self) -> None:
        """Do not replace the worker any more. Its invocations continue."""

    def stop(self) -> None:
        """End it once its invocations have ended."""
