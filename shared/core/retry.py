"""When to try again, when to give up, and the throttle gate. Pure: the clock and the random source are passed in.

A transient response uses up no delivery and blocks no thread. A copy of the message goes back to a queue, invisible
for a while, and carries the request's `RetryState`:

    response                     delay                              attempt, since
    ---------------------------  ---------------------------------  --------------
    transient                    Retry-After + backoff(attempt)     +1, set once
    429                          Retry-After + backoff(attempt)     unchanged
    not recorded after a POST    backoff(attempt)                   +1, unchanged
    gate closed, no call made    to the opening + uniform(0, 60)    unchanged
    storage or token failed      uniform(30, 60)                    unchanged
    in doubt, not settled yet    until doubt + settle               unchanged
    back from poison             uniform(0, 20): `shared.poison`    unchanged

Only the first row sets `since`, so only transient responses can lead to giving up by age.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated

import msgspec

Uniform = Callable[[float, float], float]
"""A random source with the signature of `random.uniform`."""

LONGEST_RETRY_AFTER = 3600.0
LONGEST_GATE = 900.0
LAST_DAY = timedelta(days=6)
"""A cart lives seven days. After six, nothing is tried again."""

MAX_COUNT = 1_000_000
"""The largest count that a copy may carry. Counting stops there, so that the copy can always be read again."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class RetryState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a deferred copy carries about its request. Unknown fields are ignored, for rolling updates.

    `doubt` is the time of the latest POST that may still be at work. Once set, it is never cleared.
    """

    attempt: _Count = 0
    epoch: _Count = 0
    doubt: _Instant | None = None
    since: _Instant | None = None
    started_at: _Instant | None = None
    reason: str | None = None
    poisoned: bool = False


POISONED = "poisoned"
"""The reason of a deferral from the poison queue back to the carts queue."""


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
    """Try again later: a value, not an error. `delay` is in seconds. `called`: the service was called."""

    delay: float
    retry: RetryState
    called: bool = False
    queue: Destination = Destination.CARTS

    @property
    def reason(self) -> str:
        """Why it waits, for people: an error class, `storage`, `settling` or `poisoned`."""
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


def is_expired(retry: RetryState, policy: RetryPolicy, started_at: datetime, now: datetime, *, throttled: bool) -> bool:
    """Whether to give up after a transient response: too old by `since`, or six days after `started_at`."""
    too_old = retry.since is not None and (now - retry.since).total_seconds() > policy.max_age
    return (too_old and not throttled) or is_last_day(started_at, now)


def is_last_day(started_at: datetime, now: datetime) -> bool:
    """Whether the request is so old that even a throttled one gives up."""
    return now - started_at >= LAST_DAY


def after_transient(
    retry: RetryState, policy: RetryPolicy, uniform: Uniform, now: datetime, *, reason: str, wait: float
) -> Deferral:
    """After a transient response other than 429: counts an attempt, and sets `since` if it was not set."""
    attempt = min(retry.attempt + 1, MAX_COUNT)
    after = msgspec.structs.replace(retry, attempt=attempt, since=retry.since or now, reason=reason)
    return Deferral(wait + backoff(policy, retry.attempt, uniform), after, called=True)


def after_throttling(retry: RetryState, policy: RetryPolicy, uniform: Uniform, wait: float) -> Deferral:
    """After a 429: wait its Retry-After plus the backoff, since every request counts against the limit."""
    after = msgspec.structs.replace(retry, reason="throttled")
    return Deferral(wait + backoff(policy, retry.attempt, uniform), after, called=True)


def after_unrecorded_response(retry: RetryState, policy: RetryPolicy, uniform: Uniform, now: datetime) -> Deferral:
    """After a response that could not be recorded. It counts as no response, so the cart is in doubt."""
    after = msgspec.structs.replace(retry, attempt=min(retry.attempt + 1, MAX_COUNT), doubt=now, reason="storage")
    return Deferral(backoff(policy, retry.attempt, uniform), after, called=True)


def without_call(retry: RetryState, uniform: Uniform, reason: str, queue: Destination = Destination.CARTS) -> Deferral:
    """After a failure of storage or of the token, with no POST made."""
    return Deferral(uniform(30.0, 60.0), msgspec.structs.replace(retry, reason=reason), queue=queue)


def after_closed_gate(retry: RetryState, uniform: Uniform, opening: datetime, now: datetime) -> Deferral:
    """The gate is closed: come back within the minute after it opens."""
    delay = (opening - now).total_seconds() + uniform(0.0, 60.0)
    return Deferral(delay, msgspec.structs.replace(retry, reason="throttled"))


def settle_remaining(retry: RetryState, policy: RetryPolicy, now: datetime) -> float:
    """Seconds until the POST in doubt can no longer be at work, or 0 when there is none."""
    return seconds_to_settle(retry.doubt, now, policy.settle)


def seconds_to_settle(doubt: datetime | None, now: datetime, settle: float) -> float:
    """Seconds until a POST in doubt since `doubt` can no longer be at work, or 0 without a doubt."""
    if doubt is None:
        return 0.0
    # at most `settle`, even where the clock that wrote `doubt` was ahead of this one
    return min(settle, max(0.0, settle - (now - doubt).total_seconds()))


def settling(retry: RetryState, delay: float) -> Deferral:
    """Refused while an earlier POST may still be at work: POST again when it no longer can be."""
    return Deferral(delay, msgspec.structs.replace(retry, reason="settling"), called=True)


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
