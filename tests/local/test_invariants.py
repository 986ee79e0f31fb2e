"""The checks must be able to fail: a correct history, then violations, at least one of each invariant."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from local.chaos.checks import check
from local.chaos.evidence import Evidence, WorkerLog
from local.chaos.fault_table import InjectedFaults
from local.chaos.plan import ChaosPlan, Crash, CrashPoint, ExpectedRequest, Intensity, PlannedMessage
from local.chaos.report import chaos_report
from local.simulator.scenarios import BY_NAME, cart_id
from shared.core.messages import CheckoutRequest, ms_request_id
from shared.core.outcomes import Decision, Event, Outcome, decided, invalid
from tests.support.builders import NOW, accepted, body, refused, request

BOUGHT = request("bought", cartId=cart_id("created", "bought"))
REFUSED = request("refused", cartId=cart_id("dropped-before-then-refused", "refused"))
UNNAMED = accepted(body(cartId=cart_id("created", "unnamed")), message_id="")
"""The request in a message without `requestId`, before its message has an id."""
ONE, TWO = (msgspec.structs.replace(UNNAMED, request_id=f"message-{number}") for number in "12")
POISON_COPY = msgspec.structs.replace(UNNAMED, request_id="poison-copy")
INVALID = refused(b"nonsense")
RESULT = '{"orders":[{"id":"order-1"}]}'

Lie = Callable[[Evidence], None]


def decide(of: CheckoutRequest, outcome: Outcome, *corrects: Event, revision: int = 1) -> Event:
    result = RESULT if outcome is Outcome.COMPLETED else None
    return decided(of, Decision(outcome, 1, result), NOW, revision=revision, corrects=corrects)


def event(of: CheckoutRequest, outcome: Outcome, *corrects: Event, revision: int = 1) -> dict[str, Any]:
    return dict(json.loads(decide(of, outcome, *corrects, revision=revision).text))


def key_of(of: CheckoutRequest, key: int = 0) -> str:
    return ms_request_id(of.customer_id, of.cart_id, key)


def post(of: CheckoutRequest, came: float, ended: float, key: int = 0) -> dict[str, Any]:
    """A POST of the books. Times are in seconds from NOW, at which every outcome was decided."""
    times = {"cameAt": NOW.timestamp() + came, "endedAt": NOW.timestamp() + ended}
    return {"msRequestId": key_of(of, key), **times, "status": 201}


def purchase(of: CheckoutRequest, at: float, key: int = 0) -> dict[str, Any]:
    return {"msRequestId": key_of(of, key), "at": NOW.timestamp() + at, "orderIds": ["order-1"]}


def page(of: CheckoutRequest, *posts: dict[str, Any], **more: Any) -> dict[str, Any]:
    log = {"postLog": [*posts], "posts": len(posts), "msRequestIds": [each["msRequestId"] for each in posts]}
    return {"cartId": of.cart_id, **log, "purchases": 0, "purchaseLog": [], "orderIds": [], **more}


def bought_page(of: CheckoutRequest) -> dict[str, Any]:
    more = {"purchases": 1, "purchaseLog": [purchase(of, -1.0)], "orderIds": ["order-1"]}
    return page(of, post(of, -2.0, -1.0), **more)


def line(of: CheckoutRequest, message: str, **more: Any) -> dict[str, Any]:
    return {"function": "checkout_cart", "eventId": of.event_id, "messageId": message, "result": "told", **more}


def honest() -> Evidence:
    """Three requests, and a message that is none: all of it as it should be.

    The first request was sent twice. The third is two messages without `requestId` for one cart: the first of them was
    told under its own id, the second one under the id of its poison copy.
    """
    requests = (
        ExpectedRequest(BOUGHT, BY_NAME["created"], 2, "bought"),
        ExpectedRequest(REFUSED, BY_NAME["dropped-before-then-refused"], 1, "refused"),
        ExpectedRequest(UNNAMED, BY_NAME["created"], 2, "unnamed", named=False),
    )
    sendings = tuple((0.0, PlannedMessage("", name)) for name in ("bought", "bought", "refused", *["unnamed"] * 2, "-"))
    log = WorkerLog()
    for entry in (line(BOUGHT, "m-1", status=201), line(BOUGHT, "m-2"), line(REFUSED, "m-3", status=400)):
        log.add(f"10:00:00 {json.dumps(entry, separators=(',', ':'))}\n")
    bought, failed = event(BOUGHT, Outcome.COMPLETED), event(REFUSED, Outcome.FAILED)
    unnamed = [event(ONE, Outcome.COMPLETED), event(POISON_COPY, Outcome.COMPLETED, revision=2)]
    return Evidence(
        plan=ChaosPlan(
            "seed", Intensity.of(200), requests, (INVALID,), {"cart": Crash(CrashPoint.AFTER_POST, 1)}, sendings
        ),
        published=[bought, bought, failed, *unnamed, dict(json.loads(invalid(INVALID).text))],
        sent_at={"bought": 1.0, "refused": 1.0, "unnamed": 1.0},
        first_seen={BOUGHT.event_id: 2.0, REFUSED.event_id: 3.0},
        message_ids={"unnamed": ["message-1", "message-2"]},
        records={name_of(BOUGHT): [bought], name_of(REFUSED): [failed], name_of(UNNAMED): unnamed},
        data={},
        books={
            "totals": {"posts": 3, "throttled": 0, "purchases": 2, "boughtTwice": 0},
            "carts": [bought_page(BOUGHT), page(REFUSED, post(REFUSED, -9.0, -8.0)), bought_page(UNNAMED)],
        },
        log=log,
        crashed=[],
        left={"carts": 0, "carts-poison": 0},
        deliveries=4,
        injected=InjectedFaults({}, {}, {}, {}),
        duration=3.0,
    )


def report_of(evidence: Evidence) -> dict[str, Any]:
    return chaos_report(evidence, check(evidence))


def name_of(of: CheckoutRequest) -> str:
    return f"{of.customer_id}/{of.cart_id}"


def record_and_publish(evidence: Evidence, of: CheckoutRequest, *events: dict[str, Any]) -> None:
    """Instead of what was recorded and published of it."""
    ids = (of.event_id, of.correction_id())
    evidence.published = [event for event in evidence.published if event["id"] not in ids] + list(events)
    evidence.records[name_of(of)] = list(events)


def never_answered(evidence: Evidence) -> None:
    record_and_publish(evidence, REFUSED)


def invalid_message_never_answered(evidence: Evidence) -> None:
    evidence.published.pop()


def still_in_a_queue(evidence: Evidence) -> None:
    evidence.left["carts-poison"] = 1


def published_in_two_versions(evidence: Evidence) -> None:
    changed = evidence.published[0] | {"time": "2026-11-22T11:00:00.000Z"}
    evidence.published[0] = changed


def corrected_without_saying_what(evidence: Evidence) -> None:
    failed = decide(BOUGHT, Outcome.FAILED)
    correction = event(BOUGHT, Outcome.COMPLETED, failed, revision=2)
    correction["data"]["corrects"] = "another"
    record_and_publish(evidence, BOUGHT, event(BOUGHT, Outcome.FAILED), correction)


def of_no_message(evidence: Evidence) -> None:
    stranger = evidence.published[0] | {"id": "stranger"}
    evidence.published.append(stranger)
    evidence.records[name_of(BOUGHT)].append(stranger)


def invalid_message_answered_otherwise(evidence: Evidence) -> None:
    evidence.published[-1]["type"] = evidence.published[-1]["type"].replace("invalid", "unknown")


def published_but_not_recorded(evidence: Evidence) -> None:
    evidence.records.clear()


def recorded_otherwise_than_published(evidence: Evidence) -> None:
    evidence.records[name_of(BOUGHT)] = [evidence.published[0] | {"time": "2026-11-22T11:00:00.000Z"}]


def bought_twice(evidence: Evidence) -> None:
    evidence.books["carts"][0]["purchases"] = 2


def posted(evidence: Evidence, number: int, *posts: dict[str, Any]) -> None:
    """What the service saw of a cart, instead of what it did."""
    found = evidence.books["carts"][number]
    found |= {"postLog": [*posts], "msRequestIds": [each["msRequestId"] for each in posts], "posts": len(posts)}


def posted_under_a_random_id(evidence: Evidence) -> None:
    evidence.books["carts"][0]["msRequestIds"].append("99999999-0000-4000-8000-000000000000")


def posted_under_an_earlier_key(evidence: Evidence) -> None:
    posted(evidence, 0, post(BOUGHT, -9.0, -8.0), post(BOUGHT, -7.0, -6.0, key=1), post(BOUGHT, -2.0, -1.0))


def posted_under_two_keys_at_once(evidence: Evidence) -> None:
    posted(evidence, 1, post(REFUSED, -9.0, -5.0), post(REFUSED, -6.0, -4.0, key=1))


def recorded_and_never_told(evidence: Evidence) -> None:
    evidence.records[name_of(UNNAMED)].append(event(TWO, Outcome.COMPLETED, revision=3))


def a_record_lost_an_entry(evidence: Evidence) -> None:
    record_and_publish(evidence, REFUSED, event(REFUSED, Outcome.FAILED, revision=2))


def a_message_without_a_request_id_never_answered(evidence: Evidence) -> None:
    del evidence.published[4]
    del evidence.records[name_of(UNNAMED)][1]


def bought_by_a_post(evidence: Evidence, came: float, at: float, *more: dict[str, Any]) -> None:
    """The refused cart was bought after all."""
    posted(evidence, 1, post(REFUSED, came, at), *more)
    evidence.books["carts"][1] |= {"purchases": 1, "purchaseLog": [purchase(REFUSED, at)], "orderIds": ["order-9"]}


def failed_though_bought(evidence: Evidence) -> None:
    bought_by_a_post(evidence, -9.0, -8.0)


def failed_and_bought_later_by_a_post_that_had_begun(evidence: Evidence) -> None:
    bought_by_a_post(evidence, -1.0, 4.0, post(REFUSED, -0.5, -0.4))


def failed_though_bought_by_a_duplicate_that_was_answered(evidence: Evidence) -> None:
    record_and_publish(evidence, BOUGHT, event(BOUGHT, Outcome.FAILED))


def completed_though_not_bought(evidence: Evidence) -> None:
    evidence.books["carts"][0] |= {"purchases": 0, "purchaseLog": []}


def completed_though_bought_in_part(evidence: Evidence) -> None:
    bought, *others = evidence.plan.requests
    evidence.plan = replace(evidence.plan, requests=(replace(bought, scenario=BY_NAME["partial"]), *others))


def published_with_the_orders_of_another_cart(evidence: Evidence) -> None:
    evidence.books["carts"][0]["orderIds"] = ["order-2"]


def too_many_copies(evidence: Evidence) -> None:
    for number in range(10):
        evidence.log.add(f"10:00:00 {json.dumps(line(REFUSED, f'm-x{number}'), separators=(',', ':'))}")


def raised_an_unexpected_exception(evidence: Evidence) -> None:
    entry = line(BOUGHT, "m-1", result="raised", exception="KeyError")
    evidence.log.add(f"10:00:00 {json.dumps(entry, separators=(',', ':'))}")


def a_worker_ended_by_itself(evidence: Evidence) -> None:
    evidence.crashed.append("worker 11 died (exit code -11): 3 invocations fail")


def most_outcomes_differ_from_their_scenario(evidence: Evidence) -> None:
    requests = [replace(of, scenario=replace(of.scenario, expected="partial")) for of in evidence.plan.requests]
    evidence.plan = replace(evidence.plan, requests=tuple(requests))


LIES = [
    (most_outcomes_differ_from_their_scenario, "4 of 5 outcomes differ from their scenario's"),
    (a_worker_ended_by_itself, "a worker ended by itself: worker 11 died (exit code -11)"),
    (never_answered, "1: the request refused was never answered"),
    (invalid_message_never_answered, "1: the invalid message"),
    (a_message_without_a_request_id_never_answered, "1: the message message-2 for the cart"),
    (recorded_and_never_told, "1: the entry"),
    (still_in_a_queue, "1: the queue carts-poison holds 1 messages"),
    (published_in_two_versions, "2: different events of the request bought have one id"),
    (corrected_without_saying_what, "2: the correction"),
    (of_no_message, "2: the event stranger belongs to no message"),
    (invalid_message_answered_otherwise, "2: an event of the invalid message"),
    (published_but_not_recorded, "3: the event"),
    (recorded_otherwise_than_published, "3: the event"),
    (a_record_lost_an_entry, "3: the entries of"),
    (bought_twice, "4: the cart"),
    (posted_under_a_random_id, "5: the cart"),
    (posted_under_an_earlier_key, "5: the cart"),
    (posted_under_two_keys_at_once, "5: two POSTs"),
    (raised_an_unexpected_exception, "8: 1 times KeyError"),
    (failed_though_bought, "9: the outcome of refused is failed, but the cart was bought"),
    (
        failed_and_bought_later_by_a_post_that_had_begun,
        "9: the outcome of refused is failed, but the cart was bought",
    ),
    (
        failed_though_bought_by_a_duplicate_that_was_answered,
        "9: the outcome of bought is failed, but the cart was bought",
    ),
    (completed_though_not_bought, "9: the outcome of bought is completed, but the cart was not bought"),
    (completed_though_bought_in_part, "9: the outcome of bought is completed, but the service said partial"),
    (published_with_the_orders_of_another_cart, "9: the outcome of bought has the orders"),
    (too_many_copies, "2.60 live copies for each message sent"),
]


def test_a_correct_history_has_no_violations() -> None:
    assert [] == check(honest()).violations


@pytest.mark.parametrize(("lie", "said"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_violation_is_found(lie: Lie, said: str) -> None:
    evidence = honest()
    lie(evidence)

    assert [found for found in check(evidence).violations if found.startswith(said)]
    assert not report_of(evidence)["passed"]


def test_a_failed_cart_that_was_bought_by_a_post_that_outlived_settling_is_a_residual_which_names_the_post() -> None:
    evidence = honest()
    settle = evidence.plan.settle
    bought_by_a_post(evidence, -settle - 1.0, 0.5, post(REFUSED, -0.5, -0.4))

    report = report_of(evidence)

    assert [] == report["violations"]
    (residual,) = report["residual"]
    assert residual.startswith(f"refused (dropped-before-then-refused, cart {REFUSED.cart_id}): failed at 2026-11-22")
    assert key_of(REFUSED) in residual
    assert residual.endswith(f"after {settle + 1.5:.1f} s")


def test_a_purchase_within_settling_is_not_excused_by_another_that_outlived_it() -> None:
    evidence = honest()
    bought_by_a_post(evidence, -evidence.plan.settle - 1.0, 0.5, post(REFUSED, -2.0, -1.0, key=1))
    evidence.books["carts"][1]["purchaseLog"].append(purchase(REFUSED, -1.0, key=1))

    findings = check(evidence)

    assert [] == findings.residuals
    assert [found for found in findings.violations if found.startswith("9: the outcome of refused is failed")]


def test_more_than_three_residuals_are_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.chaos.checks.MAX_RESIDUALS", 0)
    evidence = honest()
    bought_by_a_post(evidence, -evidence.plan.settle - 1.0, 0.5, post(REFUSED, -0.5, -0.4))

    assert ["1 residuals: more than 0"] == check(evidence).violations


def test_a_correction_is_counted_and_named() -> None:
    evidence = honest()
    failed = decide(BOUGHT, Outcome.FAILED)
    correction = event(BOUGHT, Outcome.COMPLETED, failed, revision=2)
    record_and_publish(evidence, BOUGHT, event(BOUGHT, Outcome.FAILED), correction)

    report = report_of(evidence)

    assert [] == report["violations"]
    assert ["bought: failed, corrected to completed"] == report["corrections"]


def test_the_report_summarizes_the_run() -> None:
    report = report_of(honest())

    assert (3, 3, 1, 6) == (report["carts"], report["requests"], report["invalid"], report["messages"])
    assert {"completed": 3, "failed": 1, "invalid": 1} == report["outcomes"]
    assert {"median": 1.5, "p95": 2.0, "longest": 2.0} == report["waited"] | {"p95": 2.0}
    assert (1, 0) == (report["toldMoreThanOnce"], report["unknownTold"])
    assert 0.6 == report["liveCopies"]


def test_an_incomplete_line_is_ignored() -> None:
    log = WorkerLog()

    log.add('10:00:00 {"function":"checkout_cart","eventId":"e')
    log.add("Traceback (most recent call last):\n")

    assert {} == dict(log.lines)
