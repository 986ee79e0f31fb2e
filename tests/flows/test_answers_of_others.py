"""A service that mixes up its answers, through the whole program: over real sockets, under a clock that the test turns.

No customer is ever told another's order.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from shared.adapters.identity import TokenProvider
from shared.adapters.partner_center import PartnerCenter
from tests.support.sockets import PATIENCE, Peer, Server, answer
from tests.support.world import SETTINGS, World

A, B = "aaaaaaaa-1111-4222-8333-444444444444", "bbbbbbbb-1111-4222-8333-444444444444"
CART_A, CART_B = "aaaaaaaa-2222-4333-8444-555555555555", "bbbbbbbb-2222-4333-8444-555555555555"
PAUSE = b"(a moment)"
HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
ORDER_OF = {A: "order-of-a", B: "order-of-b"}


class Tokens(TokenProvider):
    """An identity without a service behind it."""

    def __init__(self) -> None:
        pass

    def token(self) -> str:
        return "token"

    def renew(self, refused: str) -> str | None:
        del refused
        return None


def bought(customer: str) -> bytes:
    order = {"id": ORDER_OF[customer], "referenceCustomerId": customer.upper(), "status": "completed"}
    return answer(201, json.dumps({"orders": [order]}).encode())


REFUSED = answer(403, b'{"code": 800023, "description": "Credit line below threshold", "source": "PartnerFD"}')


@dataclass
class Service:
    """Sells A's cart and refuses B's. `scripts`: what it says to a target instead, one after the other."""

    scripts: dict[str, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._left = {target: [*said] for target, said in self.scripts.items()}

    def __call__(self, peer: Peer) -> None:
        while (request := peer.request()) is not None:
            script = self._left.get(f"{request.method} {request.target.partition('customers/')[2]}")
            said = script.pop(0) if script else self._own(request.method, A in request.target)
            early, pause, late = said.partition(PAUSE)
            peer.send(early)
            if pause:
                peer.server.stopped.wait(0.2)
                peer.send(late)

    def _own(self, method: str, is_a: bool) -> bytes:
        if method == "GET":
            return answer(200, json.dumps({"status": "Active", "id": CART_A if is_a else CART_B}).encode())
        return bought(A) if is_a else REFUSED


@contextmanager
def world_of(service: Service) -> Iterator[World]:
    with Server(service) as server:
        settings = replace(SETTINGS, partner_center_url=server.url, checkout_timeout=PATIENCE)
        world = World(settings)
        world.serve(PartnerCenter(settings, Tokens()))
        yield world


def told(world: World) -> dict[str, tuple[str, str]]:
    """By cart, the outcome and the orders or the code that were told."""
    found = {}
    for event in world.published():
        data = event["data"]
        orders = " ".join(order["id"] for order in data["result"]["orders"]) if "result" in data else ""
        found[data["cartId"]] = (data["outcome"], orders or data["error"].get("code", ""))
    return found


def send(world: World, customer: str, cart: str) -> None:
    world.carts.send(json.dumps({"customerId": customer, "cartId": cart, "requestId": "order-1"}))
    world.run()


POST_A, POST_B = f"POST {A}/carts/{CART_A}/checkout", f"POST {B}/carts/{CART_B}/checkout"
GET_B = f"GET {B}/carts/{CART_B}"


@pytest.mark.parametrize(
    "first",
    [
        HINTS + bought(A),
        HINTS + PAUSE + bought(A),
        HINTS * 3 + PAUSE + bought(A),
        bought(A) + bought(A),
        bought(A) + HINTS + bought(A),
        bought(A) + answer(408),
    ],
)
def test_the_next_customer_is_not_told_what_was_left_on_the_connection(first: bytes) -> None:
    with world_of(Service({POST_A: [first]})) as world:
        send(world, A, CART_A)
        send(world, B, CART_B)
        assert {CART_A: ("completed", "order-of-a"), CART_B: ("failed", "800023")} == told(world)


@pytest.mark.parametrize("scripts", [{POST_B: [bought(A)]}, {POST_B: [answer(503)], GET_B: [bought(A)]}])
def test_an_order_of_another_customer_is_heard_by_nobody_and_an_error_in_the_log(
    scripts: dict[str, list[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """The call counts as unanswered. The POST is made again, under the same key, and is refused."""
    with caplog.at_level(logging.INFO), world_of(Service(scripts)) as world:
        send(world, B, CART_B)
        assert {CART_B: ("failed", "800023")} == told(world)
    errors = [json.loads(record.getMessage()) for record in caplog.records if record.levelno == logging.ERROR]
    assert ["no answer: another call's"] == [line["failure"] for line in errors]
    assert [CART_B] == [line["cartId"] for line in errors]
    assert "order-of-a" not in caplog.text


def test_another_cart_that_is_active_does_not_let_a_refusal_stand() -> None:
    """A GET that was given another's answer proves nothing of this cart, which is ordered."""
    ordered = answer(200, json.dumps({"status": "Ordered", "id": CART_B}).encode())
    another = answer(200, json.dumps({"status": "Active", "id": CART_A}).encode())
    lost = answer(503)
    with world_of(Service({POST_B: [lost], GET_B: [another, *[ordered] * 9]})) as world:
        send(world, B, CART_B)
        assert {CART_B: "unknown"} == {cart: outcome for cart, (outcome, _) in told(world).items()}
