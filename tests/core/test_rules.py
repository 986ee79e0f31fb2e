import pytest
from msgspec.structs import replace

from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Decision, Event, Outcome, copied, decided
from shared.core.rules import CopyOf, Record, Replay, Ruling, Undecided, apply_rules
from tests.support.builders import NOW, accepted, cloud_event, event, request

OURS = request("ours")
THEIRS = request("theirs")


def correction(of: CheckoutRequest, outcome: Outcome = Outcome.COMPLETED) -> Event:
    return decided(of, Decision(outcome, 1), NOW, corrects=of.event_id)


FAILED, UNKNOWN, DONE = event(Outcome.FAILED, OURS), event(Outcome.UNKNOWN, OURS), event(Outcome.COMPLETED, OURS)
WAITS, PART = event(Outcome.ACTION_REQUIRED, OURS), event(Outcome.PARTIAL, OURS)
CORRECTED = correction(OURS)
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
WITHOUT_AN_ORDER_IN_HAND = [
    *BOTH,
    ("failed", [FAILED], Replay(FAILED)),
    ("unknown", [UNKNOWN], Replay(UNKNOWN)),
    ("failed before theirs", [FAILED, THEIR_DONE], Replay(FAILED)),
    ("failed behind theirs", [THEIR_DONE, FAILED], Replay(FAILED)),
]
WITH_AN_ORDER_IN_HAND = [
    *BOTH,
    ("failed", [FAILED], Undecided(OURS.event_id)),
    ("unknown", [UNKNOWN], Undecided(OURS.event_id)),
    ("failed before their failed", [FAILED, THEIR_FAILED], Undecided(OURS.event_id)),
    ("failed before theirs", [FAILED, THEIR_DONE], CopyOf(THEIR_DONE, OURS.event_id)),
    ("unknown behind theirs", [THEIR_PART, UNKNOWN], CopyOf(THEIR_PART, OURS.event_id)),
]


def cases(table: list[tuple[str, list[Event], Ruling]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("entries", "ruling"), [case[1:] for case in table], ids=[case[0] for case in table])


@cases(WITHOUT_AN_ORDER_IN_HAND)
def test_the_record_answers_by_the_three_rules(entries: list[Event], ruling: Ruling) -> None:
    assert ruling == apply_rules(Record(tuple(entries), "etag"), OURS)


@cases(WITH_AN_ORDER_IN_HAND)
def test_a_confirmed_purchase_overrides_an_own_failed_or_unknown_entry(entries: list[Event], ruling: Ruling) -> None:
    assert ruling == apply_rules(Record(tuple(entries), "etag"), OURS, purchase_confirmed=True)


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
