"""The checker must be able to fail: a true history, and then lies, at least one for each invariant."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from local.chaos.plan import Crash, CrashPoint, ExpectedRequest, Plan, Scale, Sending
from local.chaos.report import Aftermath, Log
from local.simulator.scenarios import BY_NAME, cart_id
from shared.core.messages import CheckoutRequest, derive
from shared.core.outcomes import Decision, Outcome, decided, invalid
from tests.support.builders import NOW, refused, request

BOUGHT = request("bought", cartId=cart_id("created", "bought"))
REFUSED = request("refused", cartId=cart_id("dropped-after-then-refused", "refused"))
STRAY = refused(b"nonsense")
RESULT = '{"orders":[{"id":"order-1"}]}'

Lie = Callable[[Aftermath], None]


def told(of: CheckoutRequest, outcome: Outcome, corrects: str | None = None) -> dict[str, Any]:
    result = RESULT if outcome is Outcome.COMPLETED else None
    return dict(json.loads(decided(of, Decision(outcome, 1, result), NOW, corrects=corrects).text))


def page(of: CheckoutRequest, **more: Any) -> dict[str, Any]:
    own = {"cartId": of.cart_id, "posts": 1, "msRequestIds": [of.ms_request_id]}
    return {**own, "purchases": 0, "orderIds": [], **more}


def line(of: CheckoutRequest, message: str, **more: Any) -> dict[str, Any]:
    return {"function": "checkout_cart", "eventId": of.event_id, "messageId": message, "result": "told", **more}


def honest() -> Aftermath:
    """Two requests, the first sent twice, and a message that is none: all of it as it should be."""
    demands = (
        ExpectedRequest(BOUGHT, BY_NAME["created"], 2),
        ExpectedRequest(REFUSED, BY_NAME["dropped-before-then-refused"], 1),
    )
    sendings = tuple((0.0, Sending("", BOUGHT.event_id)) for _ in range(4))
    log = Log()
    for said in (line(BOUGHT, "m-1", status=201), line(BOUGHT, "m-2"), line(REFUSED, "m-3", status=400)):
        log.add(f"10:00:00 {json.dumps(said, separators=(',', ':'))}\n")
    bought, failed = told(BOUGHT, Outcome.COMPLETED), told(REFUSED, Outcome.FAILED)
    return Aftermath(
        plan=Plan("seed", Scale.of(200), demands, (STRAY,), {"cart": Crash(CrashPoint.AFTER_POST, 1)}, sendings),
        told=[bought, bought, failed, dict(json.loads(invalid(STRAY).text))],
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
        injected={"killed by a message": {}, "lines": {"queue": {}, "blob": {}, "service": {}}, "service": {}},
        duration=3.0,
    )


def name_of(of: CheckoutRequest) -> str:
    return f"{of.customer_id}/{of.cart_id}"


def keep_and_tell(aftermath: Aftermath, of: CheckoutRequest, *events: dict[str, Any]) -> None:
    """In the place of what was told of it."""
    ids = (of.event_id, of.correction_id)
    aftermath.told = [event for event in aftermath.told if event["id"] not in ids] + list(events)
    aftermath.records[name_of(of)] = list(events)


def never_answered(aftermath: Aftermath) -> None:
    keep_and_tell(aftermath, REFUSED)


def stray_never_answered(aftermath: Aftermath) -> None:
    aftermath.told.pop()


def still_in_a_queue(aftermath: Aftermath) -> None:
    aftermath.left["carts-poison"] = 1


def told_in_two_ways(aftermath: Aftermath) -> None:
    changed = aftermath.told[0] | {"time": "2026-11-22T11:00:00.000Z"}
    aftermath.told[0] = changed
    aftermath.records[name_of(BOUGHT)].append(changed)


def corrected_without_saying_what(aftermath: Aftermath) -> None:
    correction = told(BOUGHT, Outcome.COMPLETED, corrects="another")
    keep_and_tell(aftermath, BOUGHT, told(BOUGHT, Outcome.FAILED), correction)


def of_no_request(aftermath: Aftermath) -> None:
    stranger = aftermath.told[0] | {"id": "stranger"}
    aftermath.told.append(stranger)
    aftermath.records[name_of(BOUGHT)].append(stranger)


def stray_told_as_unknown(aftermath: Aftermath) -> None:
    aftermath.told[-1]["type"] = aftermath.told[-1]["type"].replace("failed", "unknown")


def told_but_not_kept(aftermath: Aftermath) -> None:
    aftermath.records.clear()


def kept_otherwise_than_told(aftermath: Aftermath) -> None:
    aftermath.records[name_of(BOUGHT)] = [aftermath.told[0] | {"time": "2026-11-22T11:00:00.000Z"}]


def bought_twice(aftermath: Aftermath) -> None:
    aftermath.books["carts"][0]["purchases"] = 2


def posted_under_a_random_id(aftermath: Aftermath) -> None:
    aftermath.books["carts"][0]["msRequestIds"].append("99999999-0000-4000-8000-000000000000")


def posted_under_a_new_id_too_early(aftermath: Aftermath) -> None:
    renewed = derive("ms-request", BOUGHT.customer_id, BOUGHT.cart_id, BOUGHT.request_id, 1)
    aftermath.books["carts"][0]["msRequestIds"].append(renewed)


def failed_though_bought(aftermath: Aftermath) -> None:
    aftermath.books["carts"][1] |= {"purchases": 1, "posts": 2}


def failed_though_bought_by_a_duplicate_that_was_answered(aftermath: Aftermath) -> None:
    keep_and_tell(aftermath, BOUGHT, told(BOUGHT, Outcome.FAILED))


def completed_though_not_bought(aftermath: Aftermath) -> None:
    aftermath.books["carts"][0] |= {"purchases": 0, "orderIds": ["order-1"]}


def completed_though_bought_in_part(aftermath: Aftermath) -> None:
    bought, failed = aftermath.plan.demands
    object.__setattr__(aftermath.plan, "demands", (ExpectedRequest(bought.request, BY_NAME["partial"], 2), failed))


def told_with_the_orders_of_another_cart(aftermath: Aftermath) -> None:
    aftermath.books["carts"][0]["orderIds"] = ["order-2"]


def too_many_copies(aftermath: Aftermath) -> None:
    for number in range(10):
        aftermath.log.add(f"10:00:00 {json.dumps(line(REFUSED, f'm-x{number}'), separators=(',', ':'))}")


def raised_what_nobody_foresaw(aftermath: Aftermath) -> None:
    said = line(BOUGHT, "m-1", result="raised", exception="KeyError")
    aftermath.log.add(f"10:00:00 {json.dumps(said, separators=(',', ':'))}")


def a_worker_ended_by_itself(aftermath: Aftermath) -> None:
    aftermath.crashed.append("local.host ended with code -11")


def most_ended_otherwise_than_by_themselves(aftermath: Aftermath) -> None:
    demands = [replace(of, scenario=replace(of.scenario, expected="partial")) for of in aftermath.plan.demands]
    aftermath.plan = replace(aftermath.plan, demands=tuple(demands))


LIES = [
    (most_ended_otherwise_than_by_themselves, "2 of 2 requests ended otherwise than by themselves"),
    (a_worker_ended_by_itself, "a worker ended by itself: local.host ended with code -11"),
    (never_answered, "1: the request refused was never answered"),
    (stray_never_answered, "1: the invalid message"),
    (still_in_a_queue, "1: the queue carts-poison holds 1 messages"),
    (told_in_two_ways, "2: the request bought was told differently under one id"),
    (corrected_without_saying_what, "2: the correction of bought does not name what it corrects"),
    (of_no_request, "2: the event stranger is of no request"),
    (stray_told_as_unknown, "2: the invalid message"),
    (told_but_not_kept, "3: the event"),
    (kept_otherwise_than_told, "3: the event"),
    (bought_twice, "4: the cart"),
    (posted_under_a_random_id, "5: the MS-RequestId 99999999-0000-4000-8000-000000000000"),
    (posted_under_a_new_id_too_early, "5: the MS-RequestId"),
    (raised_what_nobody_foresaw, "8: 1 times KeyError"),
    (failed_though_bought, "9: refused was told as failed, but the cart was bought"),
    (failed_though_bought_by_a_duplicate_that_was_answered, "9: bought was told as failed, but the cart was bought"),
    (completed_though_not_bought, "9: bought was told as completed, but the cart was not bought"),
    (completed_though_bought_in_part, "9: bought was told as completed, but the service said partial"),
    (told_with_the_orders_of_another_cart, "9: bought was told with the orders"),
    (too_many_copies, "4.33 live copies for each message sent"),
]


def test_a_true_history_has_no_violations() -> None:
    assert [] == honest().violations()


@pytest.mark.parametrize(("lie", "said"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_lie_is_found(lie: Lie, said: str) -> None:
    aftermath = honest()
    lie(aftermath)

    assert [found for found in aftermath.violations() if found.startswith(said)]
    assert not aftermath.report()["passed"]


def test_the_residual_needs_two_live_messages_and_an_answer_that_nobody_heard() -> None:
    aftermath = honest()
    keep_and_tell(aftermath, BOUGHT, told(BOUGHT, Outcome.FAILED))
    aftermath.books["carts"][0]["posts"] = 2  # one answered, and one whose worker died

    report = aftermath.report()

    assert report["passed"]
    assert 1 == len(report["residual"])
    assert report["residual"][0].startswith("bought (created, cart ")


def test_a_correction_is_counted_and_named() -> None:
    aftermath = honest()
    failed = told(BOUGHT, Outcome.FAILED)
    keep_and_tell(aftermath, BOUGHT, failed, told(BOUGHT, Outcome.COMPLETED, corrects=failed["id"]))

    report = aftermath.report()

    assert report["passed"]
    assert ["bought: failed, corrected to completed"] == report["corrections"]


def test_the_report_says_how_it_went() -> None:
    report = honest().report()

    assert (2, 2, 1, 4) == (report["carts"], report["requests"], report["invalid"], report["messages"])
    assert {"completed": 1, "failed": 2} == report["outcomes"]
    assert 1 == report["toldMoreThanOnce"]
    assert 1.0 == report["liveCopies"]


def test_a_line_that_its_writer_could_not_finish_is_passed_over() -> None:
    log = Log()

    log.add('10:00:00 {"function":"checkout_cart","eventId":"e')
    log.add("Traceback (most recent call last):\n")

    assert {} == dict(log.lines)
