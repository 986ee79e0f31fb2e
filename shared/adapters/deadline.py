"""Connections whose reads end at a deadline: it bounds the whole exchange, not only the gap between two bytes."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from shared.adapters.http_session import Adapter


class NotBegun(Exception):
    """`may_begin` said no, so nothing of the request was sent.

    Not an OSError: urllib3 ignores some of those while it sends, and then waits for a response.
    """


@dataclass(slots=True)
class Exchange:
    """One request and its response. `sent`: something was handed to a connection, so it may have arrived."""

    deadline: float
    may_begin: Callable[[], bool] | None = None
    sent: bool = False

    def remaining(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: it has passed.
        """
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the exchange passed its deadline")
        return remaining

    def begin(self) -> None:
        """Note that the next bytes are handed to the connection, unless the first of them come too late.

        connect ─── may_begin? ─ yes ─ sent = True ─ sendall(header) ─ sendall(body) ─ read
                             └── no ── NotBegun: nothing was written

        Raises:
            TimeoutError: the deadline passed while connecting. No response could be read.
            NotBegun: `may_begin` said no.
        """
        if self.sent:
            return
        self.remaining()
        if self.may_begin is not None and not self.may_begin():
            raise NotBegun
        self.sent = True


class _Current(threading.local):
    """The exchange that this thread is in."""

    exchange: Exchange | None = None


_CURRENT = _Current()


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


class _DeadlineSocket:
    """A connected socket whose every read gets what is left until the deadline, and which notes the first write.

    `connect` wraps the socket as its last step, so neither a proxy's CONNECT nor the TLS handshake counts as sent.

    A read timeout bounds the gap between two bytes, so a response that trickles would outlive the function's own
    timeout, and the host would end the whole worker:

        timeout 180 s   ·byte···170 s···byte···170 s···byte···  without end
        deadline 180 s  ·byte···170 s···byte·10 s─┤ TimeoutError
    """

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  a plain socket or a TLS one
        self._sock = sock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the socket has
        return getattr(self._sock, name)

    def sendall(self, data: Any, *flags: int) -> None:  # noqa: ANN401  any buffer
        self._begin()
        self._sock.sendall(data, *flags)

    def send(self, data: Any, *flags: int) -> int:  # noqa: ANN401  any buffer
        self._begin()
        return self._sock.send(data, *flags)  # type: ignore[no-any-return]

    def _begin(self) -> None:
        if (exchange := _CURRENT.exchange) is not None:
            exchange.begin()
            self._sock.settimeout(exchange.remaining())

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:  # noqa: ANN401  http.client asks for "rb" only
        return io.BufferedReader(_DeadlineReader(self._sock))


class _DeadlineReader(io.RawIOBase):
    """The file that http.client reads a response from, header and body."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  a plain socket or a TLS one
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  any writable buffer
        if (exchange := _CURRENT.exchange) is not None:
            self._sock.settimeout(exchange.remaining())
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PlainConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _DeadlineSocket(self.sock)


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _DeadlineSocket(self.sock)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class DeadlineAdapter(Adapter):
    """Connections that observe `exchange_until`, with TCP keep-alive, since idle ones are dropped silently."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as the base class
        """As the base class, with keep-alive and our connections."""
        options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if hasattr(socket, "TCP_KEEPIDLE"):  # on Linux. Azure drops a connection after four idle minutes
            options.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60))
        super().init_poolmanager(*args, socket_options=options, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as the base class
        """As the base class, with our connections."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
