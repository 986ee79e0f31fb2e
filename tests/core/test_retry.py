import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core import retry as again
from shared.core.errors import TRANSIENT, ErrorClass
from shared.core.retry import (
    Deferral,
    Refusal,
    RetryPolicy,
    RetryState,
    ThrottleGate,
    Uniform,
    backoff,
    is_last,
    is_last_day,
    retry_after,
)
from tests.support.builders import NOW, after

POLICY = RetryPolicy(base=5, cap=900, max_age=86_400, settle=600)
REFUSED = Refusal(status=400, key=1, at=after(-60))
WAITED = RetryState(
    attempt=3,
    since=after(-600),
    held=after(-60),
    started_at=after(-900),
    reason="service",
    poisoned=True,
    deaths=2,
    renewals=1,
    refused=REFUSED,
)
ANY_TIME = st.datetimes(timezones=st.just(UTC))
ANY_RETRY = st.builds(
    RetryState,
    attempt=st.integers(0, 1_000_000),
    since=st.none() | ANY_TIME,
    held=st.none() | ANY_TIME,
    started_at=st.none() | ANY_TIME,
)


def lowest(low: float, high: float) -> float:
    assert low <= high
    return low


def highest(low: float, high: float) -> float:
    assert low <= high
    return high


def test_the_policy_has_the_defaults_of_the_settings() -> None:
    assert RetryPolicy(base=5, cap=900, max_age=86_400, settle=600) == RetryPolicy()


def test_a_request_that_never_waited_has_an_empty_retry_state() -> None:
    fresh = RetryState()
    assert (0, None, None, None, None, False, 0, 0, None) == msgspec.structs.astuple(fresh)
    assert b"{}" == msgspec.json.encode(fresh)


# --- the delay ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "delay"),
    [
        (0, 5),
        (1, 10),
        (2, 20),
        (3, 40),
        (7, 640),
        (8, 900),
        (9, 900),
        (63, 900),
        (64, 900),
        (65, 900),
        (1_000_000, 900),
    ],
)
def test_the_backoff_doubles_up_to_its_cap_and_its_lower_half_is_never_drawn(attempt: int, delay: float) -> None:
    assert delay == backoff(POLICY, attempt, highest)
    assert delay / 2 == backoff(POLICY, attempt, lowest)


def test_a_huge_attempt_under_a_huge_cap_does_not_overflow() -> None:
    assert 1e300 >= backoff(RetryPolicy(base=5, cap=1e300), 10**6, highest)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("  ", 0),
        ("0", 0),
        ("57", 57),
        (" 57 ", 57),
        ("000000000000057", 57),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("-5", 0),
        ("+5", 0),
        ("1.5", 0),
        ("57s", 0),
        ("57, 60", 0),
        ("0x10", 0),
        ("1e3", 0),
        ("５７", 0),  # noqa: RUF001  full-width digits
        ("²", 0),
        ("soon", 0),
        ("Sun, 22 Nov 2026 10:00:57 GMT", 57),
        ("Sun, 22 Nov 2026 09:59:59 GMT", 0),
        ("Sun, 22 Nov 2026 10:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 3600),
        ("Sun, 22 Nov 2026 11:00:57 +0100", 57),
        ("Sunday, 22-Nov-26 10:00:57 GMT", 57),
        ("Sun Nov 22 10:00:57 2026", 57),
        ("Sun, 32 Nov 2026 10:00:57 GMT", 0),
        ("Sun, 22 Nov 2026 25:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -2300", 3600),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0),
        ("Sun, 22 Nov 99999999999999999999 10:00:57 GMT", 0),
        ("2026-11-22T10:00:57Z", 0),
    ],
    ids=lambda given: str(given)[:40],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float) -> None:
    assert seconds == retry_after(header, NOW)


@pytest.mark.parametrize("seconds", [1, 59, 3599, 3600, 3601, 10**6])
def test_an_http_date_is_parsed(seconds: int) -> None:
    assert min(seconds, 3600) == retry_after(format_datetime(after(seconds), usegmt=True), NOW)


WORDS = ["Sun,", "22", "Nov", "2026", "10:00:57", "GMT", "-0000", "+9999", ",", ":", "-", "99", "(", '"', "\\", "(x)"]


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text("0123456789:-+, ()"), ANY_TIME)
def test_any_retry_after_is_between_zero_and_an_hour(header: str, now: datetime) -> None:
    assert 0 <= retry_after(header, now) <= 3600


# --- what a deferral remembers ------------------------------------------------------------------------------


def transient(retry: RetryState, reason: ErrorClass, at: datetime = NOW, wait: float = 0) -> Deferral:
    return again.after_transient(retry, POLICY, highest, at, reason=reason, wait=wait)


def test_after_a_transient_response_the_attempt_grows_and_since_is_set_once() -> None:
    first = transient(RetryState(deaths=1), ErrorClass.SERVICE, wait=57)
    assert Deferral(62, RetryState(attempt=1, since=NOW, reason="service", deaths=1), marks=True) == first
    later = transient(first.retry, ErrorClass.IN_PROGRESS, after(99))
    assert Deferral(10, RetryState(attempt=2, since=NOW, reason="in_progress", deaths=1), marks=True) == later


@pytest.mark.parametrize("reason", [ErrorClass.AUTHENTICATION, ErrorClass.CONFIGURATION])
def test_after_401_and_403_the_clock_of_their_own_starts_once(reason: ErrorClass) -> None:
    first = transient(RetryState(since=after(-7)), reason)
    assert Deferral(5, RetryState(attempt=1, since=after(-7), held=NOW, reason=reason), marks=True) == first
    assert NOW == transient(first.retry, reason, after(99)).retry.held


def test_after_a_429_attempt_since_and_held_stay_as_they_were() -> None:
    fresh = again.after_transient(RetryState(), POLICY, lowest, NOW, reason=ErrorClass.THROTTLED, wait=57)
    assert Deferral(59.5, RetryState(reason="throttled"), marks=True) == fresh
    waited = transient(WAITED, ErrorClass.THROTTLED, wait=57)
    assert Deferral(97, msgspec.structs.replace(WAITED, reason="throttled"), marks=True) == waited


def test_a_response_that_could_not_be_recorded_counts_as_none() -> None:
    deferral = again.after_unrecorded_response(WAITED, POLICY, highest)
    after_it = msgspec.structs.replace(WAITED, attempt=4, reason="storage")
    assert Deferral(40, after_it, marks=False) == deferral
    assert again.after_unrecorded_response(RetryState(), POLICY, highest).retry.since is None


@pytest.mark.parametrize(("uniform", "delay"), [(lowest, 30), (highest, 60)])
@pytest.mark.parametrize("reason", ["storage", "authentication"])
def test_without_a_call_it_waits_half_a_minute_to_a_minute(uniform: Uniform, delay: float, reason: str) -> None:
    deferral = again.without_call(WAITED, uniform, reason)
    assert Deferral(delay, msgspec.structs.replace(WAITED, reason=reason), marks=False) == deferral


@pytest.mark.parametrize(("uniform", "delay"), [(lowest, 57), (highest, 117)])
def test_behind_a_closed_gate_it_waits_for_the_opening_and_up_to_a_minute_more(uniform: Uniform, delay: float) -> None:
    deferral = again.after_closed_gate(WAITED, uniform, after(57), NOW)
    assert Deferral(delay, msgspec.structs.replace(WAITED, reason="throttled"), marks=False) == deferral


def test_behind_another_request_it_waits_and_nothing_else_changes() -> None:
    deferral = again.behind_another(WAITED, 30)
    assert Deferral(30, msgspec.structs.replace(WAITED, reason="other_request"), marks=False) == deferral


@pytest.mark.parametrize("reason", ["settling", "service"])
def test_settling_takes_a_second_more_and_changes_neither_attempt_nor_since(reason: str) -> None:
    deferral = again.settling(WAITED, 540, reason)
    assert Deferral(541, msgspec.structs.replace(WAITED, reason=reason), marks=True) == deferral
    assert "settling" == again.settling(WAITED, 540).reason


def test_a_deferral_says_why_it_waits_and_goes_back_to_its_own_queue() -> None:
    assert "service" == Deferral(0, WAITED).reason
    assert "unknown" == Deferral(0, RetryState()).reason
    assert Deferral(0, WAITED).queue is None


@settings(deadline=None)
@given(ANY_RETRY, st.sampled_from([lowest, highest]), st.sampled_from(sorted(TRANSIENT)))
def test_a_deferral_keeps_what_was_counted_elsewhere(retry: RetryState, uniform: Uniform, reason: ErrorClass) -> None:
    retry = msgspec.structs.replace(retry, poisoned=True, deaths=3, renewals=2, refused=REFUSED)
    for deferral in (
        again.after_transient(retry, POLICY, uniform, NOW, reason=reason, wait=0),
        again.after_unrecorded_response(retry, POLICY, uniform),
        again.without_call(retry, uniform, "storage"),
        again.after_closed_gate(retry, uniform, NOW, NOW),
        again.behind_another(retry, 1),
        again.settling(retry, 1),
    ):
        kept = deferral.retry
        assert (True, 3, 2, REFUSED, retry.started_at) == (
            *(kept.poisoned, kept.deaths, kept.renewals, kept.refused),
            kept.started_at,
        )
        assert 0 <= deferral.delay <= 900


# --- giving up ----------------------------------------------------------------------------------------------

FIVE_DAYS_AGO = after(days=-5)
IN_DAYS = [
    (None, False),
    (NOW, False),
    (after(-86_399), False),
    (after(-86_400), False),
    (after(-86_400.001), True),
    (after(days=-3), True),
]


@pytest.mark.parametrize("reason", [None, ErrorClass.SERVICE, ErrorClass.IN_PROGRESS])
@pytest.mark.parametrize(("since", "last"), IN_DAYS)
def test_a_post_is_the_last_one_when_it_was_entered_after_the_max_age(
    since: datetime | None, last: bool, reason: ErrorClass | None
) -> None:
    retry = RetryState(since=since, held=after(days=-4))
    assert last is is_last(retry, POLICY, FIVE_DAYS_AGO, NOW, reason=reason)


@pytest.mark.parametrize("reason", [ErrorClass.AUTHENTICATION, ErrorClass.CONFIGURATION])
@pytest.mark.parametrize(
    ("held", "max_age", "last"),
    [
        (None, 86_400, False),
        (after(hours=-47), 86_400, False),
        (after(hours=-48), 86_400, False),
        (after(hours=-48, seconds=-1), 86_400, True),
        (after(hours=-48, seconds=-1), 200_000, False),
        (after(-200_001), 200_000, True),
    ],
)
def test_401_and_403_are_held_for_two_days_at_least(
    reason: ErrorClass, held: datetime | None, max_age: float, last: bool
) -> None:
    retry, policy = RetryState(since=after(days=-4), held=held), RetryPolicy(max_age=max_age)
    assert last is is_last(retry, policy, FIVE_DAYS_AGO, NOW, reason=reason)


def test_a_429_never_gives_up_by_since() -> None:
    retry = RetryState(since=after(days=-3), held=after(days=-3))
    assert not is_last(retry, POLICY, FIVE_DAYS_AGO, NOW, reason=ErrorClass.THROTTLED)


SIX_DAYS = timedelta(days=6)


@pytest.mark.parametrize(
    ("started_at", "too_late"),
    [
        (NOW, False),
        (NOW - SIX_DAYS + timedelta(seconds=1), False),
        (NOW - SIX_DAYS, True),
        (NOW - SIX_DAYS - timedelta(seconds=1), True),
        (after(days=1), False),
    ],
)
def test_six_days_after_the_start_everything_ends(started_at: datetime, too_late: bool) -> None:
    assert too_late is is_last_day(started_at, NOW)
    for reason in (None, *TRANSIENT):
        assert too_late is is_last(RetryState(since=NOW, held=NOW), POLICY, started_at, NOW, reason=reason)


@given(ANY_RETRY, ANY_TIME, ANY_TIME, st.none() | st.sampled_from(sorted(TRANSIENT)))
def test_giving_up_never_raises(
    retry: RetryState, started_at: datetime, at: datetime, reason: ErrorClass | None
) -> None:
    assert isinstance(is_last(retry, POLICY, started_at, at, reason=reason), bool)


# --- the throttle gate --------------------------------------------------------------------------------------


def openings(gate: ThrottleGate, at: datetime = NOW) -> list[float | None]:
    """When customers a, b and c may be called again, in seconds after NOW; None: at once."""
    found = [gate.opening(customer, at) for customer in "abc"]
    return [None if opening is None else (opening - NOW).total_seconds() for opening in found]


def test_a_new_gate_is_open() -> None:
    assert [None, None, None] == openings(ThrottleGate())


def test_one_throttled_customer_does_not_delay_the_others() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    assert [60, None, None] == openings(gate)
    assert [60, None, None] == openings(gate, after(59.999))
    assert [None, None, None] == openings(gate, after(60))


@pytest.mark.parametrize(("first", "second"), [(60, 30), (60, 50), (60, 55), (60, 900)])
def test_a_second_throttled_customer_closes_the_gate_for_all_until_the_later_of_both(
    first: float, second: float
) -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, first)
    gate.close("b", after(10), second)
    later = max(first, 10 + second)
    assert [later, later, later] == openings(gate, after(10))
    assert [later, later, later] == openings(gate, after(later - 0.001))
    assert [None, None, None] == openings(gate, after(later))


def test_a_second_customers_429_that_names_no_time_closes_the_gate_as_long_as_the_first() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    gate.close("b", after(10), 0)
    assert [60, 60, 60] == openings(gate, after(10))


def test_a_429_that_names_no_time_closes_nothing() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 0)
    gate.close("b", NOW, 60)
    assert [None, 60, None] == openings(gate)


def test_customers_throttled_one_after_the_other_do_not_close_the_gate_for_all() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    gate.close("b", after(60), 60)
    assert [None, 120, None] == openings(gate, after(60))


def test_a_customer_throttled_twice_does_not_close_the_gate_for_all() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    gate.close("a", after(10), 90)
    assert [100, None, None] == openings(gate, after(10))


def test_a_shorter_429_does_not_open_the_gate_earlier() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    gate.close("a", after(10), 5)
    assert [60, None, None] == openings(gate, after(20))


def test_the_gate_is_closed_for_at_most_15_minutes() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 3600)
    assert [900, None, None] == openings(gate)
    gate.close("b", NOW, 1e9)
    assert [900, 900, 900] == openings(gate)


def test_the_gate_closes_again_after_it_was_open() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    gate.close("b", NOW, 60)
    assert [None, None, None] == openings(gate, after(60))
    gate.close("c", after(70), 60)
    assert [None, None, 130] == openings(gate, after(70))
    gate.close("a", after(80), 10)
    assert [130, 130, 130] == openings(gate, after(80))


def test_three_throttled_customers_close_the_gate_until_the_latest() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 90)
    gate.close("b", NOW, 60)
    gate.close("c", NOW, 30)
    assert [90, 90, 90] == openings(gate)


def test_the_gate_forgets_customers_that_may_be_called_again() -> None:
    gate = ThrottleGate()
    for second in range(1000):
        gate.close(f"customer-{second}", after(second), 1)
    assert 1 == len(gate._customers)


def test_many_threads_can_close_and_read_the_gate_at_once() -> None:
    gate, together, trouble = ThrottleGate(), threading.Barrier(8), []

    def work(number: int) -> None:
        together.wait()
        try:
            for second in range(200):
                gate.close(f"customer-{number}-{second}", after(second), 60)
                assert gate.opening(f"customer-{number}-{second}", after(second)) is not None
        except BaseException as error:  # noqa: BLE001  to be seen in the thread that asserts
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == trouble
    assert [259, 259, 259] == openings(gate, after(199))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100), st.integers(0, 2000)), max_size=12))
def test_the_gate_is_never_open_for_a_customer_whose_429_still_counts(calls: list[tuple[str, int, int]]) -> None:
    gate, now, until = ThrottleGate(), 0, dict.fromkeys("abc", 0)
    for customer, pause, wait in calls:
        now += pause
        gate.close(customer, after(now), wait)
        until[customer] = max(until[customer], now + min(wait, 900))
    for customer, opening in zip("abc", openings(gate, after(now)), strict=True):
        own = until[customer]
        assert (opening or now) >= own
        assert (opening or now) <= max(now, *until.values())
        assert (opening or now + 1) > now
