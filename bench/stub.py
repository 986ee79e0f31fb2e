"""The stub: storage and service on the wire in one process, so that the program is what is measured.

    python -m bench.stub [--certificate FILE]

With a certificate (and its key in the same file) the three services speak TLS, as in Azure; tokens and controls
have a plain port of their own. Its first line of output is where it listens, as JSON. It ends with its standard
input. Controls, beside those of ``bench.service``:

    POST /_stub/reset    empties everything
    POST /_stub/feed     {"queue": …, "text": …, "depth": N} keeps N messages ready in a queue, each the text with
                         its ``{cart}`` replaced by a new GUID; 0 ends that
    GET  /_stub/state    what was seen since the last reset
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.blobs import BlobService
from bench.queues import Queue, QueueService
from bench.service import Latency, Service
from bench.wire import Connection, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HOST = "127.0.0.1"


class Stub:
    """The three services, and what drives them."""

    def __init__(self) -> None:
        self.service = Service()
        self.blobs = BlobService()
        self.told: Counter[str] = Counter()
        self.queues = QueueService(on_put=self._note)
        self.storage_latency = 0.0
        self.servers: list[asyncio.Server] = []
        self._carts = 0

    def _note(self, queue: str) -> None:
        self.told[queue] += 1

    def storage(self, answer: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        """The answers of queues or blobs, after their latency."""

        def later(request: Request) -> Reply:
            reply = answer(request)
            reply.delay = self.storage_latency
            return reply

        return later

    def service_answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer a request to the service's port."""
        reply = self.service.answer(request)
        if reply is not None:
            return reply
        _, prefix, command = request.path.partition("/_stub/")
        if not prefix:
            return Reply(404)
        if command == "wait":
            return self._wait(int(request.query["answered"]))
        known: dict[str, Callable[..., None]] = {
            "reset": self.reset,
            "feed": self.feed,
            "latency": self.set_latency,
            "state": lambda: None,
        }
        known[command](**json.loads(request.body or b"{}"))
        return self._state()

    def reset(self) -> None:
        """Empty everything."""
        self.service.reset()
        self.told.clear()
        self.queues.queues.clear()
        self.blobs.containers.clear()

    def feed(self, *, queue: str, text: str, depth: int) -> None:
        """Keep ``depth`` messages ready in a queue; 0 ends it, and takes what is there away."""
        target = self.queues.queues.setdefault(queue, Queue())
        target.before_get = partial(self._fill, target, text, depth)
        if depth == 0:
            target.before_get = None
            target.clear()
        else:
            target.before_get()

    def _fill(self, queue: Queue, text: str, depth: int) -> None:
        while len(queue.ready) < depth:
            self._carts += 1
            queue.put(text.replace("{cart}", f"{self._carts:08x}-0000-4000-8000-000000000001"))

    def set_latency(self, *, mean: float, sigma: float = 0.0, storage: float = 0.0) -> None:
        """How long service and storage take from now on, and the service's dice anew."""
        self.service.latency = Latency(mean, sigma)
        self.storage_latency = storage

    async def _wait(self, answered: int) -> Reply:
        await self.service.wait(answered)
        return self._state()

    def _state(self) -> Reply:
        used = resource.getrusage(resource.RUSAGE_SELF)
        state: dict[str, Any] = {
            "answered": self.service.answered,
            "waited": self.service.waited,
            "carts": len(self.service.carts),
            "told": dict(self.told),
            "tokens": self.service.identity.requests,
            "cpu": used.ru_utime + used.ru_stime,
            "at": time.perf_counter(),
        }
        return Reply(200, json.dumps(state).encode(), {"Content-Type": "application/json"})

    async def serve(self, certificate: Path | None = None) -> dict[str, int]:
        """Listen; returns the port of each service."""
        tls = None
        if certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate)
        loop = asyncio.get_running_loop()
        ports = {}
        answers: dict[str, Callable[[Request], Reply | Awaitable[Reply]]] = {
            "queue": self.storage(self.queues.answer),
            "blob": self.storage(self.blobs.answer),
            "service": self.service_answer,
            "control": self.service_answer,
        }
        for name, answer in answers.items():
            server = await loop.create_server(
                partial(Connection, answer), HOST, 0, backlog=1024, ssl=None if name == "control" else tls
            )
            self.servers.append(server)
            ports[name] = int(server.sockets[0].getsockname()[1])
        return ports


async def _main(certificate: Path | None) -> None:
    ports = await Stub().serve(certificate)
    print(json.dumps(ports), flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.stub")
    _parser.add_argument("--certificate", type=Path)
    asyncio.run(_main(_parser.parse_args().certificate))
