"""The ids that a request derives. The vectors were made once, with SHA-1 by hand, and never change.

A consumer that de-duplicates by them, and the service that knows a call by its MS-RequestId, rely on that.
"""

import hashlib
import inspect
import json
import re
import uuid
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.messages import NAMESPACE, CheckoutRequest, derive, ms_request_id
from shared.core.retry import Refusal, RetryState
from tests.support.builders import (
    CART,
    CUSTOMER,
    MESSAGE,
    NOW,
    accepted,
    after,
    body,
    cloud_event,
    members,
    refused,
    request,
)

NS = UUID("2f0a5587-1a2c-5946-bd65-7b8912a6b3f7")
OTHER = "ffffffff-0000-4000-8000-000000000000"
CORRELATION = "c0ffee00-0000-4000-8000-00000000000a"


def by_hand(text: str) -> str:
    """The UUID of version 5 of this text under NS, as RFC 9562 makes it."""
    digest = bytearray(hashlib.sha1(NS.bytes + text.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(digest)))


def ids_of(found: CheckoutRequest) -> set[str]:
    return {found.event_id, found.correction_id(), found.correction_id(2), found.correlation_id}


def test_the_namespace_is_derived_from_the_programs_own_urn() -> None:
    assert uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout") == NAMESPACE == NS


@pytest.mark.parametrize(
    ("text", "vector", "actual"),
    [
        (
            f'["event","{CUSTOMER}","{CART}","order-4711"]',
            "d17d1a3e-1040-501e-9890-a47c557d8ca6",
            request().event_id,
        ),
        (
            f'["correction","{CUSTOMER}","{CART}","order-4711"]',
            "dc08f5f4-84e0-576b-ae33-ded285a7dedd",
            request().correction_id(),
        ),
        (
            f'["correction","{CUSTOMER}","{CART}","order-4711",2]',
            "6e27477e-1e8e-5d8c-85ae-5069161cbb88",
            request().correction_id(2),
        ),
        (
            f'["ms-request","{CUSTOMER}","{CART}",0]',
            "81524c79-12ed-5f73-8ad1-619410043498",
            ms_request_id(CUSTOMER, CART, 0),
        ),
        (
            f'["ms-request","{CUSTOMER}","{CART}",1763805600]',
            "dc45dbdc-ffa9-588b-a7a3-bac3c4dcf4bc",
            ms_request_id(CUSTOMER, CART, 1_763_805_600),
        ),
        (
            f'["ms-correlation","{CUSTOMER}","{CART}","order-4711"]',
            "2f87eca0-200d-520d-a668-0930b5e70853",
            request().correlation_id,
        ),
        (
            f'["event","{CUSTOMER}","{CART}","Bestellung №7, \\"ü\\" 🛒"]',
            "9cdd5aba-73a4-5059-a2f9-7c4c84daf533",
            request('Bestellung №7, "ü" 🛒').event_id,
        ),
        (
            f'["event","{CUSTOMER}","{CART}","{MESSAGE}"]',
            "0688a563-1264-5166-8c6f-6ecfa7bce687",
            accepted(body()).event_id,
        ),
        (
            '["cloudevent","/shop","e-1"]',
            "69b4d822-7e8a-5824-aec2-400f799d48ac",
            accepted(cloud_event()).request_id,
        ),
        (
            '["cloudevent","/sh\\\\op\\u0000","é\\n\x7f\u2028"]',
            "18835617-ec8c-5b91-ba3d-7596ab4f9a4a",
            accepted(cloud_event(source="/sh\\op\0", id="é\n\x7f\u2028")).request_id,
        ),
        (
            '["invalid","22dfadbdd32afe73713f997c4f3ce255c59753a11d8ffe6b6aa72cf6d434609f"]',
            "6ee547cf-973a-5dbc-a28e-eeedd038d40b",
            refused(b"no cart").event_id,
        ),
    ],
    ids=[
        "event",
        "correction",
        "correction of a correction",
        "MS-RequestId",
        "MS-RequestId after a lost state",
        "MS-CorrelationId",
        "non-ASCII unescaped",
        "without a key",
        "CloudEvent",
        "CloudEvent with control characters",
        "invalid message",
    ],
)
def test_an_id_matches_its_test_vector(text: str, vector: str, actual: str) -> None:
    assert vector == by_hand(text) == actual


@given(st.lists(st.text(max_size=8) | st.integers(), min_size=1, max_size=5))
def test_an_id_is_derived_from_a_compact_json_array(parts: list[str | int]) -> None:
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    assert by_hand(text) == derive(*parts)


def test_the_contracts_vectors_are_right_and_cover_every_kind() -> None:
    contract = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    vectors = re.findall(r"`(\[\"([a-z-]+)\",[^`]+\])` \| `([0-9a-f-]{36})`", contract)
    assert {text: by_hand(text) for text, _, _ in vectors} == {text: vector for text, _, vector in vectors}
    assert {"event", "correction", "ms-request", "ms-correlation", "cloudevent", "invalid"} == {
        kind for _, kind, _ in vectors
    }


def test_the_ids_of_a_request_are_all_different() -> None:
    ids = ids_of(request()) | {ms_request_id(CUSTOMER, CART, 0)}
    assert len(ids) == 5
    assert {5} == {UUID(each).version for each in ids}


@pytest.mark.parametrize(
    "other",
    [
        request("order-4712"),
        request(customerId=OTHER),
        request(cartId=OTHER),
        accepted(body(customerId=CART, cartId=CUSTOMER, requestId="order-4711")),
    ],
    ids=["request", "customer", "cart", "customer and cart exchanged"],
)
def test_another_request_has_other_ids(other: CheckoutRequest) -> None:
    assert set() == ids_of(request()) & ids_of(other)


def test_a_copy_has_the_ids_of_its_request_however_long_it_waited() -> None:
    refusal = Refusal(status=400, key=3, at=NOW)
    waited = RetryState(attempt=7, since=after(2), held=after(1), started_at=after(3), poisoned=True, refused=refusal)
    assert ids_of(request()) == ids_of(request(retry=msgspec.to_builtins(waited)))


def test_the_ms_request_id_is_the_carts_and_each_key_has_its_own() -> None:
    assert "request_id" not in inspect.signature(ms_request_id).parameters
    keys = {
        ms_request_id(customer, cart, key)
        for customer, cart in ((CUSTOMER, CART), (CART, CUSTOMER))
        for key in range(4)
    }
    assert 8 == len(keys)


def test_each_correction_of_a_request_has_an_id_of_its_own() -> None:
    assert 4 == len({request().correction_id(number) for number in range(1, 5)})


def test_the_messages_own_correlation_id_takes_precedence() -> None:
    assert CORRELATION == request(correlationId=CORRELATION.upper()).correlation_id


@pytest.mark.parametrize("spelling", [CUSTOMER.upper(), f"{{{CUSTOMER}}}"])
def test_the_spelling_of_a_guid_changes_no_id(spelling: str) -> None:
    assert request().event_id == request(customerId=spelling).event_id


def test_a_producers_key_takes_precedence_over_the_cloud_event_and_that_over_the_message_id() -> None:
    assert "order-4711" == accepted(cloud_event(members(requestId="order-4711"))).request_id
    assert by_hand('["cloudevent","/shop","e-1"]') == accepted(cloud_event(), message_id="m-2").request_id
    assert "m-2" == accepted(body(), message_id="m-2").request_id


def test_the_same_cloud_event_is_one_request_under_any_message_id() -> None:
    one, again = accepted(cloud_event(), message_id="m-1"), accepted(cloud_event(time="later"), message_id="m-2")
    assert one.event_id == again.event_id
    other = accepted(cloud_event(source="/shop2"))
    assert one.request_id != other.request_id


def test_the_id_of_an_invalid_message_depends_on_its_text_in_the_queue() -> None:
    assert refused(b"{}").event_id == refused(b"{}", message_id="m-2", count=4, from_poison=True).event_id
    assert refused(b"{}").event_id != refused(b"{} ").event_id
    assert refused(b"{}").event_id != refused(b"e30=").event_id  # the same object in base64
