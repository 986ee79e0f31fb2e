"""Connections on which a request reads its own response and never what another one left.

A kept-alive connection whose two ends disagree about where a response ends gives the next request, of another
customer, the answer of this one. So one is used again only if its last response was read to its end, nothing came
after it, and its length was beyond doubt:

    what the service sends                          the response          the connection
    ----------------------------------------------  --------------------  -----------------------
    100, 102 or 103 before the answer               the answer            used again
    more of those than MOST_INTERIM, or 101         none                  closed
    a body that breaks off, or malformed chunks     none                  closed
    an answer whose length is in doubt              the answer            closed
    anything after the answer, with it or later     the answer            closed before the next use
    anything before the request (a 408, a 503)      none: nothing is sent  closed

Reads end at the deadline of `shared.adapters.deadline`, where the thread is in such an exchange.
"""

import io
import socket
import ssl
from collections.abc import Callable
from http.client import BadStatusLine, HTTPResponse, parse_headers
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from shared.adapters.deadline import current_exchange
from shared.adapters.http_session import Adapter

MOST_INTERIM = 64
"""Interim responses before an answer. More are a fault of the service's, whatever the deadline says."""
_FINAL = 200
_SWITCHING_PROTOCOLS = 101


class Unsolicited(ConnectionError):
    """Something came on a connection before the request was sent, which it therefore does not answer."""


class _Socket:
    """A connected socket whose reads end at the deadline, and which knows whether another request may use it.

    `connect` wraps the socket as its last step, so neither a proxy's CONNECT nor the TLS handshake counts as sent.

    A read timeout bounds the gap between two bytes, so a response that trickles would outlive the function's own
    timeout, and the host would end the whole worker:

        timeout 180 s   ·byte···170 s···byte···170 s···byte···  without end
        deadline 180 s  ·byte···170 s···byte·10 s─┤ TimeoutError

    Who may use it:

        first byte ──── taken ──── response at its end, nothing after it ──── free (in an exchange: once it finishes)
                                └─ anything else ───────────────────────────── taken for ever: closed before any use
    """

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  a plain socket or a TLS one
        self._sock = sock
        self._is_free = True
        self._is_drained = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the socket has
        return getattr(self._sock, name)

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent on it."""
        return self._is_free and self._is_silent()

    def sendall(self, data: Any, *flags: int) -> None:  # noqa: ANN401  any buffer
        self._begin()
        self._sock.sendall(data, *flags)

    def send(self, data: Any, *flags: int) -> int:  # noqa: ANN401  any buffer
        self._begin()
        return self._sock.send(data, *flags)  # type: ignore[no-any-return]

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:  # noqa: ANN401  http.client asks for "rb" only
        return _ResponseFile(self._sock, self._drained)

    def _drained(self) -> None:
        """Note that the response was read to its end, and that nothing came with it."""
        self._is_drained = True
        if current_exchange() is None:
            self._release()

    def _begin(self) -> None:
        exchange = current_exchange()
        if self._is_free:  # the first byte of a request
            if not self._is_silent():
                raise Unsolicited
            if exchange is not None:
                exchange.begin(self._release)
            self._is_free = self._is_drained = False
        if exchange is not None:
            self._sock.settimeout(exchange.remaining())

    def _release(self) -> None:
        self._is_free = self._is_drained

    def _is_silent(self) -> bool:
        """Whether nothing has come, not even the connection's end. A byte that has is taken off it.

        Polling the socket would not do. TLS may have decrypted more than was read of it, and a session ticket, which
        comes unasked, is no response.
        """
        timeout = self._sock.gettimeout()
        try:
            self._sock.settimeout(0)
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._sock.settimeout(timeout)
            return True
        except OSError:  # reset, or closed
            return False
        return False


class _ResponseFile(io.BufferedReader):
    """The file that http.client reads one response from, header and body. It closes it at the response's end.

    It closes it where reading fails too, but then urllib3 closes the connection.
    """

    def __init__(self, sock: Any, drained: Callable[[], None]) -> None:  # noqa: ANN401  a plain socket or a TLS one
        self._bytes = _SocketBytes(sock)
        self._drained = drained
        super().__init__(self._bytes)

    def close(self) -> None:
        if not self.closed:
            self._bytes.ended = True
            if not self.peek(1):
                self._drained()
        super().close()


class _SocketBytes(io.RawIOBase):
    """What comes on a socket until the deadline, or until nothing more may be read: `ended`."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  a plain socket or a TLS one
        super().__init__()
        self.ended = False
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  any writable buffer
        if self.ended:
            return 0
        if (exchange := current_exchange()) is not None:
            self._sock.settimeout(exchange.remaining())
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """The final response to a request.

    http.client passes over 100 only, and takes a 103 for the answer. The answer itself then waits on the connection
    for the next request. It offers no other place than this private method, which has been the same since Python 2.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status >= _FINAL:
                return version, status, reason
            if status == _SWITCHING_PROTOCOLS:
                break  # nobody asked for it, and what follows is not HTTP
            parse_headers(self.fp)
        raise BadStatusLine(f"HTTP status {status} in place of an answer")

    def begin(self) -> None:
        super().begin()
        lengths, encodings = (self.headers.get_all(name, []) for name in ("Content-Length", "Transfer-Encoding"))
        by_length = lengths == [str(self.length)] and not encodings
        by_chunks = self.chunked and len(encodings) == 1 and not lengths
        if not (by_length or by_chunks):
            self.will_close = True


class _PlainConnection(HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        super().connect()
        self.sock = _Socket(self.sock)

    @property
    def is_connected(self) -> bool:
        return isinstance(self.sock, _Socket) and self.sock.is_reusable


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS: `_PlainConnection` comes first, and what it calls next is HTTPSConnection's."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class ExchangeAdapter(Adapter):
    """Connections for one exchange after the other, with TCP keep-alive, since idle ones are dropped silently."""

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
