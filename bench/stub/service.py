"""The checkout of Partner Center and the managed identity endpoint.

    POST /v1/customers/{c}/carts/{cart}/checkout    201 after the latency, with the simulator's plain purchase
    GET  /msi/token                                 the simulator's token

The latency is set by the benchmark.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
import time
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from bench import latency
from bench.stub.http_server import HttpRequest, HttpResponse
from local.simulator.identity import IdentityEndpoint
from local.simulator.service import SimulatedService

if TYPE_CHECKING:
    from collections.abc import Awaitable

TENANT = "11111111-1111-4111-8111-111111111111"
IDENTITY_HEADER = "stub"
SEED = 4711
CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
_CHECKOUT = re.compile(r"/v1/customers/[0-9a-f-]{36}/carts/([0-9a-f-]{36})/checkout")
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class LatencyModel:
    """The seconds that a checkout takes: constant, or lognormal with a given mean.

    It is seeded, so every competitor gets the same sequence.
    """

    def __init__(self, mean: float = 0.0, sigma: float = 0.0) -> None:
        self.mean, self.sigma = mean, sigma
        self._random = Random(SEED)  # noqa: S311  not for cryptography

    def draw(self) -> float:
        """The seconds of the next checkout."""
        return latency.draw(self._random, self.mean, self.sigma)


class PartnerCenterStub:
    """Answers every checkout with the same plain purchase and counts them."""

    def __init__(self) -> None:
        self.identity = IdentityEndpoint(TENANT, IDENTITY_HEADER)
        self.latency = LatencyModel()
        self.answered = 0
        self.waited = 0.0
        self.carts: set[str] = set()
        self._body = _purchase()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def reset(self) -> None:
        """Reset the counters."""
        self.answered, self.waited = 0, 0.0
        self.carts = set()  # a new object: responses still under way count towards the old one

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a checkout or a token request; None for any other request."""
        if request.path == "/msi/token":
            token = self.identity.token(request.query, request.headers.get("x-identity-header"), time.time())
            return HttpResponse(token.status, json.dumps(token.body).encode(), dict(_JSON))
        found = _CHECKOUT.fullmatch(request.path)
        if found is None:
            return None
        if request.method != "POST" or not request.headers.get("authorization", "").startswith("Bearer "):
            return HttpResponse(401, b'{"code": 800001, "description": "A bearer token is missing."}', dict(_JSON))
        self.carts.add(found[1])
        delay = self.latency.draw()
        request_id = request.headers.get("ms-requestid", "")
        headers = {
            **_JSON,
            "MS-RequestId": request_id,
            "MS-CorrelationId": request.headers.get("ms-correlationid", ""),
            "MS-CV": f"{request_id[:8]}.0",
        }
        return HttpResponse(201, self._body, headers, delay, partial(self._count, self.carts, delay))

    def _count(self, carts: set[str], delay: float) -> None:
        if carts is not self.carts:
            return
        self.answered += 1
        self.waited += delay
        while self._waiting and self._waiting[0][0] <= self.answered:
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)

    def wait(self, answered: int) -> Awaitable[None]:
        """Wait until so many checkouts were answered since the last reset."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.answered >= answered:
            future.set_result(None)
        else:
            heapq.heappush(self._waiting, (answered, id(future), future))
        return future


def _purchase() -> bytes:
    """The simulator's response to a plain purchase."""
    cart = "00000001-0000-4000-8000-000000000001"
    return SimulatedService().checkout(CUSTOMER, cart, "00000000-0000-4000-8000-000000000000", time.time()).body
