"""JSON as text, since bodies must be passed on byte for byte. Pure, standard library only.

`load` checks and parses a body. `members` and `elements` cut the text that it accepted into the texts of its values,
and `build` makes an object of such texts.
`printable` makes untrusted text safe for a log line, an exception or JSON.

msgspec is not used, because it refuses the legal escape of a lone surrogate, even inside Raw, and silently keeps the
last of duplicate keys.
"""

import json
import re
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_DEPTH = 64
"""Nested containers, of which the outermost is 1."""

_LONGEST_PATH = 80  # characters of untrusted text in an exception
_SAFE_DIGITS = sys.int_info.str_digits_check_threshold  # int() takes these under any limit, and fast

# A string begins at a quote and always matches: one without an end runs to the end of the text. So every
# character is scanned once, and a bracket that matches by itself lies outside all strings.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_GAP = re.compile(r"[ \t\n\r]*+[,:]?[ \t\n\r]*+")  # between two tokens that are no comma or colon
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Besides the control characters: line and paragraph separators, and marks that change the text direction.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
)
_DOTTED = re.compile(r"[A-Za-z0-9_.-]++")
_KINDS: dict[type, str] = {dict: "an object", list: "an array", str: "a string", type(None): "null"}


class NotJson(ValueError):
    """The body is not the expected JSON.

    `path` is the JSON path of the fault, `$` when unknown: the only untrusted text in here, at most 80
    printable characters of it. `expected` is our own description of what should be there.
    """

    def __init__(self, path: str, expected: str) -> None:
        self.path = printable(path, _LONGEST_PATH)
        self.expected = expected
        super().__init__(self.path, expected)

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}"


def decode(body: bytes) -> str:
    """The text of a UTF-8 body without its byte order mark.

    Raises:
        NotJson: the body is not UTF-8.
    """
    try:
        return body.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        # `from None`, here and below: the original error holds the whole body
        raise NotJson("$", f"UTF-8 (byte {error.start})") from None


def load(body: bytes, *, unique_keys: bool = False, depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401  any JSON value
    """The JSON value of a body: UTF-8, with or without a byte order mark, at most `depth` deep.

    A number with a fraction or an exponent is a Decimal, and so is an integer of very many digits. One that
    no Decimal can hold is Decimal("NaN"). NaN and Infinity are refused like everything else that is not in
    RFC 8259. A string may hold lone surrogates (see `surrogate_free`).

    Raises:
        NotJson: with `unique_keys` also for the first object, at any depth, that has a key twice.
    """
    text = decode(body)
    _check_depth(text, depth)
    repeated: dict[int, tuple[object, str]] = {}  # by id: the object, kept alive so that its id is not reused

    def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        node = dict(pairs)
        if len(node) < len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            repeated[id(node)] = node, key
        return node

    decoder = _decoder(build_object) if unique_keys else _DECODER
    try:
        tree = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson("$", f"JSON: {error.msg.removesuffix(' at')} (character {error.pos})") from None
    if repeated:
        # One that a repeated key overwrote is not in the tree, but the object with that key is.
        path, node = next(item for item in _walk("$", tree) if id(item[1]) in repeated)
        raise NotJson(path + step(repeated[id(node)][1]), "each key once")
    return tree


def members(text: str) -> dict[str, str]:
    """Each member of a JSON object as the exact text it was written as, the last of duplicates, or {} for other values.

    Only for text that `load` accepted, with or without its byte order mark, or a slice that came from here.
    """
    return dict(_slices(text, "{"))


def elements(text: str) -> list[str]:
    """Each element of a JSON array as the exact text it was written as, and [] for any other value.

    Only for text that `load` accepted, with or without its byte order mark, or a slice that came from here.
    """
    return [piece for _, piece in _slices(text, "[")]


def build(raw: Mapping[str, str]) -> str:
    """A compact JSON object of these members, each with the text that is its value."""
    return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in raw.items()) + "}"


def kind(value: object) -> str:
    """What a value of `load` is, in words: `a number`, `an object`."""
    if isinstance(value, bool):
        return "true or false"
    return _KINDS.get(type(value), "a number")


def encodable(text: str) -> bool:
    """Whether UTF-8 can encode it: a JSON escape may be a lone surrogate, which UTF-8 cannot."""
    return text.isascii() or _SURROGATE.search(text) is None


def surrogate_free(text: str) -> str:
    """The text with each lone surrogate as U+FFFD: what UTF-8 can encode."""
    return _SURROGATE.sub("\ufffd", text)


def printable(text: str, limit: int) -> str:
    """Untrusted text in at most `limit` (1 or more) characters that a log line, an exception or JSON can carry.

    Lone surrogates, control, line-ending and direction characters become U+FFFD, what looks like a JWT
    (signed, unsigned or encrypted) becomes `<token>`, and what is too long ends in `…`.
    """
    text = _DOTTED.sub(_without_token, _UNPRINTABLE.sub("\ufffd", text))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _without_token(dotted: re.Match[str]) -> str:
    """A run of base64url characters and dots, cut where a JWT begins in it: `eyJ` and two dots or more."""
    before, _, rest = dotted[0].partition("eyJ")
    return f"{before}<token>" if rest.count(".") >= 2 else dotted[0]  # noqa: PLR2004  three parts


def _check_depth(text: str, deepest: int) -> None:
    """Raise NotJson where the text is nested deeper than `deepest`, in one pass before it is parsed."""
    if text.count("[") + text.count("{") <= deepest:
        return  # nearly every text
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = text[match.start()]
        depth += (first in "[{") - (first in "]}")
        if depth > deepest:
            raise NotJson("$", f"at most {deepest} levels of nesting")


def _walk(path: str, node: object) -> Iterator[tuple[str, object]]:
    """Every value of a tree with its JSON path, in the order of the text."""
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(path + step(key), value)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(f"{path}[{index}]", value)


def step(key: str) -> str:
    """The step of a JSON path to a member: `.name`, or `["any name"]`."""
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"


def _slices(text: str, opening: str) -> Iterator[tuple[str, str]]:
    """The key ("" in an array) and the text of each value after this bracket, or nothing after another one."""
    pos = _past_gap(text, int(text.startswith("\ufeff")))
    if text[pos] != opening:
        return
    pos = _past_gap(text, pos + 1)
    while text[pos] not in "]}":
        key = ""
        if opening == "{":
            key, pos = _DECODER.raw_decode(text, pos)
            pos = _past_gap(text, pos)
        _, end = _DECODER.raw_decode(text, pos)
        yield key, text[pos:end]
        pos = _past_gap(text, end)


def _past_gap(text: str, pos: int) -> int:
    return next(_GAP.finditer(text, pos)).end()  # it may be empty, so the first match begins at `pos`


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _SAFE_DIGITS else Decimal(digits)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("NaN")


def _refuse(word: str) -> None:
    raise NotJson("$", f"JSON, which has no {word}")


def _decoder(build_object: Callable[[list[tuple[str, Any]]], Any] | None = None) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=build_object, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse
    )


_DECODER = _decoder()
