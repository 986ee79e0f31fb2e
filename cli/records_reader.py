"""The records container as operators read it: which carts there are, what was decided, what waits.

Nothing is written here. Records are read by the program's own `Records`, so both mean the same by them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import click
from azure.storage.blob import ContainerClient

from cli.cart_history import Cart, CartHistory, Entry, Listed, Note, object_of
from shared.adapters.storage import AzureBlobs
from shared.core.messages import guid_or_none
from shared.core.rules import Record
from shared.ports import StorageUnavailable, StoredBlob
from shared.records import Records

T = TypeVar("T")
R = TypeVar("R")

_NAME = re.compile(r"([0-9a-f-]{36})/([0-9a-f-]{36})(\.waiting)?\.json", re.ASCII)
_THREADS = 8


class RecordsReader:
    """The records container."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container
        self._blobs = AzureBlobs(container)
        self._records = Records(self._blobs)

    def listed(self, most: int, customer_id: str | None = None) -> tuple[list[Listed], bool]:
        """The records and notes, by name; and whether the list was cut after so many blobs.

        The service lists by name only: to find the newest, everything must be listed.
        """
        found: list[Listed] = []
        prefix = f"{customer_id}/" if customer_id else None
        for number, blob in enumerate(self._container.list_blobs(name_starts_with=prefix)):
            if number >= most:
                return found, True
            if name := _NAME.fullmatch(blob.name):
                found.append(Listed(Cart(name[1], name[2]), blob.last_modified, bool(name[3])))
        return found, False

    def load(self, cart: Cart) -> Record:
        """The cart's record; raises StorageUnavailable where it cannot be read or is damaged."""
        return self._records.load(cart.customer_id, cart.cart_id)

    def open(self, cart: Cart) -> CartHistory:
        """All that lies here of a cart. What cannot be read is said in `trouble`: one cart must not end a list."""
        note = None
        try:
            note = self.note(cart)
            record = self.load(cart)
            kept = tuple(Entry(cart, e, self._records.data_of(cart.request(), e)) for e in record.entries)
        except StorageUnavailable as trouble:
            return CartHistory(cart, Record(), note=note, trouble=str(trouble))
        return CartHistory(cart, record, kept, note)

    def open_all(self, carts: Iterable[Cart]) -> list[CartHistory]:
        """The same for many, several at a time."""
        return at_once(self.open, sorted(set(carts)))

    def note(self, cart: Cart) -> Note | None:
        """What the cart waits for; None where no note lies there, or none that can be read."""
        found = self._blobs.read(f"{cart.customer_id}/{cart.cart_id}.waiting.json")
        said = object_of(found.content.decode(errors="replace")) if isinstance(found, StoredBlob) else {}
        return Note(cart, said) if said else None


def at_once(act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do this for each, several at a time, and return what comes of it in their order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return [*pool.map(act, items)]


def named(shelf: RecordsReader, ids: Sequence[str], most: int) -> list[Cart]:
    """The carts that `CUSTOMER_ID CART_ID`, or `CART_ID` alone, names. Alone it is searched for: that may be slow.

    Raises:
        click.UsageError: an id is no GUID.
    """
    guids = [guid_or_none(text) for text in ids]
    for text, guid in zip(ids, guids, strict=True):
        if guid is None:
            raise click.UsageError(f"{text!r} is no GUID such as 11111111-2222-3333-4444-555555555555.")
    known = [guid for guid in guids if guid]
    if len(known) == 2:  # noqa: PLR2004  customer and cart
        return [Cart(*known)]
    listed, cut = shelf.listed(most)
    found = sorted({item.cart for item in listed if item.cart.cart_id == known[0]})
    if cut and not found:
        click.echo(f"Only the first {most} blobs were searched: raise --most, or give CUSTOMER_ID too.", err=True)
    return found


def warn_of_cut(most: int) -> None:
    """Say that a list is not the whole: it is cut by name, so what is missing may be of any age."""
    said = f"The container holds more than {most} blobs, and the rest was not looked at"
    click.echo(f"{said}: raise --most, or name a customer.", err=True)
