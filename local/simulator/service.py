"""The simulated service without a socket: carts, orders, and a report of who bought what.

Each method returns a `SimulatedResponse`: the response, and how it is delivered. A transport (the server, or an
in-memory adapter) delivers it. Time is passed in, in epoch seconds: nothing here sleeps or reads a clock.

What a POST gets under an MS-RequestId that was used before, or for a cart that is bought: see `local.simulator.carts`.

A purchase is recorded at its POST, but GET shows it only once it takes effect, after the time that the service needs:
a caller that disconnects early does not see it yet.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any, Literal

from local.simulator import steps
from local.simulator.carts import Call, CartState, Idempotency, Post, Purchase
from local.simulator.resources import HOUR, cart_resource, encode, order_resource
from local.simulator.responses import dated, fault_response, gateway_response, throttled_response
from local.simulator.scenarios import DOWN, IN_PROGRESS, scenario_of
from local.simulator.state import RateLimiter, SimulatedResponse

Outage = Literal["503", "drop"]

_NOT_FOUND = steps.FaultStep(404, 800008, "Cart not found.")
_NO_ORDER = steps.FaultStep(404, 1000, "Order not found.")


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
        with self._lock:
            if self.outage is not None:
                return self._outage_response(now)
            wait = self.limiter.refuse(customer_id.lower(), now)
            if wait is not None:
                self._totals["throttled"] += 1
                return dated(throttled_response(wait, now, as_date=False), now)
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return dated(fault_response(_NOT_FOUND), now)
            return dated(self._answer(cart, ms_request_id, now), now)

    def get_cart(self, customer_id: str, cart_id: str, now: float) -> SimulatedResponse:
        """Return the cart: `Active` or `Ordered`, and its line items."""
        with self._lock:
            if self.outage is not None:
                return self._outage_response(now)
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return dated(fault_response(_NOT_FOUND), now)
            cart.gets += 1
            script = cart.scenario.get_script
            if cart.gets <= len(script):
                return dated(self._play(script[cart.gets - 1], Call(cart, "", now)), now)
            as_of = now - cart.scenario.stale * self.scale
            return dated(SimulatedResponse(200, encode(cart_resource(cart, as_of))), now)

    def list_orders(self, customer_id: str, now: float) -> SimulatedResponse:
        """Return all orders of the customer that show by now. Nothing in an order names its cart."""
        with self._lock:
            if self.outage is not None:
                return self._outage_response(now)
            self._totals["lists"] += 1
            orders = self._orders(customer_id, now)
            listed = {"totalCount": len(orders), "items": orders, "attributes": {"objectType": "Collection"}}
            return dated(SimulatedResponse(200, encode(listed)), now)

    def get_order(self, customer_id: str, order_id: str, now: float) -> SimulatedResponse:
        """Return one order of the customer, or 404 where none with this id shows by now."""
        with self._lock:
            if self.outage is not None:
                return self._outage_response(now)
            found = next((each for each in self._orders(customer_id, now) if each["id"] == order_id.lower()), None)
            response = fault_response(_NO_ORDER) if found is None else SimulatedResponse(200, encode(found))
            return dated(response, now)

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

    def _outage_response(self, now: float) -> SimulatedResponse:
        self._totals["outages"] += 1
        return dated(SimulatedResponse(0, drop="before") if self.outage == "drop" else gateway_response(DOWN), now)

    def _orders(self, customer_id: str, now: float) -> list[Mapping[str, Any]]:
        carts = self._by_customer.get(customer_id.lower(), [])
        bought = [purchase for cart in carts for purchase in cart.purchases if purchase.at <= now]
        return [order for purchase in bought for order in purchase.orders]

    def _find(self, customer_id: str, cart_id: str, now: float) -> CartState | None:
        """Return the cart, created at its first call, or `None` where its id names no scenario."""
        key = customer_id.lower(), cart_id.lower()
        cart = self._carts.get(key)
        scenario = scenario_of(cart_id)
        if cart is not None or scenario is None:
            return cart
        idempotency = "documented" if scenario.documented else self.idempotency
        cart = self._carts[key] = CartState(*key, scenario, idempotency, created=now)
        self._by_customer[key[0]].append(cart)
        if scenario.bought_before:
            self._buy(steps.Commit(), Call(cart, "", now - HOUR))
        return cart

    def _answer(self, cart: CartState, ms_request_id: str, now: float) -> SimulatedResponse:
        """Answer a POST for this cart, and note when it came and when its work ends."""
        before = len(cart.purchases)
        response = cart.given_at_any_step(ms_request_id)
        if response is None and cart.scenario.busy and now < cart.busy_until:
            response = fault_response(IN_PROGRESS)
        if response is None:
            response = self._play(self._next_step(cart), Call(cart, ms_request_id, now + self.latency))
            response = replace(response, delay=self.latency + response.delay)
        answered = now + response.delay
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

    def _play(self, step: steps.Step, call: Call) -> SimulatedResponse:
        """Carry out a step: the purchase at once, the delivery as instructions."""
        match step:
            case steps.Slow():
                seconds = step.seconds * self.scale
                response = self._play(step.then, replace(call, at=call.at + seconds))
                return replace(response, delay=response.delay + seconds)
            case steps.Trickle():
                return replace(self._respond(step.then, call), trickle=(step.chunk, step.pause * self.scale))
            case steps.DropMidBody():
                return replace(self._respond(step.then, call), drop="mid_body")
            case steps.Later():
                self._commit(step.commit, replace(call, at=call.at + step.seconds * self.scale))
                return self._play(step.answer, call)
            case steps.Drop():
                lost = self._commit(step.after, call) if step.after else SimulatedResponse(0)
                return replace(lost, drop="before")
            case _:
                return self._respond(step, call)

    def _respond(self, step: steps.ResponseStep, call: Call) -> SimulatedResponse:
        match step:
            case steps.Commit():
                return self._commit(step, call)
            case steps.Masked():
                self._commit(step.commit, call)
                return self._respond(step.by, call)
            case steps.FaultStep():
                response = fault_response(step)
                call.cart.remember(call.ms_request_id, step.status, step.code, response)
                return response
            case steps.Throttle():
                wait = None if step.seconds is None else step.seconds * self.scale
                return throttled_response(wait, call.at, as_date=step.as_date)
            case steps.GatewayStep():
                return gateway_response(step)

    def _commit(self, step: steps.Commit, call: Call) -> SimulatedResponse:
        """Buy, or give again what was given before."""
        first = call.cart.given_instead_of_buying(call.ms_request_id, call.at) if steps.commits(step) else None
        return self._buy(step, call) if first is None else first

    def _buy(self, step: steps.Commit, call: Call) -> SimulatedResponse:
        cart = call.cart
        orders: list[Mapping[str, Any]] = []
        refused: list[steps.RefusedGroup] = []
        errors = []
        for group, result in zip(range(cart.scenario.order_groups), cycle(step.groups), strict=False):
            if isinstance(result, steps.RefusedGroup):
                refused.append(result)
                errors.append({"code": result.code, "description": result.description, "orderGroupId": str(group)})
            else:
                orders.append(order_resource(step, call, group, result))
        attributes = {"objectType": "CartCheckoutResult"}
        body = encode({"orders": orders, "orderErrors": errors, "attributes": attributes, **step.extra})
        response = SimulatedResponse(step.status, steps.BOM + body if step.bom else body)
        if orders:
            cart.purchases.append(Purchase(call.ms_request_id, call.at, tuple(orders), response))
        elif refused:
            cart.remember(call.ms_request_id, step.status, refused[0].code, response)
        return response
