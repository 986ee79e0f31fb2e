"""A scripted TCP server, for what only a real socket can do."""

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
"""Seconds after which a waiting test has failed."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One HTTP request, and the number of its connection."""

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

    def request(self) -> ReceivedRequest | None:
        """Return the next request, added to the server's list, or `None` once the caller has disconnected."""
        line = self._reader.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = parse_headers(self._reader)
        body = self._reader.read(int(headers.get("Content-Length", "0")))
        request = ReceivedRequest(self.number, line[0], line[1], headers, body)
        with self.server.lock:
            self.server.requests.append(request)
        return request

    def send(self, content: bytes) -> None:
        self.sock.sendall(content)

    def trickle(self, content: bytes, pause: float = 0.02) -> None:
        """Send it byte by byte: each byte is in time, the whole is not."""
        end = time.monotonic() + PATIENCE
        for index in range(len(content)):
            self.send(content[index : index + 1])
            if self.server.stopped.wait(pause) or time.monotonic() > end:
                return

    def hold(self) -> None:
        """Send nothing until the caller disconnects."""
        with suppress(OSError):
            self._reader.read(1)

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self.sock.close()


class Server:
    """Accepts connections on a loopback port, and calls `play` for each in a thread of its own."""

    def __init__(self, play: Callable[[Peer], None], tls: ssl.SSLContext | None = None) -> None:
        self._play = play
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._threads = [threading.Thread(target=self._accept)]
        self._peers: list[Peer] = []
        self.lock = threading.Lock()
        self.requests: list[ReceivedRequest] = []
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
        except OSError:  # a caller that rejects our certificate
            sock.close()
            return
        self._peers.append(peer)
        try:
            self._play(peer)
        except OSError:  # the caller has disconnected
            pass
        finally:
            peer.close()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP response with its length. An underscore in a header's name stands for a hyphen."""
    named = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def always(*answers: bytes) -> Callable[[Peer], None]:
    """Give the n-th request of the server the n-th answer, and all later ones the last."""

    def play(peer: Peer) -> None:
        while peer.request() is not None:
            with peer.server.lock:
                count = len(peer.server.requests)
            peer.send(answers[min(count, len(answers)) - 1])

    return play


def refusing_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
