"""Hostile messages: a seeded share of what `make fuzz` runs, and the tricks by name."""

import base64
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.partner_center import PartnerCenter
from shared.core.messages import LONGEST, CheckoutRequest, InvalidMessage, decode
from shared.core.models import ServiceResponse
from shared.core.outcomes import LONGEST_EVENT, Decision, Outcome, decided, invalid
from shared.core.retry import MAX_COUNT
from shared.settings import Settings
from tests.security import corpus, fuzz
from tests.security.fuzz import Broken, Fuzz, Yardstick, examine
from tests.security.mutator import Mutator
from tests.support import sockets as edges
from tests.support.builders import CART, CUSTOMER, NOW, accepted, body, cloud_event, delivery, members, refused, text_of
from tests.support.world import World

BOM = corpus.BOM


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    return Yardstick()


# --- a part of the fuzz ---------------------------------------------------------------------------------------


def test_twenty_thousand_hostile_bodies_are_all_answered() -> None:
    run = Fuzz(seed=20_000)
    assert 20_000 == sum(1 for _ in run.run(20_000))

    kinds = {kind for kind, count in run.counts.items() if count}
    assert {"accepted", "accepted, an event", "accepted, deferred", "accepted, an event, deferred"} <= kinds
    assert {"response: retry", "response: completed", "response: partial", "response: refused"} <= kinds
    assert {"published: completed", "published: failed", "published: partial", "published: unknown"} <= kinds
    assert {"deferred", "published with a dataref"} <= kinds
    assert 8 <= len([kind for kind in kinds if kind.startswith("invalid")])


@pytest.mark.parametrize("message", [*corpus.SHAPES, *corpus.LARGE])
def test_the_corpus_of_the_fuzz_is_answered_too(message: bytes, yardstick: Yardstick) -> None:
    examine(message, yardstick)


def test_every_valid_message_of_the_corpus_is_a_request() -> None:
    assert [] == [shape for shape in corpus.SHAPES if isinstance(decode(shape, delivery()), InvalidMessage)]


def test_the_same_seed_gives_the_same_bodies_and_another_one_others() -> None:
    first, same, other = ([mutator.body() for _ in range(200)] for mutator in map(Mutator, (7, 7, 8)))
    assert first == same
    assert first != other


def test_a_run_reports_its_rate_and_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == fuzz.main(["--bodies", "300", "--seed", "3"])
    published = capsys.readouterr()
    assert "300 of 300 bodies" in published.err
    assert re.search(r"^ +\d+  accepted", published.out, re.MULTILINE)
    assert "Nothing broke: seed 3" in published.out


def test_a_run_that_breaks_something_ends_with_the_body_in_hexadecimal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(content: bytes, here: Any) -> Any:
        if b"retry" in content:
            raise KeyError("retry")
        return decode(content, here)

    monkeypatch.setattr(fuzz, "decode", careless)
    assert 1 == fuzz.main(["--bodies", "1000"])

    published = capsys.readouterr().out
    assert "KeyError" in published
    (offending,) = re.findall(r"^([0-9a-f]{20,})$", published.split("The service")[0], re.MULTILINE)
    assert b"retry" in bytes.fromhex(offending)
    assert 1 == fuzz.main(["--body", offending])
    monkeypatch.undo()
    assert 0 == fuzz.main(["--body", offending])


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (InvalidMessage(b"", "no path", "x"), "it names a path"),
        (InvalidMessage(b"", "$", "x", customer_id="../.."), "its customerId, where it is published, is a GUID"),
        (InvalidMessage(b"", "$" + "x" * 50_000, "x"), "the outcome of an invalid message is short"),
    ],
    ids=["an invalid path", "an invalid id", "a long path"],
)
def test_the_fuzz_detects_a_wrong_outcome(broken: InvalidMessage, what: str, yardstick: Yardstick) -> None:
    with pytest.raises(Broken, match=re.escape(what)):
        fuzz.check_invalid(broken.body, broken, yardstick)


def test_the_fuzz_covers_a_request_with_an_unusual_id() -> None:
    with pytest.raises(Broken, match="the cart's id is a GUID"):
        fuzz.check_request(CheckoutRequest(CUSTOMER, CART.upper(), "r", NOW))


def test_the_fuzz_detects_quadratic_work(yardstick: Yardstick) -> None:
    text = "a" * 20_000
    yardstick.measure("linear", len(text), lambda: text.count("b"))
    with pytest.raises(Broken, match="quadratic: "):
        yardstick.measure("quadratic", len(text), lambda: re.search("a+b", text))


# --- ids: nothing but a GUID reaches the URL -------------------------------------------------------------------


@pytest.mark.parametrize("member", ["customerId", "cartId", "correlationId"])
@pytest.mark.parametrize("trick", corpus.TRICKY_IDS, ids=ascii)
def test_text_that_only_resembles_a_guid_is_refused_with_its_path(trick: str, member: str) -> None:
    found = refused(body(**{member: trick}))
    assert f"$.{member}" == found.path
    assert "a GUID" in found.expected
    assert None is (found.customer_id if member == "customerId" else found.cart_id if member == "cartId" else None)


HEXES = st.text("0123456789abcdefABCDEF", min_size=1, max_size=40)
NEARLY = st.one_of(
    st.text("0123456789abcdefABCDEF-{}() %/.\\\r\n\0\uff11\u0661\u0430", max_size=48),
    st.from_regex(r"\{?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?(/\.\.|%2f|\n|\?)?", fullmatch=True),
)


@given(NEARLY, NEARLY)
@settings(max_examples=500, deadline=None)
def test_the_url_is_made_of_two_guids_whatever_the_ids(customer: str, cart: str) -> None:
    found = decode(body(customerId=customer, cartId=cart), delivery())
    if isinstance(found, InvalidMessage):
        return
    url = PartnerCenter(Settings("a", "b", "c"), None)._cart(found)  # type: ignore[arg-type]
    guid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    expected = rf"https://api\.partnercenter\.microsoft\.com/v1/customers/{guid}/carts/{guid}"
    assert re.fullmatch(expected, url)
    assert url == requests.Request("POST", url).prepare().url


# --- headers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trick", corpus.HEADERS, ids=ascii)
def test_a_value_cannot_inject_a_header(trick: str) -> None:
    assert "$.customerUserUpn" == refused(body(customerUserUpn=trick)).path
    assert "$.correlationId" == refused(body(correlationId=trick)).path


@given(st.text(max_size=300))
@settings(max_examples=500, deadline=None)
def test_an_accepted_upn_is_one_header_unchanged(upn: str) -> None:
    found = decode(body(customerUserUpn=upn), delivery())
    if isinstance(found, CheckoutRequest):
        prepared = requests.Request("POST", "https://localhost/", headers={"x-ms-customeruser-upn": upn}).prepare()
        assert upn == prepared.headers["x-ms-customeruser-upn"]
        assert re.fullmatch(r"[!-~](?:[ -~]{0,254}[!-~])?", upn)


@pytest.mark.parametrize("upn", ["kim@contoso.com", 'a: b, c; d="e"\\', "~" * 256, "X-Injected: 1"])
def test_on_the_wire_an_unusual_upn_is_one_header(upn: str) -> None:
    class Token:
        def token(self) -> str:
            return "token"

    with edges.Server(edges.always(edges.answer(201, b"{}"))) as server:
        center = PartnerCenter(Settings("a", "b", "c", partner_center_url=server.url), Token())  # type: ignore[arg-type]
        request = accepted(body(customerUserUpn=upn, correlationId=corpus.CORRELATION))
        answer = center.checkout(request, ms_request_id="key", token="token", may_begin=lambda: True)
        center._session.close()
    (received,) = server.requests
    assert 201 == answer.status
    assert upn == received.headers["x-ms-customeruser-upn"]
    assert corpus.CORRELATION.lower() == received.headers["MS-CorrelationId"]
    assert "X-Injected" not in received.headers


# --- bombs -----------------------------------------------------------------------------------------------------


def _bombs() -> Iterator[tuple[str, bytes]]:
    inside = body(context="#")
    size = LONGEST - len(inside)
    for name, bomb in {
        "arrays": b"[" * size,
        "arrays, closed": b"[" * (size // 2) + b"]" * (size // 2),
        "objects": b'{"a":' * (size // 5),
        "empty arrays": b"[" + b"[]," * (size // 3 - 1) + b"[]]",
        "numbers": b"[" + b"1," * (size // 2 - 1) + b"1]",
        "one long number": b"9" * size,
        "a long fraction": b"0." + b"9" * (size - 2),
        "a long exponent": b"1e" + b"9" * (size - 2),
        "a long negative exponent": b"1e-" + b"9" * (size - 3),
        "a repeated key": b"{" + b",".join([b'"a":1'] * (size // 6)) + b"}",
        "repeated objects": b"[" + b",".join([b'{"a":1,"a":1}'] * (size // 15)) + b"]",
        "keys that differ": b"{" + b",".join(b'"%d":0' % n for n in range(size // 9)) + b"}",
        "backslashes": b'"' + b"\\" * size,
        "quotes": b'"' + b'\\"' * (size // 2 - 1) + b'"',
        "open strings": b'"' * size,
        "escaped surrogates": b'"' + b"\\ud800" * (size // 6 - 1) + b'"',
        "white space": b" " * size + b"1",
        "commas": b"," * size,
    }.items():
        yield name, inside.replace(b'"#"', bomb)


@pytest.mark.parametrize("bomb", [bomb for _, bomb in _bombs()], ids=[name for name, _ in _bombs()])
def test_the_cost_of_a_json_bomb_is_proportional_to_its_length(bomb: bytes, yardstick: Yardstick) -> None:
    examine(bomb, yardstick)
    examine(base64.b64encode(bomb), yardstick)


NUMBERS = ["1e400", "-1e400", "1e-400", "1E+999999999", "1e99999999999999999999", "9" * 5_000, "0." + "9" * 5_000, "-0"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:24])
def test_a_number_out_of_range_is_passed_on_and_never_used(number: str) -> None:
    found = accepted(body(context="#").replace(b'"#"', number.encode()))
    assert number == found.context
    assert f'"context":{number}' in decided(found, Decision(Outcome.UNKNOWN, 1), NOW).text
    in_retry = (
        refused(body(retry="#").replace(b'"#"', b'{"attempt":' + number.encode() + b"}")) if number != "-0" else None
    )
    assert in_retry is None or in_retry.deferred


def test_counts_at_their_largest_stay_there_and_the_copies_can_still_be_read() -> None:
    world = World()
    cart = world.enqueue("coded-500")
    world.carts.messages.clear()
    world.carts.send(
        text_of(members(customerId=CUSTOMER, cartId=cart, retry={"attempt": MAX_COUNT, "deaths": MAX_COUNT}))
    )
    world.deliver(world.carts.receive())  # type: ignore[arg-type]
    assert (MAX_COUNT, MAX_COUNT) == (world.waiting()["attempt"], world.waiting()["deaths"])
    world.run()
    assert "unknown" != world.outcome()["data"].get("error", {}).get("class")
    assert "invalid_message" != world.outcome()["data"].get("error", {}).get("class")


def test_the_longest_cloudevent_id_leaves_room_for_the_event_that_names_it() -> None:
    """`causationid` stays in the event when its data goes elsewhere: the one text in it that a producer can stretch."""
    shortest = {"specversion": "1.0", "source": "/", "type": "t", "data": members(retry={})}
    shortest["traceparent"] = corpus.TRACE
    rest = len(text_of({**shortest, "id": ""}).encode())
    found = accepted(text_of({**shortest, "id": "i" * (LONGEST - rest)}).encode())
    published = decided(found, Decision(Outcome.ACTION_REQUIRED, 1, result=f'["{"x" * 9000}"]'), NOW)
    checked = published.claim_check(f"{fuzz.ADDRESS}{CUSTOMER}/{CART}/{published.id}.{'0' * 16}.data.json")
    assert published.too_large
    assert len(checked.text.encode()) <= LONGEST_EVENT


# --- text ------------------------------------------------------------------------------------------------------

LONE = st.sampled_from(["\ud800", "\udbff", "\udc00", "\udfff", "a\ud800", "\udc00\ud800"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    LONE,
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.text(max_size=8), LONE), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.one_of(st.sampled_from(corpus.NAMES), LONE, st.text(max_size=6))


@given(st.dictionaries(NAMES, TREES, max_size=5), st.dictionaries(NAMES, TREES, max_size=4), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_structure_is_answered(more: dict[str, Any], around: dict[str, Any], in_event: bool) -> None:
    around.pop("data", None)
    message = cloud_event(members(**more), **around) if in_event else body(**more)
    for text in (message, base64.b64encode(message)):
        examine(text, YARDSTICK)


@given(TREES)
@settings(max_examples=300, deadline=None)
def test_any_context_comes_back_as_it_was_written(context: Any) -> None:
    message = body(context=context)
    found = decode(message, delivery())
    if isinstance(found, InvalidMessage):
        assert "levels" in found.expected  # nothing else can be wrong with it
        return
    published = decided(found, Decision(Outcome.COMPLETED, 1), NOW).text
    assert context == json.loads(published)["data"]["context"]
    assert text_of(context) in published
    examine(message, YARDSTICK)


@given(st.lists(st.tuples(NAMES, TREES), min_size=1, max_size=5), st.data())
@settings(max_examples=300, deadline=None)
def test_a_duplicate_key_is_refused_at_any_depth(pairs: list[tuple[str, Any]], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from(pairs))
    again = [*pairs, (twice[0], data.draw(TREES))]
    doubled = "{" + ",".join(f"{text_of(name)}:{text_of(value)}" for name, value in again) + "}"
    depth = data.draw(st.integers(0, 3))
    found = refused(body(context="#").replace(b'"#"', (b"[" * depth + doubled.encode() + b"]" * depth)))
    assert "each key once" == found.expected
    assert found.path.startswith("$.context" + "[0]" * depth)


@pytest.mark.parametrize("where", range(0, len(body()), 3))
def test_a_byte_order_mark_in_the_middle_is_not_removed(where: int) -> None:
    message = body()
    assert isinstance(decode(message[:where] + BOM + message[where:], delivery()), InvalidMessage) is (where > 0)


def test_a_byte_order_mark_inside_a_text_stays_a_part_of_it() -> None:
    found = accepted(body(requestId="\ufeffkey", context="\ufeff"))
    assert ("\ufeffkey", '"\ufeff"') == (found.request_id, found.context)


# --- base64: one text has one reading ---------------------------------------------------------------------------


@given(st.binary(max_size=60), st.sampled_from([b"", BOM, b" ", b"\n{"]))
@settings(max_examples=300, deadline=None)
def test_text_that_is_not_strict_base64_of_an_object_is_refused(noise: bytes, before: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.b32encode, base64.encodebytes, base64.a85encode):
        found = decode(before + encode(noise), delivery())
        assert isinstance(found, InvalidMessage)
        examine(before + encode(noise), YARDSTICK)


@pytest.mark.parametrize("seed", range(20))
def test_of_all_the_texts_that_lenient_decoders_read_alike_one_is_accepted(seed: int) -> None:
    rng = random.Random(seed)
    message = body(requestId=str(seed), context="?" * seed)
    strict = base64.b64encode(message)
    accepted(strict)
    for _ in range(50):
        at = rng.randrange(len(strict))
        loose = strict[:at] + rng.choice([b"\n", b" ", b"=", b"-", b"\0", b"\xef\xbb\xbf"]) + strict[at:]
        assert isinstance(decode(loose, delivery()), InvalidMessage)


# --- answers ---------------------------------------------------------------------------------------------------


@given(st.sampled_from(corpus.STATUSES), TREES)
@settings(max_examples=400, deadline=None)
def test_any_response_is_judged_and_can_be_published(status: int, tree: Any) -> None:
    fuzz.examine_answer(ServiceResponse(status, text_of(tree).encode()), accepted(body()), YARDSTICK)


@given(st.dictionaries(st.sampled_from(["orders", "orderErrors", "code", "description", "data", "status"]), TREES))
@settings(max_examples=400, deadline=None)
def test_any_members_of_a_checkout_result_are_judged(tree: dict[str, Any]) -> None:
    fuzz.examine_answer(ServiceResponse(201, text_of(tree).encode()), accepted(body()), YARDSTICK)


def test_the_outcome_of_an_invalid_copy_says_that_it_is_a_copy() -> None:
    for hostile in corpus.HOSTILE:
        found = decode(body(retry="#").replace(b'"#"', hostile.encode("utf-8", "surrogatepass")), delivery())
        if isinstance(found, InvalidMessage) and found.deferred:
            assert '"deferred":true' in invalid(found).text


YARDSTICK = Yardstick()
