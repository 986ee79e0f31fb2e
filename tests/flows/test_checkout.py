"""The way of a message through the whole program: in memory, under a clock that the test turns."""

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from local.simulator import scenarios
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.poison import POISON_SPREAD_SECONDS
from shared.ports import Conflict, MissingBlob, StorageUnavailable, TokenUnavailable, WrongTenant
from tests.support.builders import accepted
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

    class Service:
        def checkout(self, _: object) -> ServiceResponse:
            return ServiceResponse(201, body)

    world.partner_center = Service()
    world.checkout = world.worker()
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
    assert 2 == world.outcome()["data"]["attempts"]


# --- waiting ---------------------------------------------------------------------------------------------------


def test_a_deferred_copy_waits_and_carries_its_retry_state(world: World) -> None:
    world.enqueue("coded-500", None)

    world.deliver(world.carts.receive())  # type: ignore[arg-type]

    retry = world.waiting()
    assert (1, 1, "service") == (retry["attempt"], retry["epoch"], retry["reason"])
    assert retry["doubt"] == retry["since"]
    (message,) = world.carts.messages
    assert 2.5 <= (message.visible_at - world.clock.now).total_seconds() <= 6
    assert "message-1" == json.loads(base64.b64decode(message.text))["requestId"]


def test_a_waiting_cart_has_a_note_for_operators_until_it_is_decided(world: World) -> None:
    cart = world.enqueue("coded-500")
    name = f"{CUSTOMER}/{cart}.waiting.json"

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    note = json.loads(world.blobs.read(name).content)
    world.run()

    assert ("order-1", 1, "service") == (note["requestId"], note["attempt"], note["reason"])
    assert {"since", "nextAt", "doubt", "msRequestId", "msCorrelationId"} <= note.keys()
    assert isinstance(world.blobs.read(name), MissingBlob)


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
    cart = world.enqueue("service-down")
    started = world.clock.now

    world.run()

    assert DAY < (world.clock.now - started).total_seconds() < DAY + 2 * HOUR
    assert ("unknown", "unanswered") == (
        world.outcome()["data"]["outcome"],
        world.outcome()["data"]["error"]["class"],
    )
    assert 1 == len(set(world.service.page(CUSTOMER, cart)["msRequestIds"]))
    assert posts(world, cart) < 140  # at most one in seven minutes once at the cap


def test_a_missing_token_defers_the_cart_without_counting_an_attempt(world: World) -> None:
    tokens = [TokenUnavailable("none"), WrongTenant("another"), None]
    service = world.partner_center

    class Tokenless:
        def checkout(self, request: Any) -> ServiceResponse:
            if (failure := tokens.pop(0)) is not None:
                raise failure
            answer: ServiceResponse = service.checkout(request)
            return answer

    world.partner_center = Tokenless()
    world.checkout = world.worker()
    world.enqueue("created")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    retry = world.waiting()
    world.run()

    assert "authentication" == retry["reason"]
    assert not {"attempt", "since", "doubt"} & retry.keys()
    assert 1 == world.outcome()["data"]["attempts"]


def test_a_request_that_never_gets_a_token_is_given_up_on_the_last_day_without_a_post(world: World) -> None:
    class Tokenless:
        def checkout(self, _: object) -> ServiceResponse:
            raise TokenUnavailable("the identity endpoint is gone")

    world.partner_center = Tokenless()
    world.checkout = world.worker()
    world.enqueue("created")

    world.run()

    error = world.outcome()["data"]["error"]
    assert ("failed", "authentication") == (world.outcome()["data"]["outcome"], error["class"])
    assert 0 == world.outcome()["data"]["attempts"]


# --- doubt -----------------------------------------------------------------------------------------------------


def test_a_refusal_after_a_lost_response_is_accepted_only_when_the_lost_post_has_settled(world: World) -> None:
    cart = world.enqueue("dropped-before-then-refused")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    in_doubt_since = world.waiting()["doubt"]
    world.run(until=lambda: world.waiting()["reason"] == "settling")
    retry = world.waiting()
    world.run()

    assert in_doubt_since == retry["doubt"]
    assert 1 == retry["attempt"]
    assert "failed" == world.outcome()["data"]["outcome"]
    assert 3 == posts(world, cart)
    settled = datetime.fromisoformat(in_doubt_since) + timedelta(seconds=world.settings.settle)
    assert settled <= world.clock.now < settled + timedelta(seconds=1)


def test_a_redelivery_puts_a_refusal_in_doubt(world: World) -> None:
    world.enqueue("fault-400-800013")
    message = world.carts.receive()
    assert message is not None
    message.dequeue_count = 2

    world.deliver(message)

    assert "settling" == world.waiting()["reason"]


def test_the_outcome_is_unknown_if_the_cart_in_doubt_cannot_be_read(world: World) -> None:
    service = world.partner_center

    class Forgetful:
        def checkout(self, request: Any) -> ServiceResponse:
            answer: ServiceResponse = service.checkout(request)
            return answer

        def get_cart(self, _: object) -> ServiceResponse:
            return ServiceResponse(404, b'{"code": 800008, "description": "no such cart"}')

    world.partner_center = Forgetful()
    world.checkout = world.worker()
    world.enqueue("dropped-before-then-refused")

    world.run()

    data = world.outcome()["data"]
    assert ("unknown", "cart", "800013") == (data["outcome"], data["error"]["class"], data["error"]["code"])


def test_an_ordered_cart_in_doubt_is_published_with_the_ids_of_candidate_orders(world: World) -> None:
    cart = world.enqueue("dropped-after-then-ordered")

    world.run()

    error = world.outcome()["data"]["error"]
    assert ("already_ordered", False) == (error["class"], error["retryable"])
    assert world.service.page(CUSTOMER, cart)["orderIds"] == error["data"]


# --- storage ---------------------------------------------------------------------------------------------------


def test_without_the_record_nothing_is_posted(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("created")
    blobs.fail("read", "before", "before")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    retry = world.waiting()

    with pytest.raises(KeyError):
        posts(world, cart)
    assert "storage" == retry["reason"]
    assert not {"attempt", "since", "doubt"} & retry.keys()
    world.run()
    assert "completed" == world.outcome()["data"]["outcome"]


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_order_that_could_not_be_recorded_is_posted_again_and_bought_once(
    world: World, blobs: Faulty, how: str
) -> None:
    cart = world.enqueue("created")
    blobs.fail("write", how)

    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    retry = world.waiting()
    assert [] == world.published()
    world.run()

    assert (1, "storage") == (retry["attempt"], retry["reason"])
    assert "doubt" in retry
    assert "since" not in retry
    assert 1 == purchases(world, cart)
    assert "completed" == world.outcome()["data"]["outcome"]


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


def test_a_failing_note_changes_nothing(world: World, blobs: Faulty) -> None:
    world.enqueue("coded-500")
    blobs.fail("overwrite", "before", "before")

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


def test_a_confirmed_purchase_corrects_a_failure_that_another_delivery_recorded(world: World, blobs: Faulty) -> None:
    cart = world.enqueue("created")
    message = world.carts.receive()
    assert message is not None

    class Refusing:
        def checkout(self, _: object) -> ServiceResponse:
            return ServiceResponse(400, b'{"code": 800013, "description": "refused"}')

    service, world.partner_center = world.partner_center, Refusing()
    rival = world.worker()
    world.partner_center = service
    copy = message.text

    def refuse() -> None:
        world.carts.send(copy)
        duplicate = world.carts.receive()
        assert duplicate is not None
        world.deliver(duplicate, checkout=rival)

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
    assert ("failed", "invalid_message") == (data["outcome"], data["error"]["class"])
    assert data["error"]["path"].startswith("$")


def test_an_invalid_message_waits_unchanged_while_the_outcomes_queue_is_unavailable(world: World) -> None:
    world.carts.send("nonsense")
    faulty_queue(world, "checkout-outcomes").fail("send", "before")

    world.deliver(world.carts.receive())  # type: ignore[arg-type]

    assert ["nonsense"] == [message.text for message in world.carts.messages]
    world.run()
    assert 1 == len(world.published())


def test_a_poisoned_message_is_tried_once_more_in_doubt_and_then_published(world: World) -> None:
    cart = world.enqueue("created")
    world.poison.send(world.carts.messages.pop().text)

    world.deliver(world.poison.receive(), from_poison=True)  # type: ignore[arg-type]
    retry = world.waiting()
    world.run()

    assert retry["poisoned"] is True
    assert "doubt" in retry
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

    def checkout(self, request: CheckoutRequest) -> Any:
        if self._meanwhile:
            self._meanwhile.pop()()
        return self._service.checkout(request)

    def get_cart(self, request: CheckoutRequest) -> Any:
        return self._service.get_cart(request)


def test_a_process_handles_messages_from_poison_one_at_a_time(world: World) -> None:
    # the killer may be among them, and whatever it meets in its process dies with it
    ids = [came_back_from_poison(world, number) for number in range(2)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    found: list[Any] = []

    def meet() -> None:
        settled = world.deliver(world.carts.receive())  # type: ignore[arg-type]
        copy = accepted(world.carts.messages[-1].text.encode())
        found.append(
            (settled, len(world.published()), copy.event_id, copy.retry.poisoned, copy.retry.doubt is not None)
        )

    world.partner_center = Meeting(world.partner_center, meet)
    world.checkout = world.worker()
    world.run()

    assert [(True, 0, ids[1], True, True)] == found, "the other one waits, as a copy, and nothing is told of it"
    assert ["completed"] * 2 == [event["data"]["outcome"] for event in world.published()]


def test_a_message_from_poison_is_not_isolated_after_its_post(world: World) -> None:
    ids = [came_back_from_poison(world, number) for number in range(2)]
    world.clock.advance(POISON_SPREAD_SECONDS)
    world.service.outage = "503"
    assert world.deliver(world.carts.receive())  # type: ignore[arg-type]
    world.service.outage = None
    world.clock.advance(60)
    found: list[str] = []

    def meet() -> None:
        world.deliver(world.carts.receive())  # type: ignore[arg-type]
        found.extend(event["id"] for event in world.published())

    world.partner_center = Meeting(world.partner_center, meet)
    world.checkout = world.worker()
    world.run()

    assert [ids[0]] == found
    assert ["completed"] * 2 == [event["data"]["outcome"] for event in world.published()]


class NoToken:
    """A service that must not be called."""

    def checkout(self, _: CheckoutRequest) -> Any:
        raise TokenUnavailable("none")


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
        world.partner_center = NoToken()
        world.checkout = world.worker()
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
    assert ["unknown", "completed"] == [event["data"]["outcome"] for event in world.published()]


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


def test_a_message_poisoned_twice_is_decided_by_get_cart_and_published(world: World) -> None:
    cart = world.enqueue("created")

    class Deadly:
        def checkout(self, _: object) -> ServiceResponse:
            raise ZeroDivisionError

        def get_cart(self, _: object) -> ServiceResponse:
            return ServiceResponse(200, b'{"status": "Active"}')

    world.partner_center = Deadly()
    world.checkout = world.worker()

    deliveries = world.run()

    assert 2 * MAX_DEQUEUE_COUNT + 2 == deliveries
    data = world.outcome()["data"]
    assert ("unknown", "unanswered") == (data["outcome"], data["error"]["class"])
    with pytest.raises(KeyError):
        posts(world, cart)


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
    assert "message-1" == json.loads(base64.b64decode(message.text))["requestId"]
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
def test_a_message_with_few_deliveries_left_in_the_poison_queue_is_renewed(world: World, body: str | None) -> None:
    world.enqueue("created")
    text = world.carts.messages.pop().text
    world.poison.send(body or text)
    message = world.poison.receive()
    assert message is not None
    message.dequeue_count = 4

    world.deliver(message, from_poison=True)

    (fresh,) = world.poison.messages
    assert 0 == fresh.dequeue_count
    assert [] == world.published()
    assert fresh.text == "nonsense" if body else json.loads(base64.b64decode(fresh.text))["requestId"] == "order-1"
