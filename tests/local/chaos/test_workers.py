"""Which requests kill their worker, told apart by what goes over its lines."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from local.chaos.fault_proxy import Exchange, Moment
from local.chaos.plan import Crash, CrashPoint
from local.chaos.workers import CrashInjector, clean_environment

if TYPE_CHECKING:
    from local.chaos.plan import Line

CUSTOMER = "11111111-2222-3333-4444-555555555555"
CART = "00000001-bbbb-cccc-dddd-eeeeeeeeeeee"
NAMES = {"RECORDS_CONTAINER": "records", "OUTCOMES_QUEUE": "outcomes", "CARTS_QUEUE": "carts"}


def message(tree: dict[str, object]) -> bytes:
    text = base64.b64encode(json.dumps(tree).encode())
    return b"<QueueMessage><MessageText>" + text + b"</MessageText></QueueMessage>"


POST = Exchange("POST", f"/v1/customers/{CUSTOMER}/carts/{CART}/checkout", b"")
KEEP = Exchange("PUT", f"/account/records/{CUSTOMER}/{CART}.json", b"[]", 201)
NOTE = Exchange("PUT", f"/account/records/{CUSTOMER}/{CART}.waiting.json", b"{}", 201)
TELL = Exchange("POST", "/account/outcomes/messages?a=b", message({"subject": f"customers/x/carts/{CART}"}), 201)
DEFER = Exchange("POST", "/account/carts/messages", message({"cartId": CART}), 201)
DEFER_EVENT = Exchange("POST", "/account/carts/messages", message({"data": {"cartId": CART}}), 201)
TELL_INVALID = Exchange("POST", "/account/outcomes/messages", message({"data": {}}), 201)
LOST_RACE = Exchange("PUT", KEEP.target, b"[]", 412)


@pytest.mark.parametrize(
    ("point", "line", "exchange", "moment"),
    [
        (CrashPoint.BEFORE_POST, "service", POST, Moment.ASKED),
        (CrashPoint.AFTER_POST, "service", POST, Moment.ANSWERED),
        (CrashPoint.BEFORE_KEEP, "blob", KEEP, Moment.ASKED),
        (CrashPoint.AFTER_KEEP, "blob", KEEP, Moment.ANSWERED),
        (CrashPoint.AFTER_PUBLISH, "queue", TELL, Moment.ANSWERED),
        (CrashPoint.AFTER_DEFER, "queue", DEFER, Moment.ANSWERED),
        (CrashPoint.AFTER_DEFER, "queue", DEFER_EVENT, Moment.ANSWERED),
    ],
)
def test_a_message_kills_at_its_point_and_nowhere_else(
    point: CrashPoint, line: Line, exchange: Exchange, moment: Moment
) -> None:
    for other in CrashPoint:
        deaths = CrashInjector({CART: Crash(other, 1)}, NAMES)

        assert (other is point) == deaths.strike(line, exchange, moment, lambda: True)


def test_a_message_kills_as_often_as_planned() -> None:
    deaths = CrashInjector({CART: Crash(CrashPoint.AFTER_POST, 2)}, NAMES)

    struck = [deaths.strike("service", POST, Moment.ANSWERED, lambda: True) for _ in range(4)]

    assert [True, True, False, False] == struck
    assert {CrashPoint.AFTER_POST: 2} == deaths.counts


def test_who_is_dead_cannot_be_killed_again() -> None:
    deaths = CrashInjector({CART: Crash(CrashPoint.AFTER_POST, 1)}, NAMES)

    assert not deaths.strike("service", POST, Moment.ANSWERED, lambda: False)
    assert deaths.strike("service", POST, Moment.ANSWERED, lambda: True)


@pytest.mark.parametrize(
    ("point", "line", "exchange"),
    [
        (CrashPoint.AFTER_KEEP, "blob", LOST_RACE),
        (CrashPoint.AFTER_KEEP, "blob", NOTE),
        (CrashPoint.AFTER_PUBLISH, "queue", TELL_INVALID),
        (CrashPoint.AFTER_POST, "service", KEEP),
    ],
)
def test_what_took_no_effect_or_is_about_something_else_kills_nobody(
    point: CrashPoint, line: Line, exchange: Exchange
) -> None:
    deaths = CrashInjector({CART: Crash(point, 1)}, NAMES)

    assert not deaths.strike(line, exchange, Moment.ANSWERED, lambda: True)


def test_a_worker_sees_no_account_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CheckoutStorage", "another account")
    monkeypatch.setenv("HTTP_PROXY", "http://somewhere")

    found = clean_environment()

    assert "PATH" in found
    assert not {"CheckoutStorage", "HTTP_PROXY"} & found.keys()
    assert "*" == found["NO_PROXY"]
