"""The carts of the simulated service, and what one gives again under an MS-RequestId.

How far the real service keeps its promise of idempotency is not known. So there are three ways:

`documented`: as Microsoft documents it, a bought cart returns its first result, whatever the MS-RequestId. Clients of
Microsoft's SDK rely on it: each of their calls has a new MS-RequestId.
`strict`: an MS-RequestId buys once, but the cart does not protect itself: a new one buys it again. A coded 5xx is given
again for its MS-RequestId.
`remembering`: as `strict`, and so is any coded answer, for ever.

The last two are our worst cases, not known behaviour.

What a POST gets that reaches a buying step, by the first row that fits its MS-RequestId. Any other step plays as
written, whatever is known of the MS-RequestId, except in the first row:

    MS-RequestId                      documented            strict                remembering
    --------------------------------  --------------------  --------------------  --------------------
    had a coded answer                                                            it again, at any step
    has bought the cart               the first result      the first result      the first result
    another one has bought the cart   the first result
    had a coded 5xx                                         it again
    is at work, will buy              waits for the result  waits for the result  waits for the result
    another one is at work, will buy  waits for the result
    any other                         buys                  BUYS, AGAIN TOO       BUYS, AGAIN TOO

So two POSTs under one MS-RequestId are one purchase, even when both are at work at once, and under two they are two
(one, as documented). A coded answer is a fault of the service with a code, or a result without an order. Not among
them: a gateway's answer and 429, 401 (the token is checked first), and the codes that say that the cart is still in
progress (the MS-RequestId has no answer yet).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from local.simulator.scenarios import Scenario
from local.simulator.state import SimulatedResponse

Idempotency = Literal["documented", "strict", "remembering"]
CartLine = dict[str, Any]
"""A line of a cart, as it is sent."""

_IN_PROGRESS_CODES = frozenset({"800060", "800064", "900112", "900113"})
_UNAUTHORIZED = 401
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Purchase:
    """One purchase of a cart. `ms_request_id` is empty where another client bought it.

    `at`: when it takes effect, which may be in the future.
    """

    ms_request_id: str
    at: float
    orders: tuple[Mapping[str, Any], ...]
    response: SimulatedResponse


@dataclass(frozen=True, slots=True)
class Post:
    """One POST that reached its cart, as the report shows it. Times are in epoch seconds.

    `answered`: when its answer was ready, or its connection was closed. `ended`: when its work ended, that is, when
    it was answered, or later when its purchase took effect. `status`: of the answer. `None`: not a byte was sent.
    """

    ms_request_id: str
    came: float
    answered: float
    ended: float
    status: int | None


@dataclass(slots=True)
class CartState:
    """A cart and all calls for it.

    `lines`: as sent. `modified`: when they were last written. `coded`: the first coded answer that is given again, by
    MS-RequestId.
    """

    customer_id: str
    cart_id: str
    scenario: Scenario
    idempotency: Idempotency
    created: float
    modified: float
    lines: list[CartLine] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    purchases: list[Purchase] = field(default_factory=list)
    coded: dict[str, SimulatedResponse] = field(default_factory=dict)
    steps: int = 0
    gets: int = 0
    busy_until: float = 0.0

    def remember(self, ms_request_id: str, status: int, code: int | str | None, response: SimulatedResponse) -> None:
        """Give this answer again from now on, if it is one that is given again."""
        given_again = {
            "documented": False,
            "strict": status >= _SERVER_ERROR,
            "remembering": status != _UNAUTHORIZED,
        }[self.idempotency]
        if code and given_again and str(code) not in _IN_PROGRESS_CODES:
            self.coded.setdefault(ms_request_id, response)

    def given_at_any_step(self, ms_request_id: str) -> SimulatedResponse | None:
        """Return the answer that this MS-RequestId is given again, whatever the script says: the table's first row."""
        return self.coded.get(ms_request_id) if self.idempotency == "remembering" else None

    def given_instead_of_buying(self, ms_request_id: str, at: float) -> SimulatedResponse | None:
        """Return what a buying step gives again to a POST that it serves at this time. `None`: it buys.

        POST 1 under A   ─ 500/800003 ························ takes effect
        POST 2 under A               ─ 500/800003, it again        POST 3 under A ─ the first result
        """
        own = [each for each in self.purchases if ms_request_id == each.ms_request_id]
        purchase = next(iter(self.purchases if self.idempotency == "documented" else own), None)
        fault = self.coded.get(ms_request_id)
        if fault is not None and (purchase is None or at < purchase.at):
            return fault
        if purchase is None:
            return None
        return replace(purchase.response, status=200, delay=max(0.0, purchase.at - at))

    def groups(self) -> dict[str, list[CartLine]]:
        """Return the lines by their order groups. Each becomes an order."""
        groups: dict[str, list[CartLine]] = {}
        for line in self.lines:
            groups.setdefault(line["orderGroup"], []).append(line)
        return groups

    def page(self) -> dict[str, Any]:
        """Return the cart's page in `GET /_simulator/books`. What takes effect later counts from the start."""
        return {
            "customerId": self.customer_id,
            "cartId": self.cart_id,
            "scenario": self.scenario.name,
            "posts": len(self.posts),
            "msRequestIds": [post.ms_request_id for post in self.posts],
            "purchases": len(self.purchases),
            "orderIds": [order["id"] for purchase in self.purchases for order in purchase.orders],
            "gets": self.gets,
            "postLog": [_post_entry(post) for post in self.posts],
            "purchaseLog": [_purchase_entry(purchase) for purchase in self.purchases],
        }


@dataclass(frozen=True, slots=True)
class Call:
    """A POST in progress. `at` is when the service completes it."""

    cart: CartState
    ms_request_id: str
    at: float


def _post_entry(post: Post) -> dict[str, Any]:
    return {
        "msRequestId": post.ms_request_id,
        "cameAt": post.came,
        "answeredAt": post.answered,
        "endedAt": post.ended,
        "status": post.status,
    }


def _purchase_entry(purchase: Purchase) -> dict[str, Any]:
    order_ids = [order["id"] for order in purchase.orders]
    return {"msRequestId": purchase.ms_request_id, "at": purchase.at, "orderIds": order_ids}
