"""A discrete-event simulation of a fleet of instances that call a service with a rate limit. Pure.

    arrivals ─► queue ─► slots of all instances ─► the service: 201 after its latency, or 429 at once
                  ▲                                     │
                  └─ a delayed copy (shared.core.retry) ◄┘

The reaction to a 429 is the program's own: the delays of `shared.core.retry`, and one of its throttle gates for each
instance. Not simulated: scaling, fetching in batches (see `bench.simulation.slots`), and the time of storage requests.
"""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from bench import latency
from shared.core.errors import ErrorClass
from shared.core.retry import RetryPolicy, RetryState, ThrottleGate, after_closed_gate, after_transient

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_POLICY = RetryPolicy()
_THROTTLED_SECONDS = 0.05
"""How long a call takes that is answered with a 429."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The parameters of a simulation: times in seconds, rates per second.

    Attributes:
        instances: Instances of the function.
        slots: Carts that one instance has in flight.
        latency: How long a checkout takes, on average.
        sigma: Above 0, checkouts take lognormal times.
        admitted: Calls that the service admits; 0 for no limit.
        period: The window over which the service counts them.
        gate: Whether the instances use the throttle gate.
        carts: All carts.
        arrival_rate: How many carts arrive; 0 for all of them at the start.
        customers: Customers that the carts are spread over.
        seed: Of everything random.
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
class FleetResult:
    """What a simulation found.

    Attributes:
        delays: Seconds from the arrival of each cart to the end of its checkout.
        waits: Seconds from the arrival of each cart to the beginning of its checkout.
        calls: All calls of the service.
        wasted: Those of them that were answered with a 429.
        busy: Seconds of slots in which a checkout was in progress.
        finished: When the last cart was bought.
    """

    delays: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    calls: int = 0
    wasted: int = 0
    busy: float = 0.0
    finished: float = 0.0

    @property
    def wasted_per_cart(self) -> float:
        """Calls per cart that were answered with a 429."""
        return self.wasted / len(self.delays)

    @property
    def rate(self) -> float:
        """Carts bought per second, from the first arrival to the last purchase."""
        return len(self.delays) / self.finished

    def delay(self, share: float) -> float:
        """The delay that this share of the carts does not exceed."""
        return statistics.quantiles(self.delays, n=100, method="inclusive")[round(share * 100) - 1]


class _RateLimit:
    """Admits a number of calls in each period and refuses the others until the next one begins."""

    def __init__(self, rate: float, period: float) -> None:
        self._max_calls, self._period = rate * period, period
        self._window, self._count = -1, 0

    def retry_after(self, now: float) -> float | None:
        """Count a call. None if it is admitted, else its Retry-After in whole seconds."""
        if not self._max_calls:
            return None
        window = math.floor(now / self._period)
        if window != self._window:
            self._window, self._count = window, 0
        self._count += 1
        if self._count <= self._max_calls:
            return None
        return math.ceil((window + 1) * self._period - now)


@dataclass(slots=True)
class _Cart:
    arrived: float
    customer: str


class _Simulation:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.result = fleet, FleetResult()
        self._random = Random(fleet.seed)  # noqa: S311  not for cryptography
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queue: deque[_Cart] = deque()
        self._free = deque(instance for _ in range(fleet.slots) for instance in range(fleet.instances))
        self._gates = [ThrottleGate() for _ in range(fleet.instances)]
        self._limit = _RateLimit(fleet.admitted, fleet.period)
        self._now = 0.0

    def run(self) -> FleetResult:
        arrives = 0.0
        for _ in range(self.fleet.carts):
            if self.fleet.arrival_rate:
                arrives += self._random.expovariate(self.fleet.arrival_rate)
            cart = _Cart(arrives, f"customer-{self._random.randrange(self.fleet.customers)}")
            self._at(arrives, lambda cart=cart: self._queue.append(cart))  # type: ignore[misc]
        while self._events:
            self._now, _, action = heapq.heappop(self._events)
            action()
            while self._queue and self._free:
                self._deliver(self._queue.popleft(), self._free.popleft())
        self.result.finished = self._now
        return self.result

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def _deliver(self, cart: _Cart, instance: int) -> None:
        """Process one delivery: the gate, the call, and the reaction to its response."""
        now = _EPOCH + timedelta(seconds=self._now)
        gate = self._gates[instance]
        opening = gate.opening(cart.customer, now) if self.fleet.gate else None
        if opening is not None:
            later = after_closed_gate(RetryState(), self._random.uniform, opening, now)
            self._defer(cart, instance, later.delay, 0.0)
            return
        self.result.calls += 1
        wait = self._limit.retry_after(self._now)
        if wait is not None:
            self.result.wasted += 1
            gate.close(cart.customer, now, wait)
            later = after_transient(
                RetryState(), _POLICY, self._random.uniform, now, reason=ErrorClass.THROTTLED, wait=wait
            )
            self._defer(cart, instance, later.delay, _THROTTLED_SECONDS)
            return
        self.result.waits.append(self._now - cart.arrived)
        seconds = latency.draw(self._random, self.fleet.latency, self.fleet.sigma)
        self.result.busy += seconds
        self._at(self._now + seconds, lambda: self._finish(cart, instance))

    def _defer(self, cart: _Cart, instance: int, delay: float, seconds: float) -> None:
        """Send a delayed copy, and free the slot after `seconds`."""
        self._at(self._now + seconds, lambda: self._free.append(instance))
        self._at(self._now + seconds + delay, lambda: self._queue.append(cart))

    def _finish(self, cart: _Cart, instance: int) -> None:
        self.result.delays.append(self._now - cart.arrived)
        self._free.append(instance)


def simulate(fleet: Fleet) -> FleetResult:
    """Simulate until every cart is bought."""
    return _Simulation(fleet).run()
