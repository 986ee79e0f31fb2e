"""Reads the records container: which carts there are, what was decided, what waits.

Nothing is written. Records are read with the app's own `Records`, so that both interpret them in the same way.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import click
from azure.storage.blob import ContainerClient

from cli.cart_history import CartHistory, CartKey, Entry, KnownState, ListedRecord
from cli.left_out import UNLISTED, LeftOut
from shared.adapters.storage import AzureBlobs
from shared.core.request_fields import guid_or_none
from shared.core.rules import Record
from shared.ports import StorageUnavailable
from shared.records import Records

T = TypeVar("T")
R = TypeVar("R")

_NAME = re.compile(r"([0-9a-f-]{36})/([0-9a-f-]{36})\.json", re.ASCII)
_THREADS = 8


class RecordsReader:
    """Reads carts from the records container."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container
        self._blobs = AzureBlobs(container)
        self._records = Records(self._blobs)

    def list_records(self, most: int, customer_id: str | None = None) -> tuple[list[ListedRecord], bool]:
        """The records with their state, by name, and whether there are more than `most` blobs.

        The service lists by name only: to find the newest, everything must be listed. The state is part of the list,
        so that no record is read for it.
        """
        found: list[ListedRecord] = []
        prefix = f"{customer_id}/" if customer_id else None
        listed = self._container.list_blobs(name_starts_with=prefix, include=["metadata"])
        for number, blob in enumerate(listed):
            if number >= most:
                return found, True
            if name := _NAME.fullmatch(blob.name):
                cart = CartKey(name[1], name[2])
                known = KnownState.parse(cart, blob.metadata or {}, blob.last_modified)
                found.append(ListedRecord(cart, blob.last_modified, known))
        return found, False

    def find(self, ids: Sequence[str], most: int, left: LeftOut) -> list[CartKey]:
        """The carts that `CUSTOMER_ID CART_ID` or `CART_ID` names. The latter is searched for, which may be slow.

        A search that was cut is told to `left`, whatever it has found: another customer may have a cart of this id.

        Raises:
            click.UsageError: an id is not a GUID.
        """
        guids = [guid_or_none(text) for text in ids]
        for text, guid in zip(ids, guids, strict=True):
            if guid is None:
                raise click.UsageError(f"{text!r} is not a GUID such as 11111111-2222-3333-4444-555555555555.")
        known = [guid for guid in guids if guid]
        if len(known) == 2:  # noqa: PLR2004  customer and cart
            return [CartKey(*known)]
        listed, truncated = self.list_records(most)
        found = sorted({blob.cart for blob in listed if blob.cart.cart_id == known[0]})
        if truncated:
            left.add(UNLISTED, f"Only the first {most} blobs were searched: raise --most, or give CUSTOMER_ID too.")
        return found

    def load_record(self, cart: CartKey) -> Record:
        """The cart's record.

        Raises:
            StorageUnavailable: it cannot be read or is damaged.
        """
        return self._records.load(cart.customer_id, cart.cart_id)

    def load(self, cart: CartKey) -> CartHistory:
        """Everything of a cart. A read error is returned in `trouble`, so that one cart does not end a list."""
        try:
            record = self.load_record(cart)
            entries = [Entry.parse(cart, e, self._records.data_of(cart.request(), e)) for e in record.entries]
        except StorageUnavailable as trouble:
            return CartHistory(cart, Record(), trouble=str(trouble))
        return CartHistory(cart, record, tuple(entries))

    def load_all(self, carts: Iterable[CartKey]) -> list[CartHistory]:
        """Load many carts, several at a time."""
        return _map_concurrently(self.load, sorted(set(carts)))


def _map_concurrently(act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return [*pool.map(act, items)]
