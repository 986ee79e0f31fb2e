"""A record that only has a working state: a POST was entered, and no outcome decided. No command takes it for one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from cli.connection import connect
from cli.left_out import LeftOut
from cli.records_reader import RecordsReader
from cli.wait import NOT_ANSWERED, wait_for
from shared.core.cart_state import CartState, enter
from shared.core.errors import ErrorClass
from shared.core.outcomes import Outcome
from shared.core.state_metadata import to_metadata
from tests.cli.conftest import CART, CUSTOMER, OTHER_CART, asked, lines, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.cli.conftest import Function
    from tests.conftest import Storage

    Run = Callable[..., Result]

RECORD = f"{CUSTOMER}/{CART}.json"
STATE = to_metadata(enter(CartState(), asked().event_id, datetime.now(UTC)))
NOW = ("--yes", "--rate", "60000")


@pytest.fixture(autouse=True)
def _entered(function: Function) -> None:
    """One cart was posted, or is about to be; nothing is known of it yet."""
    function.records.enter(asked(), function.records.load(CUSTOMER, CART), STATE)


@pytest.fixture
def beside(function: Function) -> None:
    """Another cart has an outcome."""
    function.record(asked("other", OTHER_CART), Outcome.FAILED, ErrorClass.SERVICE)


def test_it_is_a_record_of_no_entries(storage: Storage) -> None:
    with connect(storage.environ).records() as container:
        reader = RecordsReader(container)
        (cart,) = reader.find((CART,), 10, LeftOut())
        history = reader.load(cart)
    assert ((), None, "", STATE) == (history.entries, history.last, history.trouble, history.record.metadata)


@pytest.mark.usefixtures("beside")
def test_status_counts_no_outcome_of_it_and_does_not_call_it_damaged(run: Run) -> None:
    found = json.loads(run("status", "--json").stdout)
    assert (1, 1) == (found["recent"]["count"], found["recent"]["byOutcome"]["failed"])
    assert ([], 1) == (found["damaged"], found["waiting"]["count"])
    assert [CART] == [each["cartId"] for each in found["waiting"]["carts"]]


@pytest.mark.parametrize("ids", [(CART,), (CUSTOMER, CART)])
def test_status_of_its_cart_says_that_nothing_is_decided_yet(run: Run, ids: tuple[str, ...]) -> None:
    result = run("status", *ids)
    assert (0, "") == (result.exit_code, result.stderr)
    assert "No outcome was decided yet." in result.stdout
    assert "it is tried again automatically" in result.stdout
    found = json.loads(run("status", *ids, "--json").stdout)
    assert (CART, [], None) == (found["cartId"], found["entries"], found.get("trouble"))
    assert ("at_work", asked().event_id) == (found["waiting"]["reason"], found["waiting"]["by"])


def test_republish_has_nothing_to_tell_of_it(run: Run, storage: Storage) -> None:
    for arguments in ((CART,), ("--customer", CUSTOMER), ("--since", "1h")):
        result = run("republish", *arguments, *NOW)
        assert (1, "No such outcome is recorded.\n") == (result.exit_code, result.stderr)
    assert [] == texts(storage.outcomes)


@pytest.mark.usefixtures("beside")
def test_republish_tells_its_neighbours(run: Run, storage: Storage) -> None:
    assert 0 == run("republish", "--customer", CUSTOMER, *NOW).exit_code
    assert 1 == len(texts(storage.outcomes))


@pytest.mark.usefixtures("beside")
def test_redrive_sends_its_neighbours_and_not_it(run: Run, storage: Storage) -> None:
    assert 0 == run("redrive", "--class", "service", *NOW).exit_code
    (sent,) = texts(storage.carts)
    assert OTHER_CART in sent


def test_redrive_by_name_says_that_its_request_waits_already(run: Run, storage: Storage) -> None:
    result = run("redrive", CUSTOMER, CART, "--json", *NOW)
    assert "a request of it waits already (at_work)" in result.output
    assert [] == texts(storage.carts)


def test_waiting_goes_on_until_it_has_an_outcome(storage: Storage, function: Function) -> None:
    def wait_with(meanwhile: Callable[[], object]) -> int:
        return wait_for(connect(storage.environ), [asked()], 60.0, as_json=False, wait=lambda _: meanwhile())

    assert 0 == wait_with(lambda: function.record(asked()))


def test_a_wait_that_ends_before_is_no_outcome(run: Run, storage: Storage) -> None:
    code = wait_for(connect(storage.environ), [asked()], 0.0, as_json=False)
    assert NOT_ANSWERED == code
    told = lines(run("send", CUSTOMER, CART, "--request-id", "mine", "--wait", "--timeout", "0", "--json"))
    assert [None] == [line["outcome"] for line in told if "outcome" in line]
    assert 1 == len(texts(storage.carts))


def test_what_is_kept_later_stands_beside_its_state(storage: Storage, function: Function) -> None:
    event = function.record(asked())
    found: Any = storage.records.download_blob(RECORD)
    assert [json.loads(event.text)] == json.loads(found.readall())
    assert STATE == found.properties.metadata
