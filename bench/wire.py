"""A minimal HTTP/1.1 server for the stub: persistent connections, Content-Length bodies, delayed answers.

Not the standard library's, nor a framework: the stub must cost far less than the program it serves, and one
request costs this one about 30 microseconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LARGEST_HEAD = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Request:
    """One request. Header names are in lower case; ``query`` keeps the last of equal names."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """An answer, sent after ``delay`` seconds. ``then`` is called when it is handed to the socket."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    then: Callable[[], None] | None = None

    def encode(self, *, bodiless: bool = False) -> bytes:
        """The bytes on the wire; ``bodiless``: as the answer to a HEAD request."""
        lines = [f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        return head if bodiless else head + self.body


class Malformed(ValueError):
    """What came is no HTTP request that this server understands."""


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after another."""

    def __init__(self, answer: Callable[[Request], Reply | Awaitable[Reply]]) -> None:
        self._answer = answer
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  for the type checker
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it: a delayed answer finds nobody."""
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._buffer = self._buffer + data if self._buffer else data
        self._go_on()

    def _go_on(self) -> None:
        while not self._busy and self._buffer and self._transport is not None:
            try:
                request, self._buffer = parse(self._buffer)
            except Malformed as error:
                self._transport.write(Reply(400, str(error).encode(), {"Connection": "close"}).encode())
                self._transport.close()
                return
            if request is None:
                return
            reply = self._answer(request)
            if isinstance(reply, Reply):
                self._send_later(request, reply)
            else:
                self._busy = True
                asyncio.ensure_future(reply).add_done_callback(
                    lambda done, request=request: self._send(request, done.result())  # type: ignore[misc]
                )

    def _send_later(self, request: Request, reply: Reply) -> None:
        if reply.delay > 0:
            self._busy = True
            asyncio.get_running_loop().call_later(reply.delay, self._send, request, reply)
        else:
            self._write(request, reply)

    def _send(self, request: Request, reply: Reply) -> None:
        self._busy = False
        self._write(request, reply)
        self._go_on()

    def _write(self, request: Request, reply: Reply) -> None:
        if self._transport is not None:
            self._transport.write(reply.encode(bodiless=request.method == "HEAD"))
        if reply.then is not None:
            reply.then()


def parse(buffer: bytes) -> tuple[Request | None, bytes]:
    """The first request in the buffer and what follows it; None while it is not complete.

    Raises:
        Malformed: it is no request, or its body has no length.
    """
    end = buffer.find(_END_OF_HEAD)
    if end < 0:
        if len(buffer) > _LARGEST_HEAD:
            raise Malformed("the head is too long")
        return None, buffer
    lines = buffer[:end].decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[1].startswith("/"):  # noqa: PLR2004  method, target, version
        raise Malformed("no request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed("no header")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise Malformed("only bodies with a Content-Length")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise Malformed("no Content-Length")
    begin = end + len(_END_OF_HEAD)
    if len(buffer) < begin + int(length):
        return None, buffer
    path, _, query = parts[1].partition("?")
    return (
        Request(parts[0], unquote(path), _query(query), headers, buffer[begin : begin + int(length)]),
        buffer[begin + int(length) :],
    )


def _query(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    return {name: unquote(value) for name, _, value in pairs}
