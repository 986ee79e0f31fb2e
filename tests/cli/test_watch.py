from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from cli.commands.watch import cells_of, read_message
from cli.connection import MAX_PEEKED
from local.stack import ROOT
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import Decision, Event, Outcome, decided

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from tests.conftest import Storage

    Run = Callable[..., Result]

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
CART = "00000001-1111-4222-8333-444444444444"
RESULT = '{"orders": [{"id": "4711",\n "totalPrice": 36.480}]}'


def test_outcomes_are_shown_and_stay_for_their_consumers(run: Run, storage: Storage) -> None:
    publish(storage, outcome("order-1"), outcome("order-2", Outcome.FAILED, result=None, error=CART_ERROR))

    result = run("watch", "--timeout", "0")

    assert result.exit_code == 0
    heading, first, second = result.stdout.splitlines()
    assert heading.split()[:4] == ["TIME", "(UTC)", "OUTCOME", "CART"]
    for word in ("11-22 10:00:00", "completed", CART, "order-1", "1 order(s): 4711"):
        assert word in first
    for word in ("failed", "order-2", "cart 800089", "Out of stock."):
        assert word in second
    assert len(storage.outcomes.peek_messages(32)) == 2


def test_an_outcome_is_shown_once_however_often_it_is_seen(run: Run, storage: Storage) -> None:
    publish(storage, outcome("order-1"))
    assert len(run("watch", "--json", "--timeout", "1.5").stdout.splitlines()) == 1


def test_taken_outcomes_are_deleted(run: Run, storage: Storage) -> None:
    publish(storage, *(outcome(f"order-{number}") for number in range(40)))

    result = run("watch", "--take", "--json", "--count", "40")

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 40
    assert storage.outcomes.get_queue_properties().approximate_message_count == 0


def test_nothing_is_taken_after_the_timeout(run: Run, storage: Storage) -> None:
    publish(storage, *(outcome(f"order-{number}") for number in range(3)))
    assert len(run("watch", "--take", "--json", "--timeout", "0").stdout.splitlines()) == 1
    assert len(storage.outcomes.peek_messages(32)) == 2


def test_no_more_than_count_outcomes_are_taken(run: Run, storage: Storage) -> None:
    publish(storage, *(outcome(f"order-{number}") for number in range(3)))
    assert len(run("watch", "--take", "--json", "--count", "2").stdout.splitlines()) == 2
    assert len(storage.outcomes.peek_messages(32)) == 1


def test_json_is_the_event_on_one_line_with_its_numbers_as_published(run: Run, storage: Storage) -> None:
    event = outcome("order-1")
    publish(storage, event)

    result = run("watch", "--json", "--timeout", "0")

    assert result.stdout == event.text.replace("\n", " ") + "\n"
    assert '"totalPrice": 36.480' in result.stdout


def test_a_longer_queue_than_can_be_seen_is_reported(run: Run, storage: Storage) -> None:
    publish(storage, *(outcome(f"order-{number}") for number in range(MAX_PEEKED + 1)))

    result = run("watch", "--json", "--timeout", "0")

    assert len(result.stdout.splitlines()) == MAX_PEEKED
    assert result.stderr == (
        f"The queue holds {MAX_PEEKED + 1}; only the first {MAX_PEEKED} can be seen. --take sees all.\n"
        "Not everything was looked at, left out: 1 message(s) that cannot be seen.\n"
    )
    assert 1 == result.exit_code
    assert 0 == run("watch", "--count", "1").exit_code, "it was asked for one, and has shown it"


def test_data_in_a_blob_is_loaded(run: Run, storage: Storage) -> None:
    event = outcome("order-1")
    storage.records.upload_blob(f"{CUSTOMER}/{CART}/data.json", event.data or "")
    publish(storage, event.claim_check(f"{storage.records.url}/{CUSTOMER}/{CART}/data.json"))

    assert "1 order(s): 4711" in run("watch", "--timeout", "0").stdout
    (line,) = run("watch", "--json", "--timeout", "0").stdout.splitlines()
    assert "data" not in json.loads(line)


def test_an_outcome_whose_blob_is_missing_or_elsewhere_is_shown(run: Run, storage: Storage) -> None:
    event = outcome("order-1")
    publish(storage, event.claim_check(f"{storage.records.url}/gone"), event.claim_check("https://evil.example/x"))

    result = run("watch", "--timeout", "0")

    assert (result.exit_code, result.stdout.count("completed")) == (1, 2)
    assert 2 == result.stderr.count(f"The data of the event {event.id} cannot be read.")


def test_an_outcome_answered_by_another_request_names_it(run: Run, storage: Storage) -> None:
    publish(storage, outcome("order-2", answered_by="the-first-event"))
    assert "answeredBy the-first-event" in run("watch", "--timeout", "0").stdout


def test_a_message_that_is_not_an_outcome_is_shown_and_does_not_stop_the_others(run: Run, storage: Storage) -> None:
    for text in ("not base64", base64.b64encode(b"[]").decode(), base64.b64encode(b'{"type": 1}').decode()):
        storage.outcomes.send_message(text)
    publish(storage, outcome("order-1"))

    result = run("watch", "--timeout", "0")
    lines = run("watch", "--json", "--timeout", "0").stdout.splitlines()

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 5)
    assert "not base64" in result.stdout
    assert json.loads(lines[0]) == {"unreadable": "not base64"}


def test_untrusted_text_cannot_control_the_terminal(storage: Storage) -> None:
    event = {"type": "partnercenter.cart.checkout.failed", "data": {"requestId": "\x1b[2J\x07", "error": {"code": 1}}}
    shown = read_message(base64.b64encode(json.dumps(event).encode()).decode(), storage.records)
    assert all(cell.isprintable() for cell in cells_of(shown))


def test_too_few_outcomes_in_time_have_an_exit_code(run: Run, storage: Storage) -> None:
    publish(storage, outcome("order-1"))
    assert run("watch", "--count", "2", "--timeout", "0").exit_code == 1
    assert run("watch", "--count", "1", "--timeout", "0").exit_code == 0


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), ["order-1", "order-2", "order-3"]),
        (("--outcome", "failed"), ["order-2"]),
        (("--outcome", "failed", "--outcome", "unknown"), ["order-2", "order-3"]),
        (("--class", "cart"), ["order-2"]),
        (("--customer", CUSTOMER.upper()), ["order-1", "order-2", "order-3"]),
        (("--customer", CART), []),
        (("--cart", f"{{{CART}}}", "--request", "order-1"), ["order-1"]),
        (("--request", "order-1", "--outcome", "failed"), []),
    ],
)
def test_filters_select_outcomes(run: Run, storage: Storage, filters: tuple[str, ...], expected: list[str]) -> None:
    failed = outcome("order-2", Outcome.FAILED, error=CART_ERROR)
    publish(storage, outcome("order-1"), failed, outcome("order-3", Outcome.UNKNOWN))
    shown = run("watch", "--json", "--timeout", "0", *filters).stdout.splitlines()
    assert expected == [json.loads(line)["data"]["requestId"] for line in shown]


def test_only_what_is_shown_is_counted(run: Run, storage: Storage) -> None:
    publish(storage, outcome("order-1"), outcome("order-2", Outcome.FAILED))
    result = run("watch", "--json", "--count", "1", "--outcome", "failed")
    assert ["order-2"] == [json.loads(line)["data"]["requestId"] for line in result.stdout.splitlines()]


def test_take_cannot_be_combined_with_filters(run: Run, storage: Storage) -> None:
    publish(storage, outcome("order-1"))
    result = run("watch", "--take", "--outcome", "failed", "--timeout", "0")
    assert result.exit_code == 2
    assert "cannot be combined with filters" in result.stderr
    assert 1 == len(storage.outcomes.peek_messages())


def test_a_filter_that_is_not_a_guid_is_wrong_usage(run: Run) -> None:
    assert run("watch", "--cart", "4711").exit_code == 2


def test_ctrl_c_ends_it_cleanly(storage: Storage, settings: Path) -> None:
    publish(storage, outcome("order-1"))
    command = [sys.executable, "-m", "cli.main", "watch", "--json", "--settings", str(settings)]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["data"]["requestId"] == "order-1"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_missing_queue_is_a_storage_failure(run: Run, storage: Storage) -> None:
    storage.outcomes.delete_queue()
    assert run("watch", "--timeout", "0").exit_code == 3


CART_ERROR = '{"class":"cart","code":"800089","description":"Out of stock."}'


def outcome(request_id: str, kind: Outcome = Outcome.COMPLETED, **more: Any) -> Event:
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    body = json.dumps({"customerId": CUSTOMER, "cartId": CART, "requestId": request_id})
    request = decode(body.encode(), Delivery("", 1, at))
    assert isinstance(request, CheckoutRequest)
    return decided(request, Decision(kind, 1, **{"result": RESULT} | more), at)


def publish(storage: Storage, *events: Event) -> None:
    for event in events:
        storage.outcomes.send_message(base64.b64encode(event.text.encode()).decode())
