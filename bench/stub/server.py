"""The servers of the stub, and the controls with which a benchmark drives it.

    POST /_stub/reset    empties everything
    POST /_stub/feed     {"queue": …, "text": …, "depth": N} keeps N messages ready in a queue, each with the text,
                         `{cart}` replaced by a new GUID; 0 stops that and empties the queue
    POST /_stub/latency  {"mean": 2.0, "sigma": 0, "storage": 0} sets the seconds that a checkout takes and that each
                         storage request takes; a sigma above 0 makes the checkouts lognormal with that mean
    GET  /_stub/state    only answers
    GET  /_stub/wait?answered=N    answers as soon as N checkouts were answered

Each control answers with the counters since the last reset.
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING

from bench.stub.blobs import BlobService
from bench.stub.http_server import HttpConnection, HttpRequest, HttpResponse
from bench.stub.queues import QueueService, StubQueue
from bench.stub.service import LatencyModel, PartnerCenterStub
from local.azurite import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class Stub:
    """Queues, blobs and Partner Center, each on a port of its own."""

    def __init__(self) -> None:
        self.service = PartnerCenterStub()
        self.blobs = BlobService()
        self.queues = QueueService()
        self.storage_latency = 0.0
        self.transactions = 0
        self.servers: list[asyncio.Server] = []
        self._carts = 0

    def storage(self, answer: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
        """Wrap the handler of queues or blobs: count each request, and let its response take the storage latency."""

        def delayed(request: HttpRequest) -> HttpResponse:
            self.transactions += 1
            response = answer(request)
            response.delay = self.storage_latency
            return response

        return delayed

    def service_answer(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Answer a request to Partner Center, for a token, or to the controls."""
        response = self.service.answer(request)
        if response is not None:
            return response
        _, prefix, command = request.path.partition("/_stub/")
        if not prefix:
            return HttpResponse(404)
        if command == "wait":
            return self._wait(int(request.query["answered"]))
        controls: dict[str, Callable[..., None]] = {
            "reset": self.reset,
            "feed": self.feed,
            "latency": self.set_latency,
            "state": lambda: None,
        }
        controls[command](**json.loads(request.body or b"{}"))
        return self._state()

    def reset(self) -> None:
        """Empty everything."""
        self.service.reset()
        self.transactions = 0
        self.queues.queues.clear()
        self.blobs.containers.clear()

    def feed(self, *, queue: str, text: str, depth: int) -> None:
        """Keep `depth` messages ready in a queue; 0 stops that and empties the queue."""
        target = self.queues.queues.setdefault(queue, StubQueue())
        target.before_get = partial(self._fill, target, text, depth)
        if depth == 0:
            target.before_get = None
            target.clear()
        else:
            target.before_get()

    def _fill(self, queue: StubQueue, text: str, depth: int) -> None:
        while len(queue.ready) < depth:
            self._carts += 1
            queue.put(text.replace("{cart}", f"{self._carts:08x}-0000-4000-8000-000000000001"))

    def set_latency(self, *, mean: float, sigma: float = 0.0, storage: float = 0.0) -> None:
        """Set how long checkouts and storage requests take, and restart the random sequence of the checkouts."""
        self.service.latency = LatencyModel(mean, sigma)
        self.storage_latency = storage

    async def _wait(self, answered: int) -> HttpResponse:
        await self.service.wait(answered)
        return self._state()

    def _state(self) -> HttpResponse:
        used = resource.getrusage(resource.RUSAGE_SELF)
        state = {
            "answered": self.service.answered,
            "waited": self.service.waited,
            "carts": len(self.service.carts),
            "transactions": self.transactions,
            "cpu": used.ru_utime + used.ru_stime,
            "at": time.perf_counter(),
        }
        return HttpResponse(200, json.dumps(state).encode(), {"Content-Type": "application/json"})

    async def serve(self, certificate: Path | None = None) -> dict[str, int]:
        """Listen, with TLS where there is a certificate; return the port of each service."""
        tls = None
        if certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate)
        loop = asyncio.get_running_loop()
        ports = {}
        answers: dict[str, Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]] = {
            "queue": self.storage(self.queues.answer),
            "blob": self.storage(self.blobs.answer),
            "service": self.service_answer,
            "control": self.service_answer,
        }
        for name, answer in answers.items():
            server = await loop.create_server(
                partial(HttpConnection, answer), HOST, 0, backlog=1024, ssl=None if name == "control" else tls
            )
            self.servers.append(server)
            ports[name] = int(server.sockets[0].getsockname()[1])
        return ports
