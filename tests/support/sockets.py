"""The edges over real sockets: what only a socket can do is done by `Server`, a TCP server that plays a part."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from typing import BinaryIO, Self

PATIENCE = 20.0
"""Seconds after which a test that waits has failed."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it came, and the number of the connection it came on."""

    connection: int
    method: str
    target: str
    headers: Message
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: "Server", sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self._reader: BinaryIO = sock.makefile("rb")

    def request(self) -> Request | None:
        """The next request, noted in the server's list; None: the caller has hung up."""
        line = self._reader.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = parse_headers(self._reader)
        body = self._reader.read(int(headers.get("Content-Length", "0")))
        request = Request(self.number, line[0], line[1], headers, body)
        with self.server.lock:
            self.server.requests.append(request)
        return request

    def send(self, content: bytes) -> None:
        self.sock.sendall(content)

    def trickle(self, content: bytes, pause: float = 0.02) -> None:
        """Send it byte by byte: each comes in time, the whole does not."""
        end = time.monotonic() + PATIENCE
        for index in range(len(content)):
            self.send(content[index : index + 1])
            if self.server.stopped.wait(pause) or time.monotonic() > end:
                return

    def hold(self) -> None:
        """Say nothing until the caller hangs up."""
        with suppress(OSError):
            self._reader.read(1)

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self.sock.close()


class Server:
    """Accepts connections on a loopback port; `play` acts on each, in a thread of its own."""

    def __init__(self, play: Callable[[Peer], None], tls: ssl.SSLContext | None = None) -> None:
        self._play = play
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._threads = [threading.Thread(target=self._accept)]
        self._peers: list[Peer] = []
        self.lock = threading.Lock()
        self.requests: list[Request] = []
        self.connections = 0
        self.stopped = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with suppress(OSError):  # wakes up accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for peer in self._peers:
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.settimeout(PATIENCE)
            peer = Peer(self, self._tls.wrap_socket(sock, server_side=True) if self._tls else sock, number)
        except OSError:  # a caller that does not trust us
            sock.close()
            return
        self._peers.append(peer)
        try:
            self._play(peer)
        except OSError:  # the caller has hung up
            pass
        finally:
            peer.close()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP response with its length; an underscore in a header's name stands for a hyphen."""
    named = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def always(*answers: bytes) -> Callable[[Peer], None]:
    """Give the n-th request of the server the n-th answer; the last one for ever."""

    def play(peer: Peer) -> None:
        while peer.request() is not None:
            with peer.server.lock:
                count = len(peer.server.requests)
            peer.send(answers[min(count, len(answers)) - 1])

    return play


def refusing_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
