"""Edge cases of the pure core: texts, limits and defaults that the other tests do not cover."""

import pytest

from shared.core.errors import ErrorClass, Row, _row
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Decision, Event, Outcome, decided
from shared.core.retry import (
    MAX_COUNT,
    RetryPolicy,
    RetryState,
    ThrottleGate,
    after_transient,
    after_unrecorded_response,
    backoff,
)
from shared.ports import StorageUnavailable
from shared.records import Records
from tests.support.builders import CART, CUSTOMER, NOW, after, answer, request, text_of
from tests.support.memory import MemoryBlobs
from tests.support.verdicts import judge

ORDER_ERROR = {"code": "800089", "description": "out of stock", "orderGroupId": "0"}
LARGE = "x" * 49_152


def longest(_: float, most: float) -> float:
    """Dice that always show the most."""
    return most


# --- errors and verdicts ----------------------------------------------------------------------------------------


def test_a_row_of_the_table_is_its_class_its_status_and_its_codes() -> None:
    assert Row(ErrorClass.CART, 404, frozenset({"2072", "800015"})) == _row(ErrorClass.CART, 404, "2072 800015")


def test_the_result_of_an_order_that_was_already_placed_is_passed_on_too() -> None:
    tree = {"orderErrors": [{"code": 800065}]}
    verdict = judge(answer(200, tree))
    assert ("already_ordered", text_of(tree)) == (verdict.kind, verdict.result)


def test_a_fault_in_a_200_without_a_description_is_told_as_it_came() -> None:
    found = judge(answer(200, {"code": 400072})).error
    assert found is not None
    assert ("400072", '{"code":400072}') == (found.code, found.description)


@pytest.mark.parametrize(
    "tree",
    [{"orders": [{"id": "1"}], "orderErrors": [ORDER_ERROR]}, {"orders": [{"id": "1", "status": "error"}]}],
    ids=["by its order errors", "by its order's status"],
)
def test_a_partial_order_says_that_it_is_not_to_be_tried_again_and_why(tree: dict[str, object]) -> None:
    found = judge(answer(201, tree)).error
    assert found is not None
    assert False is found.retryable
    assert "never send this one again" in found.advice


# --- retrying ---------------------------------------------------------------------------------------------------


def test_the_backoff_doubles_sixty_four_times_at_most() -> None:
    policy = RetryPolicy(base=2.0**-70)
    assert [2.0**-7, 2.0**-6, 2.0**-6] == [backoff(policy, attempt, longest) for attempt in (63, 64, 1_000_000)]


@pytest.mark.parametrize(("before", "then"), [(0, 1), (MAX_COUNT - 1, MAX_COUNT), (MAX_COUNT, MAX_COUNT)])
def test_attempts_are_counted_up_to_the_largest_count_of_a_copy(before: int, then: int) -> None:
    retry, policy = RetryState(attempt=before), RetryPolicy()
    assert then == after_transient(retry, policy, longest, NOW, reason=ErrorClass.SERVICE, wait=0).retry.attempt
    assert then == after_unrecorded_response(retry, policy, longest).retry.attempt


def test_a_third_customer_throttled_for_longer_keeps_the_gate_closed_for_all() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 60)
    gate.close("b", NOW, 60)
    gate.close("c", NOW, 90)
    assert after(90) == gate.opening("somebody else", NOW)


def test_a_later_shorter_wait_does_not_open_the_gate_earlier_for_all() -> None:
    gate = ThrottleGate()
    gate.close("a", NOW, 90)
    gate.close("b", NOW, 60)
    gate.close("a", after(10), 10)
    assert after(90) == gate.opening("somebody else", after(10))


# --- data that lies elsewhere -----------------------------------------------------------------------------------


def kept_large(result: str) -> tuple[MemoryBlobs, Records, CheckoutRequest, Event]:
    """An entry whose data is stored in a blob of its own."""
    blobs, ours = MemoryBlobs(lambda: NOW), request()
    records = Records(blobs)
    record = records.load(CUSTOMER, CART)
    entry = records.append(ours, record, decided(ours, Decision(Outcome.COMPLETED, 1, result), NOW))
    assert entry.dataref
    return blobs, records, ours, entry


def test_data_as_deep_as_a_result_may_be_is_loaded_again() -> None:
    result = "[" * 63 + f'["{LARGE}"]' + "]" * 63
    _, records, ours, entry = kept_large(result)
    assert result in records.data_of(ours, entry)


@pytest.mark.parametrize(("content", "what"), [(None, "missing"), (b"{", "damaged")])
def test_the_error_of_unavailable_data_names_its_entry(content: bytes | None, what: str) -> None:
    blobs, records, ours, entry = kept_large(f'"{LARGE}"')
    (name,) = (name for name in blobs.blobs if name.endswith(".data.json"))
    blobs.overwrite(name, content)
    with pytest.raises(StorageUnavailable, match=f"^the data of the entry {entry.id} is {what}$"):
        records.data_of(ours, entry)
