"""No delivery outlasts nine minutes, whatever takes its longest time: it is deferred instead.

functionTimeout (10 min) restarts the worker with every other call in flight, so nothing may come near it.
"""

import base64
import itertools
import json
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from local.simulator.scenarios import cart_id
from shared import checkout
from shared.adapters import identity, partner_center, storage
from shared.adapters.limits import time_limits
from shared.core.errors import ErrorClass, error
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.ports import PartnerCenterApi, StorageUnavailable, StoredBlob, TokenUnavailable
from shared.records import Records
from shared.settings import Settings, SettingsError
from shared.time_budget import LONGEST_MESSAGE, TimeBudget, TimeLimits
from tests.support.builders import accepted, after, body
from tests.support.memory import MemoryBlobs, MemoryQueue, QueuedMessage
from tests.support.world import CUSTOMER, SETTINGS, World

LONGEST_POST = 200.0
"""The most that CHECKOUT_TIMEOUT_SECONDS may say."""
BY_IDENTITY = replace(SETTINGS, storage_connection_string=None, checkout_timeout=LONGEST_POST)
LIMITS = time_limits(BY_IDENTITY)
_Result = TypeVar("_Result")

# --- the limits ---------------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_adapters() -> None:
    assert time_limits(SETTINGS) == TimeLimits(
        post=SETTINGS.checkout_timeout,
        get=partner_center.GET_TIMEOUT + identity.LONGEST_REQUEST,
        token=identity.LONGEST_REQUEST,
        read=storage.LONGEST_READ,
        write=storage.LONGEST_OPERATION,
    )
    assert 3 * storage.LONGEST_SIGN_IN == LIMITS.sign_in


def test_the_limits_add_up_as_listed() -> None:
    assert TimeLimits(post=200.0, get=44.0, token=14.0, read=28.75, write=18.5, sign_in=63.0) == LIMITS
    assert (155.5, 247.25) == (LIMITS.ending, LIMITS.entry_and_post)


def test_a_delivery_has_time_for_each_step_once_even_if_all_take_their_longest() -> None:
    once = LIMITS.read + LIMITS.token + LIMITS.entry_and_post + 2 * LIMITS.get
    assert once + LIMITS.ending <= LONGEST_MESSAGE


def test_nine_minutes_end_before_the_host_restarts_the_worker() -> None:
    host = json.loads((Path(__file__).parents[2] / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = (int(part) for part in host["functionTimeout"].split(":"))
    assert LONGEST_MESSAGE <= hours * 3600 + minutes * 60 + seconds - 60


def test_no_setting_can_make_the_post_longer() -> None:
    env = {
        "CheckoutStorage": "UseDevelopmentStorage=true",
        "CARTS_QUEUE": "carts",
        "OUTCOMES_QUEUE": "outcomes",
        "RECORDS_CONTAINER": "records",
        "PARTNER_CENTER_URL": "http://localhost",
    }
    longest = Settings.from_env(env | {"CHECKOUT_TIMEOUT_SECONDS": f"{LONGEST_POST}"})
    assert longest.checkout_timeout == LONGEST_POST == partner_center.LONGEST_POST
    with pytest.raises(SettingsError):
        Settings.from_env(env | {"CHECKOUT_TIMEOUT_SECONDS": f"{LONGEST_POST + 1}"})


def test_connecting_is_part_of_each_limit() -> None:
    assert partner_center.CONNECT_TIMEOUT < partner_center.GET_TIMEOUT < LONGEST_POST
    assert storage.CONNECT_TIMEOUT + storage.READ_TIMEOUT < storage.LONGEST_OPERATION


# --- the budget ---------------------------------------------------------------------------------------------


def test_a_step_may_begin_while_it_and_the_ending_fit() -> None:
    now = [1000.0]
    limits = TimeLimits(post=10.0, get=1.0, token=1.0, read=1.0, write=2.0, sign_in=5.0)
    budget = TimeBudget(limits, lambda: now[0], longest=100.0)
    assert 15.0 == limits.ending
    now[0] = 1075.0
    assert (True, False) == (budget.allows(10.0), budget.allows(10.1))
    now[0] = 1085.0
    assert (True, False) == (budget.allows(0.0), budget.allows(0.1))
    now[0] = 1200.0
    assert not budget.allows(0.0)


# --- whatever takes its time --------------------------------------------------------------------------------


class Slow:
    """The ports of a world whose calls take up to their longest time, fail, and lose races, by a random source.

    `hurry` is the share of calls that take no time at all; the others mostly take their longest.
    """

    def __init__(self, world: World, chance: random.Random, hurry: float, trouble: float) -> None:
        self.world, self.chance, self.hurry, self.trouble = world, chance, hurry, trouble

    def take(self, longest: float) -> None:
        """Let a call take its time."""
        if self.chance.random() < self.hurry:
            return
        self.world.clock.advance(self.chance.choice([longest, longest, self.chance.uniform(0.0, longest)]))

    def race(self) -> str | None:
        """Who was first where a blob is about to be written: a `rival`, one who has `bought`, or the `own` write."""
        return self.chance.choice(["rival", "own"]) if self.chance.random() < self.trouble else None

    def storage(self, longest: float, call: Callable[[], Any]) -> Any:
        """One operation of storage: it works, fails before or after it took effect, or gets no token."""
        self.take(longest)
        if self.chance.random() >= self.trouble:
            return call()
        how = self.chance.choice(["before", "after", "no token"])
        if how == "no token":
            self.world.clock.advance(storage.LONGEST_SIGN_IN)
        if how == "after":
            call()
        raise StorageUnavailable(how)


class SlowQueue:
    """A queue of `Slow`."""

    def __init__(self, slow: Slow, queue: MemoryQueue) -> None:
        self._slow, self._queue = slow, queue

    def send(self, text: str, delay: float = 0.0) -> None:
        self._slow.storage(LIMITS.write, lambda: self._queue.send(text, delay))


class SlowBlobs:
    """The container of `Slow`. Another writer may be first, and a write that is sent again conflicts with itself."""

    def __init__(self, slow: Slow, blobs: MemoryBlobs) -> None:
        self._slow, self._blobs = slow, blobs

    def read(self, name: str) -> Any:
        return self._slow.storage(LIMITS.read, lambda: self._blobs.read(name))

    def write(self, name: str, content: bytes, **how: Any) -> str:
        return self._write(name, lambda: self._blobs.write(name, content, **how))

    def set_metadata(self, name: str, metadata: Any, *, match: str) -> str:
        return self._write(name, lambda: self._blobs.set_metadata(name, metadata, match=match))

    def url(self, name: str) -> str:
        return self._blobs.url(name)

    def _write(self, name: str, call: Callable[[], str]) -> str:
        match self._slow.race():
            case "rival":
                self._rival(name)
            case "bought":
                buy(self._blobs)
            case "own":
                call()  # the response is lost, and it is sent again
        return str(self._slow.storage(LIMITS.write, call))

    def _rival(self, name: str) -> None:
        """Another delivery writes what is there already: only the ETag changes."""
        found = self._blobs.read(name)
        if isinstance(found, StoredBlob):
            self._blobs.set_metadata(name, found.metadata, match=found.etag)


def _fault(status: int, code: int) -> ServiceResponse:
    return ServiceResponse(status, json.dumps({"code": code, "description": "no"}).encode())


TO_POST = [
    ServiceResponse(201, b'{"orders": [{"id": "o-1", "status": "completed"}]}'),
    ServiceResponse(201, b'{"orders": [{"id": "o-1", "status": "completed"}], "x": "%s"}' % (b"x" * 50_000)),
    *(_fault(*each) for each in [(400, 800002), (400, 999999), (404, 800008), (400, 800065), (409, 800064)]),
    *(_fault(*each) for each in [(401, 800001), (403, 900308), (500, 800003)]),
    ServiceResponse(429, b"", retry_after="60"),
    ServiceResponse(None, failure="no answer: ReadTimeout"),
    ServiceResponse(None, failure="not sent: ConnectTimeout", sent=False),
]
TO_GET = [
    *(ServiceResponse(200, b'{"status": "%s"}' % each) for each in (b"Active", b"Ordered", b"?")),
    _fault(404, 800008),
    ServiceResponse(None, failure="no answer: ReadTimeout"),
]


class SlowService:
    """The service of `Slow`: a cart that may be bought, refused, ordered already, throttled or anything in between."""

    def __init__(self, slow: Slow, to_post: Sequence[ServiceResponse], to_get: Sequence[ServiceResponse]) -> None:
        self._slow, self._answers, self._carts = slow, to_post, to_get

    def token(self) -> str:
        self._slow.take(LIMITS.token)
        if self._slow.chance.random() < self._slow.trouble / 4:
            raise TokenUnavailable
        return f"token-{self._slow.chance.random()}"

    def renew_token(self, refused: str) -> str | None:
        del refused
        self._slow.take(LIMITS.token)
        return self._slow.chance.choice([None, f"token-{self._slow.chance.random()}"])

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        assert request.cart_id
        assert ms_request_id
        assert token
        connecting = partner_center.CONNECT_TIMEOUT * self._slow.chance.choice([0, 1, 2, 8])  # by each address in turn
        self._slow.take(connecting)
        if not may_begin():
            return ServiceResponse(None, failure="not sent: the entry is too old", sent=False)
        self._slow.take(LIMITS.post - connecting)
        return self._slow.chance.choice(self._answers)

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        del request
        self._slow.take(LIMITS.get)
        return self._slow.chance.choice(self._carts)

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        del request
        self._slow.take(LIMITS.get)
        return self._slow.chance.choice([ServiceResponse(200, b'{"items": []}'), ServiceResponse(503, b"")])

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        raise AssertionError(f"the order {order_id} of {customer_id} is not asked for")


def slow_world(seed: int, hurry: float, trouble: float) -> tuple[World, Slow]:
    """A world with slow ports, and two requests for one cart."""
    world = World(BY_IDENTITY, seed=seed)
    slow = Slow(world, random.Random(seed), hurry, trouble)
    world.blobs = SlowBlobs(slow, world.container)
    world.queues = {name: SlowQueue(slow, queue) for name, queue in world.queues.items()}
    world.serve(SlowService(slow, TO_POST, TO_GET))
    for request in ("order-1", "order-2"):
        world.enqueue("created", request, seed=seed)
    return world, slow


def deliver_timed(world: World, message: QueuedMessage, *, from_poison: bool) -> float:
    """Deliver a message. Returns how long that took, which leaves its lease as it is."""
    began = world.clock.now
    world.deliver(message, from_poison=from_poison)
    return (world.clock.now - began).total_seconds()


def run_timed(world: World, most: int) -> float:
    """Deliver so often, or until all is answered. Returns how long the longest delivery took."""
    longest = 0.0
    for _ in range(most):
        message, from_poison = world.carts.receive(), False
        if message is None:
            message, from_poison = world.poison.receive(), True
        if message is not None:
            longest = max(longest, deliver_timed(world, message, from_poison=from_poison))
            continue
        following = [at for queue in (world.carts, world.poison) if (at := queue.next_visible()) is not None]
        if not following:
            break
        world.clock.now = max(world.clock.now, min(following))
    return longest


# --- everything at its worst --------------------------------------------------------------------------------


class Worst(Slow):
    """All calls take their longest. `races` come with the first writes, and storage is away from its n-th operation."""

    def __init__(self, world: World, away: int, races: list[str]) -> None:
        super().__init__(world, random.Random(away), 0.0, 0.0)
        self._away, self._races = away, races

    def take(self, longest: float) -> None:
        self.world.clock.advance(longest)

    def race(self) -> str | None:
        return self._races.pop() if self._races else None

    def storage(self, longest: float, call: Callable[[], Any]) -> Any:
        self.take(longest)
        self._away -= 1
        if self._away < 0:
            self.world.clock.advance(storage.LONGEST_SIGN_IN)
            raise StorageUnavailable("no token")
        return call()


def buy(blobs: MemoryBlobs) -> None:
    """Another request buys the cart, with a result that needs a blob of its own."""
    other = accepted(body(customerId=CUSTOMER, cartId=THE_CART, requestId="order-0"))
    records = Records(blobs)
    record = records.load(CUSTOMER, THE_CART)
    if record.bought() is None:
        done = decided(other, Decision(Outcome.COMPLETED, 1, LARGE), after(0))
        records.append(other, record, done, record.metadata)


THE_CART = cart_id("created", "created 1")
LARGE = '{"orders": [{"id": "' + "x" * 50_000 + '"}]}'
RACES = [[], ["own"], ["rival"], ["bought"], ["bought", "own"], ["bought", "rival"], ["rival", "own", "own"]]


@pytest.mark.parametrize("from_poison", [False, True])
@pytest.mark.parametrize("races", RACES, ids="-".join)
def test_no_delivery_outlasts_nine_minutes_where_everything_is_at_its_worst(
    races: list[str], *, from_poison: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With budgets of many lengths, so that the time is up before any of its steps."""
    chance, over = random.Random(len(races)), 0.0
    for away, to_post, to_get in itertools.product(range(2, 10), range(len(TO_POST)), range(len(TO_GET))):
        budget = chance.uniform(LIMITS.read + LIMITS.ending, LONGEST_MESSAGE)
        monkeypatch.setattr(checkout, "TimeBudget", partial(TimeBudget, longest=budget))
        world = World(BY_IDENTITY)
        slow = Worst(world, away, [*races])
        world.blobs = SlowBlobs(slow, world.container)
        world.queues = {name: SlowQueue(slow, queue) for name, queue in world.queues.items()}
        world.serve(SlowService(slow, TO_POST[to_post : to_post + 1], TO_GET[to_get : to_get + 1]))
        world.enqueue("created", seed=1, retry={"poisoned": True} if from_poison else {})
        (message,) = world.carts.messages
        message.dequeue_count = 1
        over = max(over, deliver_timed(world, message, from_poison=from_poison) - budget)
    assert over <= 0.0


def test_a_poisoned_message_without_an_id_is_deferred_where_its_carts_entries_cannot_all_be_published_in_time() -> None:
    world = World(BY_IDENTITY)
    slow = Worst(world, 1000, [])
    world.queues = {name: SlowQueue(slow, queue) for name, queue in world.queues.items()}
    world.serve(SlowService(slow, TO_POST, TO_GET))
    records = Records(world.container)
    for number in range(40):
        other = accepted(body(customerId=CUSTOMER, cartId=THE_CART, requestId=f"order-{number}"))
        refused = Decision(Outcome.FAILED, 1, error=error(ErrorClass.CART, "no"))
        records.append(other, records.load(CUSTOMER, THE_CART), decided(other, refused, after(0)), {"key": "1"})
    world.poison.send(json.dumps({"customerId": CUSTOMER, "cartId": THE_CART}))
    (message,) = world.poison.messages
    message.dequeue_count = 1
    assert deliver_timed(world, message, from_poison=True) <= LONGEST_MESSAGE
    assert "storage" == json.loads(base64.b64decode(world.poison.messages[-1].text))["retry"]["reason"]


# --- each step is asked about --------------------------------------------------------------------------------


class AskedBudget(TimeBudget):
    """A budget that remembers what it was asked last."""

    asked = 0.0

    def allows(self, longest: float) -> bool:
        type(self).asked = longest
        return super().allows(longest)


class AskedService:
    """A service that no call reaches whose longest time does not lie in the last question to the budget."""

    def __init__(self, service: PartnerCenterApi, unasked: list[str]) -> None:
        self._service, self._unasked = service, unasked

    def token(self) -> str:
        return self._call("token", LIMITS.token, self._service.token)

    def renew_token(self, refused: str) -> str | None:
        return self._call("renew_token", LIMITS.token, partial(self._service.renew_token, refused))

    def checkout(self, request: CheckoutRequest, **how: Any) -> ServiceResponse:
        return self._call("checkout", LIMITS.entry_and_post, partial(self._service.checkout, request, **how))

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        return self._call("get_cart", LIMITS.get, partial(self._service.get_cart, request))

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        return self._call("list_orders", LIMITS.get, partial(self._service.list_orders, request))

    def _call(self, name: str, longest: float, call: Callable[[], _Result]) -> _Result:
        if AskedBudget.asked < longest:
            self._unasked.append(name)
        AskedBudget.asked = 0.0
        return call()


@pytest.mark.parametrize(
    "scenario", ["created", "unauthorized-once", "dropped-after-then-refused", "already-ordered", "coded-500-twice"]
)
def test_no_call_begins_that_the_budget_was_not_asked_about(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "TimeBudget", AskedBudget)
    unasked: list[str] = []
    world = World(BY_IDENTITY)
    world.serve(AskedService(world.partner_center, unasked))
    world.enqueue(scenario)
    world.enqueue(scenario, "order-2")
    world.run()
    assert [] == unasked


# --- drawn at random ----------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**32)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, hurry=st.sampled_from([0.0, 0.1, 0.5]), trouble=st.sampled_from([0.0, 0.1, 0.3, 0.7]))
def test_no_delivery_outlasts_nine_minutes_whatever_takes_its_longest(seed: int, hurry: float, trouble: float) -> None:
    world, _ = slow_world(seed, hurry, trouble)
    assert run_timed(world, 60) <= LONGEST_MESSAGE


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, trouble=st.sampled_from([0.0, 0.1, 0.3]))
def test_no_message_is_lost_by_its_time(seed: int, trouble: float) -> None:
    """Whatever took so long: it is answered, or it still waits; and once all is fast, it is answered."""
    world, slow = slow_world(seed, 0.1, trouble)
    run_timed(world, 30)
    slow.hurry, slow.trouble = 1.0, 0.0
    world.clock.now += timedelta(minutes=10)
    run_timed(world, 2000)
    assert [] == [*world.carts.messages, *world.poison.messages]
    told = {event["id"] for event in world.published()}
    assert {request.event_id for request in world.accepted.values()} <= told
    assert 2 == len(world.accepted)
    assert {CUSTOMER} == {request.customer_id for request in world.accepted.values()}
