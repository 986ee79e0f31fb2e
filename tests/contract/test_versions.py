"""What one version of the program has written, the others read: a rolling update runs two of them side by side.

`fixtures/v1` holds copies and records as version 1 of the contract writes them, and its schemas. They never change.
A version that writes something else adds a folder of its own.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, FormatChecker

from shared.core.errors import ErrorClass, error
from shared.core.outcomes import Decision, Outcome, decided
from shared.core.rules import CopyOf, Replay, Undecided, apply_rules
from shared.core.state_metadata import from_metadata, to_metadata
from shared.ports import StoredBlob
from shared.records import Records
from tests.docs.test_docs import EXAMPLES
from tests.support.builders import NOW, accepted, after, request
from tests.support.memory import MemoryBlobs

FOLDERS = sorted((Path(__file__).parent / "fixtures").glob("v*"))


def _fixtures(kind: str) -> list[Any]:
    found = [
        pytest.param(path.parent, json.loads(path.read_text(encoding="utf-8")), id=f"{path.parent.name}-{path.stem}")
        for folder in FOLDERS
        for path in sorted(folder.glob(f"{kind}-*.json"))
    ]
    assert found
    return found


def _faults(folder: Path, name: str, value: Any) -> list[str]:
    schema = json.loads((folder / f"{name}.schema.json").read_text(encoding="utf-8"))
    return [each.message for each in Draft7Validator(schema, format_checker=FormatChecker()).iter_errors(value)]


# --- deferred copies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "fixture"), _fixtures("copy"))
def test_a_copy_is_read_whichever_version_wrote_it(folder: Path, fixture: dict[str, Any]) -> None:
    read = accepted(fixture["message"].encode(), message_id="another", inserted_at=after(days=1))
    found = {
        "requestId": read.request_id,
        "startedAt": read.started_at.isoformat(),
        "notAfter": read.not_after.isoformat() if read.not_after else None,
        "context": read.context,
        "causationId": read.causation_id,
        "retry": msgspec.to_builtins(read.retry),
    }
    assert fixture["expected"] == found, folder
    assert read.deferred


@pytest.mark.parametrize(("folder", "fixture"), _fixtures("copy"))
def test_a_copy_that_this_version_writes_can_be_read_by_that_version(folder: Path, fixture: dict[str, Any]) -> None:
    read = accepted(fixture["message"].encode())
    written = read.copy(read.retry).decode()
    assert [] == _faults(folder, "deferred-copy", json.loads(written))
    assert fixture["rewritten"] is (written == fixture["message"])
    assert read.retry == accepted(written.encode()).retry


# --- records ----------------------------------------------------------------------------------------------------


def _records(fixture: dict[str, Any]) -> tuple[MemoryBlobs, Records, str]:
    asked = request()
    name = f"{asked.customer_id}/{asked.cart_id}.json"
    blobs = MemoryBlobs(lambda: datetime.fromisoformat(fixture["lastModified"]))
    content, kind = fixture["content"].encode(), fixture["contentType"]
    blobs.write(name, content, content_type=kind, metadata=fixture["metadata"])
    return blobs, Records(blobs), name


@pytest.mark.parametrize(("folder", "fixture"), _fixtures("record"))
def test_a_record_is_read_whichever_version_wrote_it(folder: Path, fixture: dict[str, Any]) -> None:
    _, records, _ = _records(fixture)
    asked = request()
    record = records.load(asked.customer_id, asked.cart_id)
    assert fixture["expected"]["entries"] == [[entry.id, entry.outcome] for entry in record.entries], folder
    assert record.last_modified is not None
    state = from_metadata(record.metadata, record.last_modified)
    assert fixture["expected"]["state"] == msgspec.to_builtins(state)


@pytest.mark.parametrize(("folder", "fixture"), _fixtures("record"))
def test_a_record_that_this_version_writes_can_be_read_by_that_version(folder: Path, fixture: dict[str, Any]) -> None:
    blobs, records, name = _records(fixture)
    asked = request("a-new-request")
    record = records.load(asked.customer_id, asked.cart_id)
    revision = len(record.entries) + 1
    failed = Decision(Outcome.FAILED, 1, error=error(ErrorClass.EXPIRED, "too late"))
    event = decided(asked, failed, NOW, revision=revision)

    records.append(asked, record, event)

    stored = blobs.read(name)
    assert isinstance(stored, StoredBlob)
    before, after_it = fixture["content"], stored.content.decode()
    # what was there stays byte for byte, entries of unknown types and unknown metadata included
    assert after_it.startswith(before.removesuffix("]"))
    assert fixture["metadata"] == stored.metadata
    assert [] == _faults(folder, "checkout-failed-event", json.loads(after_it)[-1])
    assert revision == json.loads(after_it)[-1]["data"]["revision"]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_event_that_this_version_writes_matches_the_schemas_of_that_version(folder: Path, name: str) -> None:
    written, outcome = EXAMPLES[name][0](), EXAMPLES[name][1]
    assert [] == _faults(folder, f"checkout-{outcome}-event", json.loads(written))


@pytest.mark.parametrize(("folder", "fixture"), _fixtures("record"))
def test_the_working_state_is_written_as_that_version_wrote_it(folder: Path, fixture: dict[str, Any]) -> None:
    state = from_metadata(fixture["metadata"], datetime.fromisoformat(fixture["lastModified"]))
    written = to_metadata(state, fixture["about"])
    assert fixture["rewritten"] is (written == fixture["metadata"]), folder


# --- what no version knows yet ----------------------------------------------------------------------------------


def test_an_entry_of_an_unknown_type_answers_nobody_and_counts_as_a_place() -> None:
    path = next(folder / "record-unknown-type.json" for folder in FOLDERS)
    _, records, _ = _records(json.loads(path.read_text(encoding="utf-8")))
    record = records.load(request().customer_id, request().cart_id)
    failed, unknown_type, unknown = record.entries
    assert (Outcome.FAILED, None, Outcome.UNKNOWN) == (failed.outcome, unknown_type.outcome, unknown.outcome)
    assert Replay(failed) == apply_rules(record, request("order-1"))
    assert Undecided() == apply_rules(record, request("order-3"))
    assert record.bought() is None
    own = msgspec.structs.replace(unknown_type, id=request("order-3").event_id)
    later = msgspec.structs.replace(record, entries=(failed, own))
    assert Undecided() == apply_rules(later, request("order-3"))


def test_the_first_known_purchase_answers_another_request_past_an_unknown_type() -> None:
    path = next(folder / "record-unknown-type.json" for folder in FOLDERS)
    _, records, _ = _records(json.loads(path.read_text(encoding="utf-8")))
    record = records.load(request().customer_id, request().cart_id)
    bought = msgspec.structs.replace(record.entries[0], outcome=Outcome.COMPLETED)
    record = msgspec.structs.replace(record, entries=(record.entries[1], bought))
    assert CopyOf(bought) == apply_rules(record, request("order-3"))
