"""A message's JSON, taken out of what it came in. Pure.

    bytes ── plain or base64 ──► an object ── itself, or its `data` or `data_base64` as a CloudEvent 1.0 ──► Received

What is refused here is described by `shared.core.diagnosis`.
"""

from typing import Any

import msgspec

from shared.core import diagnosis, jsontext
from shared.core.jsontext import NotJson
from shared.core.request_fields import InvalidRequest, text_or_none

_TEXT = "a JSON object in UTF-8, as it is or in standard, padded base64 without line breaks"
_DATA = "a JSON object: the checkout request"
_DATA_BASE64 = "standard, padded base64 of a JSON object: the checkout request"


class Received(msgspec.Struct, frozen=True):
    """A request as it was received, not checked yet.

    Attributes:
        size: The bytes of the JSON text.
        tree: The whole object: the request, or the CloudEvent around it.
        data: The request.
        root: The JSON path of the request.
        raw: Each member of the request as the text it was written as.
        envelope: Each attribute of the CloudEvent as its text, the request as `data`. None where there is none.
    """

    size: int
    tree: dict[str, Any]
    data: dict[str, Any]
    root: str
    raw: dict[str, str]
    envelope: dict[str, str] | None = None


def read(body: bytes) -> Received:
    """Take the request out of a queue message's text.

    Raises:
        NotJson: it is no JSON object, or an envelope of another kind.
    """
    text = json_text(body)
    tree = jsontext.load(text, unique_keys=True)
    if "specversion" in tree:
        return _event(text, tree)
    if "customerId" not in tree and (found := diagnosis.foreign(tree)):
        raise InvalidRequest(*found)
    return Received(len(text), tree, tree, "$", jsontext.members(jsontext.decode(text)))


def json_text(body: bytes) -> bytes:
    """The JSON text: the body, or what it decodes to as base64. Strict, so that a text has one interpretation.

    Raises:
        InvalidRequest: it is neither.
    """
    return body if diagnosis.opens_object(body) else _from_base64(body, "$", _TEXT)


def _from_base64(text: bytes, path: str, expected: str) -> bytes:
    decoded = diagnosis.strict_base64(text)
    if decoded is None or not diagnosis.opens_object(decoded):
        raise InvalidRequest(path, _met(expected, text))
    return decoded


def _met(expected: str, text: bytes) -> str:
    met = diagnosis.describe(text)
    return f"{expected}; this is {met}" if met else expected


def _event(text: bytes, tree: dict[str, Any]) -> Received:
    """A CloudEvent, and the request in it. An attribute that is null is absent."""
    _check_attributes(tree)
    raw = jsontext.members(jsontext.decode(text))
    if tree.get("data_base64") is None:
        source, inner, data = "data", raw.get("data", "null"), tree.get("data")
        if not isinstance(data, dict):
            raise InvalidRequest("$.data", _absent(tree) or _met(_DATA, inner.encode()))
    else:
        source = "data_base64"
        inner, data = _decoded(tree)
    others = {name: value for name, value in raw.items() if name == source or name not in ("data", "data_base64")}
    envelope = {"data" if name == source else name: value for name, value in others.items()}
    return Received(len(text), tree, data, f"$.{source}", jsontext.members(inner), envelope)


def _decoded(tree: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The text and the value of `data_base64`, checked like any message."""
    path, encoded = "$.data_base64", tree["data_base64"]
    if tree.get("data") is not None:
        raise InvalidRequest(path, "`data` or `data_base64`, not both")
    if not isinstance(encoded, str):
        raise InvalidRequest(path, f"{_DATA_BASE64}, not {jsontext.kind(encoded)}")
    text = _from_base64(encoded.encode(errors="surrogatepass"), path, _DATA_BASE64)
    try:
        # in a copy it is `data`, one level deeper
        data = jsontext.load(text, unique_keys=True, depth=jsontext.MAX_DEPTH - 1)
    except NotJson as error:
        raise InvalidRequest(path + error.path.removeprefix("$"), error.expected) from None
    return jsontext.decode(text), data


def _check_attributes(tree: dict[str, Any]) -> None:
    """Check what CloudEvents 1.0 requires of an event."""
    if tree["specversion"] != "1.0":
        raise InvalidRequest("$.specversion", 'the CloudEvents version "1.0"')
    for name in ("id", "source", "type"):
        if text_or_none(tree.get(name)) is None:
            expected = "a non-empty string, as CloudEvents 1.0 requires"
            raise InvalidRequest(f"$.{name}", _misspelt(tree, name) or expected)
    if not all(jsontext.encodable(name) for name in tree):
        raise InvalidRequest("$", "attribute names without lone surrogates")


def _absent(tree: dict[str, Any]) -> str | None:
    """What to say where an event has no data: None where it has some."""
    return None if "data" in tree else _misspelt(tree, "data") or f"{_DATA}. It is required"


def _misspelt(tree: dict[str, Any], name: str) -> str | None:
    """What to say where an event has an attribute of a similar name instead."""
    met = None if name in tree else diagnosis.similar(name, tree)
    return f"`{name}`: CloudEvents 1.0 names are in lower case" if met else None
