"""Which requests kill their worker, recognised in the traffic of its proxies."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from local.chaos.crash_injector import CrashInjector
from local.chaos.fault_proxy import Exchange, ExchangeStage
from local.chaos.plan import Crash, CrashPoint
from local.chaos.workers import clean_environment

if TYPE_CHECKING:
    from local.chaos.plan import Line

CUSTOMER = "11111111-2222-3333-4444-555555555555"
CART = "00000001-bbbb-cccc-dddd-eeeeeeeeeeee"
NAMES = {"RECORDS_CONTAINER": "records", "OUTCOMES_QUEUE": "outcomes", "CARTS_QUEUE": "carts"}


def message(tree: dict[str, object]) -> bytes:
    text = base64.b64encode(json.dumps(tree).encode())
    return b"<QueueMessage><MessageText>" + text + b"</MessageText></QueueMessage>"


POST = Exchange("POST", f"/v1/customers/{CUSTOMER}/carts/{CART}/checkout", b"")
RECORD = Exchange("PUT", f"/account/records/{CUSTOMER}/{CART}.json", b"[]", 201)
NOTE = Exchange("PUT", f"/account/records/{CUSTOMER}/{CART}.waiting.json", b"{}", 201)
PUBLISH = Exchange("POST", "/account/outcomes/messages?a=b", message({"subject": f"customers/x/carts/{CART}"}), 201)
DEFER = Exchange("POST", "/account/carts/messages", message({"cartId": CART}), 201)
DEFER_EVENT = Exchange("POST", "/account/carts/messages", message({"data": {"cartId": CART}}), 201)
PUBLISH_INVALID = Exchange("POST", "/account/outcomes/messages", message({"data": {}}), 201)
LOST_RACE = Exchange("PUT", RECORD.target, b"[]", 412)


@pytest.mark.parametrize(
    ("point", "line", "exchange", "stage"),
    [
        (CrashPoint.BEFORE_POST, "service", POST, ExchangeStage.REQUESTED),
        (CrashPoint.AFTER_POST, "service", POST, ExchangeStage.ANSWERED),
        (CrashPoint.BEFORE_RECORD, "blob", RECORD, ExchangeStage.REQUESTED),
        (CrashPoint.AFTER_RECORD, "blob", RECORD, ExchangeStage.ANSWERED),
        (CrashPoint.AFTER_PUBLISH, "queue", PUBLISH, ExchangeStage.ANSWERED),
        (CrashPoint.AFTER_DEFER, "queue", DEFER, ExchangeStage.ANSWERED),
        (CrashPoint.AFTER_DEFER, "queue", DEFER_EVENT, ExchangeStage.ANSWERED),
    ],
)
def test_a_message_kills_at_its_point_and_nowhere_else(
    point: CrashPoint, line: Line, exchange: Exchange, stage: ExchangeStage
) -> None:
    for other in CrashPoint:
        injector = CrashInjector({CART: Crash(other, 1)}, NAMES)

        assert (other is point) == injector.crash_if_planned(line, exchange, stage, lambda: True)


def test_a_message_kills_as_often_as_planned() -> None:
    injector = CrashInjector({CART: Crash(CrashPoint.AFTER_POST, 2)}, NAMES)

    crashed = [injector.crash_if_planned("service", POST, ExchangeStage.ANSWERED, lambda: True) for _ in range(4)]

    assert [True, True, False, False] == crashed
    assert {CrashPoint.AFTER_POST: 2} == injector.counts


def test_a_dead_worker_cannot_be_killed_again() -> None:
    injector = CrashInjector({CART: Crash(CrashPoint.AFTER_POST, 1)}, NAMES)

    assert not injector.crash_if_planned("service", POST, ExchangeStage.ANSWERED, lambda: False)
    assert injector.crash_if_planned("service", POST, ExchangeStage.ANSWERED, lambda: True)


@pytest.mark.parametrize(
    ("point", "line", "exchange"),
    [
        (CrashPoint.AFTER_RECORD, "blob", LOST_RACE),
        (CrashPoint.AFTER_RECORD, "blob", NOTE),
        (CrashPoint.AFTER_PUBLISH, "queue", PUBLISH_INVALID),
        (CrashPoint.AFTER_POST, "service", RECORD),
    ],
)
def test_a_request_without_effect_or_for_another_purpose_kills_no_worker(
    point: CrashPoint, line: Line, exchange: Exchange
) -> None:
    injector = CrashInjector({CART: Crash(point, 1)}, NAMES)

    assert not injector.crash_if_planned(line, exchange, ExchangeStage.ANSWERED, lambda: True)


def test_a_worker_does_not_inherit_the_accounts_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CheckoutStorage", "another account")
    monkeypatch.setenv("HTTP_PROXY", "http://somewhere")

    found = clean_environment()

    assert "PATH" in found
    assert not {"CheckoutStorage", "HTTP_PROXY"} & found.keys()
    assert "*" == found["NO_PROXY"]
