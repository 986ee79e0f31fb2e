"""How often a delivery POSTs, under which key and for how long, and what it leaves for the next one."""

from datetime import timedelta
from typing import Any

import pytest

from shared.attempt import CheckoutAttempt
from shared.context import Clocks, DeliveryContext, EntryAge, Loaded
from shared.core.cart_state import CartState, Post
from shared.core.messages import Delivery, ms_request_id
from shared.core.models import ServiceResponse
from shared.core.retry import RetryPolicy, ThrottleGate
from shared.ports import Conflict, StorageUnavailable, TokenUnavailable
from shared.records import Records
from shared.semconv import Endpoints
from shared.telemetry import Telemetry
from shared.time_budget import TimeBudget, TimeLimits
from tests.support.builders import accepted, answer, event
from tests.support.deliveries import CART, NO_ANSWER, RECORD, deliver, keep, kept, send, wait_of
from tests.support.memory import Responses
from tests.support.world import CUSTOMER, World

BOUGHT = answer(201, {"orders": [{"id": "o1", "status": "completed"}]})
ORDERED = answer(200, {"status": "Ordered"})
ALREADY_ORDERED = answer(400, {"code": 800065, "description": "Already ordered."})
SPENDING = answer(500, {"code": 800003, "description": "Internal error."})
UNAUTHORIZED = answer(401, {"code": 800001})
NOT_SENT = ServiceResponse(None, failure="not sent: ConnectionError", sent=False)
KNOWN = answer(400, {"code": 800002, "description": "No such offer."})


@pytest.fixture
def world() -> World:
    return World()


class Renewing(Responses):
    """A service whose token can be renewed, and each call of which takes `seconds`."""

    def __init__(self, world: World, *checkouts: Any, seconds: float = 0.0, **more: Any) -> None:
        super().__init__(*checkouts, **more)
        self._world, self._seconds = world, seconds
        self.tokens: list[str] = []

    def token(self) -> str:
        return "token-1"

    def renew_token(self, refused: str) -> str | None:
        return f"{refused[:-1]}{int(refused[-1]) + 1}"

    def checkout(self, *args: Any, **how: Any) -> ServiceResponse:
        self.tokens.append(how["token"])
        found = super().checkout(*args, **how)
        self._world.clock.advance(self._seconds)
        return found


def entered(by: str, world: World, **more: Any) -> CartState:
    """The state of a cart whose latest POST is settled."""
    return CartState(post=Post(by, world.clock.now - timedelta(seconds=700)), **more)


# --- how often ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("posted", "seconds", "posts"),
    [(NOT_SENT, 0.0, 1), (NOT_SENT, 31.0, 3), (NO_ANSWER, 31.0, 1), (UNAUTHORIZED, 0.0, 3), (SPENDING, 31.0, 1)],
    ids=["not sent", "not sent in time", "no answer", "unauthorized", "answered late"],
)
def test_a_delivery_posts_once_more_only_after_a_401_and_where_nothing_was_sent_in_time(
    posted: ServiceResponse, seconds: float, posts: int, world: World
) -> None:
    service = Renewing(world, posted, seconds=seconds)
    world.serve(service)
    send(world)
    deliver(world)
    assert posts == len(service.posts)


def test_after_a_401_the_post_is_made_with_another_token(world: World) -> None:
    service = Renewing(world, UNAUTHORIZED, BOUGHT)
    world.serve(service)
    send(world)
    deliver(world)
    assert ["token-1", "token-2"] == service.tokens
    assert "completed" == world.outcome()["data"]["outcome"]


def test_no_post_begins_at_the_moment_of_not_after(world: World) -> None:
    until = world.clock.now + timedelta(seconds=5)

    class Slow(Responses):
        def token(self) -> str:
            world.clock.now = until
            return "token"

    service = Slow(BOUGHT)
    world.serve(service)
    send(world, notAfter=until.isoformat())
    deliver(world)
    world.run()
    assert ([], "expired") == (service.posts, world.outcome()["data"]["error"]["class"])


@pytest.mark.parametrize("state", [CartState(0), CartState(None, Post("x", World().clock.now))])
def test_there_is_no_post_without_an_entry_and_its_key(state: CartState, world: World) -> None:
    line, clock = Telemetry(Endpoints("carts", "outcomes", "https://example.test"), world.clock), world.clock
    service = Responses(BOUGHT)
    attempt = CheckoutAttempt(service, None, ThrottleGate(), RetryPolicy(), clock, max)  # type: ignore[arg-type]
    request = accepted(send(world).encode())
    budget = TimeBudget(TimeLimits(1.0, 1.0, 1.0, 1.0, 1.0), clock.epoch)
    with line.message(Delivery("m", 1, clock.now), request) as facts:
        ctx = DeliveryContext(request, Delivery("m", 1, clock.now), facts, budget, Clocks(clock, clock.epoch))
        ctx.state = state
        with pytest.raises(ValueError, match=r"^a POST without an entry$"):
            attempt._checkout(ctx, "token", EntryAge(ctx))
    assert [] == service.posts


@pytest.mark.parametrize(("later", "holds"), [(30.0, True), (30.1, False)])
def test_an_entry_ages_by_the_wall_clock_too_which_a_suspended_machine_does_not_stop(
    later: float, holds: bool, world: World
) -> None:
    request, wall = accepted(send(world).encode()), world.clock
    line = Telemetry(Endpoints("carts", "outcomes", "https://example.test"), wall)
    with line.message(Delivery("m", 1, wall.now), request) as facts:
        budget = TimeBudget(TimeLimits(1.0, 1.0, 1.0, 1.0, 1.0), lambda: 1000.0)
        clocks = Clocks(wall, lambda: 1000.0)  # the monotonic clock stands still
        ctx = DeliveryContext(request, Delivery("m", 1, wall.now), facts, budget, clocks)
        ctx.loaded = Loaded(wall.now, wall.now, 1000.0)
        age = EntryAge(ctx)
        wall.advance(later)
        assert holds == age.holds()


# --- under which key ---------------------------------------------------------------------------------------------


def test_a_401_does_not_spend_or_renew_the_key_of_a_cart_that_may_be_bought(world: World) -> None:
    """A new key for a cart with a POST in doubt would buy it twice."""
    service = Renewing(world, UNAUTHORIZED, NO_ANSWER, cart=answer(503))
    world.serve(service)
    keep(world, CartState(4, Post("another", world.clock.now), spent=True))
    world.clock.advance(700)
    send(world)
    deliver(world)
    assert [ms_request_id(CUSTOMER, CART, 4)] * 2 == service.posts


def test_an_ordered_cart_is_posted_again_under_its_own_key_though_that_is_spent(world: World) -> None:
    service = Responses(SPENDING, ALREADY_ORDERED, BOUGHT, cart=ORDERED)
    world.serve(service)
    send(world)
    world.run()
    assert [ms_request_id(CUSTOMER, CART, 0)] * 3 == service.posts
    assert "completed" == world.outcome()["data"]["outcome"]


def test_a_refused_cart_has_a_new_key_for_the_next_request(world: World) -> None:
    service = Responses(KNOWN)
    world.serve(service)
    for request_id in ("order-1", "order-2"):
        send(world, requestId=request_id)
        world.run()
    assert [ms_request_id(CUSTOMER, CART, key) for key in (0, 1)] == service.posts


def test_a_spent_key_is_replaced_without_a_look_at_the_cart_where_nothing_is_in_doubt(world: World) -> None:
    service = Responses(BOUGHT)
    world.serve(service)
    keep(world, CartState(4, Post("another", world.clock.now, heard=True), spent=True))
    send(world)
    deliver(world)
    assert ([ms_request_id(CUSTOMER, CART, 5)], 0) == (service.posts, service.gets)


@pytest.mark.parametrize(("attempt", "settled"), [(1, False), (2, True)])
def test_from_the_third_attempt_on_a_spent_key_waits_until_the_cart_can_be_closed(
    attempt: int, settled: bool, world: World
) -> None:
    world.checkout = world.worker(uniform=max)
    world.serve(Responses(SPENDING))
    send(world, retry={"attempt": attempt})
    deliver(world)
    assert settled == (wait_of(world) == 601.0)


def test_a_spent_key_does_not_wait_where_nothing_is_in_doubt(world: World) -> None:
    world.serve(Responses(answer(403, {"code": 900308})))
    send(world, retry={"attempt": 5})
    deliver(world)
    assert wait_of(world) <= 160.0


# --- an entry whose response was lost --------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [False, True])
def test_an_entry_whose_response_was_lost_is_posted_unless_a_twin_has_told_meanwhile(twin: bool, world: World) -> None:
    """The write was made, and sent again it conflicts with itself: the record shows the own entry."""
    write = world.container.write
    entries: list[dict[str, Any]] = []
    request = accepted(send(world).encode())

    def losing(name: str, content: bytes, **how: Any) -> str:
        written = write(name, content, **how)
        if content != b"[]":
            return written
        entries.append(kept(world))
        if twin:
            records = Records(world.container)
            records.append(request, records.load(CUSTOMER, CART), event(of=request))
        raise Conflict

    world.container.write = losing  # type: ignore[method-assign]
    service = Responses(BOUGHT)
    world.serve(service)
    world.container.set_metadata = unavailable  # type: ignore[method-assign]  # it is not entered again
    deliver(world)
    assert (1, 0 if twin else 1) == (len(entries), len(service.posts))
    assert "completed" == world.outcome()["data"]["outcome"]


# --- what it leaves ------------------------------------------------------------------------------------------------


def test_an_entry_names_its_request_its_delivery_and_its_key_before_the_post(world: World) -> None:
    found: list[dict[str, Any]] = []

    def look() -> ServiceResponse:
        found.append(kept(world))
        return SPENDING

    world.serve(Responses(look))
    keep(world, CartState(2))
    text = send(world, retry={"attempt": 4})
    deliver(world)
    request = accepted(text.encode())
    (entry,) = found
    assert {
        "attempt": 5,
        "msRequestId": ms_request_id(CUSTOMER, CART, 2),
        "msCorrelationId": request.correlation_id,
        "by": request.event_id,
        "heard": False,
        "delivery": "message-1/1",
    } == {name: value for name, value in entry.items() if name != "at"}


def test_an_entry_is_dated_by_storages_clock_and_what_has_passed_since_the_load(world: World) -> None:
    class Slow(Responses):
        def token(self) -> str:
            world.clock.advance(100)
            return "token"

    world.serve(Slow(NO_ANSWER))
    send(world)
    deliver(world)
    post = world.state(CART).post
    assert post is not None
    assert world.clock.now == post.at


def test_a_deferral_leaves_when_and_why_it_is_tried_again(world: World) -> None:
    world.serve(Responses(answer(429, {}, retry_after="60")))
    keep(world, CartState(2))
    send(world, retry={"attempt": 4})
    deliver(world)
    waits = world.clock.now + timedelta(seconds=60)
    left = kept(world)
    assert (4, "throttled", True) == (left["attempt"], left["reason"], left["heard"])
    assert waits.isoformat()[:16] <= left["nextAt"] < (waits + timedelta(seconds=161)).isoformat()
    assert ms_request_id(CUSTOMER, CART, 2) == left["msRequestId"]
    assert "since" not in left


def test_an_ordered_cart_that_waits_for_a_token_leaves_why(world: World) -> None:
    class OneToken(Responses):
        left = 1

        def token(self) -> str:
            if not self.left:
                raise TokenUnavailable("gone")
            self.left -= 1
            return "token"

    world.serve(OneToken(ALREADY_ORDERED, cart=ORDERED))
    send(world)
    deliver(world)
    assert "authentication" == kept(world)["reason"]


def test_a_401_leaves_no_doubt_so_that_the_refusal_after_it_stands(world: World) -> None:
    world.serve(Renewing(world, UNAUTHORIZED, KNOWN))
    send(world)
    deliver(world)
    assert "failed" == world.outcome()["data"]["outcome"]


def test_where_no_time_is_left_for_get_cart_the_answer_of_the_post_is_kept(world: World) -> None:
    world.serve(Renewing(world, KNOWN, seconds=500.0))
    keep(world, entered("another", world))
    world.clock.advance(700)
    send(world)
    deliver(world)
    assert ("out_of_time", True) == (world.waiting()["reason"], kept(world)["heard"])


def test_an_unknown_outcome_leaves_the_doubt_of_the_others_and_not_that_of_its_own_refusal(world: World) -> None:
    other = world.clock.now
    keep(world, CartState(0, Post("another", other)))
    world.clock.advance(700)
    world.serve(Responses(KNOWN, cart=answer(200, {"status": "Expired"})))
    send(world)
    deliver(world)
    assert "unknown" == world.outcome()["data"]["outcome"]
    assert (None, other) == (world.state(CART).post, world.state(CART).doubt)


def test_where_get_cart_and_the_list_of_orders_agree_the_orders_are_named(world: World) -> None:
    cart = answer(200, {"status": "Ordered", "lineItems": [{"id": 0, "catalogItemId": "OFFER:1"}]})
    orders = answer(200, {"items": [{"id": "o1", "lineItems": [{"offerId": "offer:1"}]}]})
    world.serve(Responses(ALREADY_ORDERED, cart=cart, orders=orders))
    send(world)
    deliver(world)
    assert ["o1"] == world.outcome()["data"]["error"]["data"]


def test_an_outcome_without_a_post_leaves_a_new_record_its_key(world: World) -> None:
    """A record without one would count as one that has lost its state, and the next request would wait."""
    send(world, notAfter=world.clock.now.isoformat())
    deliver(world)
    assert "expired" == world.outcome()["data"]["error"]["class"]
    assert CartState(0) == world.state(CART)


def test_a_bought_cart_whose_state_was_lost_keeps_its_metadata_when_another_request_is_told(world: World) -> None:
    world.serve(Responses(BOUGHT))
    send(world)
    world.run()
    world.container.overwrite(RECORD, world.container.blobs[RECORD].content)
    send(world, requestId="order-2")
    deliver(world)
    assert 2 == len(world.record(CART))
    assert {} == world.container.blobs[RECORD].metadata


# --- for how long --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "wait"), [(-1.0, 60.0), (0.0, 60.0), (0.5, 2.0), (1.0, 2.0), (20.0, 21.0), (59.5, 60.0), (300.0, 60.0)]
)
def test_a_copy_is_back_within_a_second_after_its_not_after(left: float, wait: float, world: World) -> None:
    """Whatever it waits for, its outcome is due then. Nothing is due where that has passed."""
    world.container.read = unavailable  # type: ignore[method-assign]
    world.checkout = world.worker(uniform=lambda _, high: high)
    send(world, notAfter=(world.clock.now + timedelta(seconds=left)).isoformat())
    deliver(world)
    assert wait == wait_of(world)


def unavailable(*_: object, **__: object) -> Any:
    raise StorageUnavailable("away")
