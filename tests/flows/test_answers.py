"""What an answer of the service leads to, whatever its shape: the whole program in memory."""

import json
from base64 import b64decode
from datetime import timedelta
from typing import Any

import pytest

from shared.core.cart_state import CartState, Post
from shared.core.models import ServiceResponse
from shared.core.state_metadata import to_metadata
from shared.ports import Conflict, StorageUnavailable, StoredBlob
from tests.support.builders import answer
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, World

ACTIVE = answer(200, {"status": "Active"})
ORDERED = answer(200, {"status": "Ordered"})
BOUGHT = answer(201, {"orders": [{"id": "o1", "status": "completed"}]})


def told(*answers: ServiceResponse, cart: ServiceResponse = ACTIVE) -> tuple[World, Responses, dict[str, Any]]:
    """The world, the service and the data of the outcome, after these answers to the POSTs of one cart."""
    world = World()
    service = Responses(*answers, cart=cart)
    world.serve(service)
    world.enqueue("created")
    world.run()
    return world, service, world.outcome()["data"]


def test_a_refusal_that_waits_keeps_the_services_words_and_gets_those_of_the_carts_lines() -> None:
    refused = answer(400, b'{"Code": 999999, "Description": "no", "Data": [{"price": 36.480}]}')
    lines = b'{"status": "Active", "lineItems": [{"id": 0, "error": {"errorCode": 10013, "errorDescription": "plan"}}]}'
    world, service, data = told(refused, cart=answer(200, lines))
    assert 1 == len(service.posts), "it is not posted again"
    assert ("failed", "rejected", "999999", "no") == (
        data["outcome"],
        *(data["error"][name] for name in ("class", "code", "description")),
    )
    line = {"lineItemId": 0, "error": {"errorCode": 10013, "errorDescription": "plan"}}
    assert [{"price": 36.48}, line] == data["error"]["data"]
    assert b"36.480" in b64decode(world.outcomes.messages[-1].text), "as it was written"


@pytest.mark.parametrize(
    "proves_nothing",
    [
        answer(400, {"code": 0, "description": "no"}),
        answer(400, {"description": "no"}),
        answer(400, {"error": {"code": "BadRequest", "message": "no"}}),
        answer(400, {"Message": "no"}),
        answer(404, {"description": "no"}),
        answer(201, {"orderErrors": [{"description": "no"}]}),
    ],
    ids=lambda response: response.body.decode(),
)
def test_a_refusal_without_a_code_is_told_as_failed_only_once_the_cart_was_read(
    proves_nothing: ServiceResponse,
) -> None:
    world, _, data = told(proves_nothing)
    assert ("failed", "no") == (data["outcome"], data["error"]["description"])
    assert world.clock.now - world.carts_began >= timedelta(seconds=world.settings.settle)

    _, service, data = told(proves_nothing, BOUGHT, cart=ORDERED)
    assert "completed" == data["outcome"], "the cart was ordered, so it is posted once more"
    assert 1 == len({*service.posts}), "under the same key"


@pytest.mark.parametrize(
    "no_answer",
    [
        answer(201, {"orders": ["x", 5]}),
        answer(201, {"orderErrors": [None]}),
        answer(201, {"orderErrors": [{"code": 800064}]}),
        answer(201, {"orderErrors": [{"code": 800003}, {"code": 800005}]}),
        answer(404, {"statusCode": 404, "message": "Resource not found"}),
        answer(400, {"code": 800064}),
        answer(401, {"code": 800060}),
        answer(403, {"code": 900112}),
        answer(500, {"code": 900113}),
        answer(403, {"code": 800065}),
        answer(500, {"code": 800065}),
        answer(201, {"orderErrors": [{"code": 800065}]}),
    ],
    ids=lambda response: f"{response.status} {response.body.decode()}",
)
def test_what_is_no_answer_or_tells_of_an_order_is_posted_again_under_the_same_key(no_answer: ServiceResponse) -> None:
    _, service, data = told(no_answer, BOUGHT, cart=ORDERED)
    assert "completed" == data["outcome"]
    assert 2 == len(service.posts)
    assert 1 == len({*service.posts})


@pytest.mark.parametrize("status", [200, 400, 401, 403, 409, 500])
@pytest.mark.parametrize("shape", ["fault", "order errors"])
def test_an_ordered_cart_is_never_told_as_failed(status: int, shape: str) -> None:
    code = {"code": 800065, "description": "The cart was already submitted."}
    _, _, data = told(answer(status, code if shape == "fault" else {"orderErrors": [code]}), cart=ORDERED)
    assert ("unknown", "already_ordered", "800065") == (
        data["outcome"],
        *(data["error"][name] for name in ("class", "code")),
    )


# --- GET cart proves nothing ---------------------------------------------------------------------------------------

POSTED = {"request_id": "of-the-post", "correlation_id": "of-the-post", "cv": "of-the-post"}
READ = {"request_id": "of-the-get", "correlation_id": "of-the-get", "cv": "of-the-get"}
OF_THE_POST = {"requestId": "of-the-post", "correlationId": "of-the-post", "cv": "of-the-post"}
UNKNOWN_CODE = answer(400, {"code": 999999, "description": "no"}, **POSTED)


@pytest.mark.parametrize(
    "unread",
    [
        answer(503, b"", **READ),
        answer(401, b"", **READ),
        answer(404, {"statusCode": 404, "message": "Resource not found"}, **READ),
        ServiceResponse(None, failure="no answer: ReadTimeout"),
    ],
    ids=str,
)
def test_a_refusal_that_proves_nothing_is_unknown_where_the_cart_cannot_be_read_until_its_last_day(
    unread: ServiceResponse,
) -> None:
    world, _, data = told(UNKNOWN_CODE, cart=unread)
    assert ("unknown", "unanswered", "999999") == (
        data["outcome"],
        *(data["error"][name] for name in ("class", "code")),
    )
    assert {"status": 400, **OF_THE_POST} == data["response"], "of the POST, and not of the GET"
    assert world.clock.now - world.carts_began >= timedelta(days=6)


def test_a_cart_that_nobody_answered_is_unknown_where_it_cannot_be_read_until_its_last_day() -> None:
    world, _, data = told(answer(503, b"", **POSTED), cart=answer(503, b"", **READ))
    assert ("unknown", "unanswered") == (data["outcome"], data["error"]["class"])
    assert world.clock.now - world.carts_began >= timedelta(days=6)
    assert "of-the-get" not in str(data.get("response"))


@pytest.mark.parametrize("status", ["Expired", None])
def test_a_refusal_that_proves_nothing_is_unknown_where_the_cart_has_another_status(status: str | None) -> None:
    _, _, data = told(UNKNOWN_CODE, cart=answer(200, {"status": status}, **READ))
    assert ("unknown", {"status": 400, **OF_THE_POST}) == (data["outcome"], data["response"])


def test_the_response_of_a_bought_cart_is_the_posts() -> None:
    _, _, data = told(answer(201, {"orders": [{"id": "o1", "status": "completed"}]}, **POSTED))
    assert ("completed", {"status": 201, **OF_THE_POST}) == (data["outcome"], data["response"])


def test_the_response_of_a_refusal_that_stood_is_the_posts() -> None:
    _, _, data = told(UNKNOWN_CODE, cart=answer(200, {"status": "Active"}, **READ))
    assert ("failed", {"status": 400, **OF_THE_POST}) == (data["outcome"], data["response"])


def test_a_refusal_that_stands_at_once_is_told_with_its_response_and_its_result() -> None:
    refused = {"orderErrors": [{"code": 800002, "description": "no"}]}
    _, service, data = told(answer(201, refused, **POSTED))
    assert ("failed", {"status": 201, **OF_THE_POST}, refused) == (data["outcome"], data["response"], data["result"])
    assert 0 == service.gets


def test_the_response_of_an_ordered_cart_is_the_posts() -> None:
    said = answer(400, {"code": 800065, "description": "done"}, **POSTED)
    _, _, data = told(said, cart=answer(200, {"status": "Ordered"}, **READ))
    assert ("unknown", {"status": 400, **OF_THE_POST}) == (data["outcome"], data["response"])


def test_an_ordered_cart_without_an_answer_to_a_post_has_no_response() -> None:
    def die() -> ServiceResponse:
        raise ZeroDivisionError

    world = World()
    orders = answer(200, {"items": []}, **READ)
    world.serve(Responses(die, cart=answer(200, {"status": "Ordered"}, **READ), orders=orders))
    world.enqueue("created")
    world.run()
    data = world.outcome()["data"]
    assert ("unknown", "already_ordered") == (data["outcome"], data["error"]["class"])
    assert "response" not in data, "the ids of a GET are not the checkout's"


# --- the record ----------------------------------------------------------------------------------------------------


def test_the_entry_of_another_request_that_could_not_be_recorded_counts_no_attempt() -> None:
    world = World()
    world.enqueue("created", "order-1")
    world.run()
    write = world.container.write
    failures = ["once", "twice"]

    def failing(name: str, content: bytes, **how: Any) -> str:
        if failures:
            raise StorageUnavailable(failures.pop())
        return write(name, content, **how)

    world.container.write = failing  # type: ignore[method-assign]
    world.enqueue("created", "order-2")
    world.run()
    assert [1, 0] == [event["data"]["attempts"] for event in world.published()], "no POST was made for the second"
    assert "answeredBy" in world.published()[-1]["data"]


def test_a_race_for_the_record_that_is_always_lost_ends_within_the_time_of_one_message() -> None:
    world = World()
    write = world.container.write
    lost: list[float] = []

    def losing(name: str, content: bytes, **how: Any) -> str:
        if content == b"[]" or len(lost) == 5:  # its entry is written, and at last its outcome
            return write(name, content, **how)
        world.clock.advance(150.0)
        lost.append(world.clock.epoch())
        raise Conflict("another writer was first")

    world.container.write = losing  # type: ignore[method-assign]
    world.serve(Responses(BOUGHT))
    world.enqueue("created")
    began = world.clock.epoch()
    first = world.carts.receive()
    assert first is not None
    assert world.deliver(first), "deferred, before the host would stop the worker"
    assert world.clock.epoch() - began < 540.0
    world.run()
    assert "completed" == world.outcome()["data"]["outcome"]


def test_an_ordered_cart_is_not_posted_again_while_another_requests_post_may_be_at_work() -> None:
    """This one   enter ─ POST ──────────────── 800065 ─ enter ✕ Conflict ─ load ─ wait: the other's POST answers it.

    another            load ─ enter (over it) ─ POST …
    """
    world = World()
    cart = "bebebebe-1111-4222-8333-444444444444"
    name = f"{CUSTOMER}/{cart}.json"

    def another_enters_meanwhile() -> ServiceResponse:
        found = world.container.read(name)
        assert isinstance(found, StoredBlob)
        other = CartState(0, Post("another", world.clock.now), doubt=world.clock.now)
        world.container.set_metadata(name, to_metadata(other), match=found.etag)
        return ServiceResponse(409, b'{"code": 800065, "description": "Already ordered."}')

    service = Responses(another_enters_meanwhile)
    world.serve(service)
    world.carts.send(json.dumps({"customerId": CUSTOMER, "cartId": cart, "requestId": "order-1"}))
    message = world.carts.receive()
    assert message is not None
    world.deliver(message)
    (copy,) = (each for each in world.carts.messages if each.id != message.id)
    assert ("other_request", 30.0) == (
        json.loads(b64decode(copy.text))["retry"]["reason"],
        (copy.visible_at - world.clock.now).total_seconds(),
    )
    assert 1 == len(service.posts)
