import base64
import hashlib
import json
import random
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.core.cart_state import Post
from shared.core.errors import ErrorClass, error
from shared.core.messages import LONGEST, LONGEST_COPY, CheckoutRequest, InvalidMessage, decode
from shared.core.outcomes import invalid
from shared.core.refusal import to_refusal
from shared.core.request_fields import guid_or_none
from shared.core.retry import MAX_COUNT, Refusal, RetryState
from tests.support.builders import (
    CART,
    CUSTOMER,
    MESSAGE,
    NOW,
    accepted,
    after,
    body,
    cloud_event,
    delivery,
    members,
    refused,
    text_of,
)

BOM = b"\xef\xbb\xbf"
KIB = 1024
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WAITED = RetryState(
    attempt=3,
    since=after(-600),
    held=after(-60),
    started_at=after(-900),
    reason="service",
    poisoned=True,
    deaths=4,
    renewals=2,
    refused=Refusal(status=400, key=1, at=after(-60), delivery="m-1/1", code="999999", description="no"),
)


def b64(content: bytes) -> bytes:
    return base64.b64encode(content)


def of_size(size: int, **more: Any) -> bytes:
    """A valid request of exactly so many bytes, most of them its context."""
    rest = size - len(body(**more, context=""))
    return body(**more, context="x" * rest)


def raw(**more: str) -> bytes:
    """A valid request with members whose very text is given."""
    texts = {"customerId": text_of(CUSTOMER), "cartId": text_of(CART), **more}
    return ("{" + ",".join(f"{text_of(name)}:{text}" for name, text in texts.items()) + "}").encode()


def null_data(**more: Any) -> bytes:
    """A CloudEvent with null as its data."""
    return cloud_event("#", **more).replace(b'"#"', b"null")


# --- the shapes of a message --------------------------------------------------------------------------------

PLAIN = body(requestId="order-4711", context={"a": [1, "é"]})
SHAPES = {
    "plain": PLAIN,
    "BOM": BOM + PLAIN,
    "white space": b" \t\r\n" + PLAIN + b"\r\n",
    "BOM and white space": BOM + b"\n " + PLAIN,
    "base64": b64(PLAIN),
    "base64 with one pad": b64(PLAIN + b" " * ((2 - len(PLAIN)) % 3)),
    "base64 with two pads": b64(PLAIN + b" " * ((1 - len(PLAIN)) % 3)),
    "base64 of BOM and white space": b64(BOM + b"\n " + PLAIN),
    "CloudEvent": cloud_event(json.loads(PLAIN)),
    "CloudEvent with BOM": BOM + cloud_event(json.loads(PLAIN)),
    "CloudEvent in base64": b64(cloud_event(json.loads(PLAIN))),
    "CloudEvent with data_base64": cloud_event(..., data_base64=b64(PLAIN).decode()),
    "CloudEvent with data_base64, BOM and white space in it": cloud_event(
        ..., data_base64=b64(BOM + b" " + PLAIN).decode()
    ),
    "CloudEvent with data_base64 beside null": null_data(data_base64=b64(PLAIN).decode()),
    "CloudEvent with null as data_base64": cloud_event(json.loads(PLAIN), data_base64=None),
    "members of a binding": PLAIN[:-1] + b',"$AzureWebJobsParentId":"0dd0dd00-1111-4222-8333-444444444444"}',
    "members of a binding in a CloudEvent": cloud_event({**json.loads(PLAIN), "$type": "Cart", "$": 1, "$\ud800": {}}),
    "null for absent members": body(
        requestId="order-4711",
        context={"a": [1, "é"]},
        **dict.fromkeys(["correlationId", "customerUserUpn", "notAfter", "traceparent", "retry"]),
    ),
    "CloudEvent with extensions": cloud_event(
        json.loads(PLAIN),
        time="2026-11-22T09:00:00Z",
        subject="s",
        datacontenttype="application/json",
        dataschema="urn:x",
        partitionkey="7",
        anything=7,
        nothing=None,
        customerId="another",
    ),
}


@pytest.mark.parametrize("message", SHAPES.values(), ids=SHAPES.keys())
def test_one_request_is_read_from_every_shape(message: bytes) -> None:
    found = accepted(message)
    assert (CUSTOMER, CART, "order-4711") == (found.customer_id, found.cart_id, found.request_id)
    assert '{"a":[1,"é"]}' == found.context
    assert (RetryState(), False, NOW) == (found.retry, found.deferred, found.started_at)


def test_the_padded_bodies_have_one_and_two_pads() -> None:
    assert [1, 2] == [SHAPES[f"base64 with {number}"].count(b"=") for number in ("one pad", "two pads")]


def test_only_two_fields_are_required() -> None:
    found = accepted(body())
    assert (MESSAGE, None, None, None, None) == (
        found.request_id,
        found.customer_user_upn,
        found.traceparent,
        found.context,
        found.causation_id,
    )


def test_every_field_is_read() -> None:
    correlation = "C0FFEE00-0000-4000-8000-00000000000A"
    found = accepted(
        body(requestId="r", correlationId=correlation, customerUserUpn="kim@contoso.com", traceparent=TRACE, context=1)
    )
    assert ("r", correlation.lower(), "kim@contoso.com", TRACE, "1") == (
        found.request_id,
        found.correlation_id,
        found.customer_user_upn,
        found.traceparent,
        found.context,
    )


def test_null_is_an_absent_optional_member() -> None:
    optional = ["requestId", "correlationId", "customerUserUpn", "notAfter", "traceparent", "context", "retry"]
    nulls = dict.fromkeys(optional)
    for written, absent in ((body(**nulls), body()), (cloud_event(members(**nulls)), cloud_event())):
        unlike: dict[str, Any] = {"raw_fields": {}, "raw_envelope": {}}
        expected = msgspec.structs.replace(accepted(absent), **unlike)
        assert expected == msgspec.structs.replace(accepted(written), **unlike)
        assert accepted(absent).event_id == accepted(accepted(written).copy(WAITED)).event_id


def test_a_cloud_event_causes_the_outcome_under_its_own_id() -> None:
    assert "e-1" == accepted(cloud_event()).causation_id


def test_the_request_does_not_show_the_upn_or_the_producers_context() -> None:
    shown = repr(accepted(cloud_event(members(customerUserUpn="kim@contoso.com", context="planted"))))
    assert "kim@" not in shown
    assert "planted" not in shown


QUESTION = body(context=">>>???~~~")
PADDED = b64(PLAIN + b" " * ((1 - len(PLAIN)) % 3))
assert PADDED.endswith(b"==")
NO_SHAPE = {
    "empty": b"",
    "white space": b" \r\n",
    "BOM alone": BOM,
    "two BOMs": BOM + BOM + PLAIN,
    "white space before the BOM": b" " + BOM + PLAIN,
    "another white space": "\u00a0".encode() + PLAIN,
    "array": b"[" + PLAIN + b"]",
    "string": text_of(PLAIN.decode()).encode(),
    "null": b"null",
    "number": b"4711",
    "text": b"buy this cart",
    "XML": b"<cart/>",
    "two objects": PLAIN + PLAIN,
    "something behind it": PLAIN + b" x",
    "cut off": PLAIN[:-1],
    "UTF-16": PLAIN.decode().encode("utf-16"),
    "UTF-16 without BOM": PLAIN.decode().encode("utf-16-le"),
    "Latin-1": body(context="é").decode().encode("latin-1"),
    "a surrogate in UTF-8": body(context="#").replace(b"#", b"\xed\xa0\x80"),
    "NUL in front": b"\0" + PLAIN,
    "NUL behind": PLAIN + b"\0",
    "unpadded base64": PADDED.rstrip(b"="),
    "half padded base64": PADDED[:-1],
    "too many pads": PADDED + b"=",
    "last bits of base64 not zero": PADDED[:-3] + bytes([PADDED[-3] + 1]) + b"==",
    "URL-safe base64": base64.urlsafe_b64encode(QUESTION),
    "base64 with line breaks": base64.encodebytes(PLAIN),
    "base64 with a trailing newline": b64(PLAIN) + b"\n",
    "base64 with a trailing space": b64(PLAIN) + b" ",
    "base64 with a space in front": b" " + b64(PLAIN),
    "base64 behind a BOM": BOM + b64(PLAIN),
    "base64 with a stray character": b64(PLAIN)[:8] + b"!" + b64(PLAIN)[8:],
    "base64 with text behind its pads": PADDED + b"AAAA",
    "base64 of base64": b64(b64(PLAIN)),
    "base64 of an array": b64(b"[" + PLAIN + b"]"),
    "base64 of noise": b64(bytes(range(256))),
    "quoted base64": b'"' + b64(PLAIN) + b'"',
}


def test_the_url_safe_test_body_differs_from_standard_base64() -> None:
    assert base64.urlsafe_b64encode(QUESTION) != b64(QUESTION)
    accepted(b64(QUESTION))


@pytest.mark.parametrize("message", NO_SHAPE.values(), ids=NO_SHAPE.keys())
def test_text_that_is_neither_json_nor_strict_base64_of_it_is_refused(message: bytes) -> None:
    found = refused(message)
    assert "$" == found.path
    assert found.expected
    assert not found.deferred


# --- CloudEvents --------------------------------------------------------------------------------------------

NO_EVENT = {
    "version 0.3": (cloud_event(specversion="0.3"), "$.specversion"),
    "version 2.0": (cloud_event(specversion="2.0"), "$.specversion"),
    "version 1.0 as a number": (cloud_event(specversion=1.0), "$.specversion"),
    "version null": (cloud_event(specversion=None), "$.specversion"),
    "no id": (cloud_event(id=...), "$.id"),
    "no source": (cloud_event(source=...), "$.source"),
    "no type": (cloud_event(type=...), "$.type"),
    "empty id": (cloud_event(id=""), "$.id"),
    "empty source": (cloud_event(source=""), "$.source"),
    "empty type": (cloud_event(type=""), "$.type"),
    "id as a number": (cloud_event(id=5), "$.id"),
    "source as an object": (cloud_event(source={}), "$.source"),
    "type null": (cloud_event(type=None), "$.type"),
    "half a character in the id": (cloud_event(id="\ud800"), "$.id"),
    "half a character in the source": (cloud_event(source="\udfff"), "$.source"),
    "half a character in the type": (cloud_event(type="\ud800"), "$.type"),
    "half a character in an attribute's name": (cloud_event(**{"\ud800": 1}), "$"),
    "no data": (cloud_event(...), "$.data"),
    "data_base64 of an array": (cloud_event(..., data_base64=b64(b"[]").decode()), "$.data_base64"),
    "data_base64 of a request in base64": (cloud_event(..., data_base64=b64(b64(PLAIN)).decode()), "$.data_base64"),
    "data_base64 that is none": (cloud_event(..., data_base64=PLAIN.decode()), "$.data_base64"),
    "data_base64 without padding": (cloud_event(..., data_base64=b64(PLAIN + b" ").decode()[:-1]), "$.data_base64"),
    "data_base64 of half a character": (cloud_event(..., data_base64="\ud800"), "$.data_base64"),
    "data_base64 as a number": (cloud_event(..., data_base64=5), "$.data_base64"),
    "data_base64 beside data": (cloud_event(data_base64=b64(PLAIN).decode()), "$.data_base64"),
    "data_base64 with a mistake": (cloud_event(..., data_base64=b64(b"{,}").decode()), "$.data_base64"),
    "data_base64 with a wrong member": (
        cloud_event(..., data_base64=b64(body(cartId="x")).decode()),
        "$.data_base64.cartId",
    ),
    "data_base64 with a key twice": (
        cloud_event(..., data_base64=b64(raw(context='[{"a":1,"a":2}]')).decode()),
        "$.data_base64.context[0].a",
    ),
    "data and data_base64 null": (null_data(data_base64=None), "$.data"),
    "data as text": (cloud_event(PLAIN.decode()), "$.data"),
    "data in base64": (cloud_event(b64(PLAIN).decode()), "$.data"),
    "data as an array": (cloud_event([members()]), "$.data"),
    "data null": (cloud_event().replace(text_of(members()).encode(), b"null"), "$.data"),
    "a batch": (b"[" + cloud_event() + b"]", "$"),
    "a CloudEvent in a CloudEvent": (cloud_event(json.loads(cloud_event())), "$.data.specversion"),
}


@pytest.mark.parametrize(("message", "path"), NO_EVENT.values(), ids=NO_EVENT.keys())
def test_an_invalid_cloud_event_is_refused_with_the_path_of_the_fault(message: bytes, path: str) -> None:
    assert path == refused(message).path


def test_a_lone_surrogate_in_an_extension_is_ignored() -> None:
    assert accepted(cloud_event(extension="\ud800")).causation_id == "e-1"


# --- strictness ---------------------------------------------------------------------------------------------

WRONG_MEMBERS = [
    ("customerId", 4711, "customerId"),
    ("customerId", None, "customerId"),
    ("cartId", [CART], "cartId"),
    ("cartId", {"id": CART}, "cartId"),
    ("requestId", 4711, "requestId"),
    ("requestId", True, "requestId"),
    ("correlationId", 5, "correlationId"),
    ("correlationId", "", "correlationId"),
    ("correlationId", "order-4711", "correlationId"),
    ("customerUserUpn", 5, "customerUserUpn"),
    ("traceparent", 5, "traceparent"),
    ("retry", [], "retry"),
    ("retry", "again", "retry"),
    ("retry", {"attempt": "3"}, "retry.attempt"),
    ("retry", {"attempt": -1}, "retry.attempt"),
    ("retry", {"attempt": 1.0}, "retry.attempt"),
    ("retry", {"attempt": True}, "retry.attempt"),
    ("retry", {"attempt": None}, "retry.attempt"),
    ("retry", {"attempt": 10**30}, "retry.attempt"),
    ("retry", {"attempt": 10**5000}, "retry.attempt"),
    ("retry", {"held": "yesterday"}, "retry.held"),
    ("retry", {"held": "2026-11-22T10:00:00"}, "retry.held"),
    ("retry", {"deaths": -1}, "retry.deaths"),
    ("retry", {"renewals": "2"}, "retry.renewals"),
    ("retry", {"refused": {"status": 400}}, "retry.refused"),
    ("retry", {"refused": {"status": 400, "key": -1, "at": "2026-11-22T10:00:00Z"}}, "retry.refused.key"),
    ("retry", {"refused": {"status": 400, "key": 0, "at": "2026-11-22T10:00:00"}}, "retry.refused.at"),
    ("retry", {"refused": {"status": 400, "key": 0, "at": "9999-12-31T23:59:59-01:00"}}, "retry"),
    ("retry", {"since": 1763805600}, "retry.since"),
    ("retry", {"startedAt": ""}, "retry.startedAt"),
    ("retry", {"startedAt": "0001-01-01T00:00:00+01:00"}, "retry"),
    ("retry", {"held": "9999-12-31T23:59:59-01:00"}, "retry"),
    ("retry", {"reason": 5}, "retry.reason"),
    ("retry", {"poisoned": "true"}, "retry.poisoned"),
    ("retry", {"poisoned": 1}, "retry.poisoned"),
]


def big(value: Any) -> str:
    """JSON of what Python's own limits would not let through."""
    if isinstance(value, dict) and any(isinstance(each, int) and each > 10**300 for each in value.values()):
        return '{"attempt":1' + "0" * 5000 + "}"
    return text_of(value)


@pytest.mark.parametrize(("name", "value", "path"), WRONG_MEMBERS, ids=lambda value: big(value)[:50])
def test_a_member_of_the_wrong_type_is_refused_with_its_path(name: str, value: object, path: str) -> None:
    plain = raw(**{name: big(value)})
    found = refused(plain)
    assert f"$.{path}" == found.path
    assert (name == "retry") is found.deferred
    in_event = refused(cloud_event("#").replace(b'"#"', plain))
    assert (f"$.data.{path}", found.expected, found.deferred) == (in_event.path, in_event.expected, in_event.deferred)


@pytest.mark.parametrize("missing", ["customerId", "cartId"])
def test_a_missing_member_is_named(missing: str) -> None:
    tree = members()
    del tree[missing]
    found = refused(text_of(tree).encode())
    assert (f"$.{missing}", "a GUID: it is required") == (found.path, found.expected)
    assert f"$.data.{missing}" == refused(cloud_event(tree)).path


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *[(name, f".{name}") for name in ("requestID", "RequestId", "CustomerId", "data", "id")],
        ("context ", '["context "]'),
        ("", '[""]'),
        ("\u202e", '["\\u202e"]'),
        ("\0", '["\\u0000"]'),
    ],
)
def test_an_unknown_field_is_refused_by_its_name(name: str, step: str) -> None:
    found = refused(body(**{name: "order-4711"}))
    assert f"${step}" == found.path
    assert "one of customerId, cartId, requestId," in found.expected
    assert f"$.data{step}" == refused(cloud_event(members(**{name: 1}))).path


def test_a_path_shows_little_of_an_untrusted_name() -> None:
    assert 100 >= len(refused(body(**{"x" * 10_000: 1})).path)


@pytest.mark.parametrize(
    ("tree", "step"),
    [
        (members(**{"\ud800": 1}), '["\\ud800"]'),
        (members(**{"requestId\udfff": "r"}), '["requestId\\udfff"]'),
        (members(retry={"reason": "\ud800"}), ".retry"),
    ],
    ids=["name", "end of a name", "reason"],
)
def test_a_lone_surrogate_that_a_copy_would_have_to_encode_is_refused(tree: dict[str, Any], step: str) -> None:
    assert f"${step}" == refused(text_of(tree).encode()).path
    assert f"$.data{step}" == refused(cloud_event(tree)).path


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (raw(x="1").replace(b'"x"', b'"cartId"'), "$.cartId"),
        (raw(context='{"a":1,"a":1}'), "$.context.a"),
        (raw(context='[0,{"b":[{"c d":1,"c d":2}]}]'), '$.context[1].b[0]["c d"]'),
        (raw(context='{"a":1,"\\u0061":2}'), "$.context.a"),
        (raw(context='{"":1,"":2}'), '$.context[""]'),
        (raw(retry='{"attempt":1,"attempt":2}'), "$.retry.attempt"),
        (cloud_event("#").replace(b'"#"', raw(context='{"a":{"b":1,"b":2}}')), "$.data.context.a.b"),
        (cloud_event(x=1).replace(b'"x"', b'"id"'), "$.id"),
        (b64(raw(context='{"a":1,"a":1}')), "$.context.a"),
    ],
)
def test_a_duplicate_key_is_refused_with_its_path(message: bytes, path: str) -> None:
    assert path == refused(message).path


def test_nesting_goes_to_64_and_not_beyond() -> None:
    context = "[" * 63 + "]" * 63
    assert context == accepted(raw(context=context)).context
    assert "$" == refused(raw(context=f"[{context}]")).path
    inside = context[1:-1]
    for event, encoded in ((accepted, inside), (refused, context)):
        event(cloud_event(..., data_base64=b64(raw(context=encoded)).decode()))
    assert inside == accepted(cloud_event("#").replace(b'"#"', raw(context=inside))).context
    assert "$" == refused(cloud_event("#").replace(b'"#"', raw(context=context))).path


@pytest.mark.parametrize("depth", [65, 1000, 20_000])
def test_deep_nesting_does_no_harm(depth: int) -> None:
    assert "$" == refused(raw(context='{"a":' * depth + "1" + "}" * depth)).path
    assert "$" == refused(raw(context="[" * depth)).path


@pytest.mark.parametrize("control", [*range(0x20)])
def test_an_unescaped_control_character_is_not_json(control: int) -> None:
    assert "$" == refused(raw(context=f'"a{chr(control)}b"')).path


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "True", "undefined", "'x'", "01", "1.", "\\u0031"])
def test_text_that_only_some_parsers_accept_is_refused(word: str) -> None:
    assert "$" == refused(raw(context=word)).path


# --- size ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [bytes, b64], ids=["plain", "base64"])
def test_a_message_of_44_kib_is_accepted_and_one_byte_more_is_refused(shape: Any) -> None:
    assert 44 * KIB == len(of_size(44 * KIB))
    accepted(shape(of_size(44 * KIB)))
    assert "$" == refused(shape(of_size(44 * KIB + 1))).path


def test_the_error_of_a_message_too_long_says_how_long_it_may_be() -> None:
    assert "at most 45056 bytes, not 45057" == refused(of_size(44 * KIB + 1)).expected


def test_every_byte_counts_white_space_and_byte_order_mark_too() -> None:
    accepted(of_size(44 * KIB - 4) + b" \r\n\t")
    refused(of_size(44 * KIB - 4) + b" \r\n\t ")
    accepted(BOM + of_size(44 * KIB - 3))
    refused(BOM + of_size(44 * KIB - 2))


def test_bytes_count_not_characters() -> None:
    umlauts = body(context="ü" * (22 * KIB))
    assert len(umlauts.decode()) < 44 * KIB < len(umlauts)
    refused(umlauts)


def test_a_cloud_event_is_measured_as_a_whole() -> None:
    padding = 44 * KIB - len(cloud_event(extension=""))
    accepted(cloud_event(extension="x" * padding))
    assert "$" == refused(cloud_event(extension="x" * (padding + 1))).path


NOISE = random.Random(4711)


@pytest.mark.parametrize(
    "noise",
    [
        NOISE.randbytes(64 * KIB),
        b"{" + NOISE.randbytes(64 * KIB - 1),
        b64(NOISE.randbytes(48 * KIB)),
        b"{" * 64 * KIB,
        b'{"' + b"\\" * (64 * KIB - 2),
        b'{"a":"' * 10_000,
        b"=" * 64 * KIB,
        b" " * 64 * KIB,
        b"{" + b"," * (64 * KIB - 1),
        BOM * 20_000,
        of_size(64 * KIB),
    ],
    ids=lambda noise: repr(noise[:8]),
)
def test_64_kib_of_noise_is_refused(noise: bytes) -> None:
    assert "$" == refused(noise).path


# --- GUIDs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [CART, CART.upper(), f"{{{CART}}}", f"{{{CART.upper()}}}", "AAAAAAAA-bbbb-CCCC-dddd-EEEEEEEEEEEE"],
)
def test_a_guid_is_normalised(spelling: str) -> None:
    assert CART == accepted(body(cartId=spelling)).cart_id == guid_or_none(spelling)


NO_GUIDS = [
    "",
    "order-4711",
    CART[:-1],
    CART + "0",
    CART + "\n",
    f" {CART}",
    f"{CART} ",
    CART.replace("-", ""),
    CART.replace("-", "_"),
    CART.replace("-", "\u2010"),
    CART.replace("a", "g"),
    f"{{{CART}",
    f"{CART}}}",
    f"({CART})",
    f"{{{{{CART}}}}}",
    f"{{{CART.replace('-', '')}}}",
    f"{{{'-' * 36}}}",
    f"{{{'a' * 36}}}",
    f"urn:uuid:{CART}",
    f"urn:{CART}",
    CART.replace("aaaaaaaa", "１１１１１１１１"),  # noqa: RUF001  full-width digits
    CART.replace("aaaaaaaa", "٣" * 8),
    CART.replace("aaaaaaaa", "ａ" * 8),  # noqa: RUF001  full-width letters
    "aaaa-aaaa-bbbb-cccc-dddd-eeeeeeeeeee",
    "-".join([CART[:8], CART[9:13], CART[14:18], CART[19:23], CART[24:30] + "-" + CART[30:35]]),
    f"../{CART}",
    f"{CART}/..",
    f"{CART}%2f..",
    "..%2f..%2f",
    f"{CART}?x=1",
    f"{CART}#",
    f"{CART}\0",
    f"{CART}\r\nX-Header: 1",
    "\ud800" * 36,
    CART * 1000,
]


@pytest.mark.parametrize("text", NO_GUIDS, ids=lambda text: ascii(text)[:60])
def test_nothing_but_a_guid_is_accepted_as_one(text: str) -> None:
    assert "$.customerId" == refused(body(customerId=text)).path
    assert "$.cartId" == refused(body(cartId=text)).path
    assert "$.data.correlationId" == refused(cloud_event(members(correlationId=text))).path
    assert guid_or_none(text) is None


@pytest.mark.parametrize("value", [None, 5, b"", [CART], {}])
def test_only_text_can_be_a_guid(value: object) -> None:
    assert guid_or_none(value) is None


@given(st.text() | st.text("0123456789abcdefABCDEF-{}", max_size=40))
def test_an_accepted_guid_is_safe_in_an_address(text: str) -> None:
    found = guid_or_none(text)
    assert found is None or re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found)


# --- request id, user name, trace ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_id",
    ["r", "x" * 256, "ü" * 256, "🛒" * 256, "Bestellung №7", "a b", "a/../b", '"\\', "\u2028", "\u200b", "{}", " "],
    ids=lambda text: ascii(text)[:40],
)
def test_a_request_id_has_1_to_256_characters_of_any_language(request_id: str) -> None:
    assert request_id == accepted(body(requestId=request_id)).request_id


@pytest.mark.parametrize(
    "request_id",
    ["", "x" * 257, "🛒" * 257, "a\nb", "\t", "\0", "a\x1f", "a\x7f", "a\x80", "a\x85b", "a\x9f", "\ud800", "a\udfffb"],
    ids=lambda text: ascii(text)[:40],
)
def test_a_request_id_too_short_too_long_or_with_control_characters_is_refused(request_id: str) -> None:
    assert "$.requestId" == refused(body(requestId=request_id)).path
    assert "$.data.requestId" == refused(cloud_event(members(requestId=request_id))).path


@pytest.mark.parametrize("upn", ["kim@contoso.com", "o'neil+x@contoso.com", "Kim Lee <k@c.com>", "!~"])
def test_a_upn_is_printable_ascii(upn: str) -> None:
    assert upn == accepted(body(customerUserUpn=upn)).customer_user_upn


@pytest.mark.parametrize(
    "upn",
    ["kím@contoso.com", "kim@contoso.com\r\nX-Header: 1", "kim\n", "kim\t@x", "\0", "kim\x7f", "kim\x85", "\ud800"],
    ids=ascii,
)
def test_a_upn_of_other_characters_is_refused(upn: str) -> None:
    assert "$.customerUserUpn" == refused(body(customerUserUpn=upn)).path


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "x",
        TRACE[:-1],
        TRACE + "0",
        TRACE + "\n",
        f" {TRACE}",
        TRACE.upper(),
        "ff" + TRACE[2:],
        TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TRACE.replace("b7ad6b7169203331", "0" * 16),
        TRACE.replace("-", "_"),
        TRACE.replace("00-", "００-"),  # noqa: RUF001  full-width digits
        "\ud800",
    ],
    ids=ascii,
)
def test_a_malformed_traceparent_is_ignored(traceparent: str) -> None:
    assert accepted(body(traceparent=traceparent)).traceparent is None
    assert accepted(cloud_event(traceparent=traceparent)).traceparent is None


@pytest.mark.parametrize("traceparent", [None, 5, [TRACE]])
def test_an_envelopes_traceparent_of_another_kind_is_ignored(traceparent: object) -> None:
    assert accepted(cloud_event(traceparent=traceparent)).traceparent is None


def test_a_traceparent_is_read_from_the_request_and_else_from_its_cloud_event() -> None:
    assert TRACE == accepted(cloud_event(members(traceparent=TRACE))).traceparent
    assert TRACE == accepted(cloud_event(traceparent=TRACE)).traceparent
    own = TRACE.replace("01", "00")
    assert own == accepted(cloud_event(members(traceparent=own), traceparent=TRACE)).traceparent
    assert TRACE == accepted(cloud_event(members(traceparent="malformed"), traceparent=TRACE)).traceparent


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00+01:00", "2026-11-22t10:00:00z", "2026-11-22T10:00:00.000Z"]
)
def test_not_after_is_a_time_with_an_offset(text: str) -> None:
    first = accepted(body(notAfter=text))
    assert NOW == first.not_after == accepted(first.copy(WAITED)).not_after
    assert accepted(body()).not_after is None


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2026-11-22", "2026-11-22T10:00:00", "1763805600", "0001-01-01T00:00:00+01:00", 5, "\ud800"],
    ids=ascii,
)
def test_another_not_after_is_refused(text: object) -> None:
    assert "$.notAfter" == refused(body(notAfter=text)).path
    assert "$.data.notAfter" == refused(cloud_event(members(notAfter=text))).path


def test_a_delivery_has_a_name_of_its_own() -> None:
    names = {delivery(message, count=count).name for message in ("m-1", "m-2") for count in (1, 2)}
    assert {"m-1/1", "m-1/2", "m-2/1", "m-2/2"} == names


# --- context ------------------------------------------------------------------------------------------------

CONTEXTS = [
    "false",
    "[null]",
    "{}",
    '""',
    "36.480",
    "1E+2",
    "9" * 5000,
    '{ "b" : 1 ,\n\t"a":[ 36.480 , -0.0 ] }',
    '"\\u00e9\\/é"',
    '"\\ud800"',
    '{"\\udfff":"\\ud83d\\ude00"}',
]


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda text: ascii(text)[:40])
def test_the_context_is_passed_on_as_it_was_written(context: str) -> None:
    for message in (raw(context=context), cloud_event("#").replace(b'"#"', raw(context=context))):
        found = accepted(message)
        assert context == found.context
        assert context == accepted(found.copy(WAITED)).context


def test_the_contexts_name_may_be_escaped() -> None:
    assert "5" == accepted(raw(x="5").replace(b'"x"', b'"\\u0063ontext"')).context


# --- deferred copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", SHAPES.values(), ids=SHAPES.keys())
def test_a_copy_is_the_same_request_with_its_retry_state(message: bytes) -> None:
    first = accepted(message)
    copy = accepted(first.copy(WAITED), message_id="another", inserted_at=after(days=1))
    assert copy.deferred
    assert first.started_at == copy.started_at
    assert msgspec.structs.replace(WAITED, started_at=first.started_at) == copy.retry
    same = ["customer_id", "cart_id", "request_id", "correlation_id", "traceparent", "context", "causation_id"]
    assert [getattr(first, name) for name in same] == [getattr(copy, name) for name in same]
    assert first.event_id == copy.event_id


@pytest.mark.parametrize("message", [body(), cloud_event()], ids=["plain", "CloudEvent"])
def test_a_copy_pins_the_request_id(message: bytes) -> None:
    first = accepted(message, message_id="m-1")
    copy = accepted(first.copy(RetryState()), message_id="m-2")
    again = accepted(copy.copy(copy.retry), message_id="m-3")
    assert first.request_id == copy.request_id == again.request_id
    assert first.event_id == copy.event_id == again.event_id


def test_a_copy_of_a_copy_keeps_the_first_start() -> None:
    first = accepted(body(), inserted_at=after(-100))
    copy = accepted(first.copy(RetryState()), inserted_at=after(-50))
    again = accepted(copy.copy(copy.retry), inserted_at=NOW)
    assert after(-100) == copy.started_at == again.started_at


def test_a_message_starts_when_it_was_put_into_the_queue() -> None:
    assert after(-7) == accepted(body(), inserted_at=after(-7)).started_at


def test_a_copy_is_compact_json_with_the_members_in_their_places() -> None:
    message = (
        b'\xef\xbb\xbf { "context" : { "price": 36.480 } , "requestId": "\\u00e9\\/" , "cartId" : "'
        + CART.encode()
        + b'","customerId":"'
        + CUSTOMER.upper().encode()
        + b'" } '
    )
    expected = (
        f'{{"context":{{ "price": 36.480 }},"requestId":"é/","cartId":"{CART}","customerId":"{CUSTOMER.upper()}",'
        '"retry":{"attempt":1,"since":"2026-11-22T10:00:00Z","startedAt":"2026-11-22T10:00:00Z","reason":"service"}}'
    )
    assert expected == accepted(message).copy(RetryState(attempt=1, since=NOW, reason="service")).decode()


def test_a_cloud_events_copy_stays_that_cloud_event() -> None:
    message = (
        b'{"type":"cart.ready", "amount" : 36.480,"note":"\\u00e9\\ud800" ,"sp\\u0065cversion":"1\\u002e0",'
        b'"data" : {"cartId":"' + CART.encode() + b'","context" : [ 1.0 ],"customerId":"' + CUSTOMER.encode() + b'"},'
        b'"nothing":null,"id":"e-1","source":"/shop","retry":"an extension","requestId":7}'
    )
    copy = accepted(message).copy(RetryState(attempt=1))
    request_id = accepted(message).request_id
    expected = (
        '{"type":"cart.ready","amount":36.480,"note":"\\u00e9\\ud800","specversion":"1\\u002e0",'
        f'"data":{{"cartId":"{CART}","context":[ 1.0 ],"customerId":"{CUSTOMER}","requestId":"{request_id}",'
        '"retry":{"attempt":1,"startedAt":"2026-11-22T10:00:00Z"}},'
        '"nothing":null,"id":"e-1","source":"/shop","retry":"an extension","requestId":7}'
    )
    assert expected == copy.decode()
    assert not accepted(message).deferred, "an extension of that name is none of ours"


def test_a_copy_leaves_out_the_members_that_a_binding_wrote() -> None:
    first = accepted(body(**{"$AzureWebJobsParentId": "x", "context": {"$ref": 1}}))
    assert {"customerId", "cartId", "context", "requestId", "retry"} == {*json.loads(first.copy(WAITED))}
    assert '{"$ref":1}' == accepted(first.copy(WAITED)).context


def test_a_cloud_events_copy_carries_data_where_data_base64_was() -> None:
    event = null_data(data_base64=b64(BOM + PLAIN).decode(), tenant="x")
    copy = json.loads(accepted(event).copy(RetryState(attempt=1)))
    assert ["specversion", "id", "source", "type", "data", "tenant"] == [*copy]
    started = {"attempt": 1, "startedAt": "2026-11-22T10:00:00Z"}
    assert json.loads(PLAIN) | {"retry": started} == copy["data"]


def test_members_of_retry_from_a_newer_version_are_ignored() -> None:
    newer = {"attempt": 2, "startedAt": "2026-11-20T10:00:00Z", "fate": {"a": [1]}, "mood": None}
    found = accepted(body(retry=newer))
    assert (2, after(days=-2), True) == (found.retry.attempt, found.started_at, found.deferred)
    assert "fate" not in found.copy(found.retry).decode()


@pytest.mark.parametrize(
    "retry", [{}, {"held": None, "refused": None, "since": None, "startedAt": None, "reason": None}]
)
def test_an_empty_retry_is_accepted(retry: dict[str, object]) -> None:
    found = accepted(body(retry=retry))
    assert (RetryState(), True, NOW) == (found.retry, found.deferred, found.started_at)


@pytest.mark.parametrize("text", ["2026-11-22T11:00:00+01:00", "2026-11-22t10:00:00z", "2026-11-22T10:00:00.000Z"])
def test_a_time_in_retry_may_have_any_offset(text: str) -> None:
    found = accepted(body(retry={"held": text, "since": text, "startedAt": text}))
    assert (NOW, NOW, NOW) == (found.retry.held, found.retry.since, found.started_at)


MARKED = {
    "a wrong retry": body(retry={"attempt": "x"}),
    "a retry that is none": body(retry=5),
    "an unknown field": body(retry={}, newField=1),
    "a wrong GUID": body(retry={}, cartId="x"),
    "a key twice": raw(retry="{}", context='{"a":1,"a":2}'),
    "retry twice": raw(retry="{}", x="{}").replace(b'"x"', b'"retry"'),
    "a wrong CloudEvent": cloud_event(members(retry={}), specversion="1.1"),
    "wrong data": cloud_event(members(retry={}, newField=1)),
    "only a retry": b'{"retry":{}}',
    "base64": b64(body(retry={}, newField=1)),
    "too long": of_size(48 * KIB, retry={}),
    "half a character": body(retry={"reason": "\ud800"}),
}


@pytest.mark.parametrize("message", MARKED.values(), ids=MARKED.keys())
def test_a_deferred_copy_that_cannot_be_read_is_marked_as_one(message: bytes) -> None:
    assert refused(message).deferred


@pytest.mark.parametrize(
    "message",
    [b"{}", b"retry", body(newField={"retry": {}}), body(newField="retry"), cloud_event(members(x=1), retry={})],
)
def test_a_message_that_only_mentions_retry_is_not_a_deferred_copy(message: bytes) -> None:
    assert not refused(message).deferred


EXACT = datetime(2026, 11, 22, 10, 0, 0, 123456, UTC)


def longest_memory(letter: str) -> RetryState:
    """All that a copy may carry, each text as long as it can be and all of this letter."""
    cause = error(ErrorClass.REJECTED, letter * 9_000, code=letter * 9_000, source=letter * 9_000)
    ids: dict[str, str | int] = dict.fromkeys(("requestId", "correlationId", "cv"), letter * 9_000)
    refused = to_refusal(cause, {"status": 2**31, **ids}, Post("by", EXACT, delivery=letter * 9_000), MAX_COUNT)
    return RetryState(
        attempt=MAX_COUNT,
        since=EXACT,
        held=EXACT,
        started_at=EXACT,
        reason="authentication",
        poisoned=True,
        deaths=MAX_COUNT,
        renewals=MAX_COUNT,
        refused=refused,
    )


LETTERS = ["x", "ü", "🛒", '"', "\\", "\x01", "\x7f", "\u2028"]
"""In UTF-8 or as an escape these take one byte to six."""
LONGEST_MEMORY = longest_memory("x")


@pytest.mark.parametrize("letter", LETTERS, ids=ascii)
@pytest.mark.parametrize("request_id", ["🛒" * 256, '"' * 256, "\\" * 256, "x", None], ids=ascii)
@pytest.mark.parametrize("in_event", [False, True], ids=["plain", "CloudEvent"])
def test_a_copy_of_the_longest_message_with_the_longest_refusal_can_be_read(
    letter: str, request_id: str | None, in_event: bool
) -> None:
    more = {} if request_id is None else {"requestId": request_id}
    if in_event:
        padding = LONGEST - len(cloud_event(members(**more), extension=""))
        message = cloud_event(members(**more), extension="x" * padding)
    else:
        message = of_size(LONGEST, **more)
    assert LONGEST == len(message)
    found = accepted(message, message_id="9" * 36, inserted_at=EXACT)
    for _ in range(3):
        copy = found.copy(longest_memory(letter))
        assert LONGEST_COPY >= len(copy)
        found = accepted(copy)
    assert longest_memory(letter) == found.retry


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.integers(1, 400), st.booleans())
def test_a_copy_with_any_refusal_can_be_read(text: str, times: int, in_event: bool) -> None:
    cause = error(ErrorClass.REJECTED, text * times, code=text * times, source=text * times)
    ids: dict[str, str | int] = {"status": 400, "requestId": text * times, "cv": text}
    refused = to_refusal(cause, ids, Post("by", EXACT, delivery=text * times), 7)
    found = accepted(cloud_event() if in_event else of_size(LONGEST))
    copy = found.copy(RetryState(refused=refused))
    assert LONGEST_COPY >= len(copy)
    assert refused == accepted(copy).retry.refused


@pytest.mark.parametrize("request_id", ["🛒" * 256, '"' * 256, "\\" * 256, "x", None], ids=ascii)
def test_the_copy_of_a_44_kib_message_fits_a_queue_message_and_can_be_read(request_id: str | None) -> None:
    message = of_size(44 * KIB, **({} if request_id is None else {"requestId": request_id}))
    found = accepted(message, inserted_at=datetime(2026, 11, 22, 10, 0, 0, 123456, UTC))
    for _ in range(3):
        copy = found.copy(LONGEST_MEMORY)
        assert len(b64(copy)) <= 64 * KIB
        found = accepted(b64(copy))


def test_the_copy_of_a_44_kib_cloud_event_fits_a_queue_message_and_can_be_read() -> None:
    padding = 44 * KIB - len(cloud_event(extension=""))
    copy = accepted(cloud_event(extension="ü" * (padding // 2))).copy(LONGEST_MEMORY)
    assert len(b64(copy)) <= 64 * KIB
    accepted(b64(copy))


@pytest.mark.parametrize("size", range(44 * KIB, 48 * KIB + 1, 256))
def test_the_copy_of_any_copy_fits_a_queue_message(size: int) -> None:
    """So a copy that another program made is answered too, if only as one that cannot be read."""
    found = decode(of_size(size, retry={}), delivery())
    if isinstance(found, CheckoutRequest):
        assert len(b64(found.copy(LONGEST_MEMORY))) <= 64 * KIB
    else:
        assert found.deferred


def test_a_copy_whose_retry_can_grow_no_more_is_refused() -> None:
    most = LONGEST + 512
    assert accepted(of_size(most + len("{}"), retry={})).deferred
    found = refused(of_size(most + len("{}") + 1, retry={}))
    assert ("$", f"at most {most} bytes beside its retry, not {most + 1}", True) == (
        *(found.path, found.expected),
        found.deferred,
    )


def test_an_invalid_message_is_sent_again_as_it_came() -> None:
    assert b"no cart" == refused(b"no cart").copy(WAITED)


# --- what is told of a message that is no request -----------------------------------------------------------


def test_a_refused_message_has_its_bytes_and_their_hash() -> None:
    found = refused(b"\xff\0")
    assert (b"\xff\0", hashlib.sha256(b"\xff\0").hexdigest()) == (found.body, found.sha256)
    assert "xff" not in repr(found), "foreign text does not get into a log by accident"


@pytest.mark.parametrize(
    ("message", "customer", "cart"),
    [
        (body(x=1), CUSTOMER, CART),
        (body(x=1, cartId="x"), CUSTOMER, None),
        (body(x=1, customerId=5), None, CART),
        (body(x=1, customerId=f"{{{CUSTOMER.upper()}}}"), CUSTOMER, CART),
        (cloud_event(members(x=1)), CUSTOMER, CART),
        (cloud_event(specversion="0.3"), CUSTOMER, CART),
        (cloud_event("x", customerId=CUSTOMER), None, None),
        (b64(body(x=1)), CUSTOMER, CART),
        (raw(context='{"a":1,"a":2}'), CUSTOMER, CART),
        (of_size(64 * KIB), CUSTOMER, CART),
        (body()[:-1], None, None),
        (b"", None, None),
    ],
)
def test_a_refused_message_reports_the_ids_that_are_ids(message: bytes, customer: str | None, cart: str | None) -> None:
    found = refused(message)
    assert (customer, cart) == (found.customer_id, found.cart_id)


# --- never raises -------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
NAMES = ["customerId", "cartId", "requestId", "correlationId", "customerUserUpn", "notAfter", "traceparent", "context"]
NAMES += ["retry"]
MEMORY = ["attempt", "since", "held", "startedAt", "reason", "poisoned", "deaths", "renewals", "refused"]
REFUSED = ["status", "key", "at", "delivery", "code", "description", "source", "requestId"]
ENVELOPE = ["specversion", "id", "source", "type", "data", "data_base64"]
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from([CART, TRACE, "1.0", "2026-11-22T10:00:00Z", "0001-01-01T00:00:00+01:00", 1e999]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, *MEMORY, *REFUSED, *ENVELOPE]) | ANY_TEXT, inner, max_size=6)
    ),
    max_leaves=15,
)


def check(message: bytes) -> None:
    """Whatever it is, it can be answered: by a request whose copy is the same request, or by an event."""
    found = decode(message, delivery())
    if isinstance(found, InvalidMessage):
        event = invalid(found)
        assert json.loads(event.text)["id"] == found.event_id == decode_again(message).event_id
        assert len(b64(event.text.encode())) <= 64 * KIB
        return
    copy = accepted(found.copy(msgspec.structs.replace(found.retry, attempt=7)), message_id="another")
    assert (found.event_id, found.context, 7) == (copy.event_id, copy.context, copy.retry.attempt)


def decode_again(message: bytes) -> InvalidMessage:
    return refused(message, message_id="another", count=3, inserted_at=after(99), from_poison=True)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]",:\\ \n\x00é', max_size=60).map(str.encode))
def test_any_bytes_can_be_answered(message: bytes) -> None:
    check(message)
    check(b64(message))


@settings(deadline=None)
@given(TREES.map(text_of).map(str.encode))
def test_any_json_can_be_answered(message: bytes) -> None:
    check(message)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, TREES, max_size=3), st.booleans())
@example({"\ud800": 1}, False)
@example({"retry": {"\ud800": 1}}, False)
@example({"retry": {"reason": "\ud800"}}, True)
@example({"retry": {"reason": "\x7f" * 20}, "requestId": "\u2028"}, False)
def test_any_members_of_a_request_can_be_answered(more: dict[str, Any], in_event: bool) -> None:
    check(cloud_event(members(**more)) if in_event else body(**more))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(MEMORY) | ANY_TEXT, TREES, max_size=4))
def test_any_retry_of_a_copy_can_be_answered(retry: dict[str, Any]) -> None:
    check(body(retry=retry))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(ENVELOPE) | ANY_TEXT, TREES, max_size=4))
def test_any_attributes_of_a_cloud_event_can_be_answered(attributes: dict[str, Any]) -> None:
    data = attributes.pop("data", None)
    check(cloud_event(data, **attributes))


@settings(deadline=None)
@given(
    st.sampled_from([*SHAPES.values(), cloud_event(members(retry=msgspec.to_builtins(WAITED), context=[1, {"a": 2}]))]),
    st.integers(0, 400),
    st.integers(0, 3),
    st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"\\ud800", b"{", b"}", b",", b"null", b"\xff"]),
)
def test_any_damage_to_a_good_message_can_be_answered(message: bytes, at: int, lost: int, put: bytes) -> None:
    at %= len(message) + 1
    check(message[:at] + put + message[at + lost :])
