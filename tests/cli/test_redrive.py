from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from cli import batch
from cli.connection import MAX_PEEKED
from cli.redrive_plan import next_id
from shared.bootstrap import bootstrap
from shared.core.errors import ErrorClass
from shared.core.messages import Delivery
from shared.core.outcomes import Outcome
from shared.settings import Settings
from tests.cli.conftest import CART, CUSTOMER, OTHER_CART, asked, lines, texts, understood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

    from tests.cli.conftest import Function
    from tests.conftest import Storage

    Run = Callable[..., Result]

SERVICE = ("--class", "service")
NOW = ("--yes", "--rate", "60000")


def sent(storage: Storage) -> list[Any]:
    return [understood(text) for text in texts(storage.carts)]


@pytest.mark.parametrize(
    ("old", "known", "expected"),
    [
        ("order", ["order"], "order~1"),
        ("order~1", ["order", "order~1"], "order~2"),
        ("order", ["order", "order~1", "order~7"], "order~8"),
        ("order~7", ["order~7"], "order~7~1"),
        ("order~7~1", ["order~7", "order~7~1"], "order~7~2"),
        ("a~b", ["a~b"], "a~b~1"),
        ("order~0", ["order", "order~0"], "order~0~1"),
        ("~1", ["~1"], "~1~1"),
        ("ü~3", ["ü", "ü~3"], "ü~4"),
    ],
)
def test_the_number_is_the_next_free_one_and_a_producers_own_tilde_is_kept(
    old: str, known: list[str], expected: str
) -> None:
    assert expected == next_id(old, known)


def test_a_failed_request_is_sent_again_with_its_correlation_and_context(
    run: Run, storage: Storage, function: Function
) -> None:
    correlation = str(uuid.uuid4())
    first = asked(correlationId=correlation, context={"price": 1})
    first = understood(first.copy(first.retry).decode().replace('{"price": 1}', '{"price": 36.480}'))
    function.record(first, Outcome.FAILED, ErrorClass.SERVICE)

    result = run("redrive", *SERVICE, *NOW)

    assert (result.exit_code, result.stderr) == (0, "1 of 1 sent.\n")
    assert result.stdout.endswith(f"sent  cart {CART}  requestId order-4711~1\n")
    (request,) = sent(storage)
    assert ("order-4711~1", CUSTOMER, CART) == (request.request_id, request.customer_id, request.cart_id)
    assert (correlation, '{"price": 36.480}') == (request.correlation_id, request.context)
    assert request.customer_user_upn is None


def test_the_correlation_that_was_derived_stays_too(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    run("redrive", *SERVICE, *NOW)
    assert [asked().correlation_id] == [request.correlation_id for request in sent(storage)]


def test_it_never_expires_and_can_be_read_by_the_function(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    run("redrive", *SERVICE, *NOW)
    (message,) = storage.carts.peek_messages()
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


def test_a_second_run_before_the_answer_sends_the_same_request(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    run("redrive", *SERVICE, *NOW)
    run("redrive", *SERVICE, *NOW)
    assert {"order-4711~1"} == {request.request_id for request in sent(storage)}


def test_after_the_answer_the_next_number_is_sent(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    function.record(asked("order-4711~1"), Outcome.FAILED, ErrorClass.SERVICE)
    run("redrive", *SERVICE, *NOW)
    assert ["order-4711~2"] == [request.request_id for request in sent(storage)]


def test_of_two_failed_requests_for_a_cart_only_the_last_is_sent(
    run: Run, storage: Storage, function: Function
) -> None:
    function.record(asked("order-1"), Outcome.FAILED, ErrorClass.SERVICE)
    function.record(asked("order-2"), Outcome.FAILED, ErrorClass.SERVICE)
    run("redrive", *SERVICE, *NOW)
    assert ["order-2~1"] == [request.request_id for request in sent(storage)]


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.ACTION_REQUIRED, Outcome.PARTIAL])
def test_a_cart_that_is_bought_is_never_sent(run: Run, storage: Storage, function: Function, outcome: Outcome) -> None:
    function.record(asked("order-1"), outcome, ErrorClass.SERVICE)
    function.record(asked("order-2"), Outcome.FAILED, ErrorClass.SERVICE)  # even if another request failed afterwards

    by_class = run("redrive", *SERVICE, *NOW)
    by_name = run("redrive", CUSTOMER, CART, *NOW)

    for result in (by_class, by_name):
        assert f"the cart is bought ({outcome}), and is never posted again" in result.stderr
        assert result.exit_code == 0
    assert [] == sent(storage)


@pytest.mark.parametrize("error_class", [ErrorClass.UNANSWERED, ErrorClass.ALREADY_ORDERED])
def test_an_unknown_cart_is_sent_again_since_that_repeats_its_call(
    run: Run, storage: Storage, function: Function, error_class: ErrorClass
) -> None:
    function.record(asked(), Outcome.UNKNOWN, error_class)
    assert 0 == run("redrive", "--class", error_class.value, *NOW).exit_code
    assert ["order-4711~1"] == [request.request_id for request in sent(storage)]


def test_what_is_sent_carries_no_state_of_the_cart(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.UNKNOWN, ErrorClass.UNANSWERED)
    run("redrive", "--class", "unanswered", *NOW)
    (text,) = texts(storage.carts)
    assert {"startedAt"} == set(json.loads(text)["retry"])


@pytest.mark.parametrize("reason", ["throttled", None])
def test_a_cart_with_a_request_that_waits_is_left_alone(
    run: Run, storage: Storage, function: Function, reason: str | None
) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    function.post(asked("order-4711~1"), reason, hours_ago=30)  # standing in line for a day changes no entry
    result = run("redrive", *SERVICE, *NOW)
    assert f"a request of it waits already ({reason or 'at_work'})" in result.stderr
    assert "another would only wait for it" in result.stderr
    assert [] == sent(storage)


@pytest.mark.parametrize(("request_id", "hours"), [("order-4711", 0.0), ("order-4711~1", 7 * 24.0)])
def test_a_post_that_is_answered_or_too_old_does_not_prevent_a_redrive(
    run: Run, storage: Storage, function: Function, request_id: str, hours: float
) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    function.post(asked(request_id), "service", hours_ago=hours)
    run("redrive", *SERVICE, *NOW)
    assert 1 == len(sent(storage))


def test_only_the_class_and_the_age_asked_for_are_sent(run: Run, storage: Storage, function: Function) -> None:
    for number, (error_class, hours) in enumerate(
        [(ErrorClass.SERVICE, 1), (ErrorClass.SERVICE, 5), (ErrorClass.PARTNER, 1), (ErrorClass.SERVICE, 24 * 8)]
    ):
        cart = f"0000000{number}-1111-4222-8333-444444444444"
        function.record(asked(f"order-{number}", cart), Outcome.FAILED, error_class, hours_ago=hours)

    def listed(*arguments: str) -> set[str]:
        return {line["redrives"] for line in lines(run("redrive", "--json", "--dry-run", *arguments))}

    assert {"order-0", "order-1"} == listed(*SERVICE)
    assert {"order-0"} == listed(*SERVICE, "--since", "3h")
    assert {"order-1"} == listed(*SERVICE, "--until", "3h")
    assert {"order-0", "order-1", "order-2"} == listed(*SERVICE, "--class", "partner")
    assert {"order-0", "order-1", "order-3"} == listed(*SERVICE, "--since", "30d")
    assert {"order-0", "order-1", "order-3"} == listed(*SERVICE, "--since", "999999d")
    assert {"order-0", "order-1", "order-3"} == listed(*SERVICE, "--since", "0001-01-01")
    assert set() == listed(*SERVICE, "--customer", str(uuid.uuid4()))
    assert {"order-3"} == listed("00000003-1111-4222-8333-444444444444")
    assert set() == listed("00000003-1111-4222-8333-444444444444", "--class", "partner")
    assert [] == sent(storage)


def test_a_dry_run_sends_nothing_and_json_says_what_it_would(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)

    result = run("redrive", *SERVICE, "--dry-run", "--json")

    (line,) = lines(result)
    assert line.pop("decidedAt")
    assert line == {
        "customerId": CUSTOMER,
        "cartId": CART,
        "status": "listed",
        "requestId": "order-4711~1",
        "eventId": asked("order-4711~1").event_id,
        "redrives": "order-4711",
        "outcome": "failed",
        "class": "service",
        "code": "800089",
    }
    assert result.exit_code == 0
    assert [] == sent(storage)


def test_a_script_must_pass_yes(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    result = run("redrive", *SERVICE)
    assert result.exit_code == 2
    assert "say --yes" in result.stderr
    assert "order-4711~1" in result.stdout, "it lists all the same"
    assert [] == sent(storage)


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_on_a_terminal_it_asks_for_confirmation(
    run: Run, storage: Storage, function: Function, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, count: int
) -> None:
    monkeypatch.setattr(batch, "_is_interactive", lambda: True)
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    result = run("redrive", *SERVICE, given=answer)
    assert "Send 1 request(s) again, 60 a minute? [y/N]" in result.stderr
    assert (code, count) == (result.exit_code, len(sent(storage)))


def test_a_cart_that_is_decided_while_this_runs_is_not_sent(
    run: Run, storage: Storage, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    function.record(asked("other", OTHER_CART), Outcome.FAILED, ErrorClass.SERVICE)

    def meanwhile(items: list[Any], *_: object) -> Iterator[Any]:
        function.record(asked("order-4711~1"))
        function.record(asked("other~1", OTHER_CART), Outcome.FAILED, ErrorClass.SERVICE)
        yield from items

    monkeypatch.setattr(batch, "rate_limited", meanwhile)
    result = run("redrive", *SERVICE, "--yes")
    assert "the cart is bought (completed)" in result.stdout
    assert "its record has changed since it was listed" in result.stdout
    assert 1 == result.exit_code
    assert result.stderr.endswith("left out: 1 record(s) that have changed meanwhile.\n")
    assert [] == sent(storage)


def test_the_redrive_of_a_cloud_event_keeps_its_causation_id(run: Run, storage: Storage, function: Function) -> None:
    data = {"customerId": CUSTOMER, "cartId": CART}
    cloud_event = {"specversion": "1.0", "id": "größe-7", "source": "/shop", "type": "t", "data": data}
    first = understood(json.dumps(cloud_event))
    function.record(first, Outcome.FAILED, ErrorClass.SERVICE)
    run("redrive", *SERVICE, *NOW)
    (request,) = sent(storage)
    assert ("größe-7", f"{first.request_id}~1") == (request.causation_id, request.request_id)


def test_a_upn_is_accepted_for_one_customer_only(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(customerUserUpn="kim@contoso.com"), Outcome.FAILED, ErrorClass.SERVICE)
    assert run("redrive", *SERVICE, "--upn", "kim@contoso.com", *NOW).exit_code == 2
    assert run("redrive", CART, "--upn", "kim@contoso.com", *NOW).exit_code == 0
    assert ["kim@contoso.com"] == [request.customer_user_upn for request in sent(storage)]


def test_a_upn_that_no_header_can_carry_is_reported(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    result = run("redrive", CART, "--upn", "künstler@contoso.com", *NOW)
    assert (
        "could not read it: $.customerUserUpn: expected a string of 1 to 256 printable ASCII characters"
        in result.stderr
    )
    assert [] == sent(storage)


def test_a_cart_that_waits_without_an_outcome_is_reported(run: Run, function: Function) -> None:
    function.post(asked(), "service")
    assert "a request of it waits already (service)" in run("redrive", CUSTOMER, CART, *NOW).stderr


def test_a_cart_without_an_outcome_is_reported(run: Run) -> None:
    assert "there is no outcome yet to try again" in run("redrive", CUSTOMER, CART, *NOW).stderr


def test_an_id_without_room_for_a_number_is_reported(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked("x" * 255), Outcome.FAILED, ErrorClass.SERVICE)
    assert "no room for ~n" in run("redrive", *SERVICE, *NOW).stderr
    assert [] == sent(storage)


def test_the_largest_message_can_be_sent_again(run: Run, storage: Storage, function: Function) -> None:
    context = "x" * (44 * 1024 - 250)
    function.record(asked(context=context), Outcome.FAILED, ErrorClass.SERVICE)  # its event lies in a blob
    run("redrive", *SERVICE, *NOW)
    assert [f'"{context}"'] == [request.context for request in sent(storage)]


def test_a_damaged_record_is_reported_and_does_not_stop_the_others(
    run: Run, storage: Storage, function: Function
) -> None:
    function.record(asked("other", OTHER_CART), Outcome.FAILED, ErrorClass.SERVICE)
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"{}")
    for arguments in (("--dry-run",), NOW):
        result = run("redrive", *SERVICE, *arguments)
        assert 1 == result.exit_code
        assert "is damaged" in result.stderr
        assert result.stderr.endswith("left out: 1 record(s) that cannot be read.\n")
    assert ["other~1"] == [request.request_id for request in sent(storage)]


def test_a_damaged_record_alone_is_not_nothing_to_do(run: Run, storage: Storage) -> None:
    storage.records.upload_blob(f"{CUSTOMER}/{CART}.json", b"{}")
    assert 1 == run("redrive", CUSTOMER, CART, *NOW).exit_code


@pytest.mark.parametrize("chosen", [SERVICE, (CART,)])
def test_a_list_that_was_cut_is_reported_and_what_was_found_is_sent(
    run: Run, storage: Storage, function: Function, chosen: tuple[str, ...]
) -> None:
    function.record(asked(), Outcome.FAILED, ErrorClass.SERVICE)
    function.record(asked("other", OTHER_CART), Outcome.FAILED, ErrorClass.SERVICE)
    result = run("redrive", *chosen, "--most", "1", *NOW)
    assert 1 == result.exit_code
    assert "raise --most" in result.stderr
    assert result.stderr.endswith("left out: 1 list(s) of records that were cut.\n")
    assert ["order-4711~1"] == [request.request_id for request in sent(storage)]


def test_nothing_to_do_is_not_a_failure(run: Run) -> None:
    result = run("redrive", *SERVICE, *NOW)
    assert (0, "") == (result.exit_code, result.stdout)
    assert "Nothing to redrive" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--class", "nonsense"),
        ("nonsense",),
        (CUSTOMER, CART, CART),
        (CART, "--customer", CUSTOMER),
        (*SERVICE, "--since", "yesterday"),
        (*SERVICE, "--customer", "nobody"),
        (*SERVICE, "--rate", "0"),
        (*SERVICE, "--rate", "nan"),
        ("--poison", "--stuck-for", "inf"),
        ("--poison", *SERVICE),
    ],
)
def test_wrong_usage_is_reported(run: Run, arguments: tuple[str, ...]) -> None:
    assert 2 == run("redrive", *arguments).exit_code


def test_a_missing_container_is_a_storage_failure(run: Run, storage: Storage) -> None:
    storage.records.delete_container()
    result = run("redrive", *SERVICE, *NOW)
    storage.records.create_container()
    assert result.exit_code == 3
    assert "cart-checkout doctor" in result.stderr


def test_requests_are_sent_at_the_given_rate() -> None:
    waits: list[float] = []
    assert [1, 2, 3] == [*batch.rate_limited([1, 2, 3], 30, "Sending", waits.append)]
    assert [2.0, 2.0] == waits


# --- poison -----------------------------------------------------------------------------------------------------


def five_times(storage: Storage) -> None:
    for _ in range(5):
        message = storage.poison.receive_message()
        assert message is not None
        storage.poison.update_message(message, visibility_timeout=0)


def test_a_message_that_the_host_has_given_up_is_renewed_in_the_poison_queue(run: Run, storage: Storage) -> None:
    storage.poison.send_message(json.dumps({"customerId": CUSTOMER, "cartId": CART, "requestId": "order-1"}))
    five_times(storage)

    result = run("redrive", "--poison", "--yes")

    assert (result.exit_code, result.stderr) == (0, "1 of 1 renewed.\n")
    (message,) = storage.poison.peek_messages(32)
    assert 0 == message.dequeue_count
    (request,) = [understood(text) for text in texts(storage.poison)]
    assert "order-1" == request.request_id
    assert [] == sent(storage), "only the poison handler goes by the rules for what was poisoned"


def test_a_message_without_an_id_is_renewed_under_its_own(run: Run, storage: Storage) -> None:
    message = storage.poison.send_message(json.dumps({"customerId": CUSTOMER, "cartId": CART}))
    run("redrive", "--poison", "--yes", "--stuck-for", "0")
    assert [message.id] == [understood(text).request_id for text in texts(storage.poison)]


def test_a_renewed_message_stays_poisoned(run: Run, storage: Storage) -> None:
    retry = {"poisoned": True, "attempt": 3, "deaths": 4, "renewals": 2}
    storage.poison.send_message(json.dumps({"customerId": CUSTOMER, "cartId": CART, "requestId": "r", "retry": retry}))
    run("redrive", "--poison", "--yes", "--stuck-for", "0")
    (request,) = [understood(text) for text in texts(storage.poison)]
    kept = request.retry
    assert (True, 3, 4, 2) == (kept.poisoned, kept.attempt, kept.deaths, kept.renewals)


def test_an_invalid_message_is_renewed_unchanged(run: Run, storage: Storage) -> None:
    storage.poison.send_message("hello")
    result = run("redrive", "--poison", "--yes", "--stuck-for", "0", "--json")
    assert ["hello"] == [message.content for message in storage.poison.peek_messages(32)]
    assert ["renewed"] == [line["status"] for line in lines(result)]


def test_a_recent_message_is_not_stuck(run: Run, storage: Storage) -> None:
    storage.poison.send_message("hello")
    result = run("redrive", "--poison", "--yes")
    assert (0, "Nothing is stuck: 1 message(s) seen in " + f"{storage.poison.queue_name}.\n") == (
        result.exit_code,
        result.stderr,
    )


def test_a_message_that_is_not_stuck_stays_in_the_queue(run: Run, storage: Storage) -> None:
    storage.poison.send_message("stuck")
    five_times(storage)
    storage.poison.send_message("fresh 1")
    storage.poison.send_message("fresh 2")

    result = run("redrive", "--poison", "--yes", "--json")

    assert ["renewed"] == [line["status"] for line in lines(result)]
    assert [("fresh 1", 0), ("fresh 2", 0), ("stuck", 0)] == sorted(
        (message.content, message.dequeue_count) for message in storage.poison.peek_messages(32)
    )


def test_a_message_that_another_consumer_takes_meanwhile_is_skipped(
    run: Run, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.poison.send_message("stuck")

    def meanwhile(items: Any, *_: object) -> Iterator[Any]:
        taken = storage.poison.receive_message()
        assert taken is not None
        storage.poison.delete_message(taken)
        storage.poison.send_message("fresh")
        yield from items

    monkeypatch.setattr(batch, "rate_limited", meanwhile)
    result = run("redrive", "--poison", "--stuck-for", "0", "--yes")
    assert "0 of 1 renewed; the others were not there any more" in result.stderr
    assert ["fresh"] == [message.content for message in storage.poison.peek_messages(32)]


@pytest.mark.parametrize("also_seen", [False, True])
def test_messages_that_the_host_has_leased_are_reported_as_unseen(run: Run, storage: Storage, also_seen: bool) -> None:
    # what it has given up it takes again every ten minutes: to who looks, such a queue seems to be empty
    storage.poison.send_message("given up")
    assert storage.poison.receive_message(visibility_timeout=600) is not None
    if also_seen:
        storage.poison.send_message("hello")

    result = run("redrive", "--poison", "--yes", "--stuck-for", "0")

    assert 1 == result.exit_code
    assert "1 message(s) cannot be seen" in result.stderr
    assert ("1 of 1 renewed" in result.stderr) is also_seen
    assert "Nothing is stuck" not in result.stderr


def test_more_messages_than_can_be_seen_at_once_are_not_all_renewed(run: Run, storage: Storage) -> None:
    for number in range(MAX_PEEKED + 2):
        storage.poison.send_message(f"stuck {number}")

    for arguments in ("--dry-run", "--yes"):
        result = run("redrive", "--poison", "--stuck-for", "0", "--rate", "60000", arguments)
        assert 1 == result.exit_code
        assert "run it again for the others" in result.stderr
        assert result.stderr.endswith("left out: 2 message(s) that cannot be seen.\n")


def test_another_message_that_is_received_loses_only_one_delivery(
    run: Run, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stuck 1", "stuck 2"):
        storage.poison.send_message(name)

    def meanwhile(items: Any, *_: object) -> Iterator[Any]:
        taken = [storage.poison.receive_message() for _ in range(2)]
        storage.poison.send_message("fresh")
        for message in taken:  # so that they come behind the fresh one
            assert message is not None
            storage.poison.update_message(message, visibility_timeout=0)
        yield from items

    monkeypatch.setattr(batch, "rate_limited", meanwhile)
    result = run("redrive", "--poison", "--stuck-for", "0", "--yes")

    assert "2 of 2 renewed" in result.stderr
    left = {message.content: message.dequeue_count for message in storage.poison.peek_messages(32)}
    assert {"stuck 1", "stuck 2", "fresh"} == set(left)
    assert 1 >= (left["fresh"] or 0)


def test_a_dry_run_of_poison_changes_nothing(run: Run, storage: Storage) -> None:
    storage.poison.send_message("hello")
    (line,) = lines(run("redrive", "--poison", "--stuck-for", "0", "--dry-run", "--json"))
    assert ("listed", 0) == (line["status"], line["dequeueCount"])
    (message,) = storage.poison.peek_messages(32)
    assert 0 == message.dequeue_count


# --- with the program that is deployed ----------------------------------------------------------------------------


def test_the_function_answers_the_new_request_separately(run: Run, storage: Storage, simulator: Any) -> None:
    environ = storage.environ | simulator.environment()
    checkout = bootstrap(Settings.from_env(environ))
    cart = f"18057fe5-{CART[9:]}"  # 403/13605: an agreement is missing, at every POST
    delivery = Delivery("message", 1, datetime.now(UTC))
    checkout.handle(json.dumps({"customerId": CUSTOMER, "cartId": cart, "requestId": "order-1"}).encode(), delivery)

    run("redrive", "--class", "partner", *NOW)
    (message,) = storage.carts.peek_messages()
    checkout.handle(str(message.content).encode(), Delivery("another", 1, datetime.now(UTC)))

    events = [json.loads(text) for text in texts(storage.outcomes)]
    assert ["order-1", "order-1~1"] == [event["data"]["requestId"] for event in events]
    assert 1 == len({event["correlationid"] for event in events})
    (page,) = simulator.service.snapshot()["carts"]
    assert 2 == len(set(page["msRequestIds"]))
