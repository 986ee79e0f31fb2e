"""The state of one delivery of a valid request."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from shared.core.cart_state import CartState, Post, PostEvidence, entry_holds
from shared.core.messages import CheckoutRequest, Delivery, ms_request_id
from shared.core.models import ServiceResponse
from shared.core.outcomes import response_ids
from shared.core.retry import DEATHS_BEFORE_POISON, Destination
from shared.core.rules import InHand, Record
from shared.core.verdict import Bought, Verdict
from shared.telemetry import LogLine
from shared.time_budget import TimeBudget


class Answer(msgspec.Struct, frozen=True):
    """The answer in hand: to the POST that was entered as `post` and sent under `key`."""

    post: Post
    key: int
    response: ServiceResponse
    verdict: Verdict
    left: PostEvidence

    @property
    def heard(self) -> Post | None:
        """The own entry, where the answer left nothing at work."""
        return self.post if self.left.heard else None


class Clocks(msgspec.Struct, frozen=True):
    """The clocks of the process: the wall clock, and the monotonic one in seconds."""

    wall: Callable[[], datetime]
    monotonic: Callable[[], float]


class Loaded(msgspec.Struct, frozen=True):
    """A moment by three clocks: storage's (the `Date` of its answer), and the two of the process."""

    date: datetime
    wall: datetime
    monotonic: float

    def now(self, monotonic: float) -> datetime:
        """The time by storage's clock, when the monotonic one of the process says this."""
        return self.date + timedelta(seconds=monotonic - self.monotonic)


NEVER = Loaded(datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), 0.0)


class DeliveryContext(msgspec.Struct):
    """One delivery of a valid request.

    Attributes:
        request: The request, whose `retry` is what a copy will carry.
        delivery: The delivery.
        line: Its log line.
        budget: What is left of its time.
        clocks: The clocks of the process.
        record: The cart's record as it was read last, and after a write of its own.
        state: The cart's working state in it.
        loaded: When the record was read.
        answer: The answer to its latest POST.
        ordered: The service has said that the cart is ordered.
        repeated: The POST that repeats an ordered cart's was made.
        posted: It has made a POST.
    """

    request: CheckoutRequest
    delivery: Delivery
    line: LogLine
    budget: TimeBudget
    clocks: Clocks
    record: Record = Record()
    state: CartState = CartState()
    loaded: Loaded = NEVER
    answer: Answer | None = None
    ordered: bool = False
    repeated: bool = False
    posted: bool = False

    @property
    def queue(self) -> Destination:
        """The queue that it came from, and that its copies go to."""
        return Destination.POISON if self.delivery.from_poison else Destination.CARTS

    def now(self) -> datetime:
        """The time by storage's clock: the `Date` of the record's answer, and what has passed since."""
        return self.loaded.now(self.clocks.monotonic())

    @property
    def heard(self) -> Post | None:
        """The own entry, while an answer in hand has left nothing at work."""
        return self.answer.heard if self.answer else None

    @property
    def attempts(self) -> int:
        """The number of attempts that the outcome reports."""
        retry = self.request.retry
        return retry.attempt + (self.posted or retry.refused is not None)

    @property
    def in_hand(self) -> InHand:
        """What this delivery has learned from the service."""
        if self.answer is not None and isinstance(self.answer.verdict, Bought):
            return InHand.BOUGHT
        return InHand.ORDERED if self.ordered else InHand.NOTHING

    @property
    def poisoned_twice(self) -> bool:
        """Whether it is not posted any more, since deliveries of it have failed too often.

        A killer need not reach the poison queue again: its copies count their deaths together.
        """
        retry = self.request.retry
        return retry.poisoned and (self.delivery.from_poison or retry.deaths >= DEATHS_BEFORE_POISON)

    @property
    def response_ids(self) -> dict[str, str | int] | None:
        """The ids of the latest exchange, as an outcome tells them; None where nothing was answered."""
        if self.answer is None:
            return None
        return response_ids(self.answer.response, self.ms_request_id(self.answer.key), self.request.correlation_id)

    def ms_request_id(self, key: int | None) -> str:
        """MS-RequestId of this cart under `key`."""
        return ms_request_id(self.request.customer_id, self.request.cart_id, key or 0)

    def update_retry(self, **state: object) -> None:
        """Change the `retry` that a copy of this message will carry."""
        self.request = replace(self.request, retry=replace(self.request.retry, **state))


class EntryAge:
    """How old the entry is that is made now, by both clocks of the process.

    A suspended machine may stop the monotonic clock, from which the entry's time follows (`DeliveryContext.now`). So
    the wall clock counts from the load, whose time storage told, and not from here:

        wall       load ─ suspended for an hour ─ enter: an hour and a second after the load
        monotonic  load ───────────────────────── enter: `at` is a second after the load, which others take for settled
    """

    def __init__(self, ctx: DeliveryContext) -> None:
        self._clocks = ctx.clocks
        self._monotonic = ctx.clocks.monotonic()
        self._wall = ctx.loaded.wall + timedelta(seconds=self._monotonic - ctx.loaded.monotonic)

    def holds(self) -> bool:
        """Whether a POST may still begin under it."""
        wall = (self._clocks.wall() - self._wall).total_seconds()
        return entry_holds(self._clocks.monotonic() - self._monotonic, wall)
