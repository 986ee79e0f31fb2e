"""The simulated service's state, without a socket: carts, orders, and the books of who bought what.

Every answer is a `Reply`: what comes back, and how it travels. A transport (the server, or an in-memory
adapter) carries it out. Time is passed in, in epoch seconds: nothing here sleeps or looks at a clock.

What a POST that reaches a buying step gets (a fault or a gateway's step always plays as written):

    MS-RequestId      cart           strict              as documented
    ----------------  -------------  ------------------  ------------------
    answered before   any            the first answer    the first answer
    new               not bought     buys                buys
    new               bought         BUYS AGAIN          the first result

"Answered" is a purchase or a coded 5xx. Nobody outside knows how far the documented promise holds, so the
strict column is the default: whoever changes the MS-RequestId when it should stay is caught by the books.

A purchase is in the books from its POST on, but shows in GET only after the time that the service needs: a
caller that hangs up early cannot see it yet.
"""

import re
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from itertools import cycle
from json import dumps
from math import ceil
from typing import Any, Literal

from local.simulator.scenarios import (
    BOM,
    Answer,
    Body,
    Commit,
    Drop,
    DropMidBody,
    Fault,
    Masked,
    OrderError,
    Scenario,
    Slow,
    Step,
    Throttle,
    Trickle,
    commits,
    of_cart,
)

Outage = Literal["503", "drop"]
Per = Literal["tenant", "customer"]

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_IN_PROGRESS = Fault(409, 800064, "The cart is being processed by another request.")
_NOT_FOUND = Fault(404, 800008, "Cart not found.")
_DOWN = Body(503, b"Service Unavailable", "text/plain")
_OFFER = "CFQ7TTC0LH18:0001:CFQ7TTC0K971"
_HOUR = 3600.0
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and its way home. ``delay`` and ``trickle``'s pause are in seconds.

    ``drop``: the connection dies ``before`` any byte is sent, or in ``mid_body``; the rest then tells what
    was lost. ``trickle``: bytes per chunk, and the pause after each. ``ours``: False for a gateway's answer.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    drop: Literal["none", "before", "mid_body"] = "none"
    delay: float = 0.0
    trickle: tuple[int, float] | None = None
    ours: bool = True

    def echo(self, ms_request_id: str, ms_correlation_id: str) -> "Reply":
        """Return the reply with the ids that the service echoes; a gateway echoes none."""
        if not self.ours:
            return self
        ids = {
            "MS-RequestId": ms_request_id,
            "MS-CorrelationId": ms_correlation_id,
            "MS-CV": f"{ms_request_id[:8]}.0",
        }
        return replace(self, headers={**self.headers, **ids})

    @property
    def seconds(self) -> float:
        """Return how long a patient caller waits for the end of the body."""
        if self.trickle is None:
            return self.delay
        chunk, pause = self.trickle
        return self.delay + ceil(len(self.body) / chunk) * pause


@dataclass(frozen=True, slots=True)
class Purchase:
    """A cart bought once. ``ms_request_id`` is empty where somebody else bought it."""

    ms_request_id: str
    at: float
    orders: tuple[Mapping[str, Any], ...]
    answer: Reply


@dataclass(slots=True)
class Cart:
    """A cart and its page in the books."""

    customer_id: str
    cart_id: str
    scenario: Scenario
    created: float
    ms_request_ids: list[str] = field(default_factory=list)
    purchases: list[Purchase] = field(default_factory=list)
    answers: dict[str, Reply] = field(default_factory=dict)  # the first one, by MS-RequestId
    steps: int = 0
    gets: int = 0
    busy_until: float = 0.0

    def page(self) -> dict[str, Any]:
        """Return what the books tell of this cart."""
        return {
            "customerId": self.customer_id,
            "cartId": self.cart_id,
            "scenario": self.scenario.name,
            "posts": len(self.ms_request_ids),
            "msRequestIds": list(self.ms_request_ids),
            "purchases": len(self.purchases),
            "orderIds": [order["id"] for purchase in self.purchases for order in purchase.orders],
            "gets": self.gets,
        }


@dataclass(slots=True)
class Limiter:
    """Fixed windows: ``limit`` POSTs in ``window`` seconds, per tenant or per customer; 0: no limit."""

    limit: int = 0
    window: float = 60.0
    per: Per = "tenant"
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def refuse(self, customer_id: str, now: float) -> float | None:
        """Admit a POST (None), or return the seconds that are left of the window."""
        if not self.limit:
            return None
        key = customer_id if self.per == "customer" else ""
        start, admitted = self._windows.get(key, (now, 0))
        if now >= start + self.window:
            start, admitted = now, 0
        if admitted >= self.limit:
            return start + self.window - now
        self._windows[key] = start, admitted + 1
        return None


@dataclass(frozen=True, slots=True)
class _Call:
    """A POST at work: ``at`` is when the service is done with it."""

    cart: Cart
    ms_request_id: str
    at: float


class SimulatedService:
    """The service. All methods may be called from many threads.

    ``strict``: see the module. ``scale`` multiplies every delay and Retry-After of the scenarios; ``latency``
    is added to every checkout, in seconds, unscaled.
    """

    def __init__(self, *, strict: bool = True, scale: float = 1.0, latency: float = 0.0) -> None:
        self.strict = strict
        self.scale = scale
        self.latency = latency
        self.limiter = Limiter()
        self.outage: Outage | None = None
        self._carts: dict[tuple[str, str], Cart] = {}
        self._by_customer: defaultdict[str, list[Cart]] = defaultdict(list)
        self._totals: Counter[str] = Counter()
        self._lock = threading.RLock()

    def checkout(self, customer_id: str, cart_id: str, ms_request_id: str, now: float) -> Reply:
        """Play the next step of the cart's script."""
        with self._lock:
            if self.outage is not None:
                return self._out(now)
            wait = self.limiter.refuse(customer_id.lower(), now)
            if wait is not None:
                self._totals["throttled"] += 1
                return _dated(_throttled(wait, now, as_date=False), now)
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return _dated(_fault(_NOT_FOUND), now)
            cart.ms_request_ids.append(ms_request_id)
            if now < cart.busy_until:
                return _dated(_fault(_IN_PROGRESS), now)
            script = cart.scenario.script
            step = script[min(cart.steps, len(script) - 1)]
            cart.steps += 1
            reply = self._play(step, _Call(cart, ms_request_id, now + self.latency))
            cart.busy_until = now + self.latency + reply.delay
            return _dated(replace(reply, delay=self.latency + reply.delay), now)

    def get_cart(self, customer_id: str, cart_id: str, now: float) -> Reply:
        """Return the cart: `Active` or `Ordered`, and its line items."""
        with self._lock:
            if self.outage is not None:
                return self._out(now)
            cart = self._find(customer_id, cart_id, now)
            if cart is None:
                return _dated(_fault(_NOT_FOUND), now)
            cart.gets += 1
            asked = cart.scenario.asked
            if cart.gets <= len(asked):
                return _dated(self._play(asked[cart.gets - 1], _Call(cart, "", now)), now)
            return _dated(Reply(200, _json(_cart(cart, now))), now)

    def list_orders(self, customer_id: str, now: float) -> Reply:
        """Return all orders of the customer that show by now. Nothing in an order names its cart."""
        with self._lock:
            if self.outage is not None:
                return self._out(now)
            self._totals["lists"] += 1
            carts = self._by_customer.get(customer_id.lower(), [])
            bought = [purchase for cart in carts for purchase in cart.purchases if purchase.at <= now]
            orders = [order for purchase in bought for order in purchase.orders]
            listed = {"totalCount": len(orders), "items": orders, "attributes": {"objectType": "Collection"}}
            return _dated(Reply(200, _json(listed)), now)

    def page(self, customer_id: str, cart_id: str) -> dict[str, Any]:
        """Return the page of one cart. Raises KeyError where it was never seen."""
        with self._lock:
            return self._carts[customer_id.lower(), cart_id.lower()].page()

    def snapshot(self) -> dict[str, Any]:
        """Return the books: totals, and a page per cart in the order of their first calls."""
        with self._lock:
            pages = [cart.page() for cart in self._carts.values()]
        totals = {name: sum(page[name] for page in pages) for name in ("posts", "purchases", "gets")}
        totals["carts"] = len(pages)
        totals["boughtTwice"] = sum(page["purchases"] > 1 for page in pages)
        totals |= {name: self._totals[name] for name in ("throttled", "lists", "outages")}
        return {"totals": totals, "carts": pages}

    def _out(self, now: float) -> Reply:
        self._totals["outages"] += 1
        return _dated(Reply(0, drop="before") if self.outage == "drop" else _gateway(_DOWN), now)

    def _find(self, customer_id: str, cart_id: str, now: float) -> Cart | None:
        """Return the cart, which comes into being when first seen; None where its id names no scenario."""
        key = customer_id.lower(), cart_id.lower()
        cart = self._carts.get(key)
        scenario = of_cart(cart_id)
        if cart is not None or scenario is None:
            return cart
        cart = self._carts[key] = Cart(*key, scenario, created=now)
        self._by_customer[key[0]].append(cart)
        if scenario.bought_before:
            self._buy(Commit(), _Call(cart, "", now - _HOUR))
        return cart

    def _play(self, step: Step, call: _Call) -> Reply:
        """Carry out a step: the purchase at once, the way home as instructions."""
        match step:
            case Slow():
                seconds = step.seconds * self.scale
                reply = self._play(step.then, replace(call, at=call.at + seconds))
                return replace(reply, delay=reply.delay + seconds)
            case Trickle():
                return replace(self._answer(step.then, call), trickle=(step.chunk, step.pause * self.scale))
            case DropMidBody():
                return replace(self._answer(step.then, call), drop="mid_body")
            case Drop():
                lost = self._commit(step.after, call) if step.after else Reply(0)
                return replace(lost, drop="before")
            case _:
                return self._answer(step, call)

    def _answer(self, step: Answer, call: _Call) -> Reply:
        match step:
            case Commit():
                return self._commit(step, call)
            case Masked():
                self._commit(step.commit, call)
                return self._answer(step.by, call)
            case Fault():
                reply = _fault(step)
                if step.status >= 500 and step.code:  # noqa: PLR2004  the service itself failed this id
                    call.cart.answers.setdefault(call.ms_request_id, reply)
                return reply
            case Throttle():
                wait = None if step.seconds is None else step.seconds * self.scale
                return _throttled(wait, call.at, as_date=step.as_date)
            case Body():
                return _gateway(step)

    def _commit(self, step: Commit, call: _Call) -> Reply:
        """Buy, or reiterate: the table at the top."""
        cart = call.cart
        first = cart.answers.get(call.ms_request_id)
        by_cart = cart.scenario.documented or not self.strict
        if first is None and by_cart and cart.purchases and commits(step):
            first = cart.purchases[0].answer
        if first is None:
            return self._buy(step, call)
        return replace(first, status=200) if first.status in _SUCCESS else first

    def _buy(self, step: Commit, call: _Call) -> Reply:
        cart = call.cart
        orders: list[Mapping[str, Any]] = []
        errors = []
        for group, fate in zip(range(cart.scenario.groups), cycle(step.groups), strict=False):
            if isinstance(fate, OrderError):
                errors.append({"code": fate.code, "description": fate.description, "orderGroupId": str(group)})
            else:
                orders.append(_order(step, call, group, fate))
        attributes = {"objectType": "CartCheckoutResult"}
        body = _json({"orders": orders, "orderErrors": errors, "attributes": attributes, **step.extra})
        answer = Reply(step.status, BOM + body if step.bom else body)
        if orders:
            cart.purchases.append(Purchase(call.ms_request_id, call.at, tuple(orders), answer))
            cart.answers[call.ms_request_id] = answer
        return answer


def _dated(reply: Reply, now: float) -> Reply:
    return replace(reply, headers={**reply.headers, "Date": formatdate(now + reply.delay, usegmt=True)})


def _fault(fault: Fault) -> Reply:
    return Reply(fault.status, fault.body())


def _gateway(body: Body) -> Reply:
    return Reply(body.status, body.content, {"Content-Type": body.content_type, **body.headers}, ours=False)


def _throttled(wait: float | None, now: float, *, as_date: bool) -> Reply:
    """Return the gateway's 429; whole seconds, rounded up, so that who waits them is not early."""
    seconds = ceil(wait or 0)
    message = f"Rate limit is exceeded. Try again in {seconds} seconds."
    headers = dict(_JSON)
    if wait is not None:
        headers["Retry-After"] = formatdate(ceil(now) + seconds, usegmt=True) if as_date else str(seconds)
    return Reply(429, dumps({"statusCode": 429, "message": message}).encode(), headers, ours=False)


def _json(tree: Mapping[str, Any]) -> bytes:
    """Encode; a text like `$36.480` is money and loses its quotes, since a float would lose its last zero."""
    return re.sub(r'"\$(\d+\.\d+)"', r"\1", dumps(tree, ensure_ascii=False)).encode()


def _id(call: _Call, *parts: object) -> uuid.UUID:
    """Return an id that is the same in every run: of this cart's n-th purchase."""
    cart = call.cart
    name = (cart.customer_id, cart.cart_id, len(cart.purchases), *parts)
    return uuid.uuid5(uuid.NAMESPACE_OID, " ".join(map(str, name)))


def _offer(line: int) -> str:
    return f"CFQ7TTC0{0x1A18 + line:04X}:0001:CFQ7TTC0K971" if line else _OFFER


def _time(at: float, utc_offset: int | None) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if utc_offset is None:
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z"
    return moment.astimezone(timezone(timedelta(hours=utc_offset))).isoformat(timespec="seconds")


def _link(uri: str, method: str = "GET") -> dict[str, Any]:
    return {"uri": uri, "method": method, "headers": []}


def _cart(cart: Cart, now: float) -> dict[str, Any]:
    lines = range(cart.scenario.groups * cart.scenario.lines)
    bought = [purchase.at for purchase in cart.purchases if purchase.at <= now]
    return {
        "id": cart.cart_id,
        "creationTimestamp": _time(cart.created, None),
        "lastModifiedTimestamp": _time(max(bought, default=cart.created), None),
        "expirationTimestamp": _time(cart.created + 7 * 24 * _HOUR, None),
        "status": "Ordered" if bought else "Active",
        "lineItems": [
            {
                "id": line,
                "catalogItemId": _offer(line),
                "quantity": 1 + line % 5,
                "currencyCode": "EUR",
                "billingCycle": "monthly",
                "termDuration": "P1Y",
                "orderGroup": str(line // cart.scenario.lines),
            }
            for line in lines
        ],
        "links": {"self": _link(f"/customers/{cart.customer_id}/carts/{cart.cart_id}")},
        "attributes": {"objectType": "Cart"},
    }


def _order(step: Commit, call: _Call, group: int, status: str) -> dict[str, Any]:
    """Return an order with every field of the reference."""
    customer = call.cart.customer_id
    per_group = call.cart.scenario.lines
    order_id = _id(call, group).hex[:12]
    uri = f"/customers/{customer}/orders/{order_id}"
    first = group * per_group
    return {
        "id": order_id,
        "alternateId": order_id,
        "referenceCustomerId": customer,
        "billingCycle": "monthly",
        "currencyCode": "EUR",
        "currencySymbol": "€",
        "lineItems": [_line(step, call, uri, (first, line), status) for line in range(first, first + per_group)],
        "creationDate": _time(call.at, step.utc_offset),
        "status": status,
        "transactionType": "New",
        "totalPrice": f"${36.48 * per_group:.3f}",
        "client": {"deviceFamily": "none", "marketplaceCountry": "DE", "name": "simulator"},
        "links": {
            "self": _link(uri),
            "provisioningStatus": _link(f"{uri}/provisioningstatus"),
            "patchOperation": _link(uri, "PATCH"),
        },
        "attributes": {"etag": f"etag-{order_id}", "objectType": "Order"},
        **step.extra,
    }


def _line(step: Commit, call: _Call, uri: str, place: tuple[int, int], status: str) -> dict[str, Any]:
    first, line = place
    number = line - first
    product, sku, _ = _offer(line).split(":")
    subscription = str(_id(call, line))
    found = {
        "lineItemNumber": number,
        "offerId": _offer(line),
        "subscriptionId": subscription,
        "parentSubscriptionId": None,
        "friendlyName": f"Büroplatz {line}",
        "quantity": 1 + line % 5,
        "termDuration": "P1Y",
        "customTermEndDate": _time(call.at + 365 * 24 * _HOUR, step.utc_offset),
        "transactionType": "New",
        "attestationAccepted": False,
        "partnerIdOnRecord": "1234567",
        "promotionId": "39NFJQT1X1KH:0001:39NFJQT1Q5FL",
        "provisioningContext": {"scope": "tenant"},
        "purchaseCommitment": {"amount": "$36.480", "currency": "EUR", "grain": "month"},
        "pricing": {
            "discountedPrice": "$36.480",
            "extendedPrice": "$36.480",
            "listPrice": "$38.400",
            "price": "$36.480",
            "proratedPrice": "$0.000",
        },
        "renewsTo": {"termDuration": "P1Y"},
        "links": {
            "product": _link(f"/products/{product}"),
            "sku": _link(f"/products/{product}/skus/{sku}"),
            "availability": _link(f"/products/{product}/skus/{sku}/availabilities"),
            "subscription": _link(f"/customers/{call.cart.customer_id}/subscriptions/{subscription}"),
            "provisioningStatus": _link(f"{uri}/lineitems/{number}/provisioningstatus"),
            "activationLinks": _link(f"{uri}/lineitems/{number}/activationlinks"),
        },
    }
    if status == "pending":  # provisioning goes on: there is no subscription yet
        del found["subscriptionId"], found["links"]["subscription"]  # type: ignore[index]
    return found
