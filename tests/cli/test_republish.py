from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING

import pytest

from shared.adapters.storage import AzureQueue
from shared.core.errors import ErrorClass
from shared.core.outcomes import Outcome
from shared.publisher import Publisher
from tests.cli.conftest import CART, CUSTOMER, OTHER_CART, asked, lines, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.cli.conftest import Function
    from tests.conftest import Storage

    Run = Callable[..., Result]

NOW = ("--yes", "--rate", "60000")


def test_an_outcome_is_published_again_byte_for_byte(run: Run, storage: Storage, function: Function) -> None:
    event = function.record(asked())
    queues = [AzureQueue(queue) for queue in (storage.outcomes, storage.carts, storage.poison)]
    Publisher(*queues).publish(event)

    result = run("republish", CUSTOMER, CART, *NOW)

    assert (result.exit_code, result.stderr) == (0, "1 published again.\n")
    assert result.stdout.endswith(f"sent  event {event.id}  cart {CART}\n")
    first, again = storage.outcomes.peek_messages(32)
    assert first.content == again.content
    assert base64.b64decode(again.content).decode() == event.text
    assert again.expires_on is not None
    assert again.expires_on.year == 9999


def test_a_large_outcome_is_published_with_its_reference(run: Run, storage: Storage, function: Function) -> None:
    event = function.record(asked(), result='{"orders":[{"id":"1","x":"' + "x" * 50_000 + '"}]}')
    assert event.dataref
    run("republish", CART, *NOW)
    assert [event.text] == texts(storage.outcomes)


def test_outcomes_can_be_selected_in_several_ways(run: Run, function: Function) -> None:
    old = function.record(asked("old"), Outcome.FAILED, ErrorClass.CART, hours_ago=5)
    new = function.record(asked("new"))
    other = function.record(asked("other", OTHER_CART), Outcome.UNKNOWN, ErrorClass.UNANSWERED)

    def listed(*arguments: str) -> list[str]:
        return [line["eventId"] for line in lines(run("republish", "--json", "--dry-run", *arguments))]

    assert [old.id, new.id] == listed(CART)
    assert [old.id, new.id, other.id] == listed("--customer", CUSTOMER)
    assert [new.id, other.id] == listed("--since", "1h")
    assert [old.id] == listed("--since", "10h", "--until", "1h")
    assert [other.id] == listed("--event", other.id)
    assert [old.id, other.id] == listed("--request", "old", "--request", "other")
    assert [new.id] == listed("--since", "10h", "--outcome", "completed")
    assert [old.id] == listed("--customer", CUSTOMER, "--class", "cart")


def test_a_dry_run_publishes_nothing(run: Run, storage: Storage, function: Function) -> None:
    event = function.record(asked())
    (line,) = lines(run("republish", CART, "--dry-run", "--json"))
    assert line == {
        "eventId": event.id,
        "customerId": CUSTOMER,
        "cartId": CART,
        "requestId": "order-4711",
        "outcome": "completed",
        "decidedAt": json.loads(event.text)["time"],
        "status": "listed",
    }
    assert run("republish", CART).exit_code == 2
    assert [] == texts(storage.outcomes)


def test_an_outcome_that_is_not_recorded_has_an_exit_code(run: Run, storage: Storage, function: Function) -> None:
    function.record(asked())
    result = run("republish", "--event", str(uuid.uuid4()), *NOW)
    assert (1, "", "No such outcome is recorded.\n") == (result.exit_code, result.stdout, result.stderr)
    assert [] == texts(storage.outcomes)


def test_a_damaged_record_is_reported_and_does_not_stop_the_others(
    run: Run, storage: Storage, function: Function
) -> None:
    event = function.record(asked())
    storage.records.upload_blob(f"{CUSTOMER}/{OTHER_CART}.json", b"[1]")
    for arguments in (NOW, ("--dry-run",)):
        result = run("republish", "--customer", CUSTOMER, *arguments)
        assert 1 == result.exit_code
        assert "is damaged" in result.stderr
        assert result.stderr.endswith("left out: 1 record(s) that cannot be read.\n")
    assert [event.text] == texts(storage.outcomes)


@pytest.mark.parametrize("chosen", [("--customer", CUSTOMER), (CART,)])
def test_a_list_that_was_cut_is_reported_and_what_was_found_is_published(
    run: Run, storage: Storage, function: Function, chosen: tuple[str, ...]
) -> None:
    event = function.record(asked())
    function.record(asked("other", OTHER_CART))
    result = run("republish", *chosen, "--most", "1", *NOW)
    assert 1 == result.exit_code
    assert "raise --most" in result.stderr
    assert result.stderr.endswith("left out: 1 list(s) of records that were cut.\n")
    assert [event.text] == texts(storage.outcomes)


@pytest.mark.parametrize("outcome", ["failed", "unknown"])
@pytest.mark.parametrize("how", ["--outcome", "--class", "--event", "--until"])
def test_what_was_corrected_is_followed_by_its_correction(
    run: Run, storage: Storage, function: Function, outcome: str, how: str
) -> None:
    first = function.record(asked(), Outcome(outcome), ErrorClass.CART, hours_ago=2)
    correction = function.correct(asked(), first)
    chosen = {
        "--outcome": ("--since", "1d", "--outcome", outcome),
        "--class": ("--customer", CUSTOMER, "--class", "cart"),
        "--event": ("--event", first.id),
        "--until": ("--since", "1d", "--until", "1h"),
    }

    result = run("republish", *chosen[how], *NOW, "--json")

    assert 0 == result.exit_code
    assert [first.text, correction.text] == texts(storage.outcomes)
    assert [None, first.id] == [line.get("corrects") for line in lines(result)]


def test_a_correction_of_a_correction_follows_too_and_neighbours_do_not(
    run: Run, storage: Storage, function: Function
) -> None:
    first = function.record(asked(), Outcome.UNKNOWN, ErrorClass.UNANSWERED, hours_ago=3)
    function.record(asked("order-2"), Outcome.FAILED, ErrorClass.CART, hours_ago=2)
    second = function.correct(asked(), first, outcome=Outcome.FAILED)
    third = function.correct(asked(), first, second)

    run("republish", "--event", first.id, *NOW)

    assert [first.text, second.text, third.text] == texts(storage.outcomes)


def test_a_correction_alone_is_published_alone(run: Run, storage: Storage, function: Function) -> None:
    correction = function.correct(asked(), function.record(asked(), Outcome.FAILED, ErrorClass.CART))
    run("republish", "--customer", CUSTOMER, "--outcome", "completed", *NOW)
    assert [correction.text] == texts(storage.outcomes)


def test_a_correction_comes_after_what_it_corrects_whatever_the_clocks_say(
    run: Run, storage: Storage, function: Function
) -> None:
    first = function.record(asked(), Outcome.FAILED, ErrorClass.CART, hours_ago=-1)  # by a clock that is ahead
    other = function.record(asked("other", OTHER_CART), hours_ago=-0.5)
    correction = function.correct(asked(), first)

    run("republish", "--customer", CUSTOMER, *NOW)

    assert [other.text, first.text, correction.text] == texts(storage.outcomes)


@pytest.mark.parametrize("arguments", [(), ("--outcome", "completed"), ("nonsense",), ("--since", "soon")])
def test_wrong_usage_is_reported(run: Run, arguments: tuple[str, ...]) -> None:
    assert 2 == run("republish", *arguments).exit_code
