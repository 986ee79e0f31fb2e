"""One append-only record per cart: every outcome is recorded before it is published.

The record is a blob holding a JSON array of complete events, in the order in which they were decided, and `[]` before
the first. Its metadata hold the cart's working state. Here every write is conditional and carries the metadata, and
what they are is decided elsewhere, as is what the record says about a request (`shared.core.rules`).
"""

from collections.abc import Mapping
from contextlib import suppress

from msgspec.structs import replace

from shared.core import jsontext
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event
from shared.core.rules import Record
from shared.ports import Blobs, Conflict, MissingBlob, StorageUnavailable, checked_metadata

CONTENT_TYPE = "application/cloudevents-batch+json"
_DEEPEST = jsontext.MAX_DEPTH + 3  # the array, the event and its data lie around the deepest result or context


class Records:
    """The records container. Reads and writes, and decides nothing."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def load(self, customer_id: str, cart_id: str) -> Record:
        """Read a cart's record, its content and its metadata by one request.

        Raises:
            StorageUnavailable: it could not be read, or is damaged. Nothing may be bought then.
        """
        found = self._blobs.read(f"{customer_id}/{cart_id}.json")
        if isinstance(found, MissingBlob):
            return Record(read_at=found.read_at)
        try:
            entries = _entries(found.content)
            return Record(entries, found.etag, found.metadata, found.last_modified, found.read_at)
        except (KeyError, ValueError) as error:
            raise StorageUnavailable(f"the record {customer_id}/{cart_id}.json is damaged") from error

    def enter(self, request: CheckoutRequest, record: Record, metadata: Mapping[str, str]) -> Record:
        """Write the working state of a cart before its POST.

        A cart without a record gets one without outcomes. Otherwise only the metadata are sent.

            this one   load ─ enter ✓ ─ POST
            another      load ───────── enter ✕ Conflict ─ load ─ decide again

        A lost response shows the same conflict, and the next load finds the caller's own entry:

            this one   load ─ enter (✓, response lost) ─ sent again ✕ Conflict ─ load: its own ─ POST

        Returns:
            The record under its new ETag; `last_modified` and `read_at` stay those of the load.

        Raises:
            Conflict: the record has changed since it was read.
            StorageUnavailable: it may be entered or not.
        """
        if record.etag is not None:
            return self.mark(request, record, metadata)
        etag = self._blobs.write(_name(request), b"[]", content_type=CONTENT_TYPE, metadata=metadata)
        return replace(record, etag=etag, metadata=checked_metadata(metadata))

    def mark(self, request: CheckoutRequest, record: Record, metadata: Mapping[str, str]) -> Record:
        """Replace the working state, and leave the outcomes and their content type. Returns as `enter` does.

        Raises:
            Conflict: the record has changed since it was read.
            StorageUnavailable: it may be written or not.
            ValueError: there is no record.
        """
        if record.etag is None:
            raise ValueError("only a record that is there can be marked")
        etag = self._blobs.set_metadata(_name(request), metadata, match=record.etag)
        return replace(record, etag=etag, metadata=checked_metadata(metadata))

    def append(
        self, request: CheckoutRequest, record: Record, event: Event, metadata: Mapping[str, str] | None = None
    ) -> Event:
        """Append an event to `record`. Returns it as recorded, with a `dataref` if it was too large.

        `metadata`: the new working state, or None to write the one that was read.

        Raises:
            Conflict: the record has changed since it was read.
            StorageUnavailable: it may be recorded or not.
        """
        if event.too_large and event.data is not None:
            name = f"{request.customer_id}/{request.cart_id}/{event.id}.{event.data_sha256[:16]}.data.json"
            self._write_data(name, event.data)
            event = event.claim_check(self._blobs.url(name))
        content = "[" + ",\n".join([*(entry.text for entry in record.entries), event.text]) + "]"
        self._blobs.write(
            _name(request),
            content.encode(),
            content_type=CONTENT_TYPE,
            metadata=record.metadata if metadata is None else metadata,
            match=record.etag,
        )
        return event

    def data_of(self, request: CheckoutRequest, entry: Event) -> str:
        """The `data` of an entry, loaded from its blob where it was too large for the event.

        Raises:
            StorageUnavailable: it could not be read, or is damaged.
        """
        if entry.dataref is None:
            return entry.data or "{}"
        # only the last part of the address is used, so that an entry can name nothing outside its cart's folder
        name = f"{request.customer_id}/{request.cart_id}/{entry.dataref.rpartition('/')[2]}"
        found = self._blobs.read(name)
        if isinstance(found, MissingBlob):
            raise StorageUnavailable(f"the data of the entry {entry.id} is missing")
        try:
            jsontext.load(found.content, depth=_DEEPEST)
            return jsontext.decode(found.content)
        except ValueError as error:
            raise StorageUnavailable(f"the data of the entry {entry.id} is damaged") from error

    def _write_data(self, name: str, data: str) -> None:
        with suppress(Conflict):  # the name is made of the content, so it is there already
            self._blobs.write(name, data.encode(), content_type="application/json", metadata={})


def _name(request: CheckoutRequest) -> str:
    return f"{request.customer_id}/{request.cart_id}.json"


def _entries(content: bytes) -> tuple[Event, ...]:
    if not isinstance(jsontext.load(content, depth=_DEEPEST), list):
        raise ValueError  # noqa: TRY004  not an array: damaged, as anything else that is not a record
    return tuple(Event.parse(text) for text in jsontext.elements(jsontext.decode(content)))
