"""The simulated service without a socket: carts, orders, and a report of who bought what.

Each method returns a `SimulatedResponse`: the response, and how it is delivered. A transport (the server, or an
in-memory adapter) delivers it. Time is passed in, in epoch seconds: nothing here sleeps or reads a clock.

What a POST gets that reaches a buying step (a `FaultStep` or `GatewayStep` always plays as written):

    MS-RequestId      cart           strict              as documented
    ----------------  -------------  ------------------  ------------------
    answered before   any            the first response  the first response
    new               not bought     buys                buys
    new               bought         BUYS AGAIN          the first result

"Answered" is a purchase or a coded 5xx. How far the real service keeps the documented promise is unknown, so the
strict column is the default: the report then shows a caller that changes the MS-RequestId when it should not.

A purchase is recorded at its POST, but GET shows it only after the time that the service needs: a caller that
disconnects early does not see it yet.
"""

import threading
from collections import Counter, defaultdict
from dataclasses import replace
from email.utils import formatdate
from itertools import cycle
from json import dumps
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from local.simulator import steps
from local.simulator.resources import HOUR, cart_resource, encode, order_resource
from local.simulator.scenarios import DOWN, IN_PROGRESS, scenario_of
from local.simulator.state import JSON_HEADERS, Call, CartState, Purchase, RateLimiter, SimulatedResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

Outage = Literal["503", "drop"]

_NOT_FOUND = steps.FaultStep(404, 800008, "Cart not found.")
_SUCCESS = range(200, 300)


class SimulatedService:
    """The service. All methods may be called from many threads.

    Args:
        strict: See the module's table.
        scale: Multiplies every delay and Retry-After of the scenarios.
        latency: Seconds that are added to every checkout, unscaled.
    """

    def __init__(self, *, strict: bool = True, scale: float = 1.0, latency: float = 0.0) -> None:
        self.strict = strict
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
                return _dated(_throttled(wait, now, as_date=False), now)
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return _dated(_fault(_NOT_FOUND), now)
            cart.ms_request_ids.append(ms_request_id)
            if now < cart.busy_until:
                return _dated(_fault(IN_PROGRESS), now)
            script = cart.scenario.script
            step = script[min(cart.steps, len(script) - 1)]
            cart.steps += 1
            response = self._play(step, Call(cart, ms_request_id, now + self.latency))
            cart.busy_until = now + self.latency + response.delay
            return _dated(replace(response, delay=self.latency + response.delay), now)

    def get_cart(self, customer_id: str, cart_id: str, now: float) -> SimulatedResponse:
        """Return the cart: `Active` or `Ordered`, and its line items."""
        with self._lock:
            if self.outage is not None:
                return self._outage_response(now)
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return _dated(_fault(_NOT_FOUND), now)
            cart.gets += 1
            script = cart.scenario.get_script
            if cart.gets <= len(script):
                return _dated(self._play(script[cart.gets - 1], Call(cart, "", now)), now)
            return _dated(SimulatedResponse(200, encode(cart_resource(cart, now))), now)

    def list_orders(self, customer_id: str, now: float) -> SimulatedResponse:
        """Return all orders of the customer that show by now. Nothing in an order names its cart."""
        with self._lock:
            if self.outage is not None:
                return self._outage_response(now)
            self._totals["lists"] += 1
            carts = self._by_customer.get(customer_id.lower(), [])
            bought = [purchase for cart in carts for purchase in cart.purchases if purchase.at <= now]
            orders = [order for purchase in bought for order in purchase.orders]
            listed = {"totalCount": len(orders), "items": orders, "attributes": {"objectType": "Collection"}}
            return _dated(SimulatedResponse(200, encode(listed)), now)

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
        return _dated(SimulatedResponse(0, drop="before") if self.outage == "drop" else _gateway(DOWN), now)

    def _find(self, customer_id: str, cart_id: str, now: float) -> CartState | None:
        """Return the cart, created at its first call, or `None` where its id names no scenario."""
        key = customer_id.lower(), cart_id.lower()
        cart = self._carts.get(key)
        scenario = scenario_of(cart_id)
        if cart is not None or scenario is None:
            return cart
        cart = self._carts[key] = CartState(*key, scenario, created=now)
        self._by_customer[key[0]].append(cart)
        if scenario.bought_before:
            self._buy(steps.Commit(), Call(cart, "", now - HOUR))
        return cart

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
                response = _fault(step)
                if step.status >= 500 and step.code:  # noqa: PLR2004  the service itself failed this id
                    call.cart.responses.setdefault(call.ms_request_id, response)
                return response
            case steps.Throttle():
                wait = None if step.seconds is None else step.seconds * self.scale
                return _throttled(wait, call.at, as_date=step.as_date)
            case steps.GatewayStep():
                return _gateway(step)

    def _commit(self, step: steps.Commit, call: Call) -> SimulatedResponse:
        """Buy, or repeat the first response: see the table at the top."""
        cart = call.cart
        first = cart.responses.get(call.ms_request_id)
        by_cart = cart.scenario.documented or not self.strict
        if first is None and by_cart and cart.purchases and steps.commits(step):
            first = cart.purchases[0].response
        if first is None:
            return self._buy(step, call)
        return replace(first, status=200) if first.status in _SUCCESS else first

    def _buy(self, step: steps.Commit, call: Call) -> SimulatedResponse:
        cart = call.cart
        orders: list[Mapping[str, Any]] = []
        errors = []
        for group, result in zip(range(cart.scenario.order_groups), cycle(step.groups), strict=False):
            if isinstance(result, steps.RefusedGroup):
                errors.append({"code": result.code, "description": result.description, "orderGroupId": str(group)})
            else:
                orders.append(order_resource(step, call, group, result))
        attributes = {"objectType": "CartCheckoutResult"}
        body = encode({"orders": orders, "orderErrors": errors, "attributes": attributes, **step.extra})
        response = SimulatedResponse(step.status, steps.BOM + body if step.bom else body)
        if orders:
            cart.purchases.append(Purchase(call.ms_request_id, call.at, tuple(orders), response))
            cart.responses[call.ms_request_id] = response
        return response


def _dated(response: SimulatedResponse, now: float) -> SimulatedResponse:
    return replace(response, headers={**response.headers, "Date": formatdate(now + response.delay, usegmt=True)})


def _fault(fault: steps.FaultStep) -> SimulatedResponse:
    return SimulatedResponse(fault.status, fault.body())


def _gateway(step: steps.GatewayStep) -> SimulatedResponse:
    return SimulatedResponse(step.status, step.content, {"Content-Type": step.content_type, **step.headers}, ours=False)


def _throttled(wait: float | None, now: float, *, as_date: bool) -> SimulatedResponse:
    """Return the gateway's 429. Retry-After is in whole seconds, rounded up."""
    seconds = ceil(wait or 0)
    message = f"Rate limit is exceeded. Try again in {seconds} seconds."
    headers = dict(JSON_HEADERS)
    if wait is not None:
        headers["Retry-After"] = formatdate(ceil(now) + seconds, usegmt=True) if as_date else str(seconds)
    return SimulatedResponse(429, dumps({"statusCode": 429, "message": message}).encode(), headers, ours=False)
