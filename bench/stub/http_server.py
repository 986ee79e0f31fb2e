"""A minimal HTTP/1.1 server: persistent connections, Content-Length bodies, delayed responses.

The stub must cost far less than the program it serves. One request costs this server about 30 microseconds, much
less than the one of the standard library or a framework.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MAX_HEAD_BYTES = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class HttpRequest:
    """One request. Header names are in lower case. Of equal names in the query the last counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class HttpResponse:
    """A response, sent after `delay` seconds. `then` is called when it has been handed to the socket."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    then: Callable[[], None] | None = None

    def encode(self, *, bodiless: bool = False) -> bytes:
        """The bytes on the wire. `bodiless` for the response to a HEAD request."""
        lines = [f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        return head if bodiless else head + self.body


class MalformedRequest(ValueError):
    """The received bytes are not an HTTP request that this server supports."""


class HttpConnection(asyncio.Protocol):
    """A client connection. Its requests are answered in order."""

    def __init__(self, answer: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> None:
        self._answer = answer
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  for the type checker
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the responses that are still delayed."""
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Buffer the bytes and answer the complete requests."""
        self._buffer = self._buffer + data if self._buffer else data
        self._process()

    def _process(self) -> None:
        while not self._busy and self._buffer and self._transport is not None:
            try:
                request, self._buffer = parse(self._buffer)
            except MalformedRequest as error:
                self._transport.write(HttpResponse(400, str(error).encode(), {"Connection": "close"}).encode())
                self._transport.close()
                return
            if request is None:
                return
            response = self._answer(request)
            if isinstance(response, HttpResponse):
                self._schedule(request, response)
            else:
                self._busy = True
                asyncio.ensure_future(response).add_done_callback(
                    lambda done, request=request: self._send(request, done.result())  # type: ignore[misc]
                )

    def _schedule(self, request: HttpRequest, response: HttpResponse) -> None:
        if response.delay > 0:
            self._busy = True
            asyncio.get_running_loop().call_later(response.delay, self._send, request, response)
        else:
            self._write(request, response)

    def _send(self, request: HttpRequest, response: HttpResponse) -> None:
        self._busy = False
        self._write(request, response)
        self._process()

    def _write(self, request: HttpRequest, response: HttpResponse) -> None:
        if self._transport is not None:
            self._transport.write(response.encode(bodiless=request.method == "HEAD"))
        if response.then is not None:
            response.then()


def parse(buffer: bytes) -> tuple[HttpRequest | None, bytes]:
    """Parse the first request in the buffer.

    Returns:
        The request, or None while it is incomplete, and the rest of the buffer.

    Raises:
        MalformedRequest: not a request, or one whose body has no Content-Length.
    """
    end = buffer.find(_END_OF_HEAD)
    if end < 0:
        if len(buffer) > _MAX_HEAD_BYTES:
            raise MalformedRequest("the head is too long")
        return None, buffer
    request_line, *header_lines = buffer[:end].decode("latin-1").split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or not parts[1].startswith("/"):  # noqa: PLR2004  method, target, version
        raise MalformedRequest("no request line")
    method, target, _ = parts
    headers = _headers(header_lines)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise MalformedRequest("no Content-Length")
    begin = end + len(_END_OF_HEAD)
    end = begin + int(length)
    if len(buffer) < end:
        return None, buffer
    path, _, query = target.partition("?")
    return HttpRequest(method, unquote(path), _query(query), headers, buffer[begin:end]), buffer[end:]


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedRequest("no header")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise MalformedRequest("only bodies with a Content-Length")
    return headers


def _query(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    return {name: unquote(value) for name, _, value in pairs}
