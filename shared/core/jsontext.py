"""JSON as text, for when what came must be passed on byte for byte. Pure; standard library only.

`load` says whether a body is JSON and parses it; `members` and `elements` cut the text it accepted into
the slices it is made of; `printable` makes foreign text fit for a log line, an exception or JSON.

Not msgspec, because it refuses the legal escape of a lone surrogate, even inside Raw, and silently keeps the
last of duplicate keys.
"""

import json
import re
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_DEPTH = 64
"""Containers inside one another; the outermost is 1."""

_FOREIGN = 80  # characters of foreign text in an exception
_SAFE_DIGITS = sys.int_info.str_digits_check_threshold  # int() takes these under any limit, and fast

# A string begins at a quote and always matches: one without an end runs to the end of the text. So no
# character is looked at by two strings, whatever the text, and a bracket found by itself is a bracket.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_GAP = re.compile(r"[ \t\n\r]*+[,:]?[ \t\n\r]*+")  # between two tokens that are no comma or colon
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Beside the control characters: the separators that end a line and the marks that turn its direction.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
)
_DOTTED = re.compile(r"[A-Za-z0-9_.-]++")


class NotJson(ValueError):
    """The body is not the JSON that was asked for.

    `path` is the JSON path of the fault, `$` when unknown: the only foreign text in here, at most 80
    printable characters of it. `expected` says, in our own words, what should have been there.
    """

    def __init__(self, path: str, expected: str) -> None:
        self.path = printable(path, _FOREIGN)
        self.expected = expected
        super().__init__(self.path, expected)

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}"


def decode(body: bytes) -> str:
    """The text of a UTF-8 body without its byte order mark; NotJson when it is not UTF-8."""
    try:
        return body.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        # "from None", here and below: the error it comes from holds the whole body.
        raise NotJson("$", f"UTF-8 (byte {error.start})") from None


def load(body: bytes, *, unique_keys: bool = False, depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401  any JSON value
    """The JSON value of a body: UTF-8, with or without a byte order mark, at most `depth` deep.

    A number with a fraction or an exponent is a Decimal, and so is an integer of very many digits; one that
    no Decimal can hold is Decimal("NaN"). The words NaN and Infinity are refused like all else that RFC 8259
    does not know. A string may hold lone surrogates (see `surrogate_free`).

    Raises NotJson; with `unique_keys` also for the first object, at any depth, that has a key twice.
    """
    text = decode(body)
    _check_depth(text, depth)
    repeated: dict[int, tuple[object, str]] = {}  # by id: the object, kept alive so that its id stays its own

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            repeated[id(found)] = found, key
        return found

    decoder = _decoder(object_of) if unique_keys else _DECODER
    try:
        tree = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson("$", f"JSON: {error.msg.removesuffix(' at')} (character {error.pos})") from None
    if repeated:
        # One that was itself lost under a repeated key is not in the tree, but the object with that key is.
        path, node = next(found for found in _walk("$", tree) if id(found[1]) in repeated)
        raise NotJson(path + step(repeated[id(node)][1]), "each key once")
    return tree


def members(text: str) -> dict[str, str]:
    """Each member of a JSON object as the very text it was written in, the last of duplicates; else {}.

    Only for text that `load` accepted, with or without its byte order mark, or a slice that came from here.
    """
    return dict(_slices(text, "{"))


def elements(text: str) -> list[str]:
    """Each element of a JSON array as the very text it was written in; [] for any other value.

    Only for text that `load` accepted, with or without its byte order mark, or a slice that came from here.
    """
    return [piece for _, piece in _slices(text, "[")]


def surrogate_free(text: str) -> str:
    """The text with each lone surrogate as U+FFFD: what UTF-8 can encode."""
    return _SURROGATE.sub("\ufffd", text)


def printable(text: str, limit: int) -> str:
    """Foreign text in at most `limit` (1 or more) characters that a log line, an exception or JSON can carry.

    Lone surrogates, control, line-ending and direction characters become U+FFFD; what looks like a JWT
    (signed, unsigned or encrypted) `<token>`; what is too long ends in `…`.
    """
    text = _DOTTED.sub(_without_token, _UNPRINTABLE.sub("\ufffd", text))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _without_token(dotted: re.Match[str]) -> str:
    """A run of base64url characters and dots, cut where a JWT begins in it: `eyJ` and two dots or more."""
    before, _, rest = dotted[0].partition("eyJ")
    return f"{before}<token>" if rest.count(".") >= 2 else dotted[0]  # noqa: PLR2004  three parts


def _check_depth(text: str, deepest: int) -> None:
    """As deep as the parser would get before its first complaint, in one pass; NotJson over `deepest`."""
    if text.count("[") + text.count("{") <= deepest:
        return  # as good as always
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        mark = text[found.start()]
        depth += (mark in "[{") - (mark in "]}")
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
    """A member's step of a JSON path: `.name`, or `["any name"]`."""
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"


def _slices(text: str, opening: str) -> Iterator[tuple[str, str]]:
    """The key ("" in an array) and the text of each value behind this bracket; none behind another."""
    at = _past_gap(text, int(text.startswith("\ufeff")))
    if text[at] != opening:
        return
    at = _past_gap(text, at + 1)
    while text[at] not in "]}":
        key = ""
        if opening == "{":
            key, at = _DECODER.raw_decode(text, at)
            at = _past_gap(text, at)
        _, end = _DECODER.raw_decode(text, at)
        yield key, text[at:end]
        at = _past_gap(text, end)


def _past_gap(text: str, at: int) -> int:
    return next(_GAP.finditer(text, at)).end()  # it may be empty, so the first one begins at `at`


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _SAFE_DIGITS else Decimal(digits)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("NaN")


def _refuse(word: str) -> None:
    raise NotJson("$", f"JSON, which has no {word}")


def _decoder(object_of: Callable[[list[tuple[str, Any]]], Any] | None = None) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=object_of, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse
    )


_DECODER = _decoder()
