from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from shared.messages import derive
from tools.cli import main
from tools.send import Ready, Refused, check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Storage

    Run = Callable[..., Result]

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
CART = "00000001-1111-4222-8333-444444444444"
GOOD = f'{{"customerId":"{CUSTOMER}","cartId":"{CART}"}}'


def test_a_cart_is_sent_under_the_id_that_is_given(run: Run, storage: Storage) -> None:
    result = run("send", CUSTOMER, CART, "--request-id", "order-4711")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"sent  cart {CART}  requestId order-4711\n"
    assert queued(storage) == [{"customerId": CUSTOMER, "cartId": CART, "requestId": "order-4711"}]


def test_a_cart_without_a_request_id_is_given_one_and_it_is_printed(run: Run, storage: Storage) -> None:
    result = run("send", CUSTOMER, CART)

    (message,) = queued(storage)
    assert uuid.UUID(message["requestId"]).version == 4
    assert message["requestId"] in result.stdout


def test_everything_that_a_request_may_say_can_be_said(run: Run, storage: Storage) -> None:
    correlation = str(uuid.uuid4())
    more = ("--correlation-id", correlation, "--upn", "kim@contoso.com", "--context", '{"price": 36.480}')
    result = run("send", CUSTOMER, CART, "--request-id", "bestellung-ü", *more)

    assert result.exit_code == 0
    (message,) = queued(storage)
    assert message == {
        "customerId": CUSTOMER,
        "cartId": CART,
        "requestId": "bestellung-ü",
        "correlationId": correlation,
        "customerUserUpn": "kim@contoso.com",
        "context": {"price": 36.48},
    }
    assert '"context":{"price": 36.480}' in texts(storage)[0]


def test_it_never_expires(run: Run, storage: Storage) -> None:
    run("send", CUSTOMER, CART)
    (message,) = storage.carts.peek_messages()
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


def test_a_receipt_can_be_json(run: Run) -> None:
    result = run("send", CUSTOMER.upper(), CART, "--request-id", "r", "--json")
    assert json.loads(result.stdout) == {
        "requestId": "r",
        "customerId": CUSTOMER,
        "cartId": CART,
        "eventId": derive("event", CUSTOMER, CART, "r"),
    }


@pytest.mark.parametrize("source", ["-", "carts.jsonl"])
def test_a_file_is_sent_line_by_line(run: Run, storage: Storage, tmp_path: Path, source: str) -> None:
    event = {"specversion": "1.0", "id": "7", "source": "urn:shop", "type": "t", "data": json.loads(GOOD)}
    text = f'\ufeff{GOOD}\n\n  {GOOD[:-1]},"requestId":"mine"}}  \r\n{json.dumps(event)}\n'
    (tmp_path / "carts.jsonl").write_text(text, newline="")
    name = source if source == "-" else str(tmp_path / source)

    result = run("send", "--from", name, given=text)

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 3)
    first, second, third = queued(storage)
    assert uuid.UUID(first["requestId"]).version == 4
    assert second["requestId"] == "mine"
    assert third == event
    assert derive("cloudevent", "urn:shop", "7") in result.stdout


def test_a_bad_line_is_named_and_nothing_of_the_file_is_sent(run: Run, storage: Storage) -> None:
    result = run("send", "--from", "-", given=f'{GOOD}\n{{"customerId":"x","cartId":"{CART}"}}\n')

    assert (result.exit_code, result.stdout) == (1, "")
    assert "Refused, line 2: $.customerId: a GUID such as" in result.stderr
    assert "Nothing was sent: 1 of 2 lines are refused." in result.stderr
    assert queued(storage) == []


def test_the_good_lines_are_sent_when_asked_for(run: Run, storage: Storage) -> None:
    result = run("send", "--from", "-", "--keep-going", given=f"[]\n{GOOD}\nnonsense\n")

    assert result.exit_code == 1
    assert "line 1" in result.stderr
    assert "line 3" in result.stderr
    assert len(queued(storage)) == 1


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"", "$"),
        (b"{}", "$.customerId"),
        (b"[1]", "$"),
        (b'{"customerId":1}', "$.cartId"),
        (GOOD[:-1].encode() + b',"requestID":"typo"}', "$.requestID"),
        (GOOD[:-1].encode() + b',"requestId":"\\u0000"}', "$.requestId"),
        (GOOD[:-1].encode() + b',"retry":{"attempt":1}}', "$"),
        (GOOD[:-1].encode() + b',"cartId":"twice"}', "$.cartId"),
        (GOOD[:-1].encode() + b',"context":"' + b"x" * 45_000 + b'"}', "$"),
        (base64.b64encode(GOOD.encode()), "$"),
        (b"\xff" + GOOD.encode(), "$"),
    ],
)
def test_what_the_function_would_refuse_is_refused(text: bytes, path: str) -> None:
    found = check(7, text)
    assert isinstance(found, Refused)
    assert (found.line, found.path) == (7, path)
    assert str(found).startswith(f"line 7: {path}: ")


def test_a_request_that_grows_too_long_by_its_id_is_refused() -> None:
    longest = 44 * 1024
    text = GOOD[:-1].encode() + b',"context":"' + b"x" * (longest - len(GOOD) - 14) + b'"}'
    assert len(text) <= longest
    assert isinstance(check(1, text), Refused)


def test_a_line_is_not_written_anew() -> None:
    text = GOOD[:-1].encode() + b' , "context": [1.50, "\\u00fc"]}'
    found = check(1, text)
    assert isinstance(found, Ready)
    assert found.text.endswith(text[1:])


def test_a_context_that_is_no_json_is_wrong_usage(run: Run) -> None:
    result = run("send", CUSTOMER, CART, "--context", "{oops")
    assert result.exit_code == 2
    assert "--context" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (CUSTOMER,),
        (CUSTOMER, CART, "--from", "-"),
        ("--from", "-", "--request-id", "x"),
        ("--from", "absent.jsonl"),
    ],
)
def test_wrong_usage_is_told(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("send", *arguments, given="").exit_code == 2


def test_all_missing_settings_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER", "CheckoutStorage"):
        monkeypatch.delenv(name, raising=False)

    result = CliRunner().invoke(main, ["send", CUSTOMER, CART])

    assert result.exit_code == 2
    for name in ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER", "CheckoutStorage__queueServiceUri"):
        assert f"- {name} is missing" in result.stderr
    assert "--settings local.settings.json" in result.stderr


def test_settings_come_from_the_environment_too(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in storage.environ.items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(main, ["send", CUSTOMER, CART]).exit_code == 0
    assert len(queued(storage)) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"Values": 1}', '{"IsEncrypted": true, "Values": {}}'])
def test_a_file_that_holds_no_settings_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    result = CliRunner().invoke(main, ["send", "--settings", str(file), CUSTOMER, CART])
    assert result.exit_code == 2
    assert "settings.json" in result.stderr


def test_a_queue_that_is_not_there_is_a_failure_of_the_storage(run: Run, storage: Storage) -> None:
    storage.carts.delete_queue()
    result = run("send", CUSTOMER, CART)
    storage.carts.create_queue()
    assert (result.exit_code, result.stdout) == (3, "")
    assert "0 of 1 were sent" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_does_not_wait_for_the_storage_sdk() -> None:
    program = "import sys; from tools.cli import main; main(['send', '--help'], standalone_mode=False);"
    program += "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'requests', 'rich')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert "Examples:" in done.stdout
    assert done.stdout.endswith("[]\n")


def texts(storage: Storage) -> list[str]:
    return [base64.b64decode(message.content).decode() for message in storage.carts.peek_messages(32)]


def queued(storage: Storage) -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts(storage)]
