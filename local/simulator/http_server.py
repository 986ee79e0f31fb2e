"""An HTTP server that delivers simulated responses, since only a socket can lose one."""

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from local.simulator.responses import fault_response
from local.simulator.state import SimulatedResponse
from local.simulator.steps import FaultStep

_LARGEST_BODY = 65_536
_LONGEST_LINE = 1024
_IDLE = 120.0  # seconds that a connection may wait for its next request


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: Message
    content: bytes


class HttpServer(ThreadingHTTPServer):
    """Serves in a thread for each connection.

    Args:
        address: Where to listen.
        answer: Called with each request.
        clock: Dates the responses, in epoch seconds.
        stopped: Set when responses in progress are to be cut off.
    """

    daemon_threads = True
    request_queue_size = 1024  # a benchmark opens its connections all at once

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[Request], SimulatedResponse],
        clock: Callable[[], float],
        stopped: threading.Event,
    ) -> None:
        self.answer = answer
        self.clock = clock
        self.stopped = stopped
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _RequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as inherited
        """Note the connection, then serve it."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  as inherited
        """Forget the connection, then close it."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the connections that callers keep alive, so that their threads end."""
        super().server_close()
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as inherited
        """Print the traceback of a bug. A caller that disconnects is not an error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _RequestHandler(BaseHTTPRequestHandler):
    """Reads requests and delivers their responses."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: HttpServer

    def do_POST(self) -> None:
        """Serve a request of any method."""
        try:
            target = urlsplit(self.path)  # the base class lets every target through
            request = Request(self.command, target.path, target.query, self.headers, self._content())
        except ValueError as error:
            self.send_error(400, str(error))  # what follows on this connection cannot be parsed
        else:
            self._send(self.server.answer(request))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  as inherited

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as inherited
        """Log nothing: the report counts every call."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP or an unknown method, in JSON like all responses, and close the connection."""
        del explain  # as inherited
        self.close_connection = True
        self._send(fault_response(FaultStep(code, 800002, message or "The request is malformed.")))

    def _content(self) -> bytes:
        """Read the body.

        Raises:
            ValueError: Its length is not given, or too large.
        """
        length = self.headers.get("Content-Length")
        if "Transfer-Encoding" in self.headers:
            if length is not None or self.headers["Transfer-Encoding"].lower() != "chunked":
                raise ValueError("Transfer-Encoding is not chunked, or there is Content-Length too.")
            return self._chunks()
        length = length or "0"
        if not (length.isascii() and length.isdigit()):
            raise ValueError("Content-Length is malformed.")
        if len(length) > 9 or int(length) > _LARGEST_BODY:  # noqa: PLR2004  int() has its limits, too
            raise ValueError("The body is too large.")
        return self.rfile.read(int(length))

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(_LONGEST_LINE).split(b";")[0], 16):
            if not 0 < size <= _LARGEST_BODY - len(content):
                raise ValueError("The body is too large.")
            content += self.rfile.read(size)
            if self.rfile.readline(_LONGEST_LINE).strip():
                raise ValueError("A chunk is longer than it says.")
        while self.rfile.readline(_LONGEST_LINE).strip():
            pass  # trailers
        return content

    def _send(self, response: SimulatedResponse) -> None:
        """Deliver the response as it says."""
        stopped = self.server.stopped
        if stopped.wait(response.delay) or not self._send_interim(response) or response.drop == "before":
            return self._disconnect()
        head, body = self._head(response), response.body
        if response.drop == "mid_body":
            self.wfile.write(head + body[: len(body) // 2])
            return self._disconnect()
        if response.trickle is None:
            self.wfile.write(head + body)
            return None
        chunk, pause = response.trickle
        self.wfile.write(head)
        for start in range(0, len(body), chunk):
            self.wfile.write(body[start : start + chunk])
            if stopped.wait(pause):
                return self._disconnect()
        return None

    def _send_interim(self, response: SimulatedResponse) -> bool:
        """Send the interim answers, each in two packets. False: the server stops."""
        for status in response.interim:
            head = _status_line(status) + b"Link: </style.css>; rel=preload\r\n\r\n"
            for packet in (head[:10], head[10:]):
                self.wfile.write(packet)
                if self.server.stopped.wait(response.pause / 2):
                    return False
        return True

    def _head(self, response: SimulatedResponse) -> bytes:
        headers = {"Date": formatdate(self.server.clock(), usegmt=True), **response.headers}
        headers["Content-Length"] = str(len(response.body))
        if self.close_connection:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return _status_line(response.status) + f"{lines}\r\n".encode("latin-1")

    def _disconnect(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the caller may have closed it before
            self.connection.shutdown(socket.SHUT_RDWR)


def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}\r\n".encode()
