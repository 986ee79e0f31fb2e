"""A discrete-event simulation of 1 to 50 instances against a service that admits only so many calls. Pure.

    arrivals ─► queue ─► slots of all instances ─► the service: 201 after its latency, or 429 at once
                  ▲                                     │
                  └──── a copy waits (shared.core.retry) ◄───┘

What a 429 leads to is decided by the program's own `shared.core.retry`: the delays, and one gate per instance. What is
left out: the platform's scaling, fetching in batches (see `bench.slots`), storage's own time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.core import retry

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = retry.RetryPolicy()
_REFUSAL_SECONDS = 0.05
"""A 429 comes soon, and costs a call all the same."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated. Times in seconds, rates per second.

    ``sigma`` above 0 makes the latency lognormal with mean ``latency``; ``admitted`` 0 admits all, else so many
    calls per second, counted over a ``period``. ``arrival_rate`` 0: all carts lie in the queue at the start.
    """

    instances: int = 1
    slots: int = 32
    latency: float = 2.0
    sigma: float = 0.5
    admitted: float = 0.0
    period: float = 60.0
    gate: bool = True
    carts: int = 1_000
    arrival_rate: float = 0.0
    customers: int = 500
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What came of it. ``delays``: from arrival to the end of each cart's service."""

    delays: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    calls: int = 0
    wasted: int = 0
    busy: float = 0.0
    finished: float = 0.0

    @property
    def wasted_per_cart(self) -> float:
        """Calls that were answered with a 429, per cart."""
        return self.wasted / len(self.delays)

    @property
    def rate(self) -> float:
        """Carts bought per second, from the first arrival to the last purchase."""
        return len(self.delays) / self.finished

    def delay(self, share: float) -> float:
        """The delay that this share of the carts stays below."""
        return statistics.quantiles(self.delays, n=100, method="inclusive")[round(share * 100) - 1]


class _Limiter:
    """Admits so many calls in each period; tells the rest to come back when the next one begins."""

    def __init__(self, rate: float, period: float) -> None:
        self._limit, self._period = rate * period, period
        self._window, self._count = -1, 0

    def refusal(self, now: float) -> float | None:
        """Retry-After in whole seconds, or None: admitted."""
        if not self._limit:
            return None
        window = math.floor(now / self._period)
        if window != self._window:
            self._window, self._count = window, 0
        self._count += 1
        if self._count <= self._limit:
            return None
        return math.ceil((window + 1) * self._period - now)


@dataclass(slots=True)
class _Cart:
    arrived: float
    customer: str


class _Simulation:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.outcome = fleet, Outcome()
        self._dice = random.Random(fleet.seed)  # noqa: S311  no cryptography
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queue: deque[_Cart] = deque()
        self._free = deque(instance for _ in range(fleet.slots) for instance in range(fleet.instances))
        self._gates = [retry.ThrottleGate() for _ in range(fleet.instances)]
        self._limiter = _Limiter(fleet.admitted, fleet.period)
        self._now = 0.0

    def run(self) -> Outcome:
        arrives = 0.0
        for _ in range(self.fleet.carts):
            if self.fleet.arrival_rate:
                arrives += self._dice.expovariate(self.fleet.arrival_rate)
            cart = _Cart(arrives, f"customer-{self._dice.randrange(self.fleet.customers)}")
            self._at(arrives, lambda cart=cart: self._queue.append(cart))  # type: ignore[misc]
        while self._events:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
            while self._queue and self._free:
                self._take(self._queue.popleft(), self._free.popleft())
        self.outcome.finished = self._now
        return self.outcome

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    def _take(self, cart: _Cart, instance: int) -> None:
        """One delivery: the gate, the call, and what the answer leads to."""
        now = EPOCH + timedelta(seconds=self._now)
        gate = self._gates[instance]
        opening = gate.opening(cart.customer, now) if self.fleet.gate else None
        if opening is not None:
            later = retry.after_closed_gate(retry.RetryState(), self._dice.uniform, opening, now)
            self._leave(cart, instance, later.delay, 0.0)
            return
        self.outcome.calls += 1
        wait = self._limiter.refusal(self._now)
        if wait is not None:
            self.outcome.wasted += 1
            gate.close(cart.customer, now, wait)
            later = retry.after_throttling(retry.RetryState(), POLICY, self._dice.uniform, wait)
            self._leave(cart, instance, later.delay, _REFUSAL_SECONDS)
            return
        self.outcome.waits.append(self._now - cart.arrived)
        seconds = self._latency()
        self.outcome.busy += seconds
        self._at(self._now + seconds, lambda: self._end(cart, instance))

    def _leave(self, cart: _Cart, instance: int, delay: float, seconds: float) -> None:
        """A copy waits, and the slot is free again at once, or when the refusal came."""
        self._at(self._now + seconds, lambda: self._free.append(instance))
        self._at(self._now + seconds + delay, lambda: self._queue.append(cart))

    def _end(self, cart: _Cart, instance: int) -> None:
        self.outcome.delays.append(self._now - cart.arrived)
        self._free.append(instance)

    def _latency(self) -> float:
        fleet = self.fleet
        if not fleet.sigma:
            return fleet.latency
        return self._dice.lognormvariate(math.log(fleet.latency) - fleet.sigma**2 / 2, fleet.sigma)


def simulate(fleet: Fleet) -> Outcome:
    """Run until every cart is bought."""
    return _Simulation(fleet).run()
