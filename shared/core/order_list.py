"""A customer's orders, read one order at a time: the list of a large customer has thousands, and no pages. Pure.

Parsed as a whole, 10 MiB of orders take 60 MiB, in each of 32 threads. So the list is cut into its orders as it
arrives, and of each only what a decision needs is kept.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from shared.core import jsontext
from shared.core.models import Model, parse_lenient

LONGEST_ORDER = 1024 * 1024
"""Bytes of one order. A list is not read beyond a longer one."""
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL)
"""Up to the next bracket that is in no string. No match where the text ends before it, or in a string."""
_ITEMS = re.compile(rb'(?<!\\)"items"\s*+:\s*+\[\Z')
_ITEMS_DEPTH = 2


class ListedLineItem(Model, frozen=True, kw_only=True):
    """What is read of an order line."""

    offer_id: str | None = None


class ListedOrder(Model, frozen=True, kw_only=True):
    """What is read of an order."""

    id: str | None = None
    creation_date: str | None = None
    line_items: list[ListedLineItem] | None = None
    reference_customer_id: str | None = None


_DECODER = msgspec.json.Decoder(ListedOrder)


def read_orders(chunks: Iterable[bytes]) -> Iterator[ListedOrder]:
    """The orders of an OrderCollection that arrives in chunks, as far as it can be read. All chunks are consumed."""
    cutter = _Cutter()
    for chunk in chunks:
        for text in cutter.cut(chunk):
            try:
                yield _read(text)
            except jsontext.NotJson:
                continue


def _read(text: bytes) -> ListedOrder:
    """One order. Nearly all fit the model as they are, which is read 20 times as fast."""
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return parse_lenient(ListedOrder, jsontext.load(text))


class _Cutter:
    """Cuts the objects out of the array `items` of a JSON object that arrives in chunks.

    Only brackets are followed. What is cut out is parsed afterwards, and nothing else needs to be.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._scanned = 0  # how much of the rest has been looked at
        self._begin: int | None = None  # where in the rest the object begins that has no end yet
        self._depth = 0
        self._in_items = False
        self._is_over = False

    def cut(self, chunk: bytes) -> Iterator[bytes]:
        """The objects that end in this chunk."""
        if self._is_over:
            return
        text, position = self._rest + chunk, self._scanned
        while found := _TO_BRACKET.match(text, position):
            position = found.end()
            if self._ends_object(found):
                yield text[self._begin : position]
                self._begin = None
        if self._begin is None:
            self._rest, self._scanned = text[position:], 0
        else:
            self._rest, self._scanned = text[self._begin :], position - self._begin
            self._begin = 0
        if len(self._rest) > LONGEST_ORDER:
            self._rest, self._is_over = b"", True

    def _ends_object(self, found: re.Match[bytes]) -> bool:
        """Follow a bracket, and return whether it ends an object of `items`."""
        bracket = found[1]
        if bracket in b"]}":
            self._depth -= 1
            return self._begin is not None and self._depth == _ITEMS_DEPTH
        if self._depth == 1:
            self._in_items = _ITEMS.search(found[0]) is not None
        elif self._depth == _ITEMS_DEPTH and self._in_items and bracket == b"{":
            self._begin = found.start(1)
        self._depth += 1
        return False
