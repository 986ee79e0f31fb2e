"""The interfaces to external services: protocols, and the exceptions that their implementations raise.

    StorageError
    ├── StorageUnavailable   expected: the message is deferred and tried again
    └── Conflict             another writer was first: read again and decide again
    TokenUnavailable         no token now: the message is deferred
    └── WrongTenant          a token of another tenant than the configured one

Nothing here imports an SDK. `shared.adapters` implements the protocols; the tests' in-memory implementations pass
the same contract tests.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse


class StorageError(Exception):
    """The base class of the exceptions of the storage ports."""


class StorageUnavailable(StorageError):
    """The operation failed and may have taken effect all the same."""


class Conflict(StorageError):
    """The blob has changed since the caller read it.

    The caller's own write may have changed it: a write whose response is lost is sent again, and conflicts with itself.
    """


class Queue(Protocol):
    """A queue to send to."""

    def send(self, text: str, delay: float = 0.0) -> None:
        """Enqueue `text`, without expiry, visible after `delay` seconds (rounded up).

        Raises:
            StorageUnavailable: it may be in the queue or not.
        """


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob as one answer of storage described it.

    `metadata` has lower-case names. `last_modified` and `read_at`, the `Date` of the answer, are storage's own times
    in whole seconds, so the age of one by the other does not depend on this machine's clock.
    """

    content: bytes
    etag: str
    metadata: Mapping[str, str]
    last_modified: datetime
    read_at: datetime


class MissingBlob(msgspec.Struct, frozen=True):
    """There was no such blob at `read_at`, the `Date` of storage's answer."""

    read_at: datetime


class Blobs(Protocol):
    """A container of small blobs. Metadata are as `checked_metadata` says; a write replaces all of them."""

    def read(self, name: str) -> StoredBlob | MissingBlob:
        """Content and metadata, by one request.

        Raises:
            StorageUnavailable: it could not be read, a missing container included.
        """

    def write(
        self, name: str, content: bytes, *, content_type: str, metadata: Mapping[str, str], match: str | None = None
    ) -> str:
        """Replace the blob whose ETag is `match`, or make a new one where `match` is None. Returns the new ETag.

        `metadata` has no default: an upload without them erases those that are there.

        Raises:
            Conflict: its ETag differs, it exists although `match` is None, or it is missing.
            StorageUnavailable: it may be written or not.
        """

    def set_metadata(self, name: str, metadata: Mapping[str, str], *, match: str) -> str:
        """Replace the metadata of the blob whose ETag is `match`; content and content type stay. Returns the new ETag.

        Raises:
            Conflict: its ETag differs, or it is missing.
            StorageUnavailable: they may be set or not.
        """

    def overwrite(self, name: str, content: bytes | None) -> None:
        """Write without a condition and without metadata; None deletes. For notes that nothing depends on.

        Raises:
            StorageUnavailable: it may have happened or not.
        """

    def url(self, name: str) -> str:
        """The blob's address, without any key."""


LONGEST_METADATA = 8 * 1024
"""Bytes of all names and values together that the service takes."""
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def is_metadata(name: str, value: str) -> bool:
    """Whether the service stores this pair.

    `name`: an ASCII identifier in lower case. `value`: printable ASCII, not empty and without spaces at its ends.
    """
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value))


def checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata as the service stores them, with lower-case names. They travel as headers.

    The caller must make other text fit.

    Raises:
        ValueError: a pair fails `is_metadata`, a name occurs twice, or all together are too long.
            The text quotes no value.
    """
    found = {name.lower(): value for name, value in metadata.items()}
    wrong = [name for name, value in found.items() if not is_metadata(name, value)]
    if wrong or len(found) != len(metadata):
        raise ValueError(f"invalid metadata: {wrong or [*metadata]}")
    if sum(len(name) + len(value) for name, value in found.items()) > LONGEST_METADATA:
        raise ValueError(f"metadata of more than {LONGEST_METADATA} bytes")
    return found


class PartnerCenterApi(Protocol):
    """The calls to the service."""

    def token(self) -> str:
        """Return a token for a POST.

        Raises:
            TokenUnavailable: none could be acquired.
        """

    def renew_token(self, refused: str) -> str | None:
        """Return another token than the one that the service has just refused, or None."""

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        """POST the cart's checkout once. A 401 is a response like any other.

        `may_begin` is asked directly before the first byte is handed to the connection. If it says no, nothing is sent.
        """

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """GET the cart. A missing token is a response without a status."""

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """GET the customer's orders. A missing token is a response without a status."""

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        """GET one order. A missing token is a response without a status.

        Raises:
            ValueError: an id is not 1 to 64 letters, digits and hyphens, as all ids of the service are.
        """


class TokenUnavailable(Exception):
    """No token can be acquired now. Transient, whatever the cause."""


class WrongTenant(TokenUnavailable):
    """The token belongs to another tenant than PARTNER_CENTER_TENANT_ID. It was not used."""
