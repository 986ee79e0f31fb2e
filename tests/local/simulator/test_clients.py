"""The requests of other clients, byte for byte: Microsoft's own SDK first of all."""

import json
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from email.message import Message
from email.parser import BytesParser
from typing import Any, NamedTuple, Self

import pytest

from local.simulator.scenarios import BY_NAME, BY_NUMBER, cart_id
from local.simulator.server import Simulator
from local.simulator.steps import Commit, Drop, Interim, Step

CUSTOMER = "22222222-2222-4222-8222-222222222222"
SDK = (  # as captured from Microsoft's .NET SDK 3.4.0
    "POST /v1/customers/{customer}/carts/{cart}/checkout HTTP/1.1\r\n"
    "Host: 127.0.0.1\r\n"
    "Authorization: Bearer {token}\r\n"
    "Accept: application/json\r\n"
    "MS-RequestId: {request_id}\r\n"
    "MS-CorrelationId: 33333333-3333-4333-8333-333333333333\r\n"
    "X-Locale: en-US\r\n"
    "MS-PartnerCenter-Client: Partner Center .NET SDK\r\n"
    "MS-SdkVersion: 3.4.0.0\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 9\r\n"
    "\r\n"
    '"success"'
)


class Reply(NamedTuple):
    """A response as it came over the socket, and the statuses of the interim answers before it."""

    status: int
    headers: Message
    body: bytes
    interim: tuple[int, ...] = ()

    @property
    def tree(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection that sends bytes and reads responses."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.token = simulator.identity.issue(simulator.url, time.time())
        port = int(simulator.url.rpartition(":")[2])
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, text: str) -> Reply:
        self.socket.sendall(text.encode())
        return self.read()

    def read(self) -> Reply:
        interim = []
        while 200 > (status := int(self._file.readline().split()[1])):
            interim.append(status)
            while self._file.readline().strip():
                pass
        head = b"".join(iter(self._file.readline, b"\r\n"))
        headers = BytesParser().parsebytes(head)
        return Reply(status, headers, self._file.read(int(headers["Content-Length"])), tuple(interim))

    def sdk(self, cart: str, request_id: str) -> Reply:
        return self.send(SDK.format(customer=CUSTOMER, cart=cart, token=self.token, request_id=request_id))

    def call(self, method: str, path: str, *headers: str, body: str = "", length: bool = True) -> Reply:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}"]
        lines += ["Accept: application/json", *headers]
        lines += [f"Content-Length: {len(body.encode())}"] if length else []
        return self.send("\r\n".join([*lines, "", body]))

    def checkout(self, cart: str, *headers: str, body: str = "", length: bool = True) -> Reply:
        path = f"/v1/customers/{CUSTOMER}/carts/{cart}/checkout"
        return self.call("POST", path, *headers, body=body, length=length)

    def page(self, cart: str) -> dict[str, Any]:
        return self.simulator.service.page(CUSTOMER, cart)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Simulator(idempotency="documented", scale=0.001) as simulator, Wire(simulator) as connection:
        yield connection


# Microsoft's SDK


def test_microsofts_sdk_buys_a_cart(wire: Wire) -> None:
    cart, request_id = cart_id("created", "sdk"), str(uuid.uuid4())

    reply = wire.sdk(cart, request_id)

    assert (201, "completed") == (reply.status, reply.tree["orders"][0]["status"])
    assert (request_id, "33333333-3333-4333-8333-333333333333") == (
        reply.headers["MS-RequestId"],
        reply.headers["MS-CorrelationId"],
    )
    assert [request_id] == wire.page(cart)["msRequestIds"]


@pytest.mark.parametrize(
    ("scenario", "statuses"),
    [
        ("created", [201, 200, 200, 200]),
        ("html-502", [502, 200, 200, 200]),  # bought by the first
        ("plain-503", [503, 201, 200, 200]),
        ("coded-500", [500, 201, 200, 200]),
        ("coded-500-after-purchase", [500, 200, 200, 200]),
        ("service-down", [503, 503, 503, 503]),
    ],
)
def test_its_four_calls_under_one_id_are_one_purchase(wire: Wire, scenario: str, statuses: list[int]) -> None:
    cart, request_id = cart_id(scenario, "sdk"), str(uuid.uuid4())

    replies = [wire.sdk(cart, request_id) for _ in range(4)]

    assert statuses == [reply.status for reply in replies]
    assert len({reply.body for reply in replies if reply.status < 300}) <= 1
    assert wire.page(cart)["purchases"] == (scenario != "service-down")


def test_a_second_checkout_under_a_new_id_gets_the_first_answer_again(wire: Wire) -> None:
    cart = cart_id("created", "sdk")

    first, second = (wire.sdk(cart, str(uuid.uuid4())) for _ in range(2))

    assert (201, 200) == (first.status, second.status)
    assert first.body == second.body
    assert 1 == wire.page(cart)["purchases"]


def test_a_client_that_waits_for_100_continue_gets_it(wire: Wire) -> None:  # as the .NET Framework does
    cart = cart_id("created", "expect")
    text = SDK.replace("MS-SdkVersion: 3.4.0.0\r\n", "Expect: 100-continue\r\n")
    head, _, body = text.format(customer=CUSTOMER, cart=cart, token=wire.token, request_id="A").partition('"success"')

    wire.socket.sendall(head.encode())
    assert wire.socket.recv(1024).startswith(b"HTTP/1.1 100 ")
    assert 201 == wire.send(f'{body}"success"').status


# What else may be sent


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((), ""),
        (("Content-Type: application/json",), ""),  # Learn's example
        (("Content-Type: application/x-www-form-urlencoded",), ""),  # curl -d ''
        (("Content-Type: application/json; charset=utf-8",), "{}"),
        (("Content-Type: text/json",), "null"),
        (("content-type: APPLICATION/JSON",), "\r\n"),
        (("Content-Type: application/json",), '\ufeff"success"'),
    ],
)
def test_a_body_that_says_nothing_is_taken(wire: Wire, headers: tuple[str, ...], body: str) -> None:
    assert 201 == wire.checkout(cart_id("created", "body"), *headers, body=body).status


def test_a_body_may_have_no_length_or_come_in_chunks(wire: Wire) -> None:
    chunked = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    body = '5;x=y\r\n"succ\r\n4\r\ness"\r\n0\r\nTrailer: x\r\n\r\n'

    replies = [
        wire.checkout(cart_id("created", "none"), length=False),
        wire.checkout(cart_id("created", "chunks"), *chunked, body=body, length=False),
        wire.checkout(cart_id("created", "no chunks"), "Transfer-Encoding: chunked", body="0\r\n\r\n", length=False),
    ]

    assert [201] * 3 == [reply.status for reply in replies]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ((), '"success"', 415),
        (("Content-Type: text/plain",), "success", 415),
        (("Content-Type: application/xml",), "<success/>", 415),
        (("Content-Type: application/json",), "success", 400),
        (("Content-Type: application/json",), '"success', 400),
        (("Content-Type: application/json",), "[" * 60_000, 400),
    ],
)
def test_a_body_that_is_not_json_is_refused_and_the_connection_lives_on(
    wire: Wire, headers: tuple[str, ...], body: str, status: int
) -> None:
    cart = cart_id("created", "body")

    refused = wire.checkout(cart, *headers, body=body)

    assert (status, 800002) == (refused.status, refused.tree["code"])
    assert refused.headers["MS-CV"]
    assert 201 == wire.checkout(cart).status


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Transfer-Encoding: gzip",), "0\r\n\r\n"),
        (("Transfer-Encoding: chunked", "Content-Length: 5"), "0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), "no number\r\n"),
        (("Transfer-Encoding: chunked",), "-1\r\n"),
        (("Transfer-Encoding: chunked",), "fffff\r\n"),
        (("Transfer-Encoding: chunked",), "1\r\nlonger\r\n"),
        (("Content-Length: +5",), "12345"),
    ],
)
def test_a_body_without_a_clear_end_closes_the_connection(wire: Wire, headers: tuple[str, ...], body: str) -> None:
    reply = wire.checkout(cart_id("created", "body"), *headers, body=body, length=False)

    assert (400, "close") == (reply.status, reply.headers["Connection"])


# The ids that support asks for


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", f"/v1/customers/{CUSTOMER}/carts/{cart_id('created', 'ids')}", (), 200),
        ("GET", f"/v1/customers/{CUSTOMER}/carts/{CUSTOMER}", (), 404),
        ("GET", f"/v1/customers/{CUSTOMER}/orders", (), 200),
        ("GET", f"/v1/customers/{CUSTOMER}/orders/none", (), 404),
        ("GET", f"/v1/customers/{CUSTOMER}/orders/none/activationlinks", (), 404),
        ("GET", "/v1/customers/x/orders", (), 400),
        ("GET", "/v1/somewhere/else", (), 404),
        ("DELETE", f"/v1/customers/{CUSTOMER}/carts/{CUSTOMER}", (), 404),
        ("POST", f"/v1/customers/{CUSTOMER}/carts", (), 400),
        ("POST", f"/v1/customers/{CUSTOMER}/carts/{CUSTOMER}/checkout", (), 404),
        ("POST", f"/v1/customers/{CUSTOMER}/carts/{cart_id('fault-400-800013', 'ids')}/checkout", (), 400),
        ("GET", f"/v1/customers/{CUSTOMER}/orders", ("Authorization: Bearer a.b.c",), 401),
    ],
)
def test_every_answer_has_the_ids_of_its_call_or_new_ones(
    wire: Wire, method: str, path: str, headers: tuple[str, ...], status: int
) -> None:
    if headers:
        wire.token = "a.b.c"
    echoed = wire.call(method, path, "MS-RequestId: A", "MS-CorrelationId: C", "MS-CV: E.1")
    new = wire.call(method, path)

    assert (status, "A", "C", "E.1") == (
        echoed.status,
        *(echoed.headers[name] for name in ("MS-RequestId", "MS-CorrelationId", "MS-CV")),
    )
    assert [36, 36] == [len(new.headers[name]) for name in ("MS-RequestId", "MS-CorrelationId")]
    assert new.headers["MS-CV"]


# Carts that a client creates

LINE = {"catalogItemId": "CFQ7TTC0LH18:0001:CFQ7TTC0K971", "quantity": 3, "billingCycle": "monthly"}
JSON = "Content-Type: application/json"


def created(wire: Wire, *lines: dict[str, object]) -> Reply:
    body = json.dumps({"lineItems": lines})
    return wire.call("POST", f"/v1/customers/{CUSTOMER}/carts", JSON, body=body)


def test_a_cart_can_be_created_read_changed_and_checked_out(wire: Wire) -> None:
    first = created(wire, LINE)
    path = f"/v1/customers/{CUSTOMER}/carts/{first.tree['id']}"
    body = json.dumps({"lineItems": [{**LINE, "quantity": 7}, {**LINE, "billingCycle": "annual"}, LINE]})
    changed = wire.call("PUT", path, JSON, body=body)
    read = wire.call("GET", path)
    bought = wire.checkout(first.tree["id"])

    assert (201, "Active") == (first.status, first.tree["status"])
    assert (200, [7, 3, 3]) == (changed.status, [line["quantity"] for line in changed.tree["lineItems"]])
    assert changed.tree["lineItems"] == read.tree["lineItems"]
    assert ["0", "1", "0"] == [line["orderGroup"] for line in read.tree["lineItems"]]
    assert 201 == bought.status
    assert [("monthly", [7, 3]), ("annual", [3])] == [
        (order["billingCycle"], [line["quantity"] for line in order["lineItems"]]) for order in bought.tree["orders"]
    ]


def test_a_bought_cart_is_not_changed_and_an_absent_one_not_found(wire: Wire) -> None:
    cart = created(wire, LINE).tree["id"]
    wire.checkout(cart)

    replies = [
        wire.call("PUT", f"/v1/customers/{CUSTOMER}/carts/{each}", JSON, body=json.dumps({"lineItems": [LINE]}))
        for each in (cart, CUSTOMER)
    ]

    assert [(400, 800065), (404, 800008)] == [(reply.status, reply.tree["code"]) for reply in replies]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"lineItems": []}',
        '{"lineItems": [1]}',
        '{"lineItems": [{"quantity": 1}]}',
        '{"lineItems": [{"catalogItemId": "a", "quantity": 0}]}',
    ],
)
def test_a_cart_without_lines_is_refused(wire: Wire, body: str) -> None:
    reply = wire.call("POST", f"/v1/customers/{CUSTOMER}/carts", JSON, body=body)

    assert (400, 800002) == (reply.status, reply.tree["code"])


# Orders that are read afterwards


def test_prices_are_returned_to_a_get_of_orders_that_asks_for_them(wire: Wire) -> None:
    (bought,) = wire.checkout(cart_id("created", "prices")).tree["orders"]
    orders = f"/v1/customers/{CUSTOMER}/orders"
    order = f"{orders}/{bought['id']}"
    asked = "?include_price=true"

    assert b"rice" not in wire.checkout(cart_id("created", "prices")).body
    assert bought == wire.call("GET", order).tree
    assert {**wire.call("GET", f"{order}{asked}").tree, "lineItems": 0, "totalPrice": 36.48} == {
        **bought,
        "lineItems": 0,
        "totalPrice": 36.48,
    }
    assert b'"totalPrice": 36.480' in wire.call("GET", f"{orders}{asked}").body
    assert "totalPrice" not in wire.call("GET", orders).tree["items"][0]


def test_an_order_that_nobody_has_to_activate_has_no_activation_links(wire: Wire) -> None:
    (bought,) = wire.checkout(cart_id("created", "links")).tree["orders"]
    order = f"/v1/customers/{CUSTOMER}/orders/{bought['id']}"

    replies = [wire.call("GET", f"{order}{path}/activationlinks") for path in ("", "/lineitems/0")]

    assert [(200, [])] * 2 == [(reply.status, reply.tree["items"]) for reply in replies]
    assert "activationLinks" not in bought["lineItems"][0]["links"]


# Interim answers


def play(monkeypatch: pytest.MonkeyPatch, *script: Step) -> str:
    """Return a cart that plays this script."""
    monkeypatch.setitem(BY_NUMBER, 1, replace(BY_NUMBER[1], script=script))
    return cart_id("created", "interim")


def test_interim_answers_come_before_the_answer(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    cart = play(monkeypatch, Interim((100, 102, 103, 103), pause=20))

    first, second = wire.sdk(cart, "A"), wire.sdk(cart, "A")

    assert ((100, 102, 103, 103), 201) == (first.interim, first.status)
    assert 200 == second.status, "the connection lives on"


def test_an_interim_answer_comes_in_two_packets(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    cart = play(monkeypatch, Interim((103,), pause=100))

    wire.socket.sendall(SDK.format(customer=CUSTOMER, cart=cart, token=wire.token, request_id="A").encode())
    packet = wire.socket.recv(1024)

    assert packet
    assert b"HTTP/1.1 103 Early Hints".startswith(packet)


def test_the_connection_can_be_closed_after_an_interim_answer(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    cart = play(monkeypatch, Interim((103,), then=Drop(Commit())), Commit())

    with pytest.raises(IndexError):  # nothing follows
        wire.sdk(cart, "A")

    with Wire(wire.simulator) as second:
        assert 200 == second.sdk(cart, "A").status
    assert 1 == wire.page(cart)["purchases"]


@pytest.mark.parametrize("name", ["interim-answers", "interim-then-closed", "interim-for-ever"])
def test_every_scenario_with_interim_answers_can_be_played_to_its_last_step(name: str) -> None:
    cart = cart_id(name, "interim")
    with Simulator(scale=0.0001) as simulator:
        for _ in BY_NAME[name].script:
            with Wire(simulator) as wire, suppress(IndexError):  # closed
                wire.sdk(cart, "A")
        page = simulator.service.page(CUSTOMER, cart)
    assert (len(BY_NAME[name].script), 1) == (page["posts"], page["purchases"])
