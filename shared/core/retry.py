"""When to try again, when to give up, and the throttle gate. Pure: the clock and the random source are passed in.

A transient response uses up no delivery and blocks no thread. A copy of the message goes back to a queue, invisible
for a while, and carries the request's `RetryState`:

    response                          delay                              attempt, since
    --------------------------------  ---------------------------------  ----------------------------
    transient                         Retry-After + backoff(attempt)     +1, set once (401, 403: held)
    429                               Retry-After + backoff(attempt)     unchanged
    not recorded after a POST         backoff(attempt)                   +1, unchanged
    gate closed, no call made         to the opening + uniform(0, 60)    unchanged
    storage or token failed           uniform(30, 60)                    unchanged
    another request's POST at work    at most 30 s                       unchanged
    in doubt, not settled yet         until it is settled                unchanged
    back from poison                  uniform(0, 20): `shared.poison`    unchanged

Only the first row sets `since` and `held`, so only transient responses can lead to giving up by age. Nothing that
safety depends on is carried in a copy: what is known of the POSTs lies with the cart (`shared.core.cart_state`).
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from shared.core.errors import HELD_FOR_OPERATOR, ErrorClass

Uniform = Callable[[float, float], float]
"""A random source with the signature of `random.uniform`."""

LONGEST_RETRY_AFTER = 3600.0
LONGEST_GATE = 900.0
LAST_DAY = timedelta(days=6)
"""A cart lives seven days. After six, nothing is tried again."""
SHORTEST_HOLD = 48 * 3600.0
"""Seconds for which 401 and 403 are tried again at least: the platform keeps a managed identity's token for a day."""
DEATHS_BEFORE_POISON = 5
"""Failed deliveries after which a message is poisoned. host.json says the same (`maxDequeueCount`)."""

MAX_COUNT = 1_000_000
"""The largest count that a copy may carry. Counting stops there, so that the copy can always be read again."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Key = Annotated[int, msgspec.Meta(ge=0, lt=10**15)]  # after a lost state it is a time in seconds, no count
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A refusal that proves nothing yet: it stands once the cart is closed.

    `key`, `at` and `delivery` say which POST was answered by it, the other fields how. `data` is the text of a JSON
    array.
    """

    status: int
    key: _Key
    at: _Instant
    delivery: str = ""
    code: str | None = None
    description: str = ""
    source: str | None = None
    data: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    cv: str | None = None


class RetryState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a deferred copy carries about its request. Unknown fields are ignored, for rolling updates.

    Attributes:
        attempt: How many transient responses there were, other than 429.
        since: When the first of them came that was neither 401 nor 403.
        held: When the first 401 or 403 came.
        started_at: When the first message entered its queue.
        reason: Why it waits, for people.
        poisoned: It came back from the poison queue once.
        deaths: Deliveries that failed, of all its copies since `poisoned` was set.
        renewals: How often the poison queue's handler has sent a fresh copy of it.
        refused: A refusal that does not stand yet. Then it is not posted again.
    """

    attempt: _Count = 0
    since: _Instant | None = None
    held: _Instant | None = None
    started_at: _Instant | None = None
    reason: str | None = None
    poisoned: bool = False
    deaths: _Count = 0
    renewals: _Count = 0
    refused: Refusal | None = None


class RetryPolicy(msgspec.Struct, frozen=True):
    """The settings of the same names, in seconds."""

    base: float = 5.0
    cap: float = 900.0
    max_age: float = 86_400.0
    settle: float = 600.0


class Destination(StrEnum):
    """The queue that a deferred copy goes to."""

    CARTS = "carts"
    POISON = "poison"


class Deferral(msgspec.Struct, frozen=True):
    """Try again later: a value, not an error. `delay` is in seconds. `queue`: None for the one that it came from.

    `marks`: what the response in hand left is written into the cart's state. False where nothing was called, and
    where the response could not be recorded: then it counts as none.
    """

    delay: float
    retry: RetryState
    marks: bool = False
    queue: Destination | None = None

    @property
    def reason(self) -> str:
        """Why it waits, for people.

        An error class, `storage`, `settling`, `other_request`, `out_of_time` or `poisoned`.
        """
        return self.retry.reason or "unknown"


def retry_after(header: str | None, now: datetime) -> float:
    """Seconds to wait by a Retry-After header: a number of seconds or an HTTP date.

    0 where it is absent, past or malformed, and never more than an hour.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # not a date, or out of range
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def backoff(policy: RetryPolicy, attempt: int, uniform: Uniform) -> float:
    """Seconds: exponential in `attempt`, capped, the upper half of it drawn at random."""
    longest = min(policy.cap, policy.base * 2.0 ** min(attempt, 64))
    return uniform(longest / 2, longest)


def is_last(
    retry: RetryState, policy: RetryPolicy, started_at: datetime, at: datetime, *, reason: ErrorClass | None = None
) -> bool:
    """Whether a POST that was entered at `at` is the last one, if its response is transient.

    It is where it was entered after the moment of giving up: six days after `started_at`, or too old by `since`, or
    for 401 and 403 by `held`. A 429 gives up after six days only. `reason`: the class of its response, None for a
    POST whose response is not in hand.
    """
    if is_last_day(started_at, at):
        return True
    if reason is ErrorClass.THROTTLED:
        return False
    held = reason in HELD_FOR_OPERATOR
    since, longest = (retry.held, max(SHORTEST_HOLD, policy.max_age)) if held else (retry.since, policy.max_age)
    return since is not None and (at - since).total_seconds() > longest


def is_last_day(started_at: datetime, now: datetime) -> bool:
    """Whether the request is so old that even a throttled one gives up."""
    return now - started_at >= LAST_DAY


def after_transient(
    retry: RetryState, policy: RetryPolicy, uniform: Uniform, now: datetime, *, reason: ErrorClass, wait: float
) -> Deferral:
    """After a transient response. Each but a 429 counts an attempt, and sets `since` or `held` if it was not set."""
    delay = wait + backoff(policy, retry.attempt, uniform)
    changes: dict[str, Any] = {}
    if reason is not ErrorClass.THROTTLED:  # every request counts against the limit, but waiting is not failing
        first = {"held": retry.held or now} if reason in HELD_FOR_OPERATOR else {"since": retry.since or now}
        changes = {"attempt": min(retry.attempt + 1, MAX_COUNT), **first}
    return Deferral(delay, msgspec.structs.replace(retry, reason=reason, **changes), marks=True)


def after_unrecorded_response(retry: RetryState, policy: RetryPolicy, uniform: Uniform) -> Deferral:
    """After a response that could not be recorded. It counts as no response."""
    after = msgspec.structs.replace(retry, attempt=min(retry.attempt + 1, MAX_COUNT), reason="storage")
    return Deferral(backoff(policy, retry.attempt, uniform), after)


def without_call(retry: RetryState, uniform: Uniform, reason: str) -> Deferral:
    """After a failure of storage or of the token, with no POST made."""
    return Deferral(uniform(30.0, 60.0), msgspec.structs.replace(retry, reason=reason))


def after_closed_gate(retry: RetryState, uniform: Uniform, opening: datetime, now: datetime) -> Deferral:
    """The gate is closed: come back within the minute after it opens."""
    delay = (opening - now).total_seconds() + uniform(0.0, 60.0)
    return Deferral(delay, msgspec.structs.replace(retry, reason="throttled"))


def behind_another(retry: RetryState, delay: float) -> Deferral:
    """Another request's POST may be at work: look at the record again, which mostly answers then."""
    return Deferral(delay, msgspec.structs.replace(retry, reason="other_request"))


def settling(retry: RetryState, delay: float, reason: str = "settling") -> Deferral:
    """A POST in doubt may still be at work: come back when it no longer can be."""
    # a second more, since storage's clock is read in whole seconds
    return Deferral(delay + 1.0, msgspec.structs.replace(retry, reason=reason), marks=True)


class ThrottleGate:
    """Which customers must not be called now, learned from their 429s. One per process, thread-safe.

        customer A   429, Retry-After 60 ──────closed────────┐
        customer B            429, Retry-After 30 ──closed─┐ │
        all customers         ├──────────── closed ──────────┤   two at once: it is the tenant's limit

    One customer's limit must not delay the others. Two customers throttled at the same time indicate the limit
    that the whole partner tenant shares.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._customers: dict[str, datetime] = {}
        self._tenant: datetime | None = None

    def close(self, customer_id: str, now: datetime, wait: float) -> None:
        """A 429 came for this customer. `wait` is its Retry-After in seconds."""
        until = now + timedelta(seconds=min(wait, LONGEST_GATE))
        with self._lock:
            self._customers = {c: at for c, at in self._customers.items() if at > now}
            others = [at for customer, at in self._customers.items() if customer != customer_id]
            if others:
                self._tenant = max(until, *others, self._tenant or until)
            self._customers[customer_id] = max(until, self._customers.get(customer_id, until))

    def opening(self, customer_id: str, now: datetime) -> datetime | None:
        """When this customer may be called again, or None for now."""
        with self._lock:
            candidates = (self._tenant, self._customers.get(customer_id))
        return max((at for at in candidates if at is not None and at > now), default=None)
