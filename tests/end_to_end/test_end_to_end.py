"""The deployed program on real storage, against the simulator over HTTP: from a message's text to its outcome."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests

from local.demo.run import QUICK
from local.simulator.identity import SYSTEM_ASSIGNED
from local.simulator.scenarios import BY_NAME, cart_id
from local.stack import Stack
from shared.core.messages import derive
from tests.end_to_end.conftest import TIMEOUT, Shop, unique_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.azurite import Azurite

BOM = b"\xef\xbb\xbf"


def request(scenario: str = "created", **more: object) -> dict[str, Any]:
    """A new customer's request for a new cart."""
    unique = str(uuid.uuid4())
    return {"customerId": unique, "cartId": cart_id(scenario, unique), "requestId": f"order {unique}", **more}


def base64_of(text: bytes) -> str:
    return base64.b64encode(text).decode()


# --- every shape that a message may have --------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        lambda body: body,
        lambda body: f"\n  {body}",
        lambda body: base64_of(body.encode()),
        lambda body: base64_of(BOM + body.encode()),
        lambda body: body.replace("customerId", "customer\\u0049d"),
    ],
    ids=["plain", "white-space", "base64", "base64-with-bom", "escaped"],
)
def test_a_request_is_answered_in_every_message_format(shop: Shop, shape: Callable[[str], str]) -> None:
    body = request(context={"number": 1.5}, correlationId=str(uuid.uuid4()))

    (event, *_) = shop.published(shop.send(shape(json.dumps(body))))

    data = event["data"]
    assert event["type"] == "partnercenter.cart.checkout.completed"
    assert event["subject"] == f"customers/{body['customerId']}/carts/{body['cartId']}"
    assert event["partitionkey"] == body["customerId"]
    assert event["correlationid"] == body["correlationId"]
    assert (data["requestId"], data["context"], data["attempts"]) == (body["requestId"], {"number": 1.5}, 1)
    assert data["response"]["correlationId"] == body["correlationId"]
    assert data["result"]["orders"][0]["status"] == "completed"


def test_a_cloudevent_is_answered_under_its_source_and_id(shop: Shop) -> None:
    body = request()
    del body["requestId"]
    envelope = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "urn:shop", "type": "order.placed"}

    (event, *_) = shop.published(shop.send(json.dumps({**envelope, "data": body})))

    assert event["causationid"] == envelope["id"]
    assert event["data"]["requestId"] == derive("cloudevent", "urn:shop", envelope["id"])
    assert event["data"]["outcome"] == "completed"


def test_numbers_come_back_as_they_were_written(shop: Shop) -> None:
    text = json.dumps(request("unknown-fields", context={"price": "?"})).replace('"?"', "36.480")
    event_id = shop.send(text)
    shop.published(event_id)

    (event,) = _records(shop, json.loads(text))

    assert '"context":{"price": 36.480}' in event
    assert '"price": 36.480' in event.partition('"result":')[2]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("please buy everything", "$"),
        ("", "$"),
        ("[]", "$"),
        ('{"customerId": ', "$"),
        ('{"customerId": "x", "cartId": "y"}', "$.customerId"),
        ('{"customerId": 1, "cartId": "y"}', "$.customerId"),
        ('{"customerId": "%(id)s", "cartId": "%(id)s", "requestID": "typo"}', "$.requestID"),
        ('{"customerId": "%(id)s", "cartId": "%(id)s", "requestId": ""}', "$.requestId"),
        ('{"customerId": "%(id)s", "customerId": "%(id)s", "cartId": "%(id)s"}', "$.customerId"),
        ('{"specversion": "1.0", "id": "1", "source": "urn:shop", "type": "t", "data": {}}', "$.data.customerId"),
        (
            '{"specversion": "1.0", "id": "1", "source": "urn:shop", "type": "t", "data_base64": "e30="}',
            "$.data_base64.customerId",
        ),
        (base64.b64encode(b'{"no": "request"}').decode(), "$.no"),
    ],
)
def test_an_invalid_message_is_published_as_invalid(shop: Shop, text: str, path: str) -> None:
    text %= {"id": uuid.uuid4()} if "%(" in text else ()

    (event, *_) = shop.published(shop.send(text))

    assert event["type"] == "partnercenter.cart.checkout.failed"
    assert (event["data"]["error"]["class"], event["data"]["error"]["path"]) == ("invalid_message", path)
    assert base64.b64decode(event["data"]["body"]).decode() == text
    assert not event.keys() & {"time", "traceparent", "causationid"}


# --- one scenario of each kind ------------------------------------------------------------------------------

KINDS = (
    "created",
    "huge-result",
    "pending-review",
    "partial",
    "only-order-errors",
    "fault-403-13605",
    "no-orders",
    "throttled",
    "too-slow",
    "endless-trickle",
    "dropped-after",
    "dropped-mid-body",
    "dropped-before-then-refused",
    "dropped-after-then-refused",
    "refused-then-ordered-late",
    "html-502",
    "coded-500-twice",
    "in-progress",
    "already-ordered",
    "unauthorized-once",
    "unknown-403",
)


@pytest.fixture(scope="module")
def sent(shop: Shop) -> dict[str, tuple[str, dict[str, Any]]]:
    """A cart of each kind, all sent at once, so that the tests wait for the slowest only."""
    bodies = {name: request(name) for name in KINDS}
    return {name: (shop.send(json.dumps(body)), body) for name, body in bodies.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_cart_of_each_kind_ends_as_its_scenario_expects(
    shop: Shop, sent: dict[str, tuple[str, dict[str, Any]]], name: str
) -> None:
    event_id, body = sent[name]
    scenario = BY_NAME[name]

    (event, *_) = shop.published(event_id)

    data = _data(shop, event)
    error = data.get("error", {})
    assert (data["outcome"], error.get("class"), error.get("code")) == (
        scenario.expected,
        scenario.error_class,
        scenario.code,
    )
    assert shop.page(body["cartId"])["purchases"] == scenario.purchases


def test_a_reply_lost_after_the_purchase_is_recovered_with_the_same_ms_request_id(
    shop: Shop, sent: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    event_id, body = sent["dropped-after"]

    (event, *_) = shop.published(event_id)

    page = shop.page(body["cartId"])
    assert (page["posts"], len(set(page["msRequestIds"])), page["purchases"]) == (2, 1, 1)
    assert [order["id"] for order in event["data"]["result"]["orders"]] == page["orderIds"]
    assert event["data"]["attempts"] == 2


def test_a_result_too_large_for_a_message_is_stored_in_a_blob(
    shop: Shop, sent: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    event_id, body = sent["huge-result"]

    (event, *_) = shop.published(event_id)

    assert "data" not in event
    assert event["dataref"].startswith(f"{shop.stack.records.url}/{body['customerId']}/{body['cartId']}/{event_id}.")
    assert len(_data(shop, event)["result"]["orders"][0]["lineItems"]) == 200


def test_another_request_for_a_bought_cart_is_answered_by_the_first(shop: Shop) -> None:
    body = request()
    first = shop.send(json.dumps(body))
    shop.published(first)

    (second, *_) = shop.published(shop.send(json.dumps(body | {"requestId": "another"})))

    assert second["id"] != first
    assert (second["data"]["outcome"], second["data"]["answeredBy"]) == ("completed", first)
    assert shop.page(body["cartId"])["posts"] == 1


def test_two_requests_for_one_cart_at_one_moment_buy_it_once_and_are_both_told(shop: Shop) -> None:
    body = request("slow")
    sent = [shop.send(json.dumps(body | {"requestId": f"{body['requestId']} {number}"})) for number in (1, 2)]

    told = {event_id: shop.published(event_id)[0]["data"] for event_id in sent}

    (first,) = (event_id for event_id, data in told.items() if "answeredBy" not in data)
    (second,) = (event_id for event_id in sent if event_id != first)
    assert [("completed", 1), ("completed", 2)] == [
        (of["outcome"], of["revision"]) for of in (told[first], told[second])
    ]
    assert first == told[second]["answeredBy"]
    page = shop.page(body["cartId"])
    assert (1, 1) == (page["posts"], page["purchases"])


def test_a_burst_with_duplicates_is_published_under_one_id_each_and_bought_once_each(shop: Shop) -> None:
    bodies = [request() for _ in range(200)]
    ids = [shop.send(json.dumps(body)) for body in bodies]
    again = [shop.send(json.dumps(body)) for body in bodies[::10]]

    published = {event_id: shop.published(event_id, 1 + (event_id in again)) for event_id in ids}

    assert len(set(ids)) == 200
    assert set(again) < set(ids)
    requests_told = [event["data"]["requestId"] for events in published.values() for event in events]
    assert set(requests_told) == {body["requestId"] for body in bodies}
    assert all(event == events[0] for events in published.values() for event in events)
    books = shop.stack.books()
    carts = {body["cartId"] for body in bodies}
    assert [page["purchases"] for page in books["carts"] if page["cartId"] in carts] == [1] * 200
    assert books["totals"]["boughtTwice"] == 0
    _until(lambda: not _length(shop.stack.carts))
    assert not _length(shop.stack.poison)


# --- the token ----------------------------------------------------------------------------------------------


def test_the_simulator_checks_audience_and_tenant(stack: Stack) -> None:
    identity, now = stack.simulator.identity, time.time()
    good = identity.issue(stack.simulator_url, now)
    elsewhere = identity.issue("https://graph.windows.net", now)
    identity.tenants["a-stranger"] = str(uuid.uuid4())
    foreign = identity.issue(stack.simulator_url, now, "a-stranger")

    def get(token: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        url = f"{stack.simulator_url}/v1/customers/{uuid.uuid4()}/orders"
        answer = requests.get(url, headers=headers, timeout=5)
        return answer.status_code, str(answer.json().get("code"))

    assert get(good)[0] == 200
    assert get(elsewhere) == (401, "900420")
    assert get(foreign) == (401, "800001")


def test_a_token_of_another_tenant_never_buys(azurite: Azurite) -> None:
    lines: list[str] = []
    with Stack(azurite=azurite, settings=QUICK | unique_names(), on_line=lines.append) as stack:
        stack.simulator.identity.tenants[SYSTEM_ASSIGNED] = str(uuid.uuid4())
        Shop(stack).send(json.dumps(request()))

        _until(lambda: any("WrongTenant" in line and '"deferred"' in line for line in lines))

        totals = stack.books()["totals"]
        assert (totals["tokens"], totals["refusedTokens"], totals["posts"]) == (1, 0, 0)
        _until(lambda: _length(stack.carts) == 1)  # the copy waits, the original is gone


def test_a_revoked_token_is_replaced_in_the_same_delivery(azurite: Azurite) -> None:
    with Stack(azurite=azurite, settings=QUICK | unique_names()) as stack:
        shop, identity = Shop(stack), stack.simulator.identity
        shop.published(shop.send(json.dumps(request())))
        identity.revoke()

        (event, *_) = shop.published(shop.send(json.dumps(request())))

        assert (event["data"]["outcome"], event["data"]["attempts"]) == ("completed", 1)
        assert (identity.requests, identity.refused) == (2, 1)


def _data(shop: Shop, event: dict[str, Any]) -> dict[str, Any]:
    if "data" in event:
        return dict(event["data"])
    name = event["dataref"].removeprefix(f"{shop.stack.records.url}/")
    return dict(json.loads(shop.stack.records.download_blob(name).readall()))


def _records(shop: Shop, body: dict[str, Any]) -> list[str]:
    """The entries of a cart's record, as text, one a line."""
    blob = shop.stack.records.download_blob(f"{body['customerId']}/{body['cartId']}.json")
    return blob.readall().decode().splitlines()


def _length(queue: Any) -> int:
    return queue.get_queue_properties().approximate_message_count or 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
