"""What was met in place of a checkout request, in words that its sender can act on. Pure.

    similar      the name that a mistyped one stands for
    describe     the text of a message: `a JSON object in UTF-16 in base64`
    object_in    the JSON object in such a text
    foreign      an object that is another system's envelope
    request_in   the request in any envelope, to tell its ids

Nothing here decides what is accepted, and all of it depends on a message's bytes alone.
"""

import base64
import binascii
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from shared.core import jsontext
from shared.core.jsontext import NotJson

_OPENS_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{(?!\0)")  # a NUL behind it: UTF-16
_SEPARATORS = str.maketrans("", "", "_- ")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_MOST_LAYERS = 4

T = TypeVar("T")


def opens_object(text: bytes) -> bool:
    """Whether a JSON object in UTF-8 begins here, with or without a byte order mark."""
    return _OPENS_OBJECT.match(text) is not None


def strict_base64(text: bytes) -> bytes | None:
    """What a text is in standard, padded base64 without line breaks, or None where it is not exactly that."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if base64.b64encode(decoded) == text else None


# --- names ------------------------------------------------------------------------------------------------------


def similar(name: str, names: Iterable[str]) -> str | None:
    """The first of the names that differs from this one in case or separators only."""
    return next((each for each in names if _normal(each) == _normal(name)), None)


def member(tree: Mapping[str, Any], name: str, check: Callable[[object], T | None]) -> T | None:
    """The member of this name or, where there is none, of a similar one, as `check` returns it. None if ambiguous."""
    if tree.get(name) is not None:
        return check(tree[name])
    found = [value for each, value in tree.items() if _normal(each) == _normal(name) and value is not None]
    return check(found[0]) if len(found) == 1 else None


def _normal(name: str) -> str:
    return name.translate(_SEPARATORS).lower()


# --- texts ------------------------------------------------------------------------------------------------------


def describe(text: bytes) -> str | None:
    """What a text is, from the inside out, or None where that is not clear."""
    layers, inner = _peel(text)
    if (core := _core(inner)) is None:
        layers, core = [], _core(text)  # `null` is base64 too
    return None if core is None else " in ".join([core, *layers]).replace("in base64 in base64", "in base64, twice")


def object_in(text: bytes) -> dict[str, Any]:
    """The JSON object in a text, whatever it is wrapped in. Empty where there is none."""
    _, inner = _peel(text)
    try:
        tree = jsontext.load(inner)
    except NotJson:
        return {}
    return tree if isinstance(tree, dict) else {}


def _peel(text: bytes) -> tuple[list[str], bytes]:
    """The encodings around a text, the innermost first, and the text in them."""
    layers: list[str] = []
    while not opens_object(text) and len(layers) < _MOST_LAYERS:
        for unwrap in (_utf16, _string, _base64):
            if wrapped := unwrap(text):
                name, text = wrapped
                layers.insert(0, name)
                break
        else:
            break
    return layers, text


def _utf16(text: bytes) -> tuple[str, bytes] | None:
    if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in text[:2]:
        encoding = "utf-16-le" if text[1:2] == b"\0" else "utf-16-be"
    else:
        return None
    try:
        return "UTF-16", text.decode(encoding).encode()
    except UnicodeDecodeError:
        return None


def _string(text: bytes) -> tuple[str, bytes] | None:
    value = _json(text)
    return ("a JSON string", value.encode(errors="surrogatepass")) if isinstance(value, str) else None


def _base64(text: bytes) -> tuple[str, bytes] | None:
    """The kinds of base64, each named by its first difference from what is accepted."""
    compact = b"".join(text.removeprefix(BOM_UTF8).split())
    standard = compact.translate(_URL_SAFE).rstrip(b"=")
    try:
        decoded = base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except binascii.Error:
        return None
    if not decoded:
        return None
    if strict_base64(text) is not None:
        return "base64", decoded
    if text.startswith(BOM_UTF8):
        return "base64 behind a byte order mark", decoded
    if compact != text:
        return "base64 with white space or line breaks", decoded
    if compact != compact.translate(_URL_SAFE):
        return "base64url", decoded
    return ("base64 without its padding" if len(compact) % 4 else "base64 that is not canonical"), decoded


def _core(text: bytes) -> str | None:
    if opens_object(text):
        return "a JSON object"
    if not text.removeprefix(BOM_UTF8).strip():
        return "an empty text"
    if text.startswith(b"\x1f\x8b"):
        return "gzip"
    if text.removeprefix(BOM_UTF8).lstrip().startswith(b"<"):
        return "XML"
    value = _json(text)
    if isinstance(value, list):
        return f"an array{_of_events(value)} (one request is one message)"
    return None if value is _NOTHING else jsontext.kind(value)


def _of_events(elements: list[Any]) -> str:
    first = elements[0] if elements else None
    if not isinstance(first, dict):
        return ""
    return " of events in Event Grid's schema" if _event_grid(_names(first)) else ""


_NOTHING = object()


def _json(text: bytes) -> object:
    try:
        return jsontext.load(text)
    except NotJson:
        return _NOTHING


# --- envelopes --------------------------------------------------------------------------------------------------


def foreign(tree: Mapping[str, Any]) -> tuple[str, str] | None:
    """The path of what shows that an object is an envelope that is not read, and what was expected there.

    Args:
        tree: An object without the member `specversion`.
    """
    names = _names(tree)
    if "customerid" in names:
        return None
    if "specversion" in names:
        return f"${jsontext.step(names['specversion'])}", "`specversion`: CloudEvents 1.0 names are in lower case"
    if _event_grid(names):
        return "$", f"{_REQUEST}; this is an event in Event Grid's schema, which can send CloudEvents 1.0 too"
    if {"id", "source", "type"} <= names.keys():
        return "$.specversion", f'{_REQUEST}; this looks like a CloudEvent without `specversion`: "1.0"'
    for name, value in tree.items():
        if isinstance(value, dict) and "customerid" in _names(value):
            return f"${jsontext.step(name)}", f"{_REQUEST}; this holds one"
    return None


_REQUEST = "a checkout request, or a CloudEvent 1.0 that has one as its `data`"


def request_in(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request in an object: itself, or what an event of any schema and spelling has as its data."""
    if not is_event(tree):
        return tree
    data = member(tree, "data", _value) or member(tree, "data_base64", _value)
    if isinstance(data, str):
        return object_in(data.encode(errors="surrogatepass"))
    return data if isinstance(data, dict) else {}


def is_event(tree: Mapping[str, Any]) -> bool:
    """Whether this is an event of any schema and spelling."""
    names = _names(tree)
    return "specversion" in names or _event_grid(names)


def _event_grid(names: Mapping[str, str]) -> bool:
    return "eventtype" in names and bool({"dataversion", "eventtime", "topic"} & names.keys())


def _names(tree: Mapping[str, Any]) -> dict[str, str]:
    """The names of an object's members by what they are without case and separators."""
    return {_normal(name): name for name in tree}


def _value(value: object) -> object:
    return value
