"""Which requests kill their worker, recognised in the traffic of its proxies, and what dies with it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from local.chaos.crash_injector import CrashInjector
from local.chaos.fault_proxy import Exchange, ExchangeStage
from local.chaos.plan import Crash, CrashPoint
from local.chaos.worker_pids import WorkerPids
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
BLOB = f"/account/records/{CUSTOMER}/{CART}.json"
FIRST_ENTRY = Exchange("PUT", BLOB, b"[]", 201)
ENTRY = Exchange("PUT", f"{BLOB}?timeout=5&comp=metadata", b"", 200, head=b'x-ms-meta-post: {"attempt":1}')
MARK = Exchange("PUT", f"{BLOB}?comp=metadata", b"", 200, head=b'x-ms-meta-post: {"nextAt":"2026-11-22T10:00:00Z"}')
APPEND = Exchange("PUT", BLOB, b'[{"id": "1"}]', 201)
DATA = Exchange("PUT", f"/account/records/{CUSTOMER}/{CART}/event.hash.data.json", b"{}", 201)
PUBLISH = Exchange("POST", "/account/outcomes/messages?a=b", message({"subject": f"customers/x/carts/{CART}"}), 201)
DEFER = Exchange("POST", "/account/carts/messages", message({"cartId": CART}), 201)
DEFER_EVENT = Exchange("POST", "/account/carts/messages", message({"data": {"cartId": CART}}), 201)
PUBLISH_INVALID = Exchange("POST", "/account/outcomes/messages", message({"data": {}}), 201)
LOST_RACE = Exchange("PUT", BLOB, b"[{}]", 412)
ENTERED_BEFORE = Exchange("PUT", BLOB, b"[]", 409)


@pytest.mark.parametrize(
    ("point", "line", "exchange", "stage"),
    [
        (CrashPoint.BEFORE_POST, "service", POST, ExchangeStage.REQUESTED),
        (CrashPoint.AFTER_POST, "service", POST, ExchangeStage.ANSWERED),
        (CrashPoint.BEFORE_ENTRY, "blob", FIRST_ENTRY, ExchangeStage.REQUESTED),
        (CrashPoint.BEFORE_ENTRY, "blob", ENTRY, ExchangeStage.REQUESTED),
        (CrashPoint.AFTER_ENTRY, "blob", FIRST_ENTRY, ExchangeStage.ANSWERED),
        (CrashPoint.AFTER_ENTRY, "blob", ENTRY, ExchangeStage.ANSWERED),
        (CrashPoint.BEFORE_APPEND, "blob", APPEND, ExchangeStage.REQUESTED),
        (CrashPoint.AFTER_APPEND, "blob", APPEND, ExchangeStage.ANSWERED),
        (CrashPoint.BEFORE_PUBLISH, "queue", PUBLISH, ExchangeStage.REQUESTED),
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
        (CrashPoint.AFTER_APPEND, "blob", LOST_RACE),
        (CrashPoint.AFTER_APPEND, "blob", DATA),
        (CrashPoint.AFTER_ENTRY, "blob", ENTERED_BEFORE),
        (CrashPoint.AFTER_ENTRY, "blob", MARK),
        (CrashPoint.AFTER_PUBLISH, "queue", PUBLISH_INVALID),
        (CrashPoint.AFTER_POST, "service", FIRST_ENTRY),
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


def test_the_worker_of_an_instance_is_the_one_that_its_host_started_last() -> None:
    pids = WorkerPids()

    pids.read(0, "10:00:00 worker 11 started\n")
    pids.read(1, "10:00:00 worker 12 started\n")
    pids.read(0, "10:00:01 worker 11 died (exit code -9): 3 invocations fail\n")
    before = pids.of(0)
    pids.read(0, "10:00:02 worker 13 started\n")

    assert (None, 13, 12) == (before, pids.of(0), pids.of(1))


def test_a_worker_that_died_unasked_is_found_and_one_that_was_killed_is_not() -> None:
    pids = WorkerPids()
    died = "10:00:01 worker 12 died (exit code -11): 0 invocations fail"
    pids.read(0, "worker 11 started\n")
    pids.read(1, "worker 12 started\n")

    assert 11 == pids.take(0)
    pids.read(0, "10:00:01 worker 11 died (exit code -9): 3 invocations fail\n")
    pids.read(1, f"{died}\n")

    assert [died] == pids.crashed


def test_a_worker_is_killed_once_and_only_the_one_that_is_meant() -> None:
    pids = WorkerPids()
    pids.read(0, "worker 11 started\n")

    assert [None, 11, None] == [pids.take(0, 10), pids.take(0, 11), pids.take(0, 11)]


def test_the_worker_of_an_instance_that_was_killed_is_forgotten() -> None:
    pids = WorkerPids()
    pids.read(0, "worker 11 started\n")

    pids.forget(0)

    assert pids.take(0) is None
