import contextlib
import json
import pickle
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.core import jsontext
from shared.core.jsontext import MAX_DEPTH, NotJson, decode, elements, load, members, printable, surrogate_free

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT
    | st.sampled_from(['"', "\\", '\\"', "{", "[", ",", ":", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=15,
)
SPACES = st.text("\t\n\r ", max_size=3)


@st.composite
def documents(draw: st.DrawFn, trees: st.SearchStrategy[Any] = TREES) -> str:
    """A JSON text in one of the many ways to write it; escaped where UTF-8 has no other way."""
    separators = tuple(f"{draw(SPACES)}{mark}{draw(SPACES)}" for mark in ",:")
    text = json.dumps(draw(trees), ensure_ascii=draw(st.booleans()), separators=(separators[0], separators[1]))
    text = re.sub(r"[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)
    return draw(SPACES) + text + draw(SPACES)


def parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def refusal(body: bytes, *, unique_keys: bool = False) -> NotJson:
    with pytest.raises(NotJson) as caught:
        load(body, unique_keys=unique_keys)
    return caught.value


@given(documents(), st.booleans(), st.booleans())
@example('{"\\ud800": "\\udc00\\ud800"}', True, True)
def test_load_agrees_with_the_standard_library_on_every_document(text: str, marked: bool, unique: bool) -> None:
    body = text.encode("utf-8-sig" if marked else "utf-8")
    assert parsed(text) == load(body, unique_keys=unique)


@given(st.binary(max_size=40) | st.text('{}[]",:\\ntf1.e-', max_size=40).map(str.encode))
def test_load_of_any_bytes_is_a_value_or_not_json(body: bytes) -> None:
    with contextlib.suppress(NotJson):
        assert load(body, unique_keys=True) == parsed(body.decode("utf-8-sig"))


def test_money_keeps_its_digits() -> None:
    value = load(b'{"price": 36.480, "tax": 1e2, "count": 5}')
    assert str(value) == "{'price': Decimal('36.480'), 'tax': Decimal('1E+2'), 'count': 5}"


def test_an_integer_of_any_length_is_read() -> None:
    digits = "9" * 5000
    assert Decimal(digits) == load(digits.encode())
    assert {"a": digits} == members(f'{{"a":{digits}}}')


def test_a_number_that_no_decimal_can_hold_is_read_as_not_a_number() -> None:
    assert load(b"1e9999999999999999999").is_nan()


def test_a_byte_order_mark_is_removed_once() -> None:
    assert decode(b"\xef\xbb\xbf{}") == "{}"
    assert str(refusal(b"\xef\xbb\xbf\xef\xbb\xbf{}")) == "$: expected JSON: Expecting value (character 0)"


@pytest.mark.parametrize("body", [b'"\xff"', b'"\xed\xa0\x80"', '{"a": 1}'.encode("utf-16")])
def test_text_that_is_not_utf_8_is_not_json(body: bytes) -> None:
    assert refusal(body).expected.startswith("UTF-8 (byte ")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_not_json(word: str) -> None:
    assert f"$: expected JSON, which has no {word}" == str(refusal(f'{{"a": [{word}]}}'.encode()))


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{} x", b"{}{}", b'"\x01"', b'"a\nb"', b"'a'", b'{"a":1,}', b"[1", b'"\\q"', b"<p>"]
)
def test_extensions_to_rfc_8259_are_not_json(body: bytes) -> None:
    error = refusal(body)
    assert error.path == "$"
    assert re.fullmatch(r"JSON: .+ \(character \d+\)", error.expected)
    assert error.__suppress_context__


@pytest.mark.parametrize(
    ("fits", "too_deep"),
    [
        ("[" * 64 + "]" * 64, "[" * 65 + "]" * 65),
        ('{"a":' * 64 + "1" + "}" * 64, '{"a":' * 65 + "1" + "}" * 65),
        ('[{"]":' * 32 + "1" + "}]" * 32, '[{"]":' * 32 + "[]" + "}]" * 32),
        ("[[]," * 63 + "[]" + "]" * 63, "[[]," * 64 + "[]" + "]" * 64),
    ],
    ids=["arrays", "objects", "both", "with empty neighbours"],
)
def test_nesting_goes_to_64_and_not_beyond(fits: str, too_deep: str) -> None:
    assert MAX_DEPTH == 64
    assert parsed(fits) == load(fits.encode())
    assert str(refusal(too_deep.encode())) == "$: expected at most 64 levels of nesting"


def test_brackets_inside_strings_are_not_counted() -> None:
    text = json.dumps(["[" * 100, '"{' * 100, "\\" + "[" * 100])
    assert parsed(text) == load(text.encode())


def test_leading_closing_brackets_do_not_raise_the_depth_limit() -> None:
    assert refusal(b"]" * 10**5 + b"[" * 10**5).expected == "JSON: Expecting value (character 0)"
    assert "levels" in refusal(b'["]]]' + b"]" * 10**5 + b'",' + b"[" * 10**5).expected


@pytest.mark.parametrize(
    ("noise", "tokens"),
    [
        ('"' + '\\"' * 2**15, 1),  # an unterminated string of escaped quotes
        (
            '\\"' * 2**15,
            1,
        ),  # the same: a backslash outside a string escapes nothing
        ('\\"' * 2**15 + "\\", 1),
        ('"\\\\' * 2**15, 2**14),  # each string ends at the next quote
        ('"' * 2**16, 2**15),
    ],
    ids=["unterminated", "begun by a backslash", "ended by a backslash", "escaped backslashes", "quotes"],
)
def test_the_scan_reads_no_character_of_64_kib_of_noise_twice(noise: str, tokens: int) -> None:
    found = list(jsontext._STRING_OR_BRACKET.finditer(noise))
    assert tokens == len(found)
    # Every quote lies in a string that was found: none was begun and given up, to be begun again later.
    assert sum(each[0].count('"') for each in found) == noise.count('"')
    assert refusal(noise.encode()).expected.startswith("JSON: ")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": 1, "a": 1}', "$.a"),
        ('{"a": 1, "\\u0061": 2}', "$.a"),
        ('{"context": {"items": [1, {}, {"name": 1, "x": 0, "name": 2}]}}', "$.context.items[2].name"),
        ('{"a": {"b": 1, "b": 2}, "a": 3}', "$.a"),
        ('{"a": {"b": 1, "b": 2}, "c": {"d": 1, "d": 2}}', "$.a.b"),
        ('[[], [{"": 1, "": 2}]]', '$[1][0][""]'),
        ('{"two words": {"\\n": 1, "\\n": 2}}', '$["two words"]["\\n"]'),
    ],
)
def test_a_repeated_key_is_named_by_its_path_where_keys_must_be_unique(text: str, path: str) -> None:
    assert parsed(text) == load(text.encode())
    error = refusal(text.encode(), unique_keys=True)
    assert (path, "each key once") == (error.path, error.expected)
    assert f"{path}: expected each key once" == str(error)


@given(ANY_TEXT, ANY_TEXT)
@example("k" * 1000, "")
def test_an_exception_shows_little_and_only_printable_untrusted_text(outer: str, key: str) -> None:
    name = json.dumps(key)
    error = refusal(f"{{{json.dumps(outer)}: {{{name}: 1, {name}: 2}}}}".encode(), unique_keys=True)
    assert len(error.path) <= 80
    assert str(error) == printable(str(error), 200)
    str(error).encode()


def test_an_exception_shows_no_token_that_was_used_as_a_key() -> None:
    error = refusal(b'{"eyJhbGci.eyJ0aWQi.c2ln": {"a": 1, "a": 2}}', unique_keys=True)
    assert error.path == '$["<token>"].a'


def test_an_exception_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(NotJson("$.a", "a GUID")))  # noqa: S301
    assert (error.path, error.expected, str(error)) == ("$.a", "a GUID", "$.a: expected a GUID")


@given(documents(st.dictionaries(ANY_TEXT, TREES, max_size=5)))
def test_members_are_exact_slices_that_make_up_the_object(text: str) -> None:
    found = members(text)
    assert all(piece in text and piece == piece.strip() for piece in found.values())
    again = ",".join(f"{json.dumps(key)}:{piece}" for key, piece in found.items())
    assert parsed(text) == parsed(f"{{{again}}}")
    assert list(parsed(text)) == list(found)
    assert elements(text) == []


@given(documents(st.lists(TREES, max_size=5)))
def test_elements_are_exact_slices_that_make_up_the_array(text: str) -> None:
    found = elements(text)
    assert all(piece in text and piece == piece.strip() for piece in found)
    assert parsed(text) == parsed(f"[{','.join(found)}]")
    assert len(parsed(text)) == len(found)
    assert members(text) == {}


def test_slices_keep_every_character_as_it_was_written() -> None:
    text = ' { "a" : 36.480 ,\n"b":[ 1 , "\\u00e9\\ud800" ],"c" :{"x":1,"x":2}, "a": 1E+2\t} '
    assert members(text) == {"a": "1E+2", "b": '[ 1 , "\\u00e9\\ud800" ]', "c": '{"x":1,"x":2}'}
    assert elements(members(text)["b"]) == ["1", '"\\u00e9\\ud800"']


def test_a_byte_order_mark_hides_no_slices() -> None:
    assert elements("\ufeff [1]") == ["1"]
    assert members('\ufeff{"a": 1}') == {"a": "1"}


@pytest.mark.parametrize("text", ["1", '"{}"', "null", " true "])
def test_a_scalar_has_no_slices(text: str) -> None:
    assert (members(text), elements(text)) == ({}, [])


@given(st.text(st.characters(exclude_categories=()), max_size=200), st.integers(1, 50))
def test_printable_text_is_short_and_has_no_surrogate_or_control_character(text: str, limit: int) -> None:
    safe = printable(text, limit)
    assert len(safe) <= limit
    assert re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800-\udfff]", safe) is None
    safe.encode()


def test_harmless_text_is_unchanged() -> None:
    text = "Déjà commandé : 1\u00a0000 € — 注文 👩\u200d💻, see v1.2.3 at 10.0.0.1"
    assert text == printable(text, len(text))


def test_text_that_is_too_long_ends_in_an_ellipsis() -> None:
    assert printable("abcdef", 5) == "abcd…"
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdef", 1) == "…"


def test_text_cannot_break_the_line_or_change_the_text_direction() -> None:
    assert printable("a\r\nb\u2028c\u202ed\ud800", 80) == "a\ufffd\ufffdb\ufffdc\ufffdd\ufffd"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Bearer eyJhbGci.eyJ0aWQi.c2ln-_x", "Bearer <token>"),
        ("alg none: eyJhbGci.eyJ0aWQi.", "alg none: <token>"),
        ("encrypted: eyJhbGci..aXY.Y3Q.dGFn!", "encrypted: <token>!"),
        ('{"t":"eyJhbGci.eyJ0aWQi.c2ln","u":"eyJhbGci.eyJ0aWQi.c2ln"}', '{"t":"<token>","u":"<token>"}'),
        ("x_eyJhbGci.eyJ0aWQi.c2ln", "x_<token>"),
        ("a.b.eyJhbGci.eyJ0aWQi.c2ln", "a.b.<token>"),
        ("only eyJhbGci.eyJ0aWQi", "only eyJhbGci.eyJ0aWQi"),
        ("heyJude.com", "heyJude.com"),
    ],
)
def test_what_looks_like_a_token_is_not_shown(text: str, safe: str) -> None:
    assert safe == printable(text, 80)


def test_a_token_is_hidden_before_the_text_is_cut() -> None:
    assert printable("eyJ" + "a" * 100 + ".eyJb.c", 6) == "<toke…"


@given(ANY_TEXT)
def test_surrogate_free_text_differs_only_in_its_surrogates(text: str) -> None:
    safe = surrogate_free(text)
    safe.encode()
    assert [("\ufffd" if "\ud800" <= each <= "\udfff" else each) for each in text] == list(safe)
