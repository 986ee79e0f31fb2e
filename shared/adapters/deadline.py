"""The time limit of one HTTP exchange: it bounds the whole of it, not only the gap between two bytes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class NotBegun(Exception):
    """`may_begin` said no, so nothing of the request was sent.

    Not an OSError: urllib3 ignores some of those while it sends, and then waits for a response.
    """


def _keep() -> None:
    """What `finish` does where nothing was sent."""


@dataclass(slots=True)
class Exchange:
    """One request and its response. `sent`: something was handed to a connection, so it may have arrived."""

    deadline: float
    may_begin: Callable[[], bool] | None = None
    sent: bool = False
    release: Callable[[], None] = _keep

    def remaining(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: it has passed.
        """
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the exchange passed its deadline")
        return remaining

    def begin(self, release: Callable[[], None]) -> None:
        """Note that the next bytes are handed to the connection, unless the first of them come too late.

        connect ─── may_begin? ─ yes ─ sent = True ─ sendall(header) ─ sendall(body) ─ read
                             └── no ── NotBegun: nothing was written

        Args:
            release: Lets other exchanges use the connection.

        Raises:
            TimeoutError: the deadline passed while connecting. No response could be read.
            NotBegun: `may_begin` said no.
        """
        self.remaining()
        if self.may_begin is not None and not self.may_begin():
            raise NotBegun
        self.sent = True
        self.release = release

    def finish(self) -> None:
        """Say that the response was read to its end and answers this request, so the connection may be used again.

        Without this it is not: an exchange that ends in any other way leaves a connection that nobody uses again.
        """
        self.release()


class _Current(threading.local):
    """The exchange that this thread is in."""

    exchange: Exchange | None = None


_CURRENT = _Current()


def current_exchange() -> Exchange | None:
    """The exchange that this thread is in."""
    return _CURRENT.exchange


@contextmanager
def exchange_until(deadline: float, may_begin: Callable[[], bool] | None = None) -> Iterator[Exchange]:
    """Bound every read and write of this thread by a deadline on the monotonic clock, in seconds.

    `may_begin` is asked once, directly before the first byte is handed to a connected socket.
    """
    _CURRENT.exchange = exchange = Exchange(deadline, may_begin)
    try:
        yield exchange
    finally:
        _CURRENT.exchange = None
