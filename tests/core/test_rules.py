import pytest
from msgspec.structs import replace

from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Decision, Event, Outcome, copied, decided
from shared.core.rules import CopyOf, InHand, Record, Replay, Ruling, Undecided, apply_rules
from tests.support.builders import NOW, accepted, cloud_event, event, request

OURS = request("ours")
THEIRS = request("theirs")


def correction(of: CheckoutRequest, *before: Event, outcome: Outcome = Outcome.COMPLETED) -> Event:
    return decided(of, Decision(outcome, 1), NOW, corrects=before or [event(Outcome.FAILED, of)])


FAILED, UNKNOWN, DONE = event(Outcome.FAILED, OURS), event(Outcome.UNKNOWN, OURS), event(Outcome.COMPLETED, OURS)
WAITS, PART = event(Outcome.ACTION_REQUIRED, OURS), event(Outcome.PARTIAL, OURS)
CORRECTED = correction(OURS)
NOT_BOUGHT = correction(OURS, UNKNOWN, outcome=Outcome.FAILED)
TWICE = correction(OURS, UNKNOWN, NOT_BOUGHT)
THEIR_FAILED, THEIR_UNKNOWN = event(Outcome.FAILED, THEIRS), event(Outcome.UNKNOWN, THEIRS)
THEIR_DONE, THEIR_PART = event(Outcome.COMPLETED, THEIRS), event(Outcome.PARTIAL, THEIRS)
THEIR_WAITS = event(Outcome.ACTION_REQUIRED, THEIRS)
THEIR_CORRECTED = correction(THEIRS)
ANSWERED_BY_THEIRS = decided(OURS, copied(THEIR_DONE, THEIR_DONE.data or "", 0), NOW)

BOTH: list[tuple[str, list[Event], Ruling]] = [
    # rule 1: the last entry of this request answers it, whatever it says
    ("done", [DONE], Replay(DONE)),
    ("waits", [WAITS], Replay(WAITS)),
    ("part", [PART], Replay(PART)),
    ("done behind theirs", [THEIR_FAILED, DONE], Replay(DONE)),
    ("done before theirs", [DONE, THEIR_DONE], Replay(DONE)),
    ("failed and corrected", [FAILED, CORRECTED], Replay(CORRECTED)),
    ("unknown, theirs, corrected", [UNKNOWN, THEIR_FAILED, CORRECTED], Replay(CORRECTED)),
    ("corrected twice", [UNKNOWN, NOT_BOUGHT, TWICE], Replay(TWICE)),
    ("corrected before theirs", [FAILED, CORRECTED, THEIR_DONE], Replay(CORRECTED)),
    ("answered by theirs", [THEIR_DONE, ANSWERED_BY_THEIRS], Replay(ANSWERED_BY_THEIRS)),
    # rule 2: else the first entry that bought the cart
    ("theirs done", [THEIR_DONE], CopyOf(THEIR_DONE)),
    ("theirs waits", [THEIR_WAITS], CopyOf(THEIR_WAITS)),
    ("theirs part", [THEIR_PART], CopyOf(THEIR_PART)),
    ("theirs twice", [THEIR_PART, THEIR_DONE], CopyOf(THEIR_PART)),
    ("theirs failed and corrected", [THEIR_FAILED, THEIR_CORRECTED], CopyOf(THEIR_CORRECTED)),
    # rule 3: else the service
    ("nothing", [], Undecided()),
    ("theirs failed", [THEIR_FAILED], Undecided()),
    ("theirs failed and unknown", [THEIR_FAILED, THEIR_UNKNOWN], Undecided()),
]
UNKNOWN_STANDS: list[tuple[str, list[Event], Ruling]] = [
    ("unknown", [UNKNOWN], Replay(UNKNOWN)),
    ("unknown before theirs", [UNKNOWN, THEIR_DONE], Replay(UNKNOWN)),
    ("unknown behind theirs", [THEIR_DONE, UNKNOWN], Replay(UNKNOWN)),
]
FAILED_YIELDS: list[tuple[str, list[Event], Ruling]] = [
    ("failed", [FAILED], Undecided((FAILED,))),
    ("failed before their failed", [FAILED, THEIR_FAILED], Undecided((FAILED,))),
    ("not bought, as an operator said", [UNKNOWN, NOT_BOUGHT], Undecided((UNKNOWN, NOT_BOUGHT))),
    ("failed before theirs", [FAILED, THEIR_DONE], CopyOf(THEIR_DONE, (FAILED,))),
]
NOTHING_IN_HAND = [
    *BOTH,
    *UNKNOWN_STANDS,
    ("failed", [FAILED], Replay(FAILED)),
    ("failed before theirs", [FAILED, THEIR_DONE], Replay(FAILED)),
    ("failed behind theirs", [THEIR_DONE, FAILED], Replay(FAILED)),
    ("not bought, as an operator said", [UNKNOWN, NOT_BOUGHT], Replay(NOT_BOUGHT)),
]
ORDERED_IN_HAND = [*BOTH, *UNKNOWN_STANDS, *FAILED_YIELDS]
BOUGHT_IN_HAND = [
    *BOTH,
    *FAILED_YIELDS,
    ("unknown", [UNKNOWN], Undecided((UNKNOWN,))),
    ("unknown behind theirs", [THEIR_PART, UNKNOWN], CopyOf(THEIR_PART, (UNKNOWN,))),
]


def cases(table: list[tuple[str, list[Event], Ruling]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("entries", "ruling"), [case[1:] for case in table], ids=[case[0] for case in table])


@cases(NOTHING_IN_HAND)
def test_the_record_answers_by_the_three_rules(entries: list[Event], ruling: Ruling) -> None:
    assert ruling == apply_rules(Record(tuple(entries), "etag"), OURS)


@cases(BOUGHT_IN_HAND)
def test_a_purchase_in_hand_overrides_an_own_failed_or_unknown_entry(entries: list[Event], ruling: Ruling) -> None:
    assert ruling == apply_rules(Record(tuple(entries), "etag"), OURS, InHand.BOUGHT)


@cases(ORDERED_IN_HAND)
def test_an_ordered_cart_overrides_an_own_failed_entry_only(entries: list[Event], ruling: Ruling) -> None:
    assert ruling == apply_rules(Record(tuple(entries), "etag"), OURS, InHand.ORDERED)


def test_the_entries_of_a_request_are_its_outcome_and_every_correction() -> None:
    record = Record((UNKNOWN, THEIR_FAILED, NOT_BOUGHT, THEIR_CORRECTED, TWICE))
    assert (UNKNOWN, NOT_BOUGHT, TWICE) == record.own(OURS)
    assert (THEIR_FAILED, THEIR_CORRECTED) == record.own(THEIRS)


def test_the_rules_use_ids_and_types_and_never_data() -> None:
    lying = replace(THEIR_FAILED, data='{"outcome":"completed","requestId":"ours"}')
    assert Undecided() == apply_rules(Record((lying,)), OURS)
    modest = replace(THEIR_DONE, data='{"outcome":"failed"}')
    assert CopyOf(modest) == apply_rules(Record((modest,)), OURS)


def test_a_request_from_a_cloud_event_is_found_by_its_derived_id() -> None:
    found = accepted(cloud_event())
    published = event(Outcome.FAILED, found)
    assert Replay(published) == apply_rules(
        Record((published,)), accepted(cloud_event(), message_id="another", count=3)
    )
