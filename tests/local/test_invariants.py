"""The checks must be able to fail: a correct history, then violations, at least one of each invariant."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from local.chaos.checks import check
from local.chaos.evidence import Evidence, WorkerLog
from local.chaos.fault_table import InjectedFaults
from local.chaos.plan import ChaosPlan, Crash, CrashPoint, ExpectedRequest, Intensity, PlannedMessage
from local.chaos.report import chaos_report
from local.simulator.scenarios import BY_NAME, cart_id
from shared.core.messages import CheckoutRequest, derive
from shared.core.outcomes import Decision, Outcome, decided, invalid
from tests.support.builders import NOW, refused, request

BOUGHT = request("bought", cartId=cart_id("created", "bought"))
REFUSED = request("refused", cartId=cart_id("dropped-after-then-refused", "refused"))
INVALID = refused(b"nonsense")
RESULT = '{"orders":[{"id":"order-1"}]}'

Lie = Callable[[Evidence], None]


def event(of: CheckoutRequest, outcome: Outcome, corrects: str | None = None) -> dict[str, Any]:
    result = RESULT if outcome is Outcome.COMPLETED else None
    return dict(json.loads(decided(of, Decision(outcome, 1, result), NOW, corrects=corrects).text))


def page(of: CheckoutRequest, **more: Any) -> dict[str, Any]:
    own = {"cartId": of.cart_id, "posts": 1, "msRequestIds": [of.ms_request_id]}
    return {**own, "purchases": 0, "orderIds": [], **more}


def line(of: CheckoutRequest, message: str, **more: Any) -> dict[str, Any]:
    return {"function": "checkout_cart", "eventId": of.event_id, "messageId": message, "result": "told", **more}


def honest() -> Evidence:
    """Two requests, the first sent twice, and a message that is none: all of it as it should be."""
    requests = (
        ExpectedRequest(BOUGHT, BY_NAME["created"], 2),
        ExpectedRequest(REFUSED, BY_NAME["dropped-before-then-refused"], 1),
    )
    sendings = tuple((0.0, PlannedMessage("", BOUGHT.event_id)) for _ in range(4))
    log = WorkerLog()
    for entry in (line(BOUGHT, "m-1", status=201), line(BOUGHT, "m-2"), line(REFUSED, "m-3", status=400)):
        log.add(f"10:00:00 {json.dumps(entry, separators=(',', ':'))}\n")
    bought, failed = event(BOUGHT, Outcome.COMPLETED), event(REFUSED, Outcome.FAILED)
    return Evidence(
        plan=ChaosPlan(
            "seed", Intensity.of(200), requests, (INVALID,), {"cart": Crash(CrashPoint.AFTER_POST, 1)}, sendings
        ),
        published=[bought, bought, failed, dict(json.loads(invalid(INVALID).text))],
        seconds={BOUGHT.event_id: 1.0, REFUSED.event_id: 2.0},
        records={name_of(BOUGHT): [bought], name_of(REFUSED): [failed]},
        data={},
        notes=0,
        books={
            "totals": {"posts": 2, "throttled": 0, "purchases": 1, "boughtTwice": 0},
            "carts": [page(BOUGHT, purchases=1, orderIds=["order-1"]), page(REFUSED)],
        },
        log=log,
        crashed=[],
        left={"carts": 0, "carts-poison": 0},
        deliveries=4,
        injected=InjectedFaults(0, {}, {}, {}),
        duration=3.0,
    )


def report_of(evidence: Evidence) -> dict[str, Any]:
    return chaos_report(evidence, check(evidence))


def name_of(of: CheckoutRequest) -> str:
    return f"{of.customer_id}/{of.cart_id}"


def record_and_publish(evidence: Evidence, of: CheckoutRequest, *events: dict[str, Any]) -> None:
    """Instead of what was recorded and published of it."""
    ids = (of.event_id, of.correction_id)
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
    evidence.records[name_of(BOUGHT)].append(changed)


def corrected_without_saying_what(evidence: Evidence) -> None:
    correction = event(BOUGHT, Outcome.COMPLETED, corrects="another")
    record_and_publish(evidence, BOUGHT, event(BOUGHT, Outcome.FAILED), correction)


def of_no_message(evidence: Evidence) -> None:
    stranger = evidence.published[0] | {"id": "stranger"}
    evidence.published.append(stranger)
    evidence.records[name_of(BOUGHT)].append(stranger)


def invalid_message_answered_otherwise(evidence: Evidence) -> None:
    evidence.published[-1]["type"] = evidence.published[-1]["type"].replace("failed", "unknown")


def published_but_not_recorded(evidence: Evidence) -> None:
    evidence.records.clear()


def recorded_otherwise_than_published(evidence: Evidence) -> None:
    evidence.records[name_of(BOUGHT)] = [evidence.published[0] | {"time": "2026-11-22T11:00:00.000Z"}]


def bought_twice(evidence: Evidence) -> None:
    evidence.books["carts"][0]["purchases"] = 2


def posted_under_a_random_id(evidence: Evidence) -> None:
    evidence.books["carts"][0]["msRequestIds"].append("99999999-0000-4000-8000-000000000000")


def posted_under_a_new_id_too_early(evidence: Evidence) -> None:
    renewed = derive("ms-request", BOUGHT.customer_id, BOUGHT.cart_id, BOUGHT.request_id, 1)
    evidence.books["carts"][0]["msRequestIds"].append(renewed)


def failed_though_bought(evidence: Evidence) -> None:
    evidence.books["carts"][1] |= {"purchases": 1, "posts": 2}


def failed_though_bought_by_a_duplicate_that_was_answered(evidence: Evidence) -> None:
    record_and_publish(evidence, BOUGHT, event(BOUGHT, Outcome.FAILED))


def completed_though_not_bought(evidence: Evidence) -> None:
    evidence.books["carts"][0] |= {"purchases": 0, "orderIds": ["order-1"]}


def completed_though_bought_in_part(evidence: Evidence) -> None:
    bought, failed = evidence.plan.requests
    object.__setattr__(evidence.plan, "requests", (ExpectedRequest(bought.request, BY_NAME["partial"], 2), failed))


def published_with_the_orders_of_another_cart(evidence: Evidence) -> None:
    evidence.books["carts"][0]["orderIds"] = ["order-2"]


def too_many_copies(evidence: Evidence) -> None:
    for number in range(10):
        evidence.log.add(f"10:00:00 {json.dumps(line(REFUSED, f'm-x{number}'), separators=(',', ':'))}")


def raised_an_unexpected_exception(evidence: Evidence) -> None:
    entry = line(BOUGHT, "m-1", result="raised", exception="KeyError")
    evidence.log.add(f"10:00:00 {json.dumps(entry, separators=(',', ':'))}")


def a_worker_ended_by_itself(evidence: Evidence) -> None:
    evidence.crashed.append("local.host ended with code -11")


def most_outcomes_differ_from_their_scenario(evidence: Evidence) -> None:
    requests = [replace(of, scenario=replace(of.scenario, expected="partial")) for of in evidence.plan.requests]
    evidence.plan = replace(evidence.plan, requests=tuple(requests))


LIES = [
    (most_outcomes_differ_from_their_scenario, "2 of 2 outcomes differ from their scenario's"),
    (a_worker_ended_by_itself, "a worker ended by itself: local.host ended with code -11"),
    (never_answered, "1: the request refused was never answered"),
    (invalid_message_never_answered, "1: the invalid message"),
    (still_in_a_queue, "1: the queue carts-poison holds 1 messages"),
    (published_in_two_versions, "2: different events of the request bought have one id"),
    (corrected_without_saying_what, "2: the correction of bought does not name the event that it corrects"),
    (of_no_message, "2: the event stranger belongs to no message"),
    (invalid_message_answered_otherwise, "2: an event of the invalid message"),
    (published_but_not_recorded, "3: the event"),
    (recorded_otherwise_than_published, "3: the event"),
    (bought_twice, "4: the cart"),
    (posted_under_a_random_id, "5: the MS-RequestId 99999999-0000-4000-8000-000000000000"),
    (posted_under_a_new_id_too_early, "5: the MS-RequestId"),
    (raised_an_unexpected_exception, "8: 1 times KeyError"),
    (failed_though_bought, "9: the outcome of refused is failed, but the cart was bought"),
    (
        failed_though_bought_by_a_duplicate_that_was_answered,
        "9: the outcome of bought is failed, but the cart was bought",
    ),
    (completed_though_not_bought, "9: the outcome of bought is completed, but the cart was not bought"),
    (completed_though_bought_in_part, "9: the outcome of bought is completed, but the service said partial"),
    (published_with_the_orders_of_another_cart, "9: the outcome of bought has the orders"),
    (too_many_copies, "4.33 live copies for each message sent"),
]


def test_a_correct_history_has_no_violations() -> None:
    assert [] == check(honest()).violations


@pytest.mark.parametrize(("lie", "said"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_violation_is_found(lie: Lie, said: str) -> None:
    evidence = honest()
    lie(evidence)

    assert [found for found in check(evidence).violations if found.startswith(said)]
    assert not report_of(evidence)["passed"]


def test_the_residual_needs_two_live_messages_and_a_response_that_no_worker_received() -> None:
    evidence = honest()
    record_and_publish(evidence, BOUGHT, event(BOUGHT, Outcome.FAILED))
    evidence.books["carts"][0]["posts"] = 2  # one answered, and one whose worker died

    report = report_of(evidence)

    assert report["passed"]
    assert 1 == len(report["residual"])
    assert report["residual"][0].startswith("bought (created, cart ")


def test_a_correction_is_counted_and_named() -> None:
    evidence = honest()
    failed = event(BOUGHT, Outcome.FAILED)
    record_and_publish(evidence, BOUGHT, failed, event(BOUGHT, Outcome.COMPLETED, corrects=failed["id"]))

    report = report_of(evidence)

    assert report["passed"]
    assert ["bought: failed, corrected to completed"] == report["corrections"]


def test_the_report_summarizes_the_run() -> None:
    report = report_of(honest())

    assert (2, 2, 1, 4) == (report["carts"], report["requests"], report["invalid"], report["messages"])
    assert {"completed": 1, "failed": 2} == report["outcomes"]
    assert 1 == report["toldMoreThanOnce"]
    assert 1.0 == report["liveCopies"]


def test_an_incomplete_line_is_ignored() -> None:
    log = WorkerLog()

    log.add('10:00:00 {"function":"checkout_cart","eventId":"e')
    log.add("Traceback (most recent call last):\n")

    assert {} == dict(log.lines)
