from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from cli.commands.send import CheckedRequest, RefusedLine, check_line
from cli.connection import connect
from cli.main import main
from cli.wait import wait_for
from shared.core.errors import ErrorClass
from shared.core.messages import derive
from shared.core.outcomes import Outcome
from tests.cli.conftest import asked
from tests.support.builders import MESSAGE, accepted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Function
    from tests.conftest import Storage

    Run = Callable[..., Result]

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
CART = "00000001-1111-4222-8333-444444444444"
GOOD = f'{{"customerId":"{CUSTOMER}","cartId":"{CART}"}}'


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


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


def test_every_member_of_a_request_can_be_given(run: Run, storage: Storage) -> None:
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


def test_a_message_never_expires(run: Run, storage: Storage) -> None:
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


def test_the_valid_lines_are_sent_with_keep_going(run: Run, storage: Storage) -> None:
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
        (GOOD.replace("customerId", "CustomerId").encode(), "$.CustomerId"),
        (GOOD.encode("utf-16"), "$"),
        (GOOD[:-1].encode() + b',"requestID":"typo"}', "$.requestID"),
        (GOOD[:-1].encode() + b',"requestId":"\\u0000"}', "$.requestId"),
        (GOOD[:-1].encode() + b',"retry":{"attempt":1}}', "$"),
        (GOOD[:-1].encode() + b',"cartId":"twice"}', "$.cartId"),
        (GOOD[:-1].encode() + b',"context":"' + b"x" * 45_000 + b'"}', "$"),
        (base64.b64encode(base64.b64encode(GOOD.encode())), "$"),
        (b"\xff" + GOOD.encode(), "$"),
    ],
)
def test_what_the_function_would_refuse_is_refused(text: bytes, path: str) -> None:
    found = check_line(7, text)
    assert isinstance(found, RefusedLine)
    assert (found.line, found.path) == (7, path)
    assert str(found).startswith(f"line 7: {path}: ")


def test_a_request_that_grows_too_long_by_its_id_is_refused() -> None:
    longest = 44 * 1024
    text = GOOD[:-1].encode() + b',"context":"' + b"x" * (longest - len(GOOD) - 14) + b'"}'
    assert len(text) <= longest
    assert isinstance(check_line(1, text), RefusedLine)


def test_the_values_of_a_line_stay_as_they_are_written() -> None:
    text = GOOD[:-1].encode() + b' , "context": [1.50, "\\u00fc"]}'
    found = check_line(1, text)
    assert isinstance(found, CheckedRequest)
    assert b'"context":[1.50, "\\u00fc"],"requestId":"' in found.text
    named = check_line(1, text[:-1] + b', "requestId": "r"}')
    assert isinstance(named, CheckedRequest)
    assert text[:-1] + b', "requestId": "r"}' == named.text


EVENT = {"specversion": "1.0", "id": "7", "source": "urn:shop", "type": "t"}
FORMS = {
    "plain": GOOD,
    "BOM": f"\ufeff{GOOD}",
    "base64": b64(GOOD),
    "base64 of a BOM": b64(f"\ufeff{GOOD}"),
    "null as request id": GOOD[:-1] + ',"requestId":null,"notAfter":null}',
    "a binding's member": GOOD[:-1] + ',"$AzureWebJobsParentId":"x"}',
    "CloudEvent": json.dumps(EVENT | {"data": json.loads(GOOD)}),
    "CloudEvent with data_base64": json.dumps(EVENT | {"data_base64": b64(GOOD)}),
    "CloudEvent in base64": b64(json.dumps(EVENT | {"data": json.loads(GOOD)})),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_that_the_function_accepts_is_sent(run: Run, storage: Storage, form: str) -> None:
    result = run("send", "--from", "-", "--json", given=f"\n{form}\n")

    assert (0, "") == (result.exit_code, result.stderr)
    (message,) = storage.carts.peek_messages()
    queued = accepted(message.content.encode())
    receipt = json.loads(result.stdout)
    assert (receipt["requestId"], receipt["eventId"]) == (queued.request_id, queued.event_id)
    assert CART == queued.cart_id
    assert MESSAGE != queued.request_id, "the message's own id would be another at the next try"


def test_a_context_that_is_not_json_is_wrong_usage(run: Run) -> None:
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
def test_wrong_usage_is_reported(run: Run, arguments: tuple[str, ...]) -> None:
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
def test_a_file_that_holds_no_settings_is_reported(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    result = CliRunner().invoke(main, ["send", "--settings", str(file), CUSTOMER, CART])
    assert result.exit_code == 2
    assert "settings.json" in result.stderr


def test_a_missing_queue_is_a_storage_failure(run: Run, storage: Storage) -> None:
    storage.carts.delete_queue()
    result = run("send", CUSTOMER, CART)
    storage.carts.create_queue()
    assert (result.exit_code, result.stdout) == (3, "")
    assert "0 of 1 were sent" in result.stderr
    assert "Traceback" not in result.stderr


def texts(storage: Storage) -> list[str]:
    return [base64.b64decode(message.content).decode() for message in storage.carts.peek_messages(32)]


def queued(storage: Storage) -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts(storage)]


# --- waiting for the outcome --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "error_class", "code"),
    [
        (Outcome.COMPLETED, None, 0),
        (Outcome.ACTION_REQUIRED, ErrorClass.PARTNER, 11),
        (Outcome.PARTIAL, ErrorClass.CART, 12),
        (Outcome.FAILED, ErrorClass.NOT_FOUND, 13),
        (Outcome.UNKNOWN, ErrorClass.UNANSWERED, 14),
    ],
)
def test_the_outcome_is_waited_for_and_is_the_exit_code(
    run: Run, function: Function, storage: Storage, outcome: Outcome, error_class: ErrorClass | None, code: int
) -> None:
    function.record(asked("order-1", CART), outcome, error_class)

    result = run("send", CUSTOMER, CART, "--request-id", "order-1", "--wait")

    assert code == result.exit_code
    assert f"{outcome}  cart {CART}  requestId order-1" in result.stdout
    assert ("  -> " in result.stdout) is (error_class is not None)
    assert [] == storage.outcomes.peek_messages(), "waiting neither publishes nor receives"


def test_json_ends_with_the_event_as_it_was_recorded(run: Run, function: Function) -> None:
    event = function.record(asked("order-1", CART))
    receipt, printed = run("send", CUSTOMER, CART, "--request-id", "order-1", "--wait", "--json").stdout.splitlines()
    assert json.loads(receipt)["eventId"] == event.id
    assert printed == event.text.replace("\n", " ")


def test_the_worst_of_many_outcomes_is_the_exit_code(run: Run, function: Function) -> None:
    function.record(asked("a", CART))
    function.record(asked("b", CART), Outcome.FAILED, ErrorClass.CART)
    given = "".join(f'{GOOD[:-1]},"requestId":"{name}"}}\n' for name in "ab")
    assert run("send", "--from", "-", "--wait", given=given).exit_code == 13
    refused = run("send", "--from", "-", "--wait", "--keep-going", given=given.splitlines()[0] + "\nnonsense\n")
    assert refused.exit_code == 1


def test_another_requests_outcome_is_not_the_answer(run: Run, function: Function) -> None:
    function.record(asked("another", CART))
    result = run("send", CUSTOMER, CART, "--request-id", "mine", "--wait", "--timeout", "0")
    assert result.exit_code == 15
    assert "no outcome yet" in result.stderr
    assert "nothing is known of it yet" in result.stderr


def test_behind_another_request_it_says_so(run: Run, function: Function) -> None:
    function.post(asked("another", CART))
    result = run("send", CUSTOMER, CART, "--request-id", "mine", "--wait", "--timeout", "0")
    assert "another request of this cart comes first" in result.stderr


def test_a_post_without_an_answer_is_shown_when_time_is_up(run: Run, function: Function) -> None:
    function.post(asked("mine", CART))
    result = run("send", CUSTOMER, CART, "--request-id", "mine", "--wait", "--timeout", "0")
    assert "its POST is at work, or the worker died in it" in result.stderr


def test_the_correction_of_an_outcome_is_what_is_told(run: Run, function: Function) -> None:
    mine = asked("mine", CART)
    first = function.record(mine, Outcome.UNKNOWN, ErrorClass.UNANSWERED)
    function.correct(mine, first)
    result = run("send", CUSTOMER, CART, "--request-id", "mine", "--wait", "--timeout", "0")
    assert (0, True) == (result.exit_code, "completed" in result.stdout)


def test_what_it_waits_for_is_shown_when_time_is_up(run: Run, function: Function) -> None:
    function.post(asked("mine", CART), "throttled")
    arguments = ("send", CUSTOMER, CART, "--request-id", "mine", "--wait", "--timeout", "0")
    assert "it waits (throttled) until" in run(*arguments).stderr
    shown = json.loads(run(*arguments, "--json").stdout.splitlines()[1])
    assert (None, "throttled") == (shown["outcome"], shown["waiting"]["reason"])


def test_a_record_that_cannot_be_read_is_waited_for_too(run: Run, storage: Storage) -> None:
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"not JSON")
    result = run("send", CUSTOMER, CART, "--wait", "--timeout", "0")
    assert result.exit_code == 15
    assert "Records could not be read" in result.stderr


def test_it_polls_until_the_outcome_is_recorded(storage: Storage, function: Function, capsys: Any) -> None:
    request = asked("order-1", CART)
    pauses: list[float] = []

    def meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            function.record(request)

    code = wait_for(connect(storage.environ), [request], 60.0, as_json=False, wait=meanwhile)

    assert (0, [0.5, 0.75, 1.125]) == (code, pauses)
    assert capsys.readouterr().out.startswith("completed")
