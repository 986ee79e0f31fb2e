from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from rich.console import Console

from local.demo.checks import prove
from local.demo.run import ROWS, STRAYS
from local.demo.shop import Order, Shop
from local.demo.table import live
from local.simulator.scenarios import BY_NAME
from local.stack import ROOT, Stack

if TYPE_CHECKING:
    from local.azurite import Azurite


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
    assert len(result["requests"]) == len(ROWS) + len(STRAYS)
    assert result["seconds"] < 90


def test_it_shows_every_outcome_and_every_class_that_can_come_of_a_cart_in_a_minute() -> None:
    shown = [BY_NAME[row.scenario] for row in ROWS]
    assert {scenario.expected for scenario in shown} == {scenario.expected for scenario in BY_NAME.values()}
    # authentication ends in the same way as configuration, and would keep asking for tokens meanwhile
    classes = {scenario.error_class for scenario in BY_NAME.values()} - {"authentication"}
    assert {scenario.error_class for scenario in shown} == classes
    assert len({row.scenario for row in ROWS}) >= 24


def test_what_happens_fits_a_terminal_of_120_columns() -> None:
    assert max(len(row.about) for row in (*ROWS, *STRAYS)) <= 34


def test_two_runs_of_one_seed_send_the_same_and_of_two_seeds_nothing_of_it() -> None:
    def ids(seed: str) -> set[str]:
        return {order.event_id for order in shop(seed).orders if order.cart_id}

    assert ids("a") == ids("a")
    assert not ids("a") & ids("b")


def test_all_that_came_as_expected_is_proved() -> None:
    assert [check.faults for check in prove(answered())] == [()] * 5


def test_a_wrong_outcome_is_named_with_what_was_expected_and_what_came() -> None:
    demo = answered()
    order = named(demo, "partial")
    order.data = {"outcome": "failed", "error": {"class": "cart", "code": "1"}}

    (fault,) = prove(demo)[0].faults

    assert fault.startswith(f"partial (cart {order.cart_id}): expected partial cart 800089, came failed cart 1")


def test_a_second_request_that_was_not_answered_by_the_first_is_a_fault() -> None:
    demo = answered()
    order = named(demo, "created, again")
    del order.data["answeredBy"]
    assert "expected completed, answered by" in prove(demo)[0].faults[0]


def test_what_was_never_told_is_named() -> None:
    demo = answered()
    order = named(demo, "throttled")
    order.events.clear()
    named(demo, "throttled-until").sent_at = None
    named(demo, "throttled-until").events.clear()

    first, second = prove(demo)[0].faults

    assert first.startswith("throttled (cart 0000002d-")
    assert "expected completed, nothing came" in first
    assert "not sent, since throttled has no outcome" in second


def test_another_event_id_and_an_event_of_nobody_are_faults() -> None:
    demo = answered()
    order = named(demo, "ok")
    order.events[0] = {"id": "another"}
    demo.strangers.append({"id": "stray"})

    first, second = prove(demo)[1].faults

    assert "no request stands behind" in first
    assert f"expected the event id {order.event_id}, came another" in second


def test_a_cart_bought_twice_is_a_fault() -> None:
    demo = answered()
    page(demo, "created")["purchases"] = 2
    page(demo, "partial")["purchases"] = 0
    assert [fault.partition(": ")[2] for fault in prove(demo)[2].faults] == [
        "expected 1 purchase(s), the books show 2",
        "expected 1 purchase(s), the books show 0",
    ]


def test_a_cart_that_is_told_to_be_bought_and_that_the_service_never_saw_is_a_fault() -> None:
    demo = answered()
    fake(demo).pages.remove(page(demo, "created"))
    (fault,) = prove(demo)[2].faults
    assert "expected 1 purchase(s), the books show 0" in fault


def test_a_duplicate_that_was_not_told_or_told_otherwise_is_a_fault() -> None:
    demo = answered()
    named(demo, "created").events.pop()
    named(demo, "partial").events[1] = {"id": named(demo, "partial").event_id, "more": 1}

    first, second = prove(demo)[3].faults

    assert "sent 2 times, told 1 times" in first
    assert "two different events" in second


def test_a_correction_is_no_second_id() -> None:
    demo = answered()
    order = named(demo, "partial")
    order.events.append({"id": "correction"})
    order.data["corrects"] = order.event_id
    assert [check.faults for check in prove(demo)] == [()] * 5


def test_a_message_that_is_left_in_a_queue_is_a_fault() -> None:
    demo = answered(left=1)
    assert prove(demo)[4].faults == ("carts holds 1 message(s)",)


@pytest.mark.parametrize("height", [5, 20, 40, 200])
def test_a_low_terminal_shows_what_is_waiting_and_what_came_last(height: int) -> None:
    demo = answered()
    waiting = named(demo, "never-tells")
    waiting.events.clear()
    console = Console(width=120, height=height, force_terminal=False)

    with console.capture() as captured:
        console.print(live(demo.orders, height))

    lines = captured.get().splitlines()
    assert len(lines) <= height
    assert len(lines) == min(height - 1, len(demo.orders) + 2)
    assert any(line.startswith("0000003e never-tells") for line in lines)
    assert lines[-1].startswith(f"{len(demo.orders) - 1} of {len(demo.orders)} answered")


class Fake:
    """A stack that was asked for the books and the lengths of its queues, and nothing else."""

    def __init__(self, left: int = 0) -> None:
        self.pages: list[dict[str, Any]] = []
        self.carts = self.poison = self
        self.queue_name = "carts"
        self.approximate_message_count = left

    def get_queue_properties(self) -> Fake:
        return self

    def books(self) -> dict[str, Any]:
        return {"totals": {"purchases": 0, "posts": 0}, "carts": self.pages}


def shop(seed: str = "test", left: int = 0) -> Shop:
    return Shop(cast("Stack", Fake(left)), ROWS, STRAYS, seed)


def answered(left: int = 0) -> Shop:
    """A shop whose every order came to what was expected."""
    demo = shop(left=left)
    for at, order in enumerate(demo.orders):
        expected = order.expected
        error = {"class": expected.error_class, "code": expected.code}
        order.sent_at, order.answered_at = 0.0, float(at)
        order.events = [{"id": order.event_id}] * order.copies
        order.data = {"outcome": expected.outcome, "error": error}
        if expected.answered_by:
            order.data["answeredBy"] = expected.answered_by
        elif order.cart_id:
            ids = {"customerId": order.customer_id, "cartId": order.cart_id}
            fake(demo).pages.append({**ids, "name": order.name, "purchases": expected.purchases, "posts": 1})
    return demo


def fake(demo: Shop) -> Fake:
    return cast("Fake", demo._stack)


def named(demo: Shop, name: str) -> Order:
    (order,) = (order for order in demo.orders if order.name == name)
    return order


def page(demo: Shop, name: str) -> dict[str, Any]:
    (found,) = (page for page in fake(demo).pages if page["name"] == name)
    return found
