"""Histories that a reader of the rules tried against the program: each broke one sentence of them."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.bootstrap import bootstrap
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.ports import Conflict
from tests.support.history import Killed
from tests.support.memory import MemoryPartnerCenter, Responses
from tests.support.world import CUSTOMER, World

HOUR = 3600.0
ORDERED = ServiceResponse(200, b'{"status": "Ordered"}')
LOST = ServiceResponse(None, failure="no answer: ReadTimeout")


def outcomes(world: World) -> list[tuple[str, str]]:
    """Outcome and error class of every event, in the order in which they were told."""
    told = [event["data"] for event in world.published()]
    return [(data["outcome"], data.get("error", {}).get("class", "")) for data in told]


def lose_state(world: World, cart: str) -> None:
    """The record is restored from a copy, without its metadata."""
    name = f"{CUSTOMER}/{cart}.json"
    world.container.overwrite(name, world.container.blobs[name].content)


def run_until(world: World, most: timedelta) -> timedelta:
    """Run until nothing is left, or this time has passed. Returns the time that it took."""
    end = world.carts_began + most
    world.run(until=lambda: world.clock.now >= end, most=200_000)
    return world.clock.now - world.carts_began


def test_two_requests_that_are_never_answered_are_both_told_soon_after_a_day_while_get_cart_says_active() -> None:
    """Each last POST would else be replaced by the other's, before it is settled.

    request A   last POST ─ ? ···· waits ····· last POST again ─ ? ····
    request B             waits ─ last POST ─ ? ···· waits ····· last POST again
    """
    world = World()
    world.serve(Responses(LOST))
    world.enqueue("created", "order-1")
    world.enqueue("created", "order-2")

    took = run_until(world, timedelta(days=8))

    assert [("failed", "service")] * 2 == outcomes(world)
    assert took < timedelta(hours=26)


def test_a_refusal_that_waits_in_a_copy_can_be_read_again_though_the_record_had_lost_its_state() -> None:
    world = World()
    world.serve(Responses(ServiceResponse(400, b'{"code": 800013}'), ServiceResponse(400, b'{"code": 800777}')))
    cart = world.enqueue("created", "order-1")
    world.run()
    lose_state(world, cart)

    world.enqueue("created", "order-2")
    world.run()

    assert [("failed", "cart"), ("failed", "rejected")] == outcomes(world)


@pytest.mark.parametrize(
    "fault",
    [
        {"code": 800003, "description": "of a 500, in a 400"},
        {"code": 800013, "orderErrors": [{"code": "800777"}]},
    ],
)
def test_a_refusal_is_told_within_minutes_whatever_codes_it_has(fault: dict[str, Any]) -> None:
    world = World()
    service = Responses(ServiceResponse(400, json.dumps(fault).encode()))
    world.serve(service)
    world.enqueue("created")

    took = run_until(world, timedelta(hours=2))

    assert ["failed"] == [outcome for outcome, _ in outcomes(world)]
    assert took < timedelta(minutes=15)
    assert 1 == len(service.posts)


def test_a_redirect_for_ever_is_told_after_two_days() -> None:
    world = World()
    world.serve(Responses(ServiceResponse(302, b"")))
    world.enqueue("created")

    took = run_until(world, timedelta(days=8))

    assert [("failed", "configuration")] == outcomes(world)
    assert took < timedelta(hours=50)


def test_a_request_after_one_that_expired_before_any_post_does_not_wait() -> None:
    world = World()
    cart = world.enqueue("created", "order-1", notAfter=world.clock.now.isoformat())
    world.run()

    world.enqueue("created", "order-2")
    world.run()

    assert [("failed", "expired"), ("completed", "")] == outcomes(world)
    assert world.clock.now - world.carts_began < timedelta(minutes=1)
    assert 0 == world.state(cart).key


class LosesAnAnswer:
    """Blobs whose next `set_metadata` takes effect, loses its answer, and is sent again after a concurrent action."""

    def __init__(self, port: Any, rival: Callable[[], object]) -> None:
        self._port, self._rival = port, rival
        self.armed = False

    def __getattr__(self, method: str) -> Any:
        return getattr(self._port, method)

    def set_metadata(self, *args: Any, **kwargs: Any) -> Any:
        etag = self._port.set_metadata(*args, **kwargs)
        if self.armed:
            self.armed = False
            self._rival()
            raise Conflict
        return etag


def test_a_cart_that_was_bought_while_the_answer_to_an_entry_was_lost_is_not_posted_again() -> None:
    """The record shows the own entry, and the purchase of a twin beside it.

    first   load ─ enter ─ POST ────────────────────────────── 201 ─ append `completed`
    twin                        load ─ enter (✓, answer lost) ·········· sent again ✕ ─ load: its own entry
    """
    world = World()
    service, posted, answered = world.partner_center, threading.Event(), threading.Event()

    class Waits:
        """The answer to the first POST comes when it is told to."""

        def __getattr__(self, name: str) -> Any:
            return getattr(service, name)

        def checkout(self, request: CheckoutRequest, **how: Any) -> ServiceResponse:
            response: ServiceResponse = service.checkout(request, **how)
            if not posted.is_set():
                posted.set()
                assert answered.wait(10)
            return response

    def first_ends() -> None:
        answered.set()
        worker.join(10)

    blobs = world.blobs = LosesAnAnswer(world.container, first_ends)
    world.serve(Waits())
    cart = world.enqueue("created")
    world.enqueue("created")
    first, twin = world.carts.receive(), world.carts.receive()
    assert first is not None
    assert twin is not None
    worker = threading.Thread(target=lambda: world.deliver(first))
    worker.start()
    assert posted.wait(10)

    blobs.armed = True
    world.deliver(twin, checkout=world.worker())

    assert ["completed", "completed"] == [outcome for outcome, _ in outcomes(world)]
    assert 1 == world.page(cart)["posts"]


class Pauses(MemoryPartnerCenter):
    """The process stands still between the entry of its first POST and the first byte, for so many seconds."""

    def __init__(self, world: World, seconds: float) -> None:
        super().__init__(world.service, world.clock)
        self._paused = [seconds]
        self._advance = world.clock.advance

    def checkout(self, request: CheckoutRequest, **how: Any) -> ServiceResponse:
        if self._paused:
            self._advance(self._paused.pop())
        return super().checkout(request, **how)


@pytest.mark.parametrize("seconds", [20.0, 40.0])
def test_no_post_begins_after_not_after_though_the_process_stood_still_before_it(seconds: float) -> None:
    world = World()
    world.serve(Pauses(world, seconds))
    cart = world.enqueue("created", notAfter=(world.clock.now + timedelta(seconds=10)).isoformat())

    world.run()

    assert [("failed", "expired")] == outcomes(world)
    assert 0 == world.purchases(cart)


def test_a_second_post_after_401_does_not_begin_after_not_after() -> None:
    world = World()
    service = world.partner_center

    class Refuses:
        """The first POST is refused by a 401, which takes a while."""

        first = True

        def __getattr__(self, name: str) -> Any:
            return getattr(service, name)

        def checkout(self, request: CheckoutRequest, **how: Any) -> ServiceResponse:
            if self.first:
                self.first = False
                assert how["may_begin"]()
                world.clock.advance(20)
                return ServiceResponse(401, b"")
            found: ServiceResponse = service.checkout(request, **how)
            return found

    world.serve(Refuses())
    cart = world.enqueue("created", notAfter=(world.clock.now + timedelta(seconds=10)).isoformat())

    world.run()

    assert [("failed", "expired")] == outcomes(world)
    assert 0 == world.purchases(cart)


def test_a_machine_that_was_suspended_before_its_entry_does_not_post_under_it() -> None:
    """The entry's time is that of the load and what the monotonic clock counted since, which a suspended one did not.

    this machine   load ─ suspended for an hour ─ enter, `at` an hour ago ─ POST …
    another                                                   load: settled ─ GET: Active ─ `failed`
    """
    world = World()
    offset = [0.0]  # what the monotonic clock has missed

    class Suspended(MemoryPartnerCenter):
        def token(self) -> str:
            if not offset[0]:
                world.clock.advance(HOUR)
                offset[0] = HOUR
            return super().token()

        def checkout(self, request: CheckoutRequest, **how: Any) -> ServiceResponse:
            state = world.state(request.cart_id)
            may_begin = how["may_begin"]()
            assert state.post is not None
            age = (world.clock.now - state.post.at).total_seconds()
            assert not may_begin or age <= 30, f"a POST begins under an entry that is {age} s old"
            return super().checkout(request, **how)

    world.checkout = bootstrap(
        world.settings,
        partner_center=Suspended(world.service, world.clock),
        queue=world.queues.__getitem__,
        blobs=world.blobs,
        clock=world.clock,
        monotonic=lambda: world.clock.epoch() - offset[0],
        uniform=world.random.uniform,
    )
    cart = world.enqueue("created")
    message = world.carts.receive()
    assert message is not None

    assert world.deliver(message)
    world.run()

    assert [("completed", "")] == outcomes(world)
    assert 1 == world.purchases(cart)


def test_an_ordered_cart_whose_record_lost_its_state_is_told_with_the_ids_of_candidate_orders() -> None:
    world = World()
    cart = world.enqueue("fault-400-800013", "order-1")
    world.run()
    lose_state(world, cart)
    world.serve(Responses(LOST, cart=ORDERED))

    world.enqueue("fault-400-800013", "order-2")
    world.run()

    assert ("unknown", "already_ordered") == outcomes(world)[-1]


def test_an_entry_of_a_type_that_this_version_does_not_know_is_passed_over_and_kept() -> None:
    world = World()
    cart = world.enqueue("fault-400-800013", "order-1")
    world.run()
    name = f"{CUSTOMER}/{cart}.json"
    there = world.container.blobs[name]
    newer = {"specversion": "1.0", "id": "newer", "type": "partnercenter.cart.checkout.confirmed", "data": {}}
    entries = [*json.loads(there.content), newer]
    world.container.blobs[name] = there._replace(content=json.dumps(entries).encode())

    world.enqueue("fault-400-800013", "order-2")
    run_until(world, timedelta(hours=2))

    assert ["failed", "failed"] == [outcome for outcome, _ in outcomes(world)]
    assert newer in world.record(cart)
    assert 3 == world.record(cart)[-1]["data"]["revision"]


def test_an_entry_under_a_message_id_is_published_though_the_message_is_poisoned_before_that() -> None:
    world = World()
    outcomes_queue = world.outcomes

    class Deadly:
        """Five workers die while they publish."""

        deaths = 0

        def send(self, text: str, delay: float = 0.0) -> None:
            if self.deaths < 5:
                self.deaths += 1
                raise Killed("publish")
            outcomes_queue.send(text, delay)

    world.queues["checkout-outcomes"] = Deadly()
    world.tap()
    world.enqueue("fault-400-800013", None)

    world.run()

    assert [] == world.violations()
