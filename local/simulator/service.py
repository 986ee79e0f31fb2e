"""The simulated service without a socket: carts, orders, and a report of who bought what.

Each method returns a `SimulatedResponse`: the response, and how it is delivered. A transport (the server, or an
in-memory adapter) delivers it. Time is passed in, in epoch seconds: nothing here sleeps or reads a clock.

What a POST gets under an MS-RequestId that was used before, or for a cart that is bought: see `local.simulator.carts`.

A purchase is recorded at its POST, but GET shows it only once it takes effect, after the time that the service needs:
a caller that disconnects early does not see it yet.
"""

import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from local.simulator import steps
from local.simulator.carts import Call, CartLine, CartState, Idempotency, Post
from local.simulator.play import buy, play
from local.simulator.resources import (
    HOUR,
    activation_links,
    cart_resource,
    collection,
    encode,
    priced,
    scenario_lines,
)
from local.simulator.responses import dated, fault_response, gateway_response, throttled_response
from local.simulator.scenarios import BY_NAME, DOWN, IN_PROGRESS, Scenario, cart_id, scenario_of
from local.simulator.state import RateLimiter, SimulatedResponse

Outage = Literal["503", "drop"]

_NOT_FOUND = fault_response(steps.FaultStep(404, 800008, "Cart not found."))
_NO_ORDER = fault_response(steps.FaultStep(404, 1000, "Order not found."))
_ORDERED = fault_response(steps.FaultStep(400, 800065, "The cart was submitted before."))


class SimulatedService:
    """The service. All methods may be called from many threads.

    Args:
        idempotency: See `local.simulator.carts`.
        scale: Multiplies every delay and Retry-After of the scenarios.
        latency: Seconds that are added to every checkout, unscaled.
    """

    def __init__(self, *, idempotency: Idempotency = "strict", scale: float = 1.0, latency: float = 0.0) -> None:
        self.idempotency = idempotency
        self.scale = scale
        self.latency = latency
        self.limiter = RateLimiter()
        self.outage: Outage | None = None
        self._carts: dict[tuple[str, str], CartState] = {}
        self._by_customer: defaultdict[str, list[CartState]] = defaultdict(list)
        self._totals: Counter[str] = Counter()
        self._lock = threading.RLock()

    def checkout(self, customer_id: str, cart_id: str, ms_request_id: str, now: float) -> SimulatedResponse:
        """Play the next step of the cart's script."""

        def answer() -> SimulatedResponse:
            wait = self.limiter.refuse(customer_id.lower(), now)
            if wait is not None:
                self._totals["throttled"] += 1
                return throttled_response(wait, now, as_date=False)
            cart = self._find(customer_id, cart_id, now)
            return _NOT_FOUND if cart is None else self._post(cart, ms_request_id, now)

        return self._serve(now, answer)

    def get_cart(self, customer_id: str, cart_id: str, now: float) -> SimulatedResponse:
        """Return the cart: `Active` or `Ordered`, and its line items."""

        def answer() -> SimulatedResponse:
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return _NOT_FOUND
            cart.gets += 1
            script = cart.scenario.get_script
            if cart.gets <= len(script):
                return play(script[cart.gets - 1], Call(cart, "", now), self.scale)
            as_of = now - cart.scenario.stale * self.scale
            return SimulatedResponse(200, encode(cart_resource(cart, as_of)))

        return self._serve(now, answer)

    def create_cart(self, customer_id: str, lines: list[CartLine], now: float) -> SimulatedResponse:
        """Create a cart with these lines. It plays the scenario `created`."""

        def answer() -> SimulatedResponse:
            cart = self._create(customer_id, cart_id("created", str(uuid.uuid4())), BY_NAME["created"], now)
            cart.lines = lines
            return SimulatedResponse(201, encode(cart_resource(cart, now)))

        return self._serve(now, answer)

    def update_cart(self, customer_id: str, cart_id: str, lines: list[CartLine], now: float) -> SimulatedResponse:
        """Replace the lines of a cart that is not bought."""

        def answer() -> SimulatedResponse:
            cart = self._find(customer_id, cart_id, now)
            if cart is None or cart.purchases:
                return _NOT_FOUND if cart is None else _ORDERED
            cart.lines, cart.modified = lines, now
            return SimulatedResponse(200, encode(cart_resource(cart, now)))

        return self._serve(now, answer)

    def list_orders(self, customer_id: str, now: float, *, prices: bool = False) -> SimulatedResponse:
        """Return all orders of the customer that show by now. Nothing in an order names its cart."""

        def answer() -> SimulatedResponse:
            self._totals["lists"] += 1
            return SimulatedResponse(200, collection(self._orders(customer_id, now, prices=prices)))

        return self._serve(now, answer)

    def get_order(self, customer_id: str, order_id: str, now: float, *, prices: bool = False) -> SimulatedResponse:
        """Return one order of the customer, or 404 where none with this id shows by now."""
        return self._of_order(customer_id, order_id, now, lambda order: encode(priced(order) if prices else order))

    def get_activation_links(
        self, customer_id: str, order_id: str, now: float, line: int | None = None
    ) -> SimulatedResponse:
        """Return where an order, or one line of it, is activated."""
        return self._of_order(customer_id, order_id, now, lambda order: collection(activation_links(order, line)))

    def page(self, customer_id: str, cart_id: str) -> dict[str, Any]:
        """Return the report's page of one cart.

        Raises:
            KeyError: The cart was never called for.
        """
        with self._lock:
            return self._carts[customer_id.lower(), cart_id.lower()].page()

    def snapshot(self) -> dict[str, Any]:
        """Return the report: totals, and a page per cart in the order of their first calls."""
        with self._lock:
            pages = [cart.page() for cart in self._carts.values()]
        totals = {name: sum(page[name] for page in pages) for name in ("posts", "purchases", "gets")}
        totals["carts"] = len(pages)
        totals["boughtTwice"] = sum(page["purchases"] > 1 for page in pages)
        totals |= {name: self._totals[name] for name in ("throttled", "lists", "outages")}
        return {"totals": totals, "carts": pages}

    def _serve(self, now: float, answer: Callable[[], SimulatedResponse]) -> SimulatedResponse:
        with self._lock:
            if self.outage is None:
                return dated(answer(), now)
            self._totals["outages"] += 1
            lost = SimulatedResponse(0, drop="before")
            return dated(lost if self.outage == "drop" else gateway_response(DOWN), now)

    def _of_order(
        self, customer_id: str, order_id: str, now: float, body: Callable[[Mapping[str, Any]], bytes]
    ) -> SimulatedResponse:
        def answer() -> SimulatedResponse:
            spellings = (order_id, order_id.lower())  # a GUID is compared without case, another id with it
            orders = self._orders(customer_id, now)
            order = next((each for each in orders if each["id"] in spellings), None)
            return _NO_ORDER if order is None else SimulatedResponse(200, body(order))

        return self._serve(now, answer)

    def _orders(self, customer_id: str, now: float, *, prices: bool = False) -> list[Mapping[str, Any]]:
        carts = self._by_customer.get(customer_id.lower(), [])
        bought = [purchase for cart in carts for purchase in cart.purchases if purchase.at <= now]
        return [priced(order) if prices else order for purchase in bought for order in purchase.orders]

    def _find(self, customer_id: str, cart_id: str, now: float) -> CartState | None:
        """Return the cart, created at its first call, or `None` where its id names no scenario."""
        cart = self._carts.get((customer_id.lower(), cart_id.lower()))
        scenario = scenario_of(cart_id)
        return cart if cart or scenario is None else self._create(customer_id, cart_id, scenario, now)

    def _create(self, customer_id: str, cart_id: str, scenario: Scenario, now: float) -> CartState:
        key = customer_id.lower(), cart_id.lower()
        lines = scenario_lines(scenario, key[1], now)
        cart = self._carts[key] = CartState(*key, scenario, self.idempotency, created=now, modified=now, lines=lines)
        self._by_customer[key[0]].append(cart)
        if scenario.bought_before:
            buy(steps.Commit(), Call(cart, "", now - HOUR))
        return cart

    def _post(self, cart: CartState, ms_request_id: str, now: float) -> SimulatedResponse:
        """Answer a POST for this cart, and note when it came and when its work ends."""
        before = len(cart.purchases)
        response = cart.given_at_any_step(ms_request_id)
        if response is None and cart.scenario.busy and now < cart.busy_until:
            response = fault_response(IN_PROGRESS)
        if response is None:
            response = play(self._next_step(cart), Call(cart, ms_request_id, now + self.latency), self.scale)
            response = replace(response, delay=self.latency + response.delay)
        answered = now + response.seconds_to_head
        ended = max([answered, *(purchase.at for purchase in cart.purchases[before:])])
        status = None if response.drop == "before" else response.status
        cart.posts.append(Post(ms_request_id, now, answered, ended, status))
        cart.busy_until = max(cart.busy_until, ended)
        return response

    @staticmethod
    def _next_step(cart: CartState) -> steps.Step:
        script = cart.scenario.script
        step = script[min(cart.steps, len(script) - 1)]
        cart.steps += 1
        return step
