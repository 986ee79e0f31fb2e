from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cli import batch
from local.simulator.scenarios import cart_id
from shared.adapters.storage import AzureBlobs
from shared.bootstrap import bootstrap
from shared.core.cart_state import CartState, Post
from shared.core.errors import ErrorClass
from shared.core.messages import Delivery
from shared.core.outcomes import Outcome
from shared.core.resolution import NOT_BOUGHT
from shared.ports import Conflict, StorageUnavailable
from shared.records import Records
from shared.settings import Settings
from tests.cli.conftest import CUSTOMER, RESULT, asked, texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from local.simulator.server import Simulator
    from shared.core.messages import CheckoutRequest
    from shared.core.outcomes import Event
    from tests.cli.conftest import Function
    from tests.conftest import Storage

    Run = Callable[..., Result]

CART = cart_id("created", "unknown")
"""Partner Center calls it Active until it is bought."""
LONG_AGO = datetime.now(UTC) - timedelta(hours=2)
DAYS_AGO = datetime.now(UTC) - timedelta(days=9)


@pytest.fixture(autouse=True)
def _settings(storage: Storage, simulator: Simulator, settings: Path) -> None:
    """The settings of an app: its storage, its identity, and its service."""
    values = storage.environ | simulator.environment()
    settings.write_text(json.dumps({"IsEncrypted": False, "Values": values}))


@pytest.fixture
def unknown(function: Function) -> CheckoutRequest:
    """A request that was told `unknown`, since a POST of two hours ago got no answer."""
    request = asked("order-1", CART, context={"price": 1}, correlationId=str(uuid.uuid4()))
    function.record(request, Outcome.UNKNOWN, ErrorClass.UNANSWERED, hours_ago=1.9)
    function.leave(request, CartState(key=1, doubt=LONG_AGO, spent=True))
    return request


def order_of(simulator: Simulator, cart: str, customer: str = CUSTOMER) -> str:
    """Buy a cart, and return the id of its order."""
    response = simulator.service.checkout(customer, cart, str(uuid.uuid4()), datetime.now(UTC).timestamp())
    return str(json.loads(response.body)["orders"][0]["id"])


def entries(storage: Storage, cart: str = CART) -> list[Any]:
    return list(json.loads(storage.records.download_blob(f"{CUSTOMER}/{cart}.json").readall()))


def told(storage: Storage) -> list[Any]:
    return [json.loads(text) for text in texts(storage.outcomes)]


def state(function: Function, cart: str = CART) -> CartState:
    return function.state(function.records.load(CUSTOMER, cart))


# --- bought -------------------------------------------------------------------------------------------------------


def test_a_cart_that_was_bought_is_told_as_completed_with_its_order_as_received(
    run: Run, storage: Storage, function: Function, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    order = order_of(simulator, CART)

    result = run("resolve", CUSTOMER, CART, "--bought", order, "--yes")

    assert (result.exit_code, result.stderr) == (0, "")
    assert f"told  completed  requestId order-1  event {unknown.correction_id()}" in result.stdout
    first, last = entries(storage)
    assert [last] == told(storage)
    assert "partnercenter.cart.checkout.completed" == last["type"]
    assert unknown.correction_id() == last["id"]
    data = last["data"]
    assert (first["id"], 2, "order-1", {"price": 1}) == (
        data["corrects"],
        data["revision"],
        data["requestId"],
        data["context"],
    )
    assert (first["data"]["startedAt"], first["data"]["attempts"]) == (data["startedAt"], data["attempts"])
    assert (first["correlationid"], [order]) == (last["correlationid"], [o["id"] for o in data["result"]["orders"]])
    (text,) = texts(storage.outcomes)
    assert '"transactionType": "UserPurchase"' in text, "as the service wrote it"
    assert CartState(key=1, doubt=LONG_AGO, spent=True) == state(function), "a purchase ends every question"


def test_several_orders_are_told_together_and_one_named_twice_once(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    orders = [order_of(simulator, cart_id("created", str(number))) for number in range(2)]
    chosen = [word for order in (*orders, orders[0].upper()) for word in ("--bought", order)]
    assert 0 == run("resolve", CART, *chosen, "--yes").exit_code
    (event,) = told(storage)
    assert orders == [order["id"] for order in event["data"]["result"]["orders"]]
    assert unknown.correction_id() == event["id"]


def test_an_order_that_waits_for_a_person_is_told_so(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    order = order_of(simulator, cart_id("pending-review", "x"))
    assert 0 == run("resolve", CART, "--bought", order, "--yes").exit_code
    (event,) = told(storage)
    assert ("action_required", "partner") == (event["data"]["outcome"], event["data"]["error"]["class"])


def test_an_order_that_the_service_does_not_know_is_refused(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    elsewhere = order_of(simulator, cart_id("created", "x"), customer=CUSTOMER.replace("4", "5"))
    for order in (str(uuid.uuid4()), elsewhere):
        result = run("resolve", CART, "--bought", order, "--yes")
        assert (1, "") == (result.exit_code, result.stdout)
        assert f"Partner Center knows no order {order}" in result.stderr
    assert ([], 1) == (told(storage), len(entries(storage)))


@pytest.mark.parametrize("order", ["", ".", "..", "a/b"])
def test_what_cannot_be_an_order_is_refused(run: Run, storage: Storage, unknown: CheckoutRequest, order: str) -> None:
    del unknown
    result = run("resolve", CART, "--bought", order, "--yes")
    assert (1, "") == (result.exit_code, result.stdout)
    assert [] == told(storage)


def test_while_the_service_is_down_nothing_is_told(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    order = order_of(simulator, CART)
    simulator.service.outage = "503"
    assert f"did not tell the order {order} (HTTP 503)" in run("resolve", CART, "--bought", order, "--yes").stderr
    assert "GET cart did not answer: ask again later" in run("resolve", CART, "--not-bought", "--yes").stderr
    simulator.service.outage = "drop"
    assert "try again" in run("resolve", CART, "--bought", order, "--yes").stderr
    assert "did not answer" in run("resolve", CART, "--not-bought", "--yes").stderr
    assert [] == told(storage)


def test_without_a_token_nothing_is_told(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    simulator.identity.failure = 500
    for found in (("--bought", str(uuid.uuid4())), ("--not-bought",)):
        result = run("resolve", CART, *found, "--yes")
        assert 1 == result.exit_code
        assert "try again" in result.stderr
    assert [] == told(storage)


def test_the_entry_of_its_own_post_is_emptied(
    run: Run, function: Function, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    order = order_of(simulator, CART)
    function.leave(unknown, CartState(post=Post(unknown.event_id, LONG_AGO)))
    run("resolve", CART, "--bought", order, "--yes")
    assert CartState() == state(function)


# --- not bought ---------------------------------------------------------------------------------------------------


def test_an_active_cart_that_nobody_can_buy_any_more_is_told_as_failed(
    run: Run, storage: Storage, function: Function, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    result = run("resolve", CUSTOMER, CART, "--not-bought", "--note", "No order, Kim", "--yes")

    assert (result.exit_code, result.stderr) == (0, "")
    (event,) = told(storage)
    assert ("partnercenter.cart.checkout.failed", unknown.correction_id()) == (event["type"], event["id"])
    error = event["data"]["error"]
    assert ("unanswered", "No order, Kim", True) == (error["class"], error["description"], error["retryable"])
    assert error["advice"].startswith("Nothing was bought")
    assert CartState(key=1, spent=True) == state(function), "the key stays, and nobody is in doubt"
    (page,) = simulator.snapshot()["carts"]
    assert (1, 0) == (page["gets"], page["posts"])


def test_support_is_told_of_the_call_and_not_of_the_correction(run: Run, unknown: CheckoutRequest) -> None:
    del unknown
    before = json.loads(run("status", CART, "--json").stdout)["support"]
    run("resolve", CART, "--not-bought", "--yes")
    assert before == json.loads(run("status", CART, "--json").stdout)["support"]


def test_without_a_note_the_error_says_who_has_found_it(run: Run, storage: Storage, unknown: CheckoutRequest) -> None:
    del unknown
    run("resolve", CART, "--not-bought", "--yes")
    assert [NOT_BOUGHT] == [event["data"]["error"]["description"] for event in told(storage)]


def test_an_ordered_cart_is_refused_as_not_bought(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    order_of(simulator, CART)
    result = run("resolve", CART, "--not-bought", "--yes")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "GET cart says that it is ordered: find its order, and resolve it with --bought" in result.stderr
    assert [] == told(storage)


def test_while_a_post_may_be_at_work_nothing_is_asked_or_told(
    run: Run, storage: Storage, function: Function, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    lately = datetime.now(UTC) - timedelta(seconds=60)  # not at import: a run takes longer than SETTLE_SECONDS
    function.leave(unknown, CartState(post=Post("another", lately), doubt=LONG_AGO))
    result = run("resolve", CART, "--not-bought", "--yes")
    assert "may still be at work: ask again after" in result.stderr
    assert ([], []) == (told(storage), simulator.snapshot()["carts"])


def test_a_cart_that_is_gone_is_refused_until_its_latest_doubt_is_eight_days_old(
    run: Run, storage: Storage, function: Function
) -> None:
    gone = "ffffffff-1111-4222-8333-444444444444"  # no scenario: the service does not know it
    request = asked("order-1", gone)
    function.record(request, Outcome.UNKNOWN, ErrorClass.UNANSWERED, hours_ago=2)
    function.leave(request, CartState(doubt=LONG_AGO))
    refused = run("resolve", gone, "--not-bought", "--yes")
    assert "the service knows no such cart" in refused.stderr
    assert f"possible from {(LONG_AGO + timedelta(days=8)).date()}" in refused.stderr

    function.leave(request, CartState(doubt=DAYS_AGO))
    assert 0 == run("resolve", gone, "--not-bought", "--yes").exit_code
    assert ["failed"] == [event["data"]["outcome"] for event in told(storage)]


def test_where_nobody_is_in_doubt_the_cart_must_be_active_all_the_same(
    run: Run, storage: Storage, function: Function, simulator: Simulator
) -> None:
    request = asked("order-1", CART)
    function.record(request, Outcome.UNKNOWN, ErrorClass.ALREADY_ORDERED)
    order_of(simulator, CART)
    assert "says that it is ordered" in run("resolve", CART, "--not-bought", "--yes").stderr
    assert [] == told(storage)


def test_a_lost_state_gets_a_key_again(run: Run, storage: Storage, function: Function) -> None:
    request = asked("order-1", CART)
    function.record(request, Outcome.UNKNOWN, ErrorClass.UNANSWERED, hours_ago=2)
    function.leave(request, CartState(key=None))
    result = run("resolve", CART, "--not-bought", "--yes")
    assert "may still be at work" in result.stderr, "it was written just now, and all before that is in doubt"
    assert [] == told(storage)


# --- which request ------------------------------------------------------------------------------------------------


def test_a_request_that_is_not_unknown_is_refused(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked("order-1", CART), Outcome.FAILED, ErrorClass.CART)
    for which in ((), ("--request-id", "order-1")):
        result = run("resolve", CART, "--not-bought", *which, "--yes")
        assert 1 == result.exit_code
        assert "failed" in result.stderr
    assert "no outcome of the request x is recorded" in run("resolve", CART, "--not-bought", "--request-id", "x").stderr
    assert [] == told(storage)


def test_of_several_unknown_requests_one_must_be_named(run: Run, storage: Storage, function: Function) -> None:
    for name in ("order-1", "order-2"):
        function.record(asked(name, CART), Outcome.UNKNOWN, ErrorClass.UNANSWERED, hours_ago=3)
    function.leave(asked("order-1", CART), CartState(doubt=LONG_AGO))
    refused = run("resolve", CART, "--not-bought", "--yes")
    assert "several of its requests are unknown" in refused.stderr
    assert "order-1, order-2" in refused.stderr
    assert 0 == run("resolve", CART, "--not-bought", "--request-id", "order-2", "--yes").exit_code
    assert ["order-2"] == [event["data"]["requestId"] for event in told(storage)]


def test_the_only_unknown_one_of_several_requests_needs_no_name(
    run: Run, storage: Storage, function: Function, unknown: CheckoutRequest
) -> None:
    function.record(asked("order-2", CART), Outcome.FAILED, ErrorClass.AUTHENTICATION)
    assert 0 == run("resolve", CART, "--not-bought", "--yes").exit_code
    assert [unknown.request_id] == [event["data"]["requestId"] for event in told(storage)]


def test_an_unknown_is_resolved_once(run: Run, storage: Storage, unknown: CheckoutRequest) -> None:
    del unknown
    assert 0 == run("resolve", CART, "--not-bought", "--yes").exit_code
    again = run("resolve", CART, "--not-bought", "--yes")
    assert (1, True) == (again.exit_code, "none of its outcomes is `unknown` (order-1: failed)" in again.stderr)
    assert 1 == len(told(storage))


def test_a_cart_that_was_not_searched_for_everywhere_is_refused(
    run: Run, storage: Storage, simulator: Simulator, function: Function, unknown: CheckoutRequest
) -> None:
    order = order_of(simulator, CART)
    function.record(asked("other", "ffffffff-1111-4222-8333-444444444444"))  # listed after the one that is found
    result = run("resolve", unknown.cart_id, "--bought", order, "--yes", "--most", "1")
    assert 1 == result.exit_code
    assert "give CUSTOMER_ID too" in result.stderr
    assert "Refused" in result.stderr
    assert [] == told(storage)


def test_a_cart_without_a_record_is_refused(run: Run) -> None:
    assert "it has no record" in run("resolve", CART, "--not-bought", "--yes").stderr
    assert "none of its outcomes is `unknown` (none)" in run("resolve", CUSTOMER, CART, "--not-bought", "--yes").stderr


# --- another request bought it ------------------------------------------------------------------------------------


@pytest.fixture
def bought(function: Function, unknown: CheckoutRequest) -> Event:
    """Another request of the cart is recorded as bought, with the order 4711."""
    del unknown
    return function.record(asked("order-2", CART))


@pytest.mark.parametrize("found", [("--not-bought",), ("--bought", "4711")])
def test_the_purchase_of_another_request_is_told_instead(
    run: Run, storage: Storage, bought: Event, found: tuple[str, ...], unknown: CheckoutRequest
) -> None:
    result = run("resolve", CART, *found, "--yes")
    assert 0 == result.exit_code
    assert ("told instead of --not-bought" in result.stderr) is (found == ("--not-bought",))
    (event,) = told(storage)
    assert ("completed", bought.id, unknown.event_id, unknown.correction_id()) == (
        event["data"]["outcome"],
        event["data"]["answeredBy"],
        event["data"]["corrects"],
        event["id"],
    )
    assert RESULT in texts(storage.outcomes)[0]


def test_an_order_that_the_recorded_purchase_does_not_have_is_pointed_out(run: Run, bought: Event) -> None:
    del bought
    result = run("resolve", CART, "--bought", "4712", "--bought", "4711", "--yes")
    assert "NOT AMONG ITS ORDERS, perhaps a second purchase: 4712" in result.stderr


# --- confirmation -------------------------------------------------------------------------------------------------


def test_it_says_what_it_will_tell_and_a_script_must_pass_yes(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    order = order_of(simulator, CART)
    result = run("resolve", CART, "--bought", order, "--note", "seen by Kim")
    assert 2 == result.exit_code
    for word in ("will be told as `completed`", order, unknown.correction_id(), unknown.event_id, "seen by Kim"):
        assert word in result.stdout
    assert "say --yes" in result.stderr
    assert [] == told(storage)


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_on_a_terminal_it_asks(
    run: Run,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    unknown: CheckoutRequest,
    answer: str,
    code: int,
    count: int,
) -> None:
    del unknown
    monkeypatch.setattr(batch, "_is_interactive", lambda: True)
    result = run("resolve", CART, "--not-bought", given=answer)
    assert "Tell `failed` for the request order-1? [y/N]" in result.stderr
    assert (code, count) == (result.exit_code, len(told(storage)))


def test_a_dry_run_tells_nothing_and_json_says_what_it_would(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    order = order_of(simulator, CART)
    arguments = ("resolve", CART, "--bought", order, "--note", "seen", "--json")
    expected = {
        "eventId": unknown.correction_id(),
        "corrects": unknown.event_id,
        "customerId": CUSTOMER,
        "cartId": CART,
        "requestId": "order-1",
        "outcome": "completed",
        "orders": [order],
        "status": "listed",
        "note": "seen",
    }
    assert expected == json.loads(run(*arguments, "--dry-run").stdout)
    assert [] == told(storage)
    assert expected | {"status": "told"} == json.loads(run(*arguments, "--yes").stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (CART,),
        (CART, "--bought", "1", "--not-bought"),
        (CUSTOMER, CART, CART, "--not-bought"),
        ("nonsense", "--not-bought"),
        (CART, "--not-bought", "--note", "x" * 1001),
    ],
)
def test_wrong_usage_is_reported(run: Run, arguments: tuple[str, ...]) -> None:
    assert 2 == run("resolve", *arguments).exit_code


def test_settings_of_the_service_are_checked(run: Run, storage: Storage, settings: Path) -> None:
    values = storage.environ | {"PARTNER_CENTER_URL": "https://evil.example"}
    settings.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    result = run("resolve", CART, "--not-bought", "--yes")
    assert (2, True) == (result.exit_code, "PARTNER_CENTER_URL must be" in result.stderr)


# --- others write meanwhile, and storage fails --------------------------------------------------------------------


def before_append(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Let something happen just before the next write of an outcome."""
    append = Records.append

    def meanwhile(*arguments: Any) -> Event:
        monkeypatch.setattr(Records, "append", append)
        action()
        return append(*arguments)

    monkeypatch.setattr(Records, "append", meanwhile)


def test_a_purchase_that_is_recorded_meanwhile_is_told_after_all_is_asked_again(
    run: Run, storage: Storage, function: Function, monkeypatch: pytest.MonkeyPatch, unknown: CheckoutRequest
) -> None:
    before_append(monkeypatch, lambda: function.record(asked("order-2", CART)))
    result = run("resolve", CART, "--not-bought", "--yes")
    assert "told instead of --not-bought" in result.stderr
    assert [("completed", unknown.correction_id())] == [(e["data"]["outcome"], e["id"]) for e in told(storage)]


def test_a_post_that_is_entered_meanwhile_is_in_doubt_again(
    run: Run, storage: Storage, function: Function, monkeypatch: pytest.MonkeyPatch, unknown: CheckoutRequest
) -> None:
    del unknown
    before_append(monkeypatch, lambda: function.post(asked("order-2", CART)))
    result = run("resolve", CART, "--not-bought", "--yes")
    assert "may still be at work" in result.stderr
    assert ([], 1) == (told(storage), len(entries(storage)))


def test_a_write_whose_answer_was_lost_is_found_in_the_record_and_told(
    run: Run, storage: Storage, monkeypatch: pytest.MonkeyPatch, unknown: CheckoutRequest
) -> None:
    write = AzureBlobs.write

    def lost(*arguments: Any, **more: Any) -> str:
        write(*arguments, **more)
        raise Conflict

    monkeypatch.setattr(AzureBlobs, "write", lost)
    result = run("resolve", CART, "--not-bought", "--yes")
    assert (0, [unknown.correction_id()]) == (result.exit_code, [event["id"] for event in told(storage)])
    assert 2 == len(entries(storage))


def test_a_record_that_changes_all_the_time_is_left_alone(
    run: Run, storage: Storage, monkeypatch: pytest.MonkeyPatch, unknown: CheckoutRequest
) -> None:
    del unknown

    def always(*_: Any, **__: Any) -> str:
        raise Conflict

    monkeypatch.setattr(AzureBlobs, "write", always)
    assert "its record changes all the time" in run("resolve", CART, "--not-bought", "--yes").stderr
    assert [] == told(storage)


def test_what_is_recorded_and_not_published_can_be_published_later(
    run: Run, storage: Storage, monkeypatch: pytest.MonkeyPatch, unknown: CheckoutRequest
) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("the queue does not answer")

    with monkeypatch.context() as patched:
        patched.setattr("shared.publisher.Publisher.publish", down)
        result = run("resolve", CART, "--not-bought", "--yes")
    command = f"republish --event {unknown.correction_id()}"
    assert (3, True) == (result.exit_code, f"cart-checkout {command}" in result.stderr)
    assert 0 == run(*command.split(), "--yes").exit_code
    assert [unknown.correction_id()] == [event["id"] for event in told(storage)]


def test_a_damaged_record_is_a_storage_failure(run: Run, storage: Storage) -> None:
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"[1]")
    result = run("resolve", CART, "--not-bought", "--yes")
    assert (3, True) == (result.exit_code, "is damaged" in result.stderr)


def test_a_large_purchase_is_told_by_reference(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    order = order_of(simulator, cart_id("huge-result", "x"))
    assert 0 == run("resolve", CART, "--bought", order, "--yes").exit_code
    (event,) = told(storage)
    assert "dataref" in event
    assert event == entries(storage)[-1]


# --- with the program that is deployed ----------------------------------------------------------------------------


def test_a_copy_that_comes_back_is_answered_by_the_correction(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    run("resolve", CART, "--not-bought", "--yes")
    checkout = bootstrap(Settings.from_env(storage.environ | simulator.environment()))
    checkout.handle(unknown.copy(unknown.retry), Delivery("m", 1, datetime.now(UTC)))
    assert [unknown.correction_id()] * 2 == [event["id"] for event in told(storage)]


def test_a_new_request_after_it_buys_the_cart(
    run: Run, storage: Storage, simulator: Simulator, unknown: CheckoutRequest
) -> None:
    del unknown
    run("resolve", CART, "--not-bought", "--yes")
    checkout = bootstrap(Settings.from_env(storage.environ | simulator.environment()))
    body = json.dumps({"customerId": CUSTOMER, "cartId": CART, "requestId": "order-2"}).encode()
    checkout.handle(body, Delivery("m", 1, datetime.now(UTC)))
    assert ["failed", "completed"] == [event["data"]["outcome"] for event in told(storage)]
    assert 1 == simulator.snapshot()["totals"]["purchases"]
