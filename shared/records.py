"""One append-only record per cart: every outcome is recorded before it is published.

The record is a blob holding a JSON array of complete events, in the order in which they were decided. What it says
about a request is decided by `shared.core.rules`.
"""

from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from shared.core import jsontext
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event, timestamp
from shared.core.retry import Deferral
from shared.core.rules import Record
from shared.ports import Blobs, Conflict, StorageUnavailable

CONTENT_TYPE = "application/cloudevents-batch+json"
_DEEPEST = jsontext.MAX_DEPTH + 3  # the array, the event and its data lie around the deepest result or context


class Records:
    """The records container. Reads and writes, and decides nothing."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def load(self, customer_id: str, cart_id: str) -> Record:
        """Read a cart's record.

        Raises:
            StorageUnavailable: it could not be read, or is damaged. Nothing may be bought then.
        """
        blob = self._blobs.read(f"{customer_id}/{cart_id}.json")
        if blob is None:
            return Record()
        content, etag = blob
        try:
            return Record(_entries(content), etag)
        except (KeyError, ValueError) as error:
            raise StorageUnavailable(f"the record {customer_id}/{cart_id}.json is damaged") from error

    def append(self, request: CheckoutRequest, record: Record, event: Event) -> Event:
        """Append an event to `record`. Returns it as recorded, with a `dataref` if it was too large.

        Raises:
            Conflict: the record has changed since it was read.
            StorageUnavailable: it may be recorded or not.
        """
        folder = f"{request.customer_id}/{request.cart_id}"
        if event.too_large:
            name = f"{folder}/{event.id}.{event.data_sha256[:16]}.data.json"
            self._write_data(name, event.data or "")
            event = event.claim_check(self._blobs.url(name))
        content = "[" + ",\n".join([*(entry.text for entry in record.entries), event.text]) + "]"
        self._blobs.write(f"{folder}.json", content.encode(), content_type=CONTENT_TYPE, match=record.etag)
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
        blob = self._blobs.read(name)
        if blob is None:
            raise StorageUnavailable(f"the data of the entry {entry.id} is missing")
        try:
            jsontext.load(blob[0], depth=_DEEPEST)
            return jsontext.decode(blob[0])
        except ValueError as error:
            raise StorageUnavailable(f"the data of the entry {entry.id} is damaged") from error

    def note_waiting(
        self, request: CheckoutRequest, deferral: Deferral | None, now: datetime, sent: str | None = None
    ) -> None:
        """Write the note for operators about what a cart waits for, or delete it (None). Nothing depends on it.

        `sent`: the MS-RequestId of the last call, which Microsoft support asks for, or None for that of the next one.

        Raises:
            StorageUnavailable: for the caller to ignore.
        """
        note = None
        if deferral is not None:
            retry = deferral.retry
            note = msgspec.json.encode(
                {
                    "requestId": request.request_id,
                    "attempt": retry.attempt,
                    "since": timestamp(retry.since) if retry.since else None,
                    "nextAt": timestamp(now + timedelta(seconds=deferral.delay)),
                    "reason": deferral.reason,
                    "doubt": timestamp(retry.doubt) if retry.doubt else None,
                    "msRequestId": sent or request.ms_request_id,
                    "msCorrelationId": request.correlation_id,
                }
            )
        self._blobs.overwrite(f"{request.customer_id}/{request.cart_id}.waiting.json", note)

    def _write_data(self, name: str, data: str) -> None:
        with suppress(Conflict):  # the name contains a hash of the content, so the same data is stored already
            self._blobs.write(name, data.encode(), content_type="application/json")


def _entries(content: bytes) -> tuple[Event, ...]:
    if not isinstance(jsontext.load(content, depth=_DEEPEST), list):
        raise ValueError("not an array")  # noqa: TRY004  as for anything else that is not a record
    return tuple(Event.parse(text) for text in jsontext.elements(jsontext.decode(content)))
