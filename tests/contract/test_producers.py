"""What the usual ways to send a cart put into the queue: which are accepted, and what the others are told.

The bytes are in `fixtures/producers`, and its README says where they come from.
"""

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from local.simulator.server import Simulator
from shared.core.messages import CheckoutRequest, decode
from shared.core.outcomes import invalid
from shared.core.request_fields import NAMES
from tests.conftest import Storage
from tests.support.builders import accepted, delivery, refused
from tests.worker.test_worker_library import invoke

FOLDER = Path(__file__).parent / "fixtures" / "producers"
CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
TENANT = "7e4a9700-1111-4222-8333-444444444444"

ACCEPTED = {
    "cloud-event-correlation": 23,
    "csharp-braces": 13,
    "csharp-cloud-event-binary-data": 7,
    "csharp-cloud-event-object": 8,
    "csharp-output-binding": 4,
    "csharp-output-binding-indented": 5,
    "csharp-queue-client": 2,
    "csharp-queue-client-base64": 3,
    "java-queue-client": 16,
    "java-queue-client-base64": 17,
    "javascript-cloud-event-buffer": 14,
    "powershell-base64": 20,
    "powershell-base64-with-mark": 21,
    "python-queue-client": 25,
    "typescript-queue-client": 1,
}

_OBJECT = "a JSON object in UTF-8, as it is or in standard, padded base64 without line breaks; this is "
_EVENT = "a checkout request, or a CloudEvent 1.0 that has one as its `data`; this is "
REFUSED: dict[str, tuple[int, str, str]] = {
    "csharp-base64-twice": (12, "$", f"{_OBJECT}a JSON object in base64, twice"),
    "csharp-cloud-event-pascal-case": (
        9,
        "$.SpecVersion",
        "`specversion`: CloudEvents 1.0 names are in lower case",
    ),
    "csharp-event-grid-event": (
        10,
        "$",
        f"{_EVENT}an event in Event Grid's schema, which can send CloudEvents 1.0 too",
    ),
    "csharp-pascal-case": (
        6,
        "$.CustomerId",
        f"one of {', '.join(NAMES[:-1])}; did you mean `customerId`?",
    ),
    "csharp-serialized-twice": (11, "$", f"{_OBJECT}a JSON object in a JSON string in base64"),
    "event-grid-batch": (
        24,
        "$",
        f"{_OBJECT}an array of events in Event Grid's schema (one request is one message)",
    ),
    "java-mime-base64": (18, "$", f"{_OBJECT}a JSON object in base64 with white space or line breaks"),
    "java-number-as-request-id": (
        19,
        "$.requestId",
        "a string of 1 to 256 characters without control characters or lone surrogates, not a number",
    ),
    "javascript-base64url": (15, "$", f"{_OBJECT}a JSON object in base64url"),
    "powershell-utf-16": (22, "$", f"{_OBJECT}a JSON object in UTF-16 in base64"),
}
NOT_TOLD = {"event-grid-batch": ("cartId", "customerId", "requestId"), "java-number-as-request-id": ("requestId",)}
"""Ids that a refused message has and that are not told: of several carts, or of another type."""
CAUSES = {"csharp-cloud-event-pascal-case": "e-9", "csharp-event-grid-event": "e-10"}


def content(name: str) -> bytes:
    return (FOLDER / f"{name}.txt").read_bytes()


def ids(name: str, number: int) -> dict[str, str | None]:
    """The ids that a fixture names, without those that are not told."""
    cart = f"00000001-0000-4000-8000-0000000000{number:02x}"
    named = {"customerId": CUSTOMER, "cartId": cart, "requestId": f"order-{number}"}
    return {key: None if key in NOT_TOLD.get(name, ()) else value for key, value in named.items()}


def test_every_fixture_has_a_row_here_and_in_its_readme() -> None:
    files = {path.stem for path in FOLDER.glob("*.txt")}
    listed = re.findall(r"^\| `([\w-]+)\.txt` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert files == {*ACCEPTED} | {*REFUSED} == {*listed}
    assert len(files) == len(listed) == len(ACCEPTED) + len(REFUSED)


@pytest.mark.parametrize(("name", "number"), ACCEPTED.items(), ids=ACCEPTED)
def test_the_usual_ways_of_a_producer_are_accepted(name: str, number: int) -> None:
    found = accepted(content(name))
    assert ids(name, number) == {
        "customerId": found.customer_id,
        "cartId": found.cart_id,
        "requestId": found.request_id,
    }
    copy = accepted(found.copy(found.retry))
    assert (found.event_id, found.correlation_id, True) == (copy.event_id, copy.correlation_id, copy.deferred)


@pytest.mark.parametrize(("name", "row"), REFUSED.items(), ids=REFUSED)
def test_another_way_is_refused_with_what_was_met(name: str, row: tuple[int, str, str]) -> None:
    number, path, expected = row
    found = refused(content(name))
    assert (path, expected) == (found.path, found.expected)
    told = {"customerId": found.customer_id, "cartId": found.cart_id, "requestId": found.request_id}
    assert ids(name, number) == told
    assert CAUSES.get(name) == found.causation_id
    assert not found.deferred


def test_the_envelopes_correlation_id_is_the_requests() -> None:
    text = content("cloud-event-correlation").decode()
    correlation = "0dd0dd00-1111-4222-8333-444444444444"
    assert correlation == accepted(text.encode()).correlation_id
    no_guid = accepted(text.replace(correlation, "order-23").encode())
    assert no_guid.correlation is None
    own = CUSTOMER
    with_own = text.replace('"requestId"', f'"correlationId":"{own}","requestId"')
    assert own == accepted(with_own.encode()).correlation_id


# --- through Microsoft's worker library ----------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime is made for Python 3.13 and newer")
def test_every_producers_bytes_come_through_the_worker_as_they_were_sent(storage: Storage) -> None:
    bodies = [content(name) for name in (*ACCEPTED, *REFUSED)]
    with Simulator(tenant_id=TENANT) as simulator:
        lines = b"\n".join(base64.b64encode(body) for body in bodies)
        done = invoke("checkout_cart", lines, {**simulator.environment(), **storage.environ}, "--many")

    assert [[True, None]] * len(bodies) == [ended[:2] for ended in done["results"]]
    events = [json.loads(base64.b64decode(each.content)) for each in storage.outcomes.receive_messages()]
    found = {event["id"]: event["type"].rpartition(".")[2] for event in events}
    assert {_event_id(body): _outcome(body) for body in bodies} == found
    assert len(bodies) == len(events)


def _decoded(body: bytes) -> Any:
    return decode(body, delivery())


def _event_id(body: bytes) -> str:
    found: str = _decoded(body).event_id
    return found


def _outcome(body: bytes) -> str:
    found = _decoded(body)
    if isinstance(found, CheckoutRequest):
        return "completed"
    return str(invalid(found).outcome)
