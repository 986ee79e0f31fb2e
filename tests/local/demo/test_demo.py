from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from rich.console import Console

from local.demo.checks import check_demo
from local.demo.rows import INVALID_ROWS, ROWS
from local.demo.run import DemoRun
from local.demo.table import live_table
from local.simulator.scenarios import BY_NAME
from local.stack import ROOT, Stack
from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.outcomes import invalid

if TYPE_CHECKING:
    from local.azurite import Azurite
    from local.demo.requests import DemoRequest


def test_the_demo_passes(azurite: Azurite) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent
    done = subprocess.run(
        [sys.executable, "-m", "local.demo", "--json", "--seed", "test"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert [check["faults"] for check in result["checks"]] == [[]] * 5
    assert (done.returncode, done.stderr, result["passed"]) == (0, "", True)
    assert len(result["requests"]) == len(ROWS) + len(INVALID_ROWS)
    assert result["seconds"] < 90


def test_it_shows_every_outcome_and_every_class_that_a_cart_can_have_within_a_minute() -> None:
    shown = [BY_NAME[row.scenario] for row in ROWS]
    assert {scenario.expected for scenario in shown} == {scenario.expected for scenario in BY_NAME.values()}
    classes = {scenario.error_class for scenario in BY_NAME.values() if not scenario.lasts_days}
    assert {scenario.error_class for scenario in shown} == classes
    assert not [scenario.name for scenario in shown if scenario.lasts_days]
    assert len({row.scenario for row in ROWS}) >= 24


def test_the_descriptions_fit_a_terminal_of_120_columns() -> None:
    assert max(len(row.about) for row in (*ROWS, *INVALID_ROWS)) <= 34


def test_the_seed_determines_the_requests() -> None:
    def ids(seed: str) -> set[str]:
        return {request.event_id for request in demo_run(seed).requests if request.cart_id}

    assert ids("a") == ids("a")
    assert not ids("a") & ids("b")


def test_every_check_holds_when_all_arrived_as_expected() -> None:
    assert [check.faults for check in check_demo(answered())] == [()] * 5


def test_a_wrong_outcome_is_reported_with_the_expected_and_the_received_one() -> None:
    demo = answered()
    request = named(demo, "partial")
    request.data = {"outcome": "failed", "error": {"class": "cart", "code": "1"}}

    (fault,) = check_demo(demo)[0].faults

    assert fault.startswith(f"partial (cart {request.cart_id}): expected partial cart 800089, came failed cart 1")


def test_a_second_request_that_was_not_answered_by_the_first_is_a_fault() -> None:
    demo = answered()
    request = named(demo, "created, again")
    del request.data["answeredBy"]
    assert "expected completed, answered by" in check_demo(demo)[0].faults[0]


def test_a_request_without_an_outcome_is_named() -> None:
    demo = answered()
    request = named(demo, "throttled")
    request.events.clear()
    named(demo, "throttled-until").sent_at = None
    named(demo, "throttled-until").events.clear()

    first, second = check_demo(demo)[0].faults

    assert first.startswith("throttled (cart 0000002d-")
    assert "expected completed, nothing came" in first
    assert "not sent, since throttled has no outcome" in second


def test_an_event_of_no_request_is_a_fault() -> None:
    demo = answered()
    demo.outcomes.events.append({"id": "another"})

    assert check_demo(demo)[1].faults == ("2: the event another belongs to no message",)


def test_a_cart_bought_twice_is_a_fault() -> None:
    demo = answered()
    page(demo, "created")["purchases"] = 2
    page(demo, "partial")["purchases"] = 0
    created, partial = named(demo, "created"), named(demo, "partial")
    assert check_demo(demo)[2].faults == (
        f"4: the cart {created.cart_id} was bought 2 times",
        f"created (cart {created.cart_id}): expected 1 purchase(s), the books show 2",
        "9: the outcome of test partial is partial, but the cart was not bought",
        f"partial (cart {partial.cart_id}): expected 1 purchase(s), the books show 0",
    )


def test_a_cart_reported_as_bought_that_the_service_never_saw_is_a_fault() -> None:
    demo = answered()
    fake(demo).pages.remove(page(demo, "created"))
    assert any("expected 1 purchase(s), the books show 0" in fault for fault in check_demo(demo)[2].faults)


def test_a_cart_that_no_request_named_is_a_fault() -> None:
    demo = answered()
    fake(demo).pages.append({"customerId": "customer", "cartId": "cart", "purchases": 0, "posts": 1})
    assert check_demo(demo)[2].faults == ("a cart that no request named: customer/cart",)


def test_a_duplicate_without_an_outcome_of_its_own_is_a_fault() -> None:
    demo = answered()
    named(demo, "created").events.pop()

    (fault,) = check_demo(demo)[3].faults

    assert "sent 2 times, answered 1 times" in fault


def test_two_different_events_under_one_id_are_a_fault() -> None:
    demo = answered()
    events = named(demo, "partial").events
    events[1] = events[0] | {"more": 1}
    assert check_demo(demo)[1].faults == ("2: different events of the request test partial have one id",)


def test_a_correction_does_not_count_as_a_second_id() -> None:
    demo = answered()
    request = named(demo, "partial")
    assert isinstance(request.message, CheckoutRequest)
    request.data["corrects"] = request.event_id
    request.events.append(request.events[0] | {"id": request.message.correction_id(), "data": request.data})
    assert [check.faults for check in check_demo(demo)] == [()] * 5


def test_a_message_that_is_left_in_a_queue_is_a_fault() -> None:
    demo = answered(left=1)
    assert check_demo(demo)[4].faults == ("1: the queue carts holds 1 messages",)


@pytest.mark.parametrize("height", [5, 20, 40, 200])
def test_a_small_terminal_shows_the_waiting_requests_and_the_latest_outcomes(height: int) -> None:
    demo = answered()
    waiting = named(demo, "never-answers")
    waiting.events.clear()
    console = Console(width=120, height=height, force_terminal=False)

    with console.capture() as captured:
        console.print(live_table(demo.requests, height))

    lines = captured.get().splitlines()
    assert len(lines) <= height
    assert len(lines) == min(height - 1, len(demo.requests) + 2)
    assert any(line.startswith("0000003d never-answers") for line in lines)
    assert lines[-1].startswith(f"{len(demo.requests) - 1} of {len(demo.requests)} answered")


class Fake:
    """A stack that only has books, and queues of a fixed length."""

    def __init__(self, left: int = 0) -> None:
        self.pages: list[dict[str, Any]] = []
        self.carts = self.poison = self.outcomes = self
        self.queue_name = "carts"
        self.approximate_message_count = left

    def get_queue_properties(self) -> Fake:
        return self

    def books(self) -> dict[str, Any]:
        return {"totals": {"purchases": 0, "posts": 0}, "carts": self.pages}


def demo_run(seed: str = "test", left: int = 0) -> DemoRun:
    return DemoRun(cast("Stack", Fake(left)), ROWS, INVALID_ROWS, seed)


def answered(left: int = 0) -> DemoRun:
    """A run whose every request has the expected outcome."""
    demo = demo_run(left=left)
    for at, request in enumerate(demo.requests):
        expected = request.expected
        error = {"class": expected.error_class, "code": expected.code}
        request.sent_at, request.answered_at = 0.0, float(at)
        request.events = [event_of(request)] * request.copies
        request.data = {"outcome": expected.outcome, "error": error}
        if expected.answered_by:
            request.data["answeredBy"] = expected.answered_by
        elif request.cart:
            ids = dict(zip(("customerId", "cartId"), request.cart, strict=True))
            fake(demo).pages.append({**ids, "name": request.name, "purchases": expected.purchases, "posts": 1})
    return demo


def event_of(request: DemoRequest) -> dict[str, Any]:
    if isinstance(request.message, InvalidMessage):
        return dict(json.loads(invalid(request.message).text))
    return {
        "id": request.event_id,
        "type": f"partnercenter.cart.checkout.{request.expected.outcome}",
        "time": "2026-11-22T10:00:02.300Z",
    }


def fake(demo: DemoRun) -> Fake:
    return cast("Fake", demo._stack)


def named(demo: DemoRun, name: str) -> DemoRequest:
    (request,) = (request for request in demo.requests if request.name == name)
    return request


def page(demo: DemoRun, name: str) -> dict[str, Any]:
    (found,) = (page for page in fake(demo).pages if page["name"] == name)
    return found
