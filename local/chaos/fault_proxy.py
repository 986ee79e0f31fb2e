"""HTTP proxies between the workers and the services behind them, which fail on purpose.

    worker ──► Proxy ──► Azurite, or the simulator
                 │
                 ├─ refuse        nothing listens, and open connections are cut
                 ├─ drop_before   the request is read and discarded
                 ├─ drop_after    the request is forwarded, and its response is discarded
                 └─ delay         the request is forwarded late

Connections are kept alive on both sides, all of them on this machine.

Like any reverse proxy it replaces its own address by that of the service behind it, in the request line and in
`Host`: so the simulator finds itself in the audience of a token. Storage signatures cover the path, which is unchanged.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from local.azurite import HOST
from local.chaos import http_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Watch = Callable[["Exchange", "ExchangeStage"], bool]
    Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MAX_HEAD_BYTES = 256 * 1024
IDLE_SECONDS = 2.0
"""How long an idle connection to a service is reused: less than any of the services keeps it open."""
START_SECONDS, STOP_SECONDS = 10.0, 3.0


class ProxyFaultKind(StrEnum):
    """What a proxy does to requests."""

    PASS = "pass"  # noqa: S105  no password
    REFUSE = "refuse"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class ProxyFault:
    """What a proxy does, to which share of the requests, and the seconds of a delay."""

    kind: ProxyFaultKind = ProxyFaultKind.PASS
    share: float = 1.0
    seconds: float = 0.0


class ExchangeStage(StrEnum):
    """How far an exchange has come when its watcher is called."""

    REQUESTED = "requested"
    ANSWERED = "answered"
    DONE = "done"


@dataclass(slots=True)
class Exchange:
    """A request and its response: the status from ANSWERED on, the body once it is DONE.

    `head`: the start line and the header fields of the request. `sender`: whoever the watcher says sent it.
    """

    method: str
    target: str
    body: bytes
    status: int = 0
    response: bytes = b""
    head: bytes = b""
    sender: object = None


class Proxies:
    """A context manager that runs proxies, all in one thread."""

    def __init__(self) -> None:
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
        random_source: random.Random | None = None,
        watch: Watch | None = None,
        affects: Callable[[Exchange], bool] | None = None,
    ) -> Proxy:
        """Start a proxy in front of a port of this machine.

        Args:
            port: Of the service behind it.
            random_source: Draws which requests a fault affects.
            watch: Called with each exchange at each of its stages; True cuts the connection there.
            affects: Whether a fault may affect an exchange; any, by default.
        """
        proxy = Proxy(self, port, random_source or random.Random(0), watch, affects)
        self.run(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def run(self, work: Coroutine[object, object, None]) -> None:
        """Run a coroutine in the proxies' thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def _end_tasks(self) -> None:
        """Wait for the open exchanges: all connections are cut, so they end by themselves, a delay after its time.

        Accepting a connection is a task too, and its exchanges are another one that begins after it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                    await asyncio.wait(tasks)


class Proxy:
    """One proxy: `port` is where it listens, `counts` how many requests it received and each fault affected."""

    def __init__(
        self,
        proxies: Proxies,
        target: int,
        random_source: random.Random,
        watch: Watch | None,
        affects: Callable[[Exchange], bool] | None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._closed = False
        self._proxies, self._target, self._random = proxies, target, random_source
        self._watch = watch or (lambda _exchange, _stage: False)
        self._affects = affects or (lambda _exchange: True)
        self._fault = ProxyFault()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._idle: list[tuple[float, Connection]] = []
        self._busy: set[asyncio.StreamWriter] = set()
        # Bound to the port and never listening, so that no other program gets the port while this one refuses.
        self._reservation = _bound_socket(0)
        self.port: int = self._reservation.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    def set(self, fault: ProxyFault | None = None) -> None:
        """Apply a fault from now on, or end it (None)."""
        self._proxies.run(self._set(fault or ProxyFault()))

    async def listen(self) -> None:
        """Accept connections."""
        listener = _bound_socket(self.port)
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=MAX_HEAD_BYTES, backlog=1024)

    async def close(self) -> None:
        """Stop listening, cut all connections, those included that are just accepted, and release the port."""
        self._closed = True
        await self._stop_listening()
        for writer in [*self._busy, *(writer for _, (_, writer) in self._idle)]:
            writer.transport.abort()
        self._reservation.close()

    async def _set(self, fault: ProxyFault) -> None:
        self._fault = fault
        if fault.kind is ProxyFaultKind.REFUSE:
            self.counts[fault.kind] += len(self._clients)
            await self._stop_listening()
        elif self._server is None:
            await self.listen()

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._clients:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        # The loop holds its tasks weakly, and nothing else refers to one that waits for the service.
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while not self._closed and await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, http_messages.ConnectionEnded):
            pass  # one side closed its connection or sent something else than HTTP: close the other
        finally:
            self._clients.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Forward one request and its response. Returns False if the client's connection must be cut."""
        head = await http_messages.read_head(reader)
        method, target, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        body = b"".join(
            [piece async for piece in http_messages.read_body(reader, http_messages.framing_of(head, default=0))]
        )
        exchange = Exchange(method, target, body, head=head)
        fault = self._draw(exchange)
        self.counts["requests"] += 1
        if self._watch(exchange, ExchangeStage.REQUESTED):
            return False
        if fault.kind is not ProxyFaultKind.PASS:
            self.counts[fault.kind] += 1
        if fault.kind is ProxyFaultKind.DROP_BEFORE:
            return False
        if fault.kind is ProxyFaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        upstream = await self._connect()
        reusable = False
        self._busy.add(upstream[1])
        try:
            upstream[1].write(self._readdress(head) + body)
            client = None if fault.kind is ProxyFaultKind.DROP_AFTER else writer
            reusable = await self._answer(upstream[0], client, exchange)
        finally:
            self._busy.discard(upstream[1])
            if reusable:
                self._idle.append((time.monotonic(), upstream))
            else:
                upstream[1].transport.abort()
        return reusable and client is not None

    async def _answer(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter | None, exchange: Exchange
    ) -> bool:
        """Forward the response piece by piece, or discard it without a `writer`. True: the connections stay open."""
        head = await http_messages.read_head(upstream)
        while http_messages.status_of(head) == HTTPStatus.CONTINUE:
            await _forward(writer, head)
            head = await http_messages.read_head(upstream)
        exchange.status = http_messages.status_of(head)
        if self._watch(exchange, ExchangeStage.ANSWERED):
            return False
        bodiless = exchange.method == "HEAD" or exchange.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        framing = 0 if bodiless else http_messages.framing_of(head, default=None)
        await _forward(writer, head)
        pieces = []
        async for piece in http_messages.read_body(upstream, framing):
            pieces.append(piece)
            await _forward(writer, piece)
        exchange.response = b"".join(pieces)
        # A response that ends with its connection, or announces that, ends the connection of the client too.
        closes = framing is None or http_messages.closes_connection(head)
        return not self._watch(exchange, ExchangeStage.DONE) and not closes

    def _draw(self, exchange: Exchange) -> ProxyFault:
        """Return the current fault if it affects this exchange."""
        fault = self._fault
        hit = fault.kind is not ProxyFaultKind.PASS and self._affects(exchange) and self._random.random() < fault.share
        return fault if hit else ProxyFault()

    async def _connect(self) -> Connection:
        """Return an idle connection to the service, or a new one."""
        while self._idle:
            since, (reader, writer) = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection(HOST, self._target, limit=MAX_HEAD_BYTES)

    def _readdress(self, head: bytes) -> bytes:
        first, _, rest = head.partition(b"\r\n")
        for colon in (b":", b"%3A"):
            first = first.replace(b"%s%d" % (colon, self.port), b"%s%d" % (colon, self._target))
        fields = rest.split(b"\r\n")
        host = b"Host: %s:%d" % (HOST.encode(), self._target)
        return b"\r\n".join([first, *(host if field[:5].lower() == b"host:" else field for field in fields)])


def _bound_socket(port: int) -> socket.socket:
    """A socket bound to a port of this machine, which other sockets of this process may share."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((HOST, port))
    except OSError:
        made.close()
        raise
    return made


async def _forward(writer: asyncio.StreamWriter | None, piece: bytes) -> None:
    if writer is not None:
        writer.write(piece)
        await writer.drain()
