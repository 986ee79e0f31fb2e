"""Reads HTTP/1.1 messages from a stream: just enough to know where each of them ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Framing = int | Literal["chunked"] | None
"""How the end of a body is known: its length in bytes, chunks, or the end of the connection."""


class ConnectionEnded(Exception):
    """The peer closed the connection between two messages."""


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Read a start line and its header fields.

    Raises:
        ConnectionEnded: The connection was closed before they were complete.
    """
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionEnded from error


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


def framing_of(head: bytes, *, default: int | None) -> Framing:
    """Return the framing that a head declares, or `default` where it declares none."""
    fields = _fields(head)
    if "chunked" in fields.get("transfer-encoding", ""):
        return "chunked"
    return int(fields["content-length"]) if "content-length" in fields else default


def status_of(head: bytes) -> int:
    """Return the status code of a response."""
    return int(head.split(b" ", 2)[1])


def closes_connection(head: bytes) -> bool:
    """Whether a response announces the end of its connection."""
    return head.startswith(b"HTTP/1.0") or _fields(head).get("connection") == "close"


async def read_body(reader: asyncio.StreamReader, framing: Framing) -> AsyncIterator[bytes]:
    """Yield the pieces of a body as they are on the wire, chunk sizes included.

    Raises:
        EOFError: The body is incomplete.
    """
    if framing == "chunked":
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            yield line + (await reader.readexactly(size + 2) if size else b"")
        trailer = b""
        while trailer != b"\r\n":
            trailer = await reader.readuntil(b"\r\n")
            yield trailer
        return
    left = framing
    while left is None or left > 0:
        piece = await reader.read(min(left or 65_536, 65_536))
        if not piece:
            if left is None:
                return
            raise EOFError
        yield piece
        if left is not None:
            left -= len(piece)
