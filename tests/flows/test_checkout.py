"""The way of a message through the whole program: in memory, under a clock that the test turns."""

import base64
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from local.simulator import scenarios
from shared.core.messages import CheckoutRequest, Delivery
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.poison import POISON_SPREAD_SECONDS
from shared.ports import Conflict, StorageUnavailable, TokenUnavailable, WrongTenant
from shared.records import Records
from tests.support.builders import accepted
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, MAX_DEQUEUE_COUNT, World

HOUR = 3600.0
DAY = 24 * HOUR


class Faulty:
    """A port that fails as configured: `before` a call takes effect, or after it (the response is lost)."""

    def __init__(self, port: Any) -> None:
        self.port = port
        self.faults: dict[str, list[str]] = {}
        self.rivals: dict[str, list[Callable[[], object]]] = {}

    def fail(self, method: str, *how: str) -> None:
        self.faults.setdefault(method, []).extend(how)

    def before(self, method: str, rival: Callable[[], object]) -> None:
        """Run a concurrent action just before the next call of `method`."""
        self.rivals.setdefault(method, []).append(rival)

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.rivals.get(method):
                self.rivals[method].pop(0)()
            fault = self.faults[method].pop(0) if self.faults.get(method) else "none"
            if fault == "before":
                raise StorageUnavailable(f"{method} failed")
            result = getattr(self.port, method)(*args, **kwargs)
            if fault == "after":
                raise StorageUnavailable(f"the reply to {method} is lost")
            return result

        return call


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def blobs(world: World) -> Faulty:
    """The world's blobs, made to fail."""
    world.blobs = Faulty(world.blobs)
    world.checkout = world.worker()
    faulty: Faulty = world.blobs
    return faulty


def faulty_queue(world: World, name: str) -> Faulty:
    queue = world.queues[name] = Faulty(world.queues[name])
    world.checkout = world.worker()
    return queue


def purchases(world: World, cart: str) -> int:
    return int(world.service.page(CUSTOMER, cart)["purchases"])


def posts(world: World, cart: str) -> int:
    return int(world.service.page(CUSTOMER, cart)["posts"])


# --- one request, many deliveries -----------------------------------------------------------------------------


def test_a_cart_enqueued_twice_is_bought_once_and_published_twice_under_one_id(world: World) -> None:
    cart = world.enqueue("created")
    world.enqueue("created")

    world.run()

    assert 2 == len(world.published())
    assert world.outcome()["data"]["outcome"] == "completed"
    assert 1 == posts(world, cart)


def test_two_requests_for_one_cart_buy_it_once_and_the_second_names_the_event_that_answered_it(world: World) -> None:
    cart = world.enqueue("created", "order-1")
    world.enqueue("created", "order-2", context={"their": "own"})

    world.run()

    first, second = world.published()
    assert 1 == posts(world, cart)
    assert first["id"] == second["data"]["answeredBy"]
    assert first["id"] != second["id"]
    assert "order-2" == second["data"]["requestId"]
    assert {"their": "own"} == second["data"]["context"]
    assert first["data"]["result"] == second["data"]["result"]
    assert 0 == second["data"]["attempts"]
    assert "response" not in second["data"]
    assert [first, second] == world.record(cart)


def test_a_second_request_for_a_large_order_gets_its_whole_result(world: World) -> None:
    world.enqueue("huge-result", "order-1")
    world.enqueue("huge-result", "order-2")

    world.run()

    first, second = world.published()
    assert "dataref" in first
    assert "data" not in first
    assert first["id"] == world.data(second)["answeredBy"]
    assert world.data(first)["result"] == world.data(second)["result"]
    assert all(len(message.text) <= 64 * 1024 for message in world.outcomes.messages)


def test_a_failed_cart_is_tried_again_by_a_new_request(world: World) -> None:
    cart = world.enqueue("fault-400-800013", "order-1")
    world.enqueue("fault-400-800013", "order-2")

    world.run()

    assert 2 == posts(world, cart)
    assert ["failed", "failed"] == [event["data"]["outcome"] for event in world.published()]
    assert 2 == len({event["id"] for event in world.published()})


def test_the_result_is_passed_on_byte_for_byte(world: World) -> None:
    body = (
        b'\xef\xbb\xbf{"orders": [ {"id":"1","status":"Completed","totalPrice":36.480,\r\n "note":"\\ud800"}], "x":1E2}'
    )

    world.serve(Responses(ServiceResponse(201, body)))
    world.enqueue("created", context=[1.50, {"b": 1, "a": 2}])
    world.run()

    text = base64.b64decode(world.outcomes.messages[0].text)
    assert body.removeprefix(b"\xef\xbb\xbf") in text
    assert b'"context":[1.5, {"b": 1, "a": 2}]' in text


def test_a_cloudevent_is_answered_with_its_id_as_the_cause(world: World) -> None:
    cart = scenarios.cart_id("coded-500", "event")
    event = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed", "comexampleflag": True}
    world.carts.send(json.dumps({**event, "data": {"customerId": CUSTOMER, "cartId": cart}}))

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    (message,) = world.carts.messages
    copy = json.loads(base64.b64decode(message.text))
    world.run()

    assert event == {name: copy[name] for name in event}
    assert copy["data"]["requestId"] == world.outcome()["data"]["requestId"]
    assert "e-1" == world.outcome()["causationid"]
    assert 4 == world.outcome()["data"]["attempts"]


# --- waiting ---------------------------------------------------------------------------------------------------


def test_a_deferred_copy_waits_and_carries_its_retry_state(world: World) -> None:
    cart = world.enqueue("coded-500", None)

    world.deliver(world.carts.receive())  # type: ignore[arg-type]

    retry = world.waiting()
    assert {"attempt", "since", "startedAt", "reason"} == retry.keys()
    assert (1, "service") == (retry["attempt"], retry["reason"])
    (message,) = world.carts.messages
    assert 2.5 <= (message.visible_at - world.clock.now).total_seconds() <= 6
    copy = json.loads(base64.b64decode(message.text))
    assert "message-1" == copy["requestId"]
    assert copy["cartId"] == cart


def test_what_waits_stands_in_the_record_for_operators_until_it_is_decided(world: World) -> None:
    cart = world.enqueue("coded-500")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    waiting = json.loads(world.container.blobs[f"{CUSTOMER}/{cart}.json"].metadata["post"])
    world.run()

    assert (1, "service", False) == (waiting["attempt"], waiting["reason"], waiting["heard"])
    assert {"by", "at", "since", "nextAt", "msRequestId", "msCorrelationId"} <= waiting.keys()
    assert {"key": "1"} == world.container.blobs[f"{CUSTOMER}/{cart}.json"].metadata


def test_a_throttled_customer_waits_and_other_customers_do_not(world: World) -> None:
    world.enqueue("throttled", "order-1")
    waiting = world.enqueue("created", "order-2")
    other = scenarios.cart_id("created", "another customer")
    body = {"customerId": CUSTOMER.replace("c0ffee", "abcdef"), "cartId": other, "requestId": "order-3"}
    world.carts.send(json.dumps(body))

    for _ in range(3):
        world.deliver(world.carts.receive())  # type: ignore[arg-type]

    assert ["order-3"] == [event["data"]["requestId"] for event in world.published()]
    with pytest.raises(KeyError):
        world.service.page(CUSTOMER, waiting)  # no call was made for it
    world.run()
    assert 3 == len(world.published())
    assert all(event["data"]["attempts"] == 1 for event in world.published())  # standing in line is not failing


def test_a_throttled_cart_is_not_given_up_before_its_last_day(world: World) -> None:
    world.service.limiter.limit, world.service.limiter.window = 1, 10 * DAY
    world.enqueue("created", "order-1")
    late = world.enqueue("created", "order-2", seed="late")
    started = world.clock.now

    world.run()

    error = world.published()[1]["data"]["error"]
    assert ("throttled", True) == (error["class"], error["retryable"])
    assert timedelta(days=6) <= world.clock.now - started < timedelta(days=6, hours=3)
    with pytest.raises(KeyError):
        purchases(world, late)  # not one of its calls was admitted


def test_a_service_that_is_down_is_called_once_more_after_a_day_and_then_given_up(world: World) -> None:
    # GET cart answers, and says that the cart is active: nothing was bought, and the shop may ask again
    cart = world.enqueue("service-down")
    started = world.clock.now

    world.run()

    assert DAY < (world.clock.now - started).total_seconds() < DAY + 2 * HOUR
    error = world.outcome()["data"]["error"]
    assert ("failed", "service", True) == (world.outcome()["data"]["outcome"], error["class"], error["retryable"])
    assert 1 == len(set(world.service.page(CUSTOMER, cart)["msRequestIds"]))
    assert posts(world, cart) < 140  # at most one in seven minutes once at the cap


class Tokens:
    """The service with another source of tokens: each is returned or raised in turn, the last one again and again."""

    def __init__(self, service: Any, *tokens: str | Exception) -> None:
        self._service, self._tokens = service, list(tokens)

    def token(self) -> str:
        found = self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]
        if isinstance(found, Exception):
            raise found
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


def test_a_missing_token_defers_the_cart_without_counting_an_attempt_or_entering_a_post(world: World) -> None:
    world.serve(Tokens(world.partner_center, TokenUnavailable("none"), WrongTenant("another"), "token"))
    cart = world.enqueue("created")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    retry = world.waiting()
    assert f"{CUSTOMER}/{cart}.json" not in world.container.blobs
    world.run()

    assert "authentication" == retry["reason"]
    assert not {"attempt", "since"} & retry.keys()
    assert 1 == world.outcome()["data"]["attempts"]


def test_a_request_that_never_gets_a_token_is_given_up_on_the_last_day_without_a_post(world: World) -> None:
    world.serve(Tokens(world.partner_center, TokenUnavailable("the identity endpoint is gone")))
    world.enqueue("created")

    world.run()

    error = world.outcome()["data"]["error"]
    assert ("failed", "authentication") == (world.outcome()["data"]["outcome"], error["class"])
    assert 0 == world.outcome()["data"]["attempts"]


# --- doubt -----------------------------------------------------------------------------------------------------


def test_a_refusal_after_a_lost_response_is_accepted_only_when_the_lost_post_has_settled(world: World) -> None:
    cart = world.enqueue("dropped-before-then-refused")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    in_doubt_since = world.state(cart).post
    world.run(until=lambda: world.waiting()["reason"] == "settling")
    retry = world.waiting()
    world.run()

    assert in_doubt_since is not None
    assert 1 == retry["attempt"]
    assert "failed" == world.outcome()["data"]["outcome"]
    assert 3 == posts(world, cart)
    settled = in_doubt_since.at + timedelta(seconds=world.settings.settle)
    assert settled <= world.clock.now < settled + timedelta(seconds=3)


def test_a_redelivery_of_a_message_that_was_never_posted_is_not_in_doubt(world: World) -> None:
    world.enqueue("fault-400-800013")
    message = world.carts.receive()
    assert message is not None
    message.dequeue_count = 2

    world.deliver(message)

    assert "failed" == world.outcome()["data"]["outcome"]


def test_a_post_that_orders_late_is_not_told_as_failed_though_it_was_refused_and_active_meanwhile(
    world: World,
) -> None:
    began, ordered = world.clock.now, json.dumps({"orders": [{"id": "o-1", "status": "completed"}]}).encode()

    def is_late() -> bool:
        return world.clock.now - began >= timedelta(seconds=300)

    def second() -> ServiceResponse:
        return ServiceResponse(201, ordered) if is_late() else ServiceResponse(400, b'{"code": 800013}')

    def cart() -> ServiceResponse:
        return ServiceResponse(200, b'{"status": "Ordered"}' if is_late() else b'{"status": "Active"}')

    service = Responses(ServiceResponse(None, failure="no answer: ReadTimeout"), second, cart=cart)
    world.serve(service)
    world.enqueue("created")

    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == len(set(service.posts))


NO_SUCH_CART = ServiceResponse(404, b'{"code": 800008, "description": "no such cart"}')


def test_the_outcome_is_unknown_if_the_cart_in_doubt_cannot_be_read(world: World) -> None:
    class Forgetful:
        def __init__(self, service: Any) -> None:
            self._service = service

        def get_cart(self, _: object) -> ServiceResponse:
            return NO_SUCH_CART

        def __getattr__(self, name: str) -> Any:
            return getattr(self._service, name)

    world.serve(Forgetful(world.partner_center))
    world.enqueue("dropped-before-then-refused")

    world.run()

    data = world.outcome()["data"]
    assert ("unknown", "unanswered", "800013") == (data["outcome"], data["error"]["class"], data["error"]["code"])


def test_a_request_after_unknown_sends_the_same_key_and_learns_that_the_cart_was_bought(world: World) -> None:
    hasty = World(replace(world.settings, retry_max_age=60.0))
    cart = hasty.enqueue("dropped-after", "order-1")
    hasty.deliver(hasty.carts.receive())  # type: ignore[arg-type]  # bought, and its answer is lost
    hasty.service.outage = "503"
    hasty.run()
    hasty.service.outage = None

    hasty.enqueue("dropped-after", "order-2")
    hasty.run()

    assert ["unknown", "completed"] == [event["data"]["outcome"] for event in hasty.published()]
    assert timedelta(days=6) < hasty.clock.now - hasty.carts_began, "GET cart did not answer either"
    assert 1 == purchases(hasty, cart)
    assert 1 == len(set(hasty.service.page(CUSTOMER, cart)["msRequestIds"]))


def test_a_cart_that_was_ordered_by_somebody_else_is_published_with_the_ids_of_candidate_orders(world: World) -> None:
    cart = world.enqueue("dropped-after-then-ordered")

    world.run()

    error = world.outcome()["data"]["error"]
    assert ("already_ordered", False) == (error["class"], error["retryable"])
    assert world.service.page(CUSTOMER, cart)["orderIds"] == error["data"]


def test_an_outage_of_thirty_hours_ends_in_failed_and_not_in_unknown(world: World) -> None:
    cart = world.enqueue("created")
    world.service.outage = "drop"
    began = world.clock.now
    world.run(until=lambda: world.clock.now - began > timedelta(hours=30))
    assert [] == world.published(), "GET cart does not answer, so nothing can be said"
    world.service.outage = None

    world.run()

    error = world.outcome()["data"]["error"]
    assert ("failed", "service", True) == (world.outcome()["data"]["outcome"], error["class"], error["retryable"])
    assert 0 == posts(world, cart)
    world.enqueue("created", "order-2")
    world.run()
    assert "completed" == world.published()[-1]["data"]["outcome"]


def test_two_requests_at_one_moment_are_never_at_work_at_once(world: World) -> None:
    cart = world.enqueue("created", "order-1")
    world.enqueue("created", "order-2")
    first, second = world.carts.receive(), world.carts.receive()
    assert first is not None
    assert second is not None
    handled: list[bool] = []
    world.serve(Meeting(world.partner_center, lambda: handled.append(world.deliver(second))))

    world.deliver(first)

    assert [True] == handled
    assert "other_request" == world.waiting()["reason"]
    world.run()
    assert 1 == posts(world, cart)
    assert ["completed", "completed"] == [event["data"]["outcome"] for event in world.published()]


@pytest.mark.parametrize("status", [400, 404])
def test_a_refusal_without_a_known_code_stands_once_it_is_settled_and_the_cart_is_active(
    world: World, status: int
) -> None:
    service = Responses(ServiceResponse(status, b'{"code": 999999, "description": "Something new."}', cv="cv-1"))
    world.serve(service)
    world.enqueue("created")
    began = world.clock.now

    world.run()

    data = world.outcome()["data"]
    assert ("failed", "rejected", "999999", "Something new.") == (
        data["outcome"],
        *(data["error"][name] for name in ("class", "code", "description")),
    )
    assert {"status": status, "cv": "cv-1"}.items() <= data["response"].items()
    assert 1 == data["attempts"]
    assert 1 == len(service.posts)
    assert timedelta(seconds=world.settings.settle) <= world.clock.now - began < timedelta(minutes=11)


def test_a_404_without_a_code_stands_where_get_cart_does_not_know_the_cart_either(world: World) -> None:
    world.serve(Responses(ServiceResponse(404, b'{"description": "Not here."}'), cart=NO_SUCH_CART))
    world.enqueue("created")

    world.run()

    data = world.outcome()["data"]
    assert ("failed", "not_found") == (data["outcome"], data["error"]["class"])


def test_a_404_without_a_code_does_not_stand_where_another_post_is_in_doubt(world: World) -> None:
    lost = ServiceResponse(None, failure="no answer: ReadTimeout")
    world.serve(Responses(lost, ServiceResponse(404, b"{}"), cart=NO_SUCH_CART))
    world.enqueue("created")

    world.run()

    assert "unknown" == world.outcome()["data"]["outcome"]


def test_a_request_that_nobody_answers_before_its_not_after_is_told_within_minutes(world: World) -> None:
    until = world.clock.now + timedelta(minutes=20)
    world.service.limiter.limit, world.service.limiter.window = 1, 10 * DAY
    world.enqueue("created", "order-1")
    late = world.enqueue("created", "order-2", seed="late", notAfter=until.isoformat())

    world.run(until=lambda: len(world.published()) == 2)

    data = world.published()[1]["data"]
    assert ("failed", "expired", True) == (data["outcome"], data["error"]["class"], data["error"]["retryable"])
    assert until <= world.clock.now < until + timedelta(minutes=2)
    with pytest.raises(KeyError):
        posts(world, late)


def test_no_post_begins_after_not_after(world: World) -> None:
    cart = world.enqueue("created", notAfter=(world.clock.now - timedelta(seconds=1)).isoformat())

    world.run()

    assert "expired" == world.outcome()["data"]["error"]["class"]
    with pytest.raises(KeyError):
        posts(world, cart)


def test_a_cart_that_was_bought_before_its_not_after_is_told_as_bought_after_it(world: World) -> None:
    cart = world.enqueue("dropped-after", notAfter=(world.clock.now + timedelta(seconds=1)).isoformat())
    world.deliver(world.carts.receive())  # type: ignore[arg-type]  # bought, and its answer is lost
    world.clock.advance(2)

    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == purchases(world, cart)


def test_two_requests_that_are_refused_by_403_are_held_for_two_days(world: World) -> None:
    world.serve(Responses(ServiceResponse(403, b'{"code": 900308}')))
    world.enqueue("created", "order-1")
    world.enqueue("created", "order-2")
    began = world.clock.now

    world.run()

    told = [datetime.fromisoformat(event["time"]) - began for event in world.published()]
    assert ["configuration"] * 2 == [event["data"]["error"]["class"] for event in world.published()]
    assert ["failed"] * 2 == [event["data"]["outcome"] for event in world.published()]
    assert all(timedelta(hours=48) < age < timedelta(hours=49) for age in told), told


@pytest.mark.parametrize("cap", [20.0, 900.0, 7200.0])
def test_a_service_that_repeats_a_5xx_for_ever_is_given_a_new_key_within_a_quarter_of_an_hour(cap: float) -> None:
    world = World(replace(World().settings, retry_cap=cap))
    cart = world.enqueue("coded-500")

    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]
    assert world.clock.now - world.carts_began < timedelta(minutes=15)
    assert 2 == len(set(world.service.page(CUSTOMER, cart)["msRequestIds"]))


def test_a_record_that_has_lost_its_state_is_posted_once_it_is_closed_under_a_greater_key(world: World) -> None:
    cart = world.enqueue("fault-400-800013", "order-1")
    world.run()
    name = f"{CUSTOMER}/{cart}.json"
    world.container.overwrite(name, world.container.blobs[name].content)
    restored = world.clock.now

    world.enqueue("fault-400-800013", "order-2")
    world.run()

    assert timedelta(seconds=world.settings.settle) <= world.clock.now - restored < timedelta(minutes=11)
    assert ["failed", "failed"] == [event["data"]["outcome"] for event in world.published()]
    assert int(restored.timestamp()) + 1 == world.state(cart).key


# --- storage ---------------------------------------------------------------------------------------------------


def test_without_the_record_nothing_is_posted(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("created")
    blobs.fail("read", "before", "before")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    retry = world.waiting()

    with pytest.raises(KeyError):
        posts(world, cart)
    assert "storage" == retry["reason"]
    assert not {"attempt", "since"} & retry.keys()
    world.run()
    assert "completed" == world.outcome()["data"]["outcome"]


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_order_that_could_not_be_recorded_is_posted_again_and_bought_once(
    world: World, blobs: Faulty, how: str
) -> None:
    cart = world.enqueue("created")
    blobs.fail("write", "none", how)  # the first write is the entry

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    retry = world.waiting()
    assert [] == world.published()
    post = world.state(cart).post
    assert how == "after" or (post is not None and not post.heard), "its answer counts as none"
    world.run()

    assert (1, "storage") == (retry["attempt"], retry["reason"])
    assert "since" not in retry
    assert 1 == purchases(world, cart)
    assert "completed" == world.outcome()["data"]["outcome"]


@pytest.mark.parametrize("how", ["before", "after"])
def test_without_its_entry_nothing_is_posted(world: World, blobs: Faulty, how: str) -> None:
    cart = world.enqueue("created")
    blobs.fail("write", how)

    world.deliver(world.carts.receive())  # type: ignore[arg-type]

    with pytest.raises(KeyError):
        posts(world, cart)
    assert "storage" == world.waiting()["reason"]
    world.run()
    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == posts(world, cart)


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_outcome_that_could_not_be_published_is_published_from_the_record(world: World, how: str) -> None:
    cart = world.enqueue("created")
    outcomes = faulty_queue(world, "checkout-outcomes")
    outcomes.fail("send", how)

    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == posts(world, cart)


def test_a_request_is_never_given_up_while_storage_is_unavailable(world: World, blobs: Faulty) -> None:
    world.enqueue("created")
    blobs.fail("read", *["before"] * 2000)  # about a day at one in 45 seconds

    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]


def test_a_copy_that_cannot_be_sent_leaves_the_message_to_the_host(world: World) -> None:
    cart = world.enqueue("plain-503")
    faulty_queue(world, "carts").fail("send", "before")

    assert not world.deliver(world.carts.receive())  # type: ignore[arg-type]
    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == purchases(world, cart)


def test_a_damaged_record_is_not_read_as_an_empty_one(world: World) -> None:
    cart = world.enqueue("created")
    world.blobs.overwrite(f"{CUSTOMER}/{cart}.json", b'[{"id": "cut off')

    world.deliver(world.carts.receive())  # type: ignore[arg-type]

    assert "storage" == world.waiting()["reason"]
    with pytest.raises(KeyError):
        posts(world, cart)


def test_a_failing_mark_changes_nothing_but_that_the_post_counts_as_unanswered(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("throttled")
    blobs.fail("set_metadata", "before")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    post = world.state(cart).post
    assert post is not None
    assert not post.heard
    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]


# --- races -----------------------------------------------------------------------------------------------------


def test_the_loser_of_a_race_publishes_what_the_winner_recorded(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("created")
    world.enqueue("created")
    first, second = world.carts.receive(), world.carts.receive()
    assert first is not None
    assert second is not None
    rival = world.worker()
    blobs.before("write", lambda: world.deliver(second, checkout=rival))

    world.deliver(first)

    assert "completed" == world.outcome()["data"]["outcome"]
    assert 2 == len(world.published())
    assert 1 == purchases(world, cart)
    assert 1 == len(world.record(cart))


def record_failed(world: World, request: CheckoutRequest) -> None:
    records = Records(world.container)
    record = records.load(request.customer_id, request.cart_id)
    failed = decided(request, Decision(Outcome.FAILED, 1), world.clock.now, revision=len(record.entries) + 1)
    records.append(request, record, failed)


def test_a_confirmed_purchase_corrects_a_failure_that_another_delivery_recorded(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("created")
    message = world.carts.receive()
    assert message is not None

    copy = message.text

    def refuse() -> None:
        # not by this program, which tells `failed` on a closed cart only: an assumption of it was broken
        record_failed(world, accepted(copy.encode()))
        world.carts.send(copy)
        duplicate = world.carts.receive()
        assert duplicate is not None
        world.deliver(duplicate, checkout=world.worker())

    blobs.before("write", lambda: None)  # the entry
    blobs.before("write", refuse)
    world.deliver(message)

    failed, corrected = world.published()
    assert ["failed", "completed"] == [failed["data"]["outcome"], corrected["data"]["outcome"]]
    assert failed["id"] == corrected["data"]["corrects"]
    assert failed["id"] != corrected["id"]
    assert [failed, corrected] == world.record(cart)
    world.carts.send(copy)
    world.run()
    assert corrected == world.published()[-1]  # from now on the correction answers


def test_a_permanent_write_conflict_is_handled_like_a_failed_write(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("created")
    refuse = blobs.port.write

    def lose(name: str, content: bytes, **more: Any) -> None:
        if name.endswith(".json"):
            raise Conflict
        refuse(name, content, **more)

    blobs.port.write = lose
    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    assert "storage" == world.waiting()["reason"]
    blobs.port.write = refuse
    world.run()

    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == purchases(world, cart)


# --- messages that are none, and the poison queue -----------------------------------------------------------


@pytest.mark.parametrize("body", ["", "{", "[]", "\ufeff", '{"customerId": 1}', "bm90IGpzb24=", "x" * 65_536])
def test_an_invalid_message_is_answered_at_once(world: World, body: str) -> None:
    world.carts.send(body)

    world.run()

    data = world.outcome()["data"]
    assert ("invalid", "invalid_message") == (data["outcome"], data["error"]["class"])
    assert data["error"]["path"].startswith("$")


@pytest.mark.parametrize(
    ("body", "level", "copy"), [('{"x": 1}', "INFO", None), ('{"retry": {}}', "WARNING", "unreadable")]
)
def test_the_log_warns_of_a_copy_that_cannot_be_read_but_not_of_other_invalid_messages(
    world: World, caplog: pytest.LogCaptureFixture, body: str, level: str, copy: str | None
) -> None:
    world.carts.send(body)

    with caplog.at_level(logging.INFO):
        world.run()

    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert ("told", "invalid", "invalid_message") == (line["result"], line["outcome"], line["class"])
    assert (level, copy) == (record.levelname, line.get("copy"))


@pytest.mark.parametrize("from_poison", [False, True])
def test_an_invalid_message_waits_unchanged_while_the_outcomes_queue_is_unavailable(
    world: World, caplog: pytest.LogCaptureFixture, *, from_poison: bool
) -> None:
    queue = world.poison if from_poison else world.carts
    queue.send("nonsense")
    faulty_queue(world, "checkout-outcomes").fail("send", "before")
    message = queue.receive()
    assert message is not None

    with caplog.at_level(logging.INFO):
        assert world.deliver(message, from_poison=from_poison), "it was not deferred, but failed"

    (copy,) = queue.messages
    assert (False, "nonsense") == (copy.id == message.id, copy.text)
    assert timedelta(seconds=30) <= copy.visible_at - world.clock.now <= timedelta(seconds=60)
    line = json.loads(caplog.records[-1].getMessage())
    found = {name: line.get(name) for name in ("result", "reason", "exception")}
    assert {"result": "deferred", "reason": "storage", "exception": "StorageUnavailable"} == found
    world.run()
    assert 1 == len(world.published())


def test_a_poisoned_message_is_tried_once_more_and_then_published(world: World) -> None:
    cart = world.enqueue("created")
    world.poison.send(world.carts.messages.pop().text)

    world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]
    retry = world.waiting()
    world.run()

    assert {"startedAt", "reason", "poisoned"} == retry.keys()
    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == purchases(world, cart)


def test_messages_that_were_poisoned_together_come_back_at_different_times(world: World) -> None:
    # a worker that is killed takes its whole batch along, and their leases end together: without this they would
    # be fetched together again, and the innocent die with the killer until they are poisoned twice
    for number in range(4):
        world.enqueue("created", f"order-{number}", seed=number)
        world.poison.send(world.carts.messages.pop().text)

    for _ in range(4):
        world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]

    waits = [(message.visible_at - world.clock.now).total_seconds() for message in world.carts.messages]
    assert 4 == len(set(waits))
    assert all(0 <= wait <= 20 for wait in waits)


def came_back_from_poison(world: World, number: int) -> str:
    """Let a cart be poisoned once; the id of the outcome that it will have."""
    world.enqueue("created", f"order-{number}", seed=number)
    world.poison.send(world.carts.messages.pop().text)
    world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]
    return accepted(world.carts.messages[-1].text.encode()).event_id


class Meeting:
    """The service, in whose first POST something else happens.

    What that finds is for the test to judge: an assertion that fails in here is one more failure that is delivered
    again.
    """

    def __init__(self, service: Any, meanwhile: Callable[[], None]) -> None:
        self._service, self._meanwhile = service, [meanwhile]

    def checkout(self, request: CheckoutRequest, **how: Any) -> Any:
        if self._meanwhile:
            self._meanwhile.pop()()
        return self._service.checkout(request, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


def test_a_process_handles_messages_from_poison_one_at_a_time(world: World) -> None:
    # the killer may be among them, and whatever it meets in its process dies with it
    ids = [came_back_from_poison(world, number) for number in range(2)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    found: list[Any] = []

    def meet() -> None:
        settled = world.deliver(world.carts.receive())  # type: ignore[arg-type]
        copy = accepted(world.carts.messages[-1].text.encode())
        found.append((settled, len(world.published()), copy.event_id, copy.retry.poisoned))

    world.partner_center = Meeting(world.partner_center, meet)
    world.checkout = world.worker()
    world.run()

    assert [(True, 0, ids[1], True)] == found, "the other one waits, as a copy, and nothing is told of it"
    assert ["completed"] * 2 == [event["data"]["outcome"] for event in world.published()]


def test_a_process_takes_one_more_message_from_poison_for_each_that_ended_well(world: World) -> None:
    ids = [came_back_from_poison(world, number) for number in range(3)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    assert world.deliver(world.carts.receive())  # type: ignore[arg-type]
    found: list[str] = []

    def meet() -> None:
        world.deliver(world.carts.receive())  # type: ignore[arg-type]
        found.extend(event["id"] for event in world.published())

    world.serve(Meeting(world.partner_center, meet))  # a new process, which begins with one again
    world.run()
    assert [ids[0]] == found

    assert ["completed"] * 3 == [event["data"]["outcome"] for event in world.published()]


def test_two_messages_from_poison_are_handled_at_once_after_one_has_ended_well(world: World) -> None:
    ids = [came_back_from_poison(world, number) for number in range(3)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    found: list[str] = []

    def meet() -> None:
        world.deliver(world.carts.receive())  # type: ignore[arg-type]
        found.extend(event["id"] for event in world.published())

    meeting = Meeting(world.partner_center, lambda: None)
    world.serve(meeting)
    assert world.deliver(world.carts.receive())  # type: ignore[arg-type]
    meeting._meanwhile.append(meet)
    world.run()

    assert [ids[0], ids[2]] == found
    assert 3 == len(world.published())


@pytest.mark.parametrize("missing", ["records", "token"])
def test_a_message_from_poison_that_was_deferred_before_its_post_stays_isolated(
    missing: str, world: World, blobs: Faulty
) -> None:
    # it has not crashed its worker, but was not posted yet: handled together, a crashing one would fail the valid ones
    ids = [came_back_from_poison(world, number) for number in range(2)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    service = world.partner_center
    if missing == "records":
        blobs.fail("read", "before", "before")
    else:
        world.serve(Tokens(service, TokenUnavailable("none")))
    for _ in ids:
        assert world.deliver(world.carts.receive())  # type: ignore[arg-type]
    world.clock.advance(60)
    found: list[tuple[bool, int]] = []

    def meet() -> None:
        found.append((world.deliver(world.carts.receive()), len(world.published())))  # type: ignore[arg-type]

    world.partner_center = Meeting(service, meet)
    world.checkout = world.worker()
    world.run()

    assert [(True, 0)] == found, "the other one waits, as a copy, and nothing is told of it"
    assert ["completed"] * 2 == [event["data"]["outcome"] for event in world.published()]


def test_the_poison_handler_does_not_wait_for_the_isolation(world: World) -> None:
    ids = [came_back_from_poison(world, number) for number in range(2)]
    world.poison.send(world.carts.messages.pop().text)
    world.clock.advance(POISON_SPREAD_SECONDS)
    found: list[str] = []

    def meet() -> None:
        world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]
        found.extend(event["id"] for event in world.published())

    world.partner_center = Meeting(world.partner_center, meet)
    world.checkout = world.worker()
    world.run()

    assert [ids[1]] == found
    assert ["failed", "completed"] == [event["data"]["outcome"] for event in world.published()]


def test_a_message_from_poison_that_fails_releases_the_isolation(world: World) -> None:
    ids = [came_back_from_poison(world, number) for number in range(2)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    service = world.partner_center

    def fail() -> None:
        raise AssertionError("a bug")

    world.partner_center = Meeting(service, fail)
    world.checkout = world.worker()

    assert not world.deliver(world.carts.receive())  # type: ignore[arg-type]
    assert world.deliver(world.carts.receive())  # type: ignore[arg-type]
    assert [ids[1]] == [event["id"] for event in world.published()]


def bug() -> ServiceResponse:
    raise ZeroDivisionError


def test_a_message_poisoned_twice_is_asked_about_once_its_last_post_is_settled(world: World) -> None:
    service = Responses(bug)  # whether it has bought is not known
    world.serve(service)
    world.enqueue("created")

    world.run()

    assert 2 * MAX_DEQUEUE_COUNT == len(service.posts)
    assert 1 == service.gets
    data = world.outcome()["data"]
    assert ("failed", "internal") == (data["outcome"], data["error"]["class"])


def test_a_message_poisoned_twice_before_any_post_is_failed_without_a_question(world: World) -> None:
    class Deadly(Responses):
        def token(self) -> str:
            raise ZeroDivisionError

    service = Deadly(bug)
    world.serve(service)
    world.enqueue("created")

    deliveries = world.run()

    assert 2 * MAX_DEQUEUE_COUNT + 2 == deliveries
    assert ([], 0) == (service.posts, service.gets)
    data = world.outcome()["data"]
    assert ("failed", "internal", False) == (data["outcome"], data["error"]["class"], data["error"]["retryable"])


def test_a_killer_whose_copies_die_between_deferrals_is_not_posted_for_ever(world: World) -> None:
    # no single message of it is delivered five times, so the host never poisons it again
    world.enqueue("service-down")
    world.poison.send(world.carts.messages.pop().text)
    world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]
    for _ in range(5):
        world.clock.now = max(world.clock.now, world.carts.messages[0].visible_at)
        message = world.carts.receive()
        assert message is not None
        message.dequeue_count = 2
        world.deliver(message)

    assert 5 == world.waiting()["deaths"]
    world.run()

    assert ("failed", "internal") == (
        world.outcome()["data"]["outcome"],
        world.outcome()["data"]["error"]["class"],
    )


def test_a_poisoned_message_that_is_decided_is_published_from_its_record(world: World) -> None:
    cart = world.enqueue("created")
    text = world.carts.messages[0].text
    world.run()
    world.poison.send(text)

    world.run()

    assert 2 == len(world.published())
    assert "completed" == world.outcome()["data"]["outcome"]
    assert 1 == posts(world, cart)


def test_the_poison_handler_also_reports_the_entry_that_answers_another_request(world: World) -> None:
    world.enqueue("created", "order-1")
    world.run()
    world.enqueue("created", "order-2")
    world.poison.send(world.carts.messages.pop().text)

    world.run()

    ids = [event["id"] for event in world.published()]
    assert 3 == len(ids)
    assert ids[0] == ids[1] == world.published()[2]["data"]["answeredBy"]


def test_the_poison_handler_defers_to_the_poison_queue_while_records_cannot_be_read(
    world: World, blobs: Faulty
) -> None:
    world.enqueue("created", None)
    world.poison.send(world.carts.messages.pop().text)
    blobs.fail("read", "before")

    assert world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]

    (message,) = world.poison.messages
    assert "message-2" == json.loads(base64.b64decode(message.text))["requestId"]
    assert [] == world.carts.messages
    world.run()
    assert "completed" == world.outcome()["data"]["outcome"]


def test_the_poison_handler_never_raises_even_on_a_bug(world: World, blobs: Faulty) -> None:
    world.enqueue("created")
    world.poison.send(world.carts.messages.pop().text)

    def bug() -> None:
        raise ZeroDivisionError

    blobs.before("read", bug)

    assert world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]
    assert 1 == len(world.poison.messages)


@pytest.mark.parametrize("body", ["nonsense", None])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_message_that_was_delivered_before_by_the_poison_queue_is_renewed_at_once(
    world: World, body: str | None, count: int
) -> None:
    # the worker died on it, or on one beside it, and a lease of ten minutes has passed
    world.enqueue("created")
    text = world.carts.messages.pop().text
    world.poison.send(body or text)
    message = world.poison.receive()
    assert message is not None
    message.dequeue_count = count

    assert count < 5 or message.dequeue_count == count
    world.checkout.handle(message.text.encode(), Delivery(message.id, count, message.inserted_at, from_poison=True))
    world.poison.delete(message)

    (fresh,) = world.poison.messages
    assert 0 == fresh.dequeue_count
    assert [] == world.published()
    assert not world.container.blobs, "nothing else was done before"
    if body or count > 2:
        assert fresh.text == (body or text), "as it came: decoding it may be what kills the worker"
    else:
        assert 1 == json.loads(base64.b64decode(fresh.text))["retry"]["renewals"]


def test_each_renewal_waits_longer_up_to_an_hour(world: World) -> None:
    checkout = world.worker(uniform=max)  # the longest wait
    for renewals in (0, 1, 3, 6, 1000):
        body = {"customerId": CUSTOMER, "cartId": scenarios.cart_id("created", ""), "retry": {"renewals": renewals}}
        checkout.handle(json.dumps(body).encode(), Delivery("m", 2, world.clock.now, from_poison=True))

    waits = [(message.visible_at - world.clock.now).total_seconds() for message in world.poison.messages]
    assert [60, 120, 480, 3600, 3600] == waits
