"""The service's own words about an error, out of every shape that they come in. Pure.

    {"code", "description", "data", "source"}     the API
    {"statusCode", "message"}                     the gateway in front of it
    {"error": {"code", "message", "details"}}     OData. `error` may also be a text, as in OAuth
    {"errors": [{"code", "message"}, …]}          lists, of texts too
    {"orderErrors": [{"code", "description"}, …]} the order groups of a cart that were not ordered
    {"errorCode", "errorDescription"}             a line of a cart
    {"title", "detail", "errors"}                 ProblemDetails
    {"Message"}                                   ASP.NET

Names are read in any case, as Microsoft's own client reads them.
"""

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from shared.core import jsontext
from shared.core.models import code_text

LONGEST_QUOTE = 500
"""Characters of a body in which nothing was recognised."""

Details = tuple[str | msgspec.Raw, ...]
"""What the service adds to an error: each element as text, or as the JSON that it came in."""

_CODES = ("code", "errorcode")
_TEXTS = ("description", "errordescription", "message", "detail", "error_description", "title", "error")
_DATA = ("data", "details", "errors", "additionalinformation")
_INNER = ("error", "errors", "ordererrors")
_DEEPEST = 4  # objects around the words: each is scanned once for each that it lies in


class Fault(msgspec.Struct, frozen=True):
    """One error in a body. `code` None: there is none that can be read. `text` None: no words either."""

    code: str | None = None
    text: str | None = None
    source: str | None = None
    data: Details | None = None


def faults_in(text: str) -> list[Fault]:
    """The errors in a JSON object, at least one: one that says nothing, where nothing is recognised.

    An object without a code of its own that holds errors is no error itself, but lends them its words.

    Args:
        text: Text that `jsontext.load` accepted. Of anything but an object, nothing is recognised.
    """
    return _faults(text, _DEEPEST)


def order_faults(text: str) -> list[Fault]:
    """Why each order group was not ordered, by a CartCheckoutResult: one fault for each element of `orderErrors`."""
    elements = jsontext.elements(_folded(text).get("ordererrors", "null"))
    return [replace(fault, text=fault.text or quote(raw.encode())) for raw in elements for fault in _faults(raw, 1)]


def cart_line_errors(text: str) -> Details:
    """What GET cart says about the cart's lines that cannot be processed: `{"lineItemId": …, "error": …}` for each."""
    return tuple(_line_errors(_folded(text).get("lineitems", "null"), _DEEPEST))


def details_in(text: str) -> Details | None:
    """The details in the text of a JSON array, None where that is not JSON."""
    try:
        jsontext.load(text.encode())
    except jsontext.NotJson:
        return None
    return _details(text)


def is_of_gateway(text: str) -> bool:
    """Whether a JSON object is the gateway's: it has `statusCode` and `message`, and no code or description."""
    members = _folded(text)
    own = {"statuscode", "message"} <= members.keys() and "description" not in members
    return own and all(fault.code is None for fault in faults_in(text))


def quote(body: bytes) -> str:
    """The beginning of a body on one line, "" for an empty one."""
    text = " ".join(body[: 8 * LONGEST_QUOTE].decode(errors="replace").split())
    return jsontext.printable(text, LONGEST_QUOTE)


def _faults(text: str, depth: int) -> list[Fault]:
    members = _folded(text)
    own = Fault(text=_words(text)) if text.startswith('"') else _read(members)
    inner = [fault for raw in _inner(members) for fault in _faults(raw, depth - 1)] if depth > 1 else []
    if own.code is not None or not inner:
        return [own, *inner]
    return [
        replace(
            fault,
            text=fault.text or own.text,
            source=fault.source or own.source,
            data=own.data if fault.data is None else fault.data,
        )
        for fault in inner
    ]


def _read(members: dict[str, str]) -> Fault:
    return Fault(
        next((code for name in _CODES if (code := code_text(_value(members.get(name)))) is not None), None),
        next((words for name in _TEXTS if (words := _words(members.get(name)))), None),
        _words(members.get("source")),
        next((_details(members[name]) for name in _DATA if members.get(name, "null") != "null"), None),
    )


def _inner(members: dict[str, str]) -> Iterator[str]:
    """The text of each error that an object holds. A null in a list is an error too, of which nothing is said."""
    for name in _INNER:
        raw = members.get(name, "")
        if raw.startswith("{"):
            yield raw
        yield from jsontext.elements(raw) if raw.startswith("[") else ()


def _line_errors(lines: str, depth: int) -> Iterator[msgspec.Raw]:
    for line in map(_folded, jsontext.elements(lines)):
        error = line.get("error", "null")
        if error not in ("null", "{}"):
            number = f'"lineItemId":{line["id"]},' if "id" in line else ""
            yield msgspec.Raw(f'{{{number}"error":{error}}}'.encode())
        if depth > 1:
            yield from _line_errors(line.get("addonitems", "null"), depth - 1)


def _folded(text: str) -> dict[str, str]:
    """The members of an object by their names in lower case."""
    return {name.lower(): raw for name, raw in jsontext.members(text).items()}


def _value(raw: str | None) -> object:
    return None if raw is None or raw[0] in "[{" else jsontext.load(raw.encode())


def _words(raw: str | None) -> str | None:
    """The text in a JSON string, unless it is blank."""
    value = _value(raw)
    return jsontext.surrogate_free(value) if isinstance(value, str) and value.strip() else None


def _details(raw: str) -> Details:
    """Each element of a list, or the one value that is none: text as text, everything else as it came."""
    elements = jsontext.elements(raw) if raw.startswith("[") else [raw]
    return tuple(
        jsontext.surrogate_free(value) if isinstance(value := _value(element), str) else msgspec.Raw(element.encode())
        for element in elements
    )
