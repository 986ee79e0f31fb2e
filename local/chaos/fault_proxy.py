"""A line that breaks on purpose: HTTP proxies between the workers and the services behind them.

    worker ──► Proxy ──► Azurite, or the simulator
                 │
                 ├─ refuse        nothing listens, and connections that are open are cut
                 ├─ drop_before   the request is read and thrown away
                 ├─ drop_after    the request is passed on, and its answer is thrown away: a lost reply
                 └─ delay         the request is passed on late

It reads just enough of HTTP/1.1 to know where a message ends: Content-Length, chunks, or the connection's end.
Connections are kept alive on both sides. Everything is on this machine.

Like any reverse proxy it puts the address of the service behind it into the place of its own, in the request
line and in ``Host``: so the simulator finds itself in the audience of a token. Storage signatures are made of
the path, which stays as it is.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Self

from local.azurite import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    Watch = Callable[["Exchange", "Moment"], bool]
    Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LARGEST_HEAD = 256 * 1024
IDLE_SECONDS = 2.0
"""How long a connection to the service behind is kept for another request: less than any server keeps it."""
START_SECONDS, END_SECONDS = 10.0, 3.0


class Kind(StrEnum):
    """What a proxy does to the requests that come."""

    PASS = "pass"  # noqa: S105  no password
    REFUSE = "refuse"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, for which share of the requests, and the seconds of a delay."""

    kind: Kind = Kind.PASS
    share: float = 1.0
    seconds: float = 0.0


class Moment(StrEnum):
    """How far an exchange has come when the watcher sees it."""

    ASKED = "asked"
    ANSWERED = "answered"
    DONE = "done"


@dataclass(slots=True)
class Exchange:
    """A request, and what came back: the status from ANSWERED on, the answer's body once it is DONE."""

    method: str
    target: str
    body: bytes
    status: int = 0
    answer: bytes = b""


class _Closed(Exception):
    """The other side hung up between two messages."""


class Proxies:
    """Runs proxies, all in one thread, as a context manager."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._proxies:
            self.run(proxy.close())
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(
        self,
        port: int,
        *,
        dice: random.Random | None = None,
        watch: Watch | None = None,
        harms: Callable[[Exchange], bool] | None = None,
    ) -> Proxy:
        """Start a proxy in front of a port of this machine.

        Args:
            port: Of the service behind it.
            dice: Decides which requests a fault hits.
            watch: Sees each exchange at each of its moments; True cuts the connection there.
            harms: Whether a fault may hit this exchange; default: any.
        """
        proxy = Proxy(self, port, dice or random.Random(0), watch, harms)
        self.run(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def run(self, work: Coroutine[object, object, None]) -> None:
        """Run a piece of work in the proxies' thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def _end_tasks(self) -> None:
        """All connections are cut, so what still runs ends by itself, or (a delay) when its time is over."""
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=END_SECONDS)


class Proxy:
    """One proxy: ``port`` is where it listens, ``counts`` what it did to how many requests."""

    def __init__(
        self,
        proxies: Proxies,
        target: int,
        dice: random.Random,
        watch: Watch | None,
        harms: Callable[[Exchange], bool] | None,
    ) -> None:
        """Hold the port; nothing listens yet."""
        self.counts: Counter[str] = Counter()
        self._proxies, self._target, self._dice = proxies, target, dice
        self._watch = watch or (lambda _exchange, _moment: False)
        self._harms = harms or (lambda _exchange: True)
        self._fault = Fault()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._idle: list[tuple[float, Connection]] = []
        self._busy: set[asyncio.StreamWriter] = set()
        # While it refuses, nobody else may take the port: this socket is bound to it, and never listens.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    def set(self, fault: Fault | None = None) -> None:
        """From now on this goes wrong; None: nothing does."""
        self._proxies.run(self._set(fault or Fault()))

    async def listen(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), limit=LARGEST_HEAD, backlog=1024)

    async def close(self) -> None:
        """Accept no more, cut what is open, and give up the port."""
        await self._deafen()
        for writer in [*self._busy, *(writer for _, (_, writer) in self._idle)]:
            writer.transport.abort()
        self._place.close()

    async def _set(self, fault: Fault) -> None:
        self._fault = fault
        if fault.kind is Kind.REFUSE:
            await self._deafen()
        elif self._server is None:
            await self.listen()

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._clients:
            self.counts["cut"] += 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        # the loop itself holds a task only weakly, and one that waits for the service behind is held by nobody else
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, _Closed):
            pass  # one of the two hung up, or speaks no HTTP: so do we
        finally:
            self._clients.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request on, and its answer back. False: this connection is to be cut."""
        head = await _head(reader)
        method, target, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        body = b"".join([piece async for piece in _body(reader, _framing(head, no_length=0))])
        exchange = Exchange(method, target, body)
        fault = self._drawn(exchange)
        self.counts["requests"] += 1
        if self._watch(exchange, Moment.ASKED):
            return False
        if fault.kind is not Kind.PASS:
            self.counts[fault.kind] += 1
        if fault.kind is Kind.DROP_BEFORE:
            return False
        if fault.kind is Kind.DELAY:
            await asyncio.sleep(fault.seconds)
        behind = await self._connect()
        kept = False
        self._busy.add(behind[1])
        try:
            behind[1].write(self._readdressed(head) + body)
            kept = await self._answer(behind[0], None if fault.kind is Kind.DROP_AFTER else writer, exchange)
        finally:
            self._busy.discard(behind[1])
            if kept:
                self._idle.append((time.monotonic(), behind))
            else:
                behind[1].transport.abort()
        return kept and fault.kind is not Kind.DROP_AFTER

    async def _answer(
        self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter | None, exchange: Exchange
    ) -> bool:
        """Pass the answer on piece by piece, to ``writer`` or to nobody. True: the connections can go on."""
        head = await _head(behind)
        while _status(head) == HTTPStatus.CONTINUE:
            await _pass_on(writer, head)
            head = await _head(behind)
        exchange.status = _status(head)
        if self._watch(exchange, Moment.ANSWERED):
            return False
        bodiless = exchange.method == "HEAD" or exchange.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        framing = 0 if bodiless else _framing(head, no_length=None)
        await _pass_on(writer, head)
        pieces = []
        async for piece in _body(behind, framing):
            pieces.append(piece)
            await _pass_on(writer, piece)
        exchange.answer = b"".join(pieces)
        # an answer that ends with the connection, or says that it does, ends this one too
        return not self._watch(exchange, Moment.DONE) and framing is not None and not _says_close(head)

    def _drawn(self, exchange: Exchange) -> Fault:
        """The fault of the hour, where the dice and the exchange let it hit."""
        fault = self._fault
        hit = fault.kind is not Kind.PASS and self._harms(exchange) and self._dice.random() < fault.share
        return fault if hit else Fault()

    async def _connect(self) -> Connection:
        """A connection to the service behind, used before or new."""
        while self._idle:
            since, (reader, writer) = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection(HOST, self._target, limit=LARGEST_HEAD)

    def _readdressed(self, head: bytes) -> bytes:
        first, _, rest = head.partition(b"\r\n")
        for colon in (b":", b"%3A"):
            first = first.replace(b"%s%d" % (colon, self.port), b"%s%d" % (colon, self._target))
        fields = rest.split(b"\r\n")
        host = b"Host: %s:%d" % (HOST.encode(), self._target)
        return b"\r\n".join([first, *(host if field[:5].lower() == b"host:" else field for field in fields)])


def _bound(port: int) -> socket.socket:
    """A socket bound to a port of this machine, which others of ours may be bound to as well."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((HOST, port))
    except OSError:
        made.close()
        raise
    return made


async def _pass_on(writer: asyncio.StreamWriter | None, piece: bytes) -> None:
    if writer is not None:
        writer.write(piece)
        await writer.drain()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise _Closed from error


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


def _framing(head: bytes, *, no_length: int | None) -> int | Literal["chunked"] | None:
    """How the body's end is known: its bytes, by chunks, or (None) by the connection's end."""
    fields = _fields(head)
    if "chunked" in fields.get("transfer-encoding", ""):
        return "chunked"
    return int(fields["content-length"]) if "content-length" in fields else no_length


def _status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


def _says_close(head: bytes) -> bool:
    return head.startswith(b"HTTP/1.0") or _fields(head).get("connection") == "close"


async def _body(reader: asyncio.StreamReader, framing: int | Literal["chunked"] | None) -> AsyncIterator[bytes]:
    """The pieces of a body, as they lie on the wire; EOFError where it ends too early."""
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
