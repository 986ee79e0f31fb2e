import hashlib
import json
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from shared.core.cart_state import CartState, Post, lost_state
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Decision, Event, Outcome, copied, decided
from shared.core.rules import Record, Undecided, apply_rules
from shared.core.state_metadata import from_metadata, to_metadata
from shared.ports import Conflict, StorageUnavailable
from shared.records import CONTENT_TYPE, Records
from tests.support.builders import CART, CUSTOMER, NOW, accepted, after, body, event, request, text_of
from tests.support.memory import MemoryBlobs

RECORD = f"{CUSTOMER}/{CART}.json"
OURS = request("ours")
THEIRS = request("theirs")
LARGE = text_of({"orders": [{"id": "x" * 49_152}]})


class WatchedBlobs(MemoryBlobs):
    """Blobs in memory that tell what was written, in which order and as what; `fails` names one that is not."""

    def __init__(self, fails: str = "nothing") -> None:
        super().__init__(lambda: NOW)
        self.fails = fails
        self.written: list[tuple[str, str, str | None]] = []

    def write(
        self, name: str, content: bytes, *, content_type: str, metadata: Mapping[str, str], match: str | None = None
    ) -> str:
        if name.endswith(self.fails):
            raise StorageUnavailable(name)
        etag = super().write(name, content, content_type=content_type, metadata=metadata, match=match)
        self.written.append((name, content_type, match))
        return etag


def correction(of: CheckoutRequest, outcome: Outcome = Outcome.COMPLETED) -> Event:
    return decided(of, Decision(outcome, 1), NOW, corrects=(event(Outcome.UNKNOWN, of),))


def recorded(*entries: Event) -> tuple[MemoryBlobs, Records]:
    """Records that hold these entries of our cart."""
    blobs = MemoryBlobs(lambda: NOW)
    records = Records(blobs)
    for entry in entries:
        records.append(OURS, records.load(CUSTOMER, CART), entry)
    return blobs, records


FAILED, UNKNOWN, DONE = event(Outcome.FAILED, OURS), event(Outcome.UNKNOWN, OURS), event(Outcome.COMPLETED, OURS)
CORRECTED = correction(OURS)
THEIR_FAILED, THEIR_UNKNOWN = event(Outcome.FAILED, THEIRS), event(Outcome.UNKNOWN, THEIRS)
THEIR_DONE, THEIR_PART = event(Outcome.COMPLETED, THEIRS), event(Outcome.PARTIAL, THEIRS)
THEIR_CORRECTED = correction(THEIRS)

# --- appending ----------------------------------------------------------------------------------------------


def test_a_cart_without_a_record_has_an_empty_one() -> None:
    assert Record((), None, read_at=NOW) == Records(MemoryBlobs(lambda: NOW)).load(CUSTOMER, CART)


def test_what_is_appended_is_loaded_in_order_under_a_new_etag() -> None:
    blobs, records = recorded(THEIR_FAILED, FAILED)
    before = records.load(CUSTOMER, CART)
    assert CORRECTED == records.append(OURS, before, CORRECTED)
    recalled = records.load(CUSTOMER, CART)
    assert (THEIR_FAILED, FAILED, CORRECTED) == recalled.entries
    assert before.etag != recalled.etag == blobs.blobs[RECORD][1]


def test_a_record_is_a_json_array_of_complete_events_word_for_word() -> None:
    odd = accepted(body(requestId="odd", context="#").replace(b'"#"', b'{ "a" : 36.480 }'))
    first = event(Outcome.FAILED, odd, result='{ "orderErrors" : [ {"x":1E+2} ] }')
    blobs, _ = recorded(first, DONE)
    content = blobs.blobs[RECORD][0].decode()
    assert [json.loads(first.text), json.loads(DONE.text)] == json.loads(content)
    assert content.startswith(f"[{first.text},")
    assert content.endswith(f"{DONE.text}]")


def test_a_record_has_the_name_of_its_cart_and_its_media_type() -> None:
    blobs = WatchedBlobs()
    records = Records(blobs)
    records.append(OURS, Record(), FAILED)
    etag = blobs.blobs[RECORD][1]
    records.append(OURS, records.load(CUSTOMER, CART), CORRECTED)
    assert "application/cloudevents-batch+json" == CONTENT_TYPE
    assert [(RECORD, CONTENT_TYPE, None), (RECORD, CONTENT_TYPE, etag)] == blobs.written


def test_carts_have_records_of_their_own() -> None:
    blobs, records = recorded(DONE)
    assert Record(read_at=NOW) == records.load(CART, CUSTOMER)
    assert [RECORD] == list(blobs.blobs)


def test_a_record_that_another_writer_created_first_is_a_conflict() -> None:
    _, records = recorded(THEIR_DONE)
    with pytest.raises(Conflict):
        records.append(OURS, Record(), FAILED)
    assert (THEIR_DONE,) == records.load(CUSTOMER, CART).entries


def test_a_record_that_another_writer_appended_to_is_a_conflict() -> None:
    _, records = recorded(THEIR_FAILED)
    stale = records.load(CUSTOMER, CART)
    records.append(THEIRS, stale, THEIR_CORRECTED)
    with pytest.raises(Conflict):
        records.append(OURS, stale, FAILED)
    assert (THEIR_FAILED, THEIR_CORRECTED) == records.load(CUSTOMER, CART).entries


def test_the_deepest_result_and_context_can_be_loaded() -> None:
    deepest = accepted(body(requestId="deep", context="#").replace(b'"#"', b"[" * 63 + b"]" * 63))
    found = event(Outcome.COMPLETED, deepest, result='{"orders":' + "[" * 63 + "]" * 63 + "}")
    _, records = recorded(found)
    assert (found,) == records.load(CUSTOMER, CART).entries


# --- the working state --------------------------------------------------------------------------------------

STATE = {"key": "0", "post_by": "ours"}
LATER = {"key": "1", "doubt": "2026-11-22T10:00:00.000Z"}


def stored(blobs: MemoryBlobs) -> tuple[bytes, str, dict[str, str]]:
    """The record as it lies there: content, content type, metadata."""
    blob = blobs.blobs[RECORD]
    return blob.content, blob.content_type, dict(blob.metadata)


def test_a_first_post_is_entered_in_a_record_without_outcomes() -> None:
    blobs, records = recorded()
    entered = records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    assert (b"[]", CONTENT_TYPE, STATE) == stored(blobs)
    assert Record((), entered.etag, STATE, read_at=NOW) == entered
    assert Record((), entered.etag, STATE, NOW, NOW) == records.load(CUSTOMER, CART)


def test_a_post_is_entered_in_a_record_with_outcomes_by_its_metadata_alone() -> None:
    blobs, records = recorded(THEIR_FAILED)
    entered = records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    assert (f"[{THEIR_FAILED.text}]".encode(), CONTENT_TYPE, STATE) == stored(blobs)
    assert entered == records.load(CUSTOMER, CART)


def test_what_was_entered_can_be_marked_and_appended_to_without_another_read() -> None:
    blobs, records = recorded()
    entered = records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    marked = records.mark(OURS, entered, LATER)
    assert (b"[]", CONTENT_TYPE, LATER) == stored(blobs)
    assert DONE == records.append(OURS, marked, DONE, {"key": "1"})
    assert (f"[{DONE.text}]".encode(), CONTENT_TYPE, {"key": "1"}) == stored(blobs)


def test_a_mark_replaces_all_of_the_state() -> None:
    blobs, records = recorded(FAILED)
    entered = records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    assert {"key": "2"} == records.mark(OURS, entered, {"key": "2"}).metadata
    assert (f"[{FAILED.text}]".encode(), CONTENT_TYPE, {"key": "2"}) == stored(blobs)


def test_an_append_carries_the_state_that_was_read_unless_it_is_given_another() -> None:
    blobs, records = recorded()
    records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    records.append(OURS, records.load(CUSTOMER, CART), FAILED)
    assert STATE == stored(blobs)[2]
    records.append(OURS, records.load(CUSTOMER, CART), CORRECTED, LATER)
    assert LATER == stored(blobs)[2]
    records.append(OURS, records.load(CUSTOMER, CART), THEIR_DONE, {})
    assert {} == stored(blobs)[2]


def test_the_state_in_hand_has_the_names_that_a_load_would_give() -> None:
    _, records = recorded()
    entered = records.enter(OURS, records.load(CUSTOMER, CART), {"nextAt": "soon"})
    assert {"nextat": "soon"} == entered.metadata == records.load(CUSTOMER, CART).metadata
    assert {"nextat": "later"} == records.mark(OURS, entered, {"NEXTAT": "later"}).metadata


@pytest.mark.parametrize("entries", [(), (THEIR_FAILED,)], ids=["no record", "a record"])
def test_a_rival_who_entered_first_wins(entries: tuple[Event, ...]) -> None:
    blobs, records = recorded(*entries)
    ours = records.load(CUSTOMER, CART)
    theirs = records.enter(THEIRS, ours, {"key": "0", "post_by": "theirs"})
    with pytest.raises(Conflict):
        records.enter(OURS, ours, STATE)
    with pytest.raises(Conflict):
        records.append(OURS, ours, FAILED, STATE)
    assert "theirs" == stored(blobs)[2]["post_by"]
    assert theirs.etag == records.load(CUSTOMER, CART).etag


def test_a_mark_yields_to_whatever_was_written_since() -> None:
    blobs, records = recorded()
    entered = records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    records.append(THEIRS, entered, THEIR_DONE, LATER)
    with pytest.raises(Conflict):
        records.mark(OURS, entered, STATE)
    assert (f"[{THEIR_DONE.text}]".encode(), CONTENT_TYPE, LATER) == stored(blobs)


def test_an_own_entry_whose_answer_was_lost_is_found_by_the_next_load() -> None:
    _, records = recorded()
    before = records.load(CUSTOMER, CART)
    entered = records.enter(OURS, before, STATE)
    with pytest.raises(Conflict):
        records.enter(OURS, before, STATE)
    found = records.load(CUSTOMER, CART)
    assert (STATE, entered.etag) == (found.metadata, found.etag)


def test_nothing_is_marked_where_nothing_was_entered() -> None:
    blobs, records = recorded()
    with pytest.raises(ValueError, match=r"^only a record that is there can be marked$"):
        records.mark(OURS, records.load(CUSTOMER, CART), STATE)
    assert {} == blobs.blobs


def test_a_record_without_outcomes_answers_nobody() -> None:
    _, records = recorded()
    records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    record = records.load(CUSTOMER, CART)
    assert () == record.entries
    assert Undecided() == apply_rules(record, OURS)
    assert ((), None) == (record.own(OURS), record.bought())


def test_a_record_tells_when_it_was_written_and_read() -> None:
    now = [NOW]
    records = Records(MemoryBlobs(lambda: now[0]))
    entered = records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    now[0] = after(60.9)
    assert (NOW, after(60)) == times(records.load(CUSTOMER, CART))
    records.mark(OURS, entered, LATER)
    now[0] = after(120)
    assert (after(60), after(120)) == times(records.load(CUSTOMER, CART))


def test_a_record_that_was_restored_or_edited_by_hand_has_no_state_and_says_since_when() -> None:
    now = [NOW]
    blobs = MemoryBlobs(lambda: now[0])
    records = Records(blobs)
    records.enter(OURS, records.load(CUSTOMER, CART), STATE)
    now[0] = after(60)
    blobs.overwrite(RECORD, f"[{FAILED.text}]".encode())
    record = records.load(CUSTOMER, CART)
    assert ({}, after(60)) == (record.metadata, record.last_modified)
    records.append(OURS, record, CORRECTED, {"key": "1795341660"})
    assert {"key": "1795341660"} == records.load(CUSTOMER, CART).metadata


def times(record: Record) -> tuple[object, object]:
    return record.last_modified, record.read_at


def test_large_data_have_no_state_beside_them() -> None:
    blobs, records = recorded()
    large = event(Outcome.COMPLETED, OURS, result=LARGE)
    records.append(OURS, records.enter(OURS, records.load(CUSTOMER, CART), STATE), large, LATER)
    assert [{}, LATER] == sorted((dict(blob.metadata) for blob in blobs.blobs.values()), key=len)


# --- data too large for a message ---------------------------------------------------------------------------


def data_name(found: Event, request_event_id: str) -> str:
    digest = hashlib.sha256((found.data or "").encode()).hexdigest()
    return f"{CUSTOMER}/{CART}/{request_event_id}.{digest[:16]}.data.json"


def test_large_data_is_recorded_in_a_blob_of_its_own_under_a_dataref_before_the_record() -> None:
    blobs = WatchedBlobs()
    large = event(Outcome.COMPLETED, OURS, result=LARGE)
    published = Records(blobs).append(OURS, Record(), large)
    name = data_name(large, OURS.event_id)
    assert [(name, "application/json", None), (RECORD, CONTENT_TYPE, None)] == blobs.written
    assert (large.data or "").encode() == blobs.blobs[name][0]
    assert blobs.url(name) == published.dataref == json.loads(published.text)["dataref"]
    assert f"[{published.text}]" == blobs.blobs[RECORD][0].decode()
    assert "data" not in json.loads(published.text)
    assert not published.too_large


def test_a_record_names_no_data_that_was_not_recorded() -> None:
    blobs = WatchedBlobs(fails=".data.json")
    with pytest.raises(StorageUnavailable):
        Records(blobs).append(OURS, Record(), event(Outcome.COMPLETED, OURS, result=LARGE))
    assert {} == blobs.blobs


def test_large_data_is_never_overwritten_and_existing_data_is_reused() -> None:
    blobs = WatchedBlobs(fails=f"{CART}.json")
    large = event(Outcome.COMPLETED, OURS, result=LARGE)
    with pytest.raises(StorageUnavailable):
        Records(blobs).append(OURS, Record(), large)
    name = data_name(large, OURS.event_id)
    first = blobs.blobs[name]
    blobs.fails = "nothing"
    Records(blobs).append(OURS, Record(), large)
    assert first == blobs.blobs[name]
    assert [name, RECORD] == [written for written, _, _ in blobs.written]


def test_different_data_of_the_same_event_is_stored_in_another_blob() -> None:
    blobs = MemoryBlobs(lambda: NOW)
    large = event(Outcome.COMPLETED, OURS, result=LARGE)
    other = event(Outcome.COMPLETED, OURS, result=LARGE.replace("x", "y"))
    Records(blobs).append(OURS, Record(), large)
    with pytest.raises(Conflict):
        Records(blobs).append(OURS, Record(), other)
    assert {RECORD, data_name(large, OURS.event_id), data_name(other, OURS.event_id)} == set(blobs.blobs)


@pytest.mark.parametrize("result", ['{"orders":[{"totalPrice":36.480}]}', LARGE], ids=["small", "large"])
def test_the_data_of_an_entry_is_loaded_from_the_entry_or_from_its_blob(result: str) -> None:
    found = event(Outcome.COMPLETED, THEIRS, result=result)
    _, records = recorded(found)
    (entry,) = records.load(CUSTOMER, CART).entries
    assert found.data == records.data_of(OURS, entry)
    assert result == copied(entry, records.data_of(OURS, entry), 0).result


def test_an_entry_without_data_has_empty_data() -> None:
    assert "{}" == Records(MemoryBlobs(lambda: NOW)).data_of(OURS, replace(DONE, data=None))


@pytest.mark.parametrize(
    "dataref",
    [
        "https://account/records/other-customer/other-cart/x.data.json",
        "https://evil.example/x.data.json",
        f"../../{RECORD}/../x.data.json",
        "/x.data.json",
        "x.data.json",
    ],
)
def test_an_entry_can_name_no_dataref_outside_its_carts_folder(dataref: str) -> None:
    blobs = MemoryBlobs(lambda: NOW)
    blobs.overwrite("other-customer/other-cart/x.data.json", b'"theirs"')
    blobs.overwrite("x.data.json", b'"the root\'s"')
    blobs.overwrite(f"{CUSTOMER}/{CART}/x.data.json", b'"ours"')
    assert '"ours"' == Records(blobs).data_of(OURS, replace(DONE, data=None, dataref=dataref))


@pytest.mark.parametrize("dataref", ["", "x", "x/", "https://account/records/y.data.json", "..", "../.."])
def test_missing_data_is_unavailable_storage(dataref: str) -> None:
    with pytest.raises(StorageUnavailable):
        Records(MemoryBlobs(lambda: NOW)).data_of(OURS, replace(DONE, data=None, dataref=dataref))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"result":}'])
def test_damaged_data_is_unavailable_storage(content: bytes) -> None:
    blobs = MemoryBlobs(lambda: NOW)
    blobs.overwrite(f"{CUSTOMER}/{CART}/x.data.json", content)
    with pytest.raises(StorageUnavailable):
        Records(blobs).data_of(OURS, replace(DONE, data=None, dataref="https://account/x.data.json"))


def test_the_state_of_the_posts_survives_every_append() -> None:
    state = CartState(3, Post(THEIRS.event_id, after(-5), delivery="message-1/1"), after(-60), spent=True)
    _, records = recorded(THEIR_FAILED)
    records.enter(THEIRS, records.load(CUSTOMER, CART), to_metadata(state, {"attempt": 1}))
    for entry in (FAILED, CORRECTED):
        records.append(OURS, records.load(CUSTOMER, CART), entry)
        found = records.load(CUSTOMER, CART)
        assert state == from_metadata(found.metadata, NOW)
    assert (THEIR_FAILED, FAILED, CORRECTED) == found.entries


def test_a_record_without_its_state_stays_without_it_where_an_outcome_is_appended() -> None:
    blobs, records = recorded(THEIR_DONE)
    blobs.overwrite(RECORD, f"[{THEIR_DONE.text}]".encode())
    records.append(OURS, records.load(CUSTOMER, CART), DONE)
    found = records.load(CUSTOMER, CART)
    assert lost_state(NOW) == from_metadata(found.metadata, NOW)


# --- damage -------------------------------------------------------------------------------------------------

NO_RECORDS = [
    b"",
    b"\xff",
    b"[",
    b"[" + DONE.text.encode(),
    b"{}",
    b"null",
    b'"x"',
    b"5",
    DONE.text.encode(),
    b"[5]",
    b"[null]",
    b"[[]]",
    b"[{}]",
    b'[{"id":"x"}]',
    b'[{"id":"x","type":5}]',
    b'[{"id":5,"type":"partnercenter.cart.checkout.completed"}]',
    b'[{"id":"x","type":"partnercenter.cart.checkout.completed","dataref":7}]',
    b"[" + DONE.text.encode() + b",{}]",
    b"[" * 100 + b"]" * 100,
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", NO_RECORDS, ids=lambda content: repr(content[:60]))
def test_a_damaged_record_is_unavailable_storage(content: bytes) -> None:
    blobs = MemoryBlobs(lambda: NOW)
    blobs.overwrite(RECORD, content)
    with pytest.raises(StorageUnavailable, match=rf"^the record {RECORD} is damaged$"):
        Records(blobs).load(CUSTOMER, CART)


def test_a_record_with_a_byte_order_mark_or_other_formatting_is_read() -> None:
    blobs, records = recorded(FAILED, CORRECTED)
    blobs.overwrite(RECORD, f"\ufeff [\n  {FAILED.text} ,\r\n  {CORRECTED.text}\n]\n".encode())
    assert (FAILED, CORRECTED) == records.load(CUSTOMER, CART).entries
