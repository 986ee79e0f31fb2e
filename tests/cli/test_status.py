from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cli import table
from cli.commands import status
from cli.records_reader import RecordsReader
from cli.times import format_age
from shared.core.cart_state import CartState
from shared.core.errors import ErrorClass
from shared.core.messages import ms_request_id
from shared.core.outcomes import Outcome, timestamp
from tests.cli.conftest import CART, CUSTOMER, OTHER_CART, THIRD_CART, asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.cli.conftest import Function
    from tests.conftest import Storage

    Run = Callable[..., Result]


def test_the_queues_are_counted_and_their_oldest_message_is_dated(run: Run, storage: Storage) -> None:
    for number in range(3):
        storage.carts.send_message(str(number))
    storage.carts.send_message("waits", visibility_timeout=600)

    found = json.loads(run("status", "--json").stdout)["queues"]

    assert {"carts", "poison", "outcomes"} == set(found)
    assert (storage.carts.queue_name, 4, 3) == (found["carts"]["name"], found["carts"]["count"], found["carts"]["seen"])
    assert datetime.now(UTC) - datetime.fromisoformat(found["carts"]["oldestAt"]) < timedelta(minutes=1)
    assert (0, 0, None) == (found["poison"]["count"], found["poison"]["seen"], found["poison"]["oldestAt"])


def test_a_poison_queue_that_is_not_empty_is_reported(run: Run, storage: Storage) -> None:
    assert "poison queue holds messages" not in run("status").stdout
    storage.poison.send_message("hello")
    assert "The poison queue holds messages" in run("status").stdout
    assert storage.poison.receive_message() is not None
    assert "The poison queue holds messages" in run("status").stdout, "what the host has given up is seldom visible"


def test_what_waits_is_shown_with_its_reason(run: Run, function: Function) -> None:
    function.post(asked("order-1"), "throttled", seconds=600)
    function.post(asked("order-2", OTHER_CART), "settling", seconds=60)
    function.post(asked("order-3", THIRD_CART))

    shown = run("status")
    found = json.loads(run("status", "--json").stdout)["waiting"]

    assert "Waiting: 3 cart(s) (" in shown.stdout
    assert {"throttled": 1, "settling": 1, "at_work": 1} == found["byReason"]
    by = [asked("order-2", OTHER_CART), asked("order-1"), asked("order-3", THIRD_CART)]
    assert [each.event_id for each in by] == [each["by"] for each in found["carts"]], "the next one first"
    assert ("ms-of-the-last-call", 2, False) == tuple(
        found["carts"][0][name] for name in ("msRequestId", "attempt", "heard")
    )
    for word in ("settling", OTHER_CART, "in 10 min", "at_work"):
        assert word in shown.stdout


def test_what_waits_is_listed_without_a_read_of_any_record(
    run: Run, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    function.post(asked(), "service")
    monkeypatch.setattr(RecordsReader, "load", lambda *_: pytest.fail("a record was read"))
    since = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert 1 == json.loads(run("status", "--json", "--since", since).stdout)["waiting"]["count"]


def test_metadata_are_understood_whatever_the_case_of_their_names(run: Run, storage: Storage) -> None:
    post = json.dumps({"by": asked().event_id, "at": "2999-11-22T10:00:00Z", "reason": "service"})
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"[]", metadata={"Key": "3", "Post": post})
    assert {"service": 1} == json.loads(run("status", "--json").stdout)["waiting"]["byReason"]
    assert 3 == json.loads(run("status", CART, "--json").stdout)["state"]["key"]


@pytest.mark.parametrize("answer", [(Outcome.COMPLETED, None), (Outcome.FAILED, ErrorClass.CART)])
def test_a_post_that_is_answered_does_not_wait(
    run: Run, function: Function, answer: tuple[Outcome, ErrorClass | None]
) -> None:
    function.post(asked())  # of a duplicate, which leaves its entry when the first one is told
    function.record(asked(), *answer)
    assert 0 == json.loads(run("status", "--json").stdout)["waiting"]["count"]
    assert json.loads(run("status", CART, "--json").stdout)["waiting"] is None


def test_a_post_of_the_week_before_does_not_wait(run: Run, function: Function) -> None:
    function.post(asked(), "service", hours_ago=7 * 24.0)
    assert 0 == json.loads(run("status", "--json").stdout)["waiting"]["count"]


def test_recent_outcomes_are_counted_by_kind(run: Run, function: Function) -> None:
    function.record(asked("order-1", CART), Outcome.FAILED, ErrorClass.PARTNER, hours_ago=3)
    function.record(asked("order-2", CART))
    function.record(asked("order-3", OTHER_CART), Outcome.UNKNOWN, ErrorClass.UNANSWERED)

    shown = run("status")
    hour = json.loads(run("status", "--json").stdout)["recent"]
    day = json.loads(run("status", "--json", "--since", "24h").stdout)["recent"]

    assert {"completed": 1, "action_required": 0, "partial": 0, "failed": 0, "unknown": 1} == hour["byOutcome"]
    assert (2, {"unanswered": 1}) == (hour["count"], hour["byClass"])
    assert {"partner": 1, "unanswered": 1} == day["byClass"]
    assert ["order-3", "order-1"] == [each["requestId"] for each in day["last"]]
    assert "2 outcome(s) (1 completed, 1 unknown)" in shown.stdout
    assert "order-3" in shown.stdout
    assert "order-2" not in shown.stdout, "of what went well the number is enough"


def test_a_truncated_list_says_so(run: Run, function: Function) -> None:
    function.record(asked())
    function.record(asked("other", OTHER_CART))
    for arguments in ((), ("--json",)):
        result = run("status", "--most", "1", *arguments)
        assert 1 == result.exit_code
        assert "raise --most" in result.stderr
    assert json.loads(result.stdout)["truncated"] is True
    whole = run("status", "--json")
    assert (0, False) == (whole.exit_code, json.loads(whole.stdout)["truncated"])


def test_a_long_list_of_waiting_carts_is_shortened(run: Run, function: Function) -> None:
    for number in range(status.SHOWN + 2):
        function.post(asked(f"order-{number}", str(uuid.uuid4())))
    result = run("status")
    assert "... and 2 more" in result.stdout
    assert status.SHOWN + 2 == len(json.loads(run("status", "--json").stdout)["waiting"]["carts"])


def test_a_damaged_record_is_named(run: Run, storage: Storage) -> None:
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"not JSON")
    for arguments in ((), ("--json",)):
        result = run("status", *arguments)
        assert 1 == result.exit_code
        assert f"{CUSTOMER}/{CART}.json" in result.stderr
    assert [f"{CUSTOMER}/{CART}.json"] == json.loads(result.stdout)["damaged"]


# --- one cart -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [(CART,), (CUSTOMER, CART), (CUSTOMER.upper(), f"{{{CART}}}")])
def test_a_cart_is_shown_with_all_that_was_decided(run: Run, function: Function, ids: tuple[str, ...]) -> None:
    function.record(asked("order-1"), Outcome.FAILED, ErrorClass.CART)
    function.record(asked("order-2"))

    result = run("status", *ids)

    assert result.exit_code == 0
    for word in ("order-1", "failed", "cart 800089", "The service said no.", "order-2", "1 order(s): 4711"):
        assert word in result.stdout
    for word in ("partnerTenantId", "msRequestId      ms-request", "msCorrelationId  ms-corr", "msCv             cv.0"):
        assert (word in result.stdout) is (word != "partnerTenantId"), "it is in no setting of this test"
    assert "Nothing: it is bought." in result.stdout


def test_a_cart_in_json_has_its_events_as_they_were_recorded(run: Run, function: Function) -> None:
    event = function.record(asked())
    result = run("status", CART, "--json")
    assert f'"entries":[{event.text.replace(chr(10), " ")}]' in result.stdout
    found = json.loads(result.stdout)
    assert (CUSTOMER, CART, None, []) == (found["customerId"], found["cartId"], found["waiting"], found["inQueue"])
    assert found["support"] == {
        "customerId": CUSTOMER,
        "cartId": CART,
        "call": f"POST /v1/customers/{CUSTOMER}/carts/{CART}/checkout",
        "msRequestId": "ms-request",
        "msCorrelationId": "ms-corr",
        "msCv": "cv.0",
        "at": json.loads(event.text)["time"],
        "httpStatus": 201,
        "orders": ["4711"],
    }


def test_a_waiting_cart_shows_its_reason_and_the_ids_of_its_call(run: Run, function: Function) -> None:
    function.post(asked(), "service")
    result = run("status", CART)
    for word in (
        "No outcome was decided yet.",
        "waits      service, 2 attempt(s)",
        "without a certain answer",
        f"by event {asked().event_id}",
        "ms-of-the-last-call",
        "Nothing, unless it waits too long",
    ):
        assert word in result.stdout
    assert "service" == json.loads(run("status", CART, "--json").stdout)["waiting"]["reason"]


def test_key_and_doubt_of_a_cart_are_shown(run: Run, function: Function) -> None:
    function.record(asked(), Outcome.UNKNOWN, ErrorClass.UNANSWERED)
    doubt = datetime(2026, 11, 22, 10, tzinfo=UTC)
    function.leave(asked(), CartState(key=2, doubt=doubt, spent=True))

    shown = run("status", CART).stdout
    found = json.loads(run("status", CART, "--json").stdout)["state"]

    assert f"key        2, MS-RequestId {ms_request_id(CUSTOMER, CART, 2)}, spent" in shown
    assert "a POST of 2026-11-22 10:00:00 UTC got no certain answer" in shown
    at = timestamp(doubt)
    assert {"key": 2, "post": None, "doubt": at, "spent": True, "lost": False, "inDoubtSince": at} == found


def test_a_cart_that_nobody_doubts_says_so(run: Run, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.CART)
    assert "doubt      none" in run("status", CART).stdout


def test_a_record_without_its_state_is_said_to_have_lost_it(run: Run, function: Function, storage: Storage) -> None:
    event = function.record(asked(), Outcome.FAILED, ErrorClass.CART)
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", f"[{event.text}]", overwrite=True)
    assert "The state was lost" in run("status", CART).stdout
    found = json.loads(run("status", CART, "--json").stdout)["state"]
    assert (True, None) == (found["lost"], found["key"])
    assert found["inDoubtSince"]


def test_without_a_response_the_ms_request_id_that_was_sent_is_reported(run: Run, function: Function) -> None:
    function.record(asked(), Outcome.UNKNOWN, ErrorClass.UNANSWERED, response=None)
    support = json.loads(run("status", CART, "--json").stdout)["support"]
    sent = (ms_request_id(CUSTOMER, CART, 0), asked().correlation_id)
    assert sent == (support["msRequestId"], support["msCorrelationId"])


def test_an_unknown_cart_shows_the_commands_that_end_it(run: Run, function: Function) -> None:
    function.record(asked(), Outcome.UNKNOWN, ErrorClass.UNANSWERED)
    shown = run("status", CART).stdout
    assert f"cart-checkout redrive {CUSTOMER} {CART}" in shown
    assert f"cart-checkout resolve {CUSTOMER} {CART} --bought ORDER_ID, or --not-bought" in shown


def test_an_entry_that_only_repeats_another_is_not_reported_as_the_call(run: Run, function: Function) -> None:
    first = function.record(asked("order-1"))
    function.record(asked("order-2"), answered_by=first.id, response=None)
    result = run("status", CART)
    assert f"answeredBy {first.id}" in result.stdout
    assert "msRequestId      ms-request" in result.stdout


def test_a_failed_cart_shows_the_command_to_redrive_it(run: Run, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.PARTNER)
    assert "cart-checkout redrive" in run("status", CART).stdout


def test_the_messages_of_a_cart_are_found_in_the_queues(run: Run, storage: Storage) -> None:
    body = json.dumps({"customerId": CUSTOMER, "cartId": CART, "requestId": "order-1"})
    storage.carts.send_message(body)
    storage.poison.send_message(body)
    (first, second) = json.loads(run("status", CUSTOMER, CART, "--json").stdout)["inQueue"]
    assert [("carts", "order-1"), ("poison", "order-1")] == [(m["queue"], m["requestId"]) for m in (first, second)]
    assert "In the queues" in run("status", CUSTOMER, CART).stdout


def test_the_tenant_is_shown_for_support_where_it_is_known(run: Run, function: Function, settings: Any) -> None:
    values = json.loads(settings.read_text())
    tenant = str(uuid.uuid4())
    values["Values"]["PARTNER_CENTER_TENANT_ID"] = tenant
    settings.write_text(json.dumps(values))
    function.record(asked())
    assert tenant == json.loads(run("status", CART, "--json").stdout)["support"]["partnerTenantId"]


@pytest.mark.parametrize("ids", [(CART,), (CUSTOMER, CART)])
def test_a_cart_of_which_nothing_is_known_has_an_exit_code(run: Run, ids: tuple[str, ...]) -> None:
    result = run("status", *ids)
    assert (1, "") == (result.exit_code, result.stdout)
    assert CART in result.stderr


def test_a_truncated_search_says_so(run: Run, function: Function) -> None:
    function.record(asked("other", OTHER_CART))
    function.record(asked("another", THIRD_CART))
    for cart in (CART, OTHER_CART):  # another customer may have a cart of the id that was found
        result = run("status", cart, "--most", "1")
        assert 1 == result.exit_code
        assert "Only the first 1 blobs were searched" in result.stderr


@pytest.mark.parametrize("arguments", [("x",), (CUSTOMER, CART, CART), (CART, "--since", "1h"), ("--since", "1y")])
def test_wrong_usage_is_reported(run: Run, arguments: tuple[str, ...]) -> None:
    assert 2 == run("status", *arguments).exit_code


def test_a_damaged_record_of_a_cart_is_reported(run: Run, storage: Storage) -> None:
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"[1]")
    result = run("status", CUSTOMER, CART)
    assert 1 == result.exit_code
    assert "is damaged" in result.stdout


def test_untrusted_text_cannot_control_the_terminal(run: Run, function: Function) -> None:
    found = {"description": "\x1b[2J\u202e evil", "class": "cart", "code": "\x07"}
    function.record(asked("order\u202e1"), Outcome.FAILED, error=json.dumps(found))
    for arguments in ((), (CART,)):
        shown = run("status", *arguments).stdout
        assert all(c.isprintable() or c == "\n" for c in shown)


def test_a_failed_connection_shows_no_signature(run: Run, settings: Any) -> None:
    values = json.loads(settings.read_text())
    values["Values"]["CheckoutStorage"] = (
        "BlobEndpoint=http://127.0.0.1:9/a;QueueEndpoint=http://127.0.0.1:9/a;SharedAccessSignature=sv=2024&sig=hush"
    )
    settings.write_text(json.dumps(values))
    result = run("send", CUSTOMER, CART)
    assert result.exit_code == 3
    assert "hush" not in result.output
    assert "cart-checkout doctor" in result.stderr


# --- tables and times -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7200, "2 h"), (180_000, "2 d"), (-40, "in 40 s")],
)
def test_an_age_is_shown_in_one_unit(seconds: float, expected: str) -> None:
    now = datetime.now(UTC)
    assert expected == format_age(now - timedelta(seconds=seconds), now)


def test_on_a_terminal_a_table_is_drawn_and_no_cell_is_markup(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table.show(("NAME", "WHAT"), [("[red]x[/red]", "completed"), ("\x1b[2J", None)])
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert "\ufffd[2J" in shown
