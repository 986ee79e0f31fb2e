"""The interfaces to external services: protocols, and the exceptions that their implementations raise.

    StorageError
    ├── StorageUnavailable   expected: the message is deferred and tried again
    └── Conflict             another writer was first: read again and decide again
    TokenUnavailable         no token now: the message is deferred
    └── WrongTenant          a token of another tenant than the configured one

Nothing here imports an SDK. `shared.adapters` implements the protocols; the tests' in-memory implementations pass
the same contract tests.
"""

from typing import Protocol

from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse


class StorageError(Exception):
    """The base class of the exceptions of the storage ports."""


class StorageUnavailable(StorageError):
    """The operation failed and may have taken effect all the same."""


class Conflict(StorageError):
    """The blob has changed since the caller read it."""


class Queue(Protocol):
    """A queue to send to."""

    def send(self, text: str, delay: float = 0.0) -> None:
        """Enqueue `text`, without expiry, visible after `delay` seconds (rounded up).

        Raises:
            StorageUnavailable: it may be in the queue or not.
        """


class Blobs(Protocol):
    """A container of small blobs."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The content and its ETag, or None where there is no such blob.

        Raises:
            StorageUnavailable: it could not be read, a missing container included.
        """

    def write(self, name: str, content: bytes, *, content_type: str, match: str | None = None) -> None:
        """Replace the blob whose ETag is `match`, or make a new one where `match` is None.

        Raises:
            Conflict: the ETag differs, or a new blob exists already.
            StorageUnavailable: it may be written or not.
        """

    def overwrite(self, name: str, content: bytes | None) -> None:
        """Write without a condition, or delete (None). For notes that nothing depends on.

        Raises:
            StorageUnavailable: it may have happened or not.
        """

    def url(self, name: str) -> str:
        """The blob's address, without any key."""


class PartnerCenterApi(Protocol):
    """The calls to the service."""

    def checkout(self, request: CheckoutRequest) -> ServiceResponse:
        """POST the cart's checkout.

        Raises:
            TokenUnavailable: no token could be acquired, so no POST was made.
        """

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """GET the cart. A missing token is a response without a status."""

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """GET the customer's orders. A missing token is a response without a status."""


class TokenUnavailable(Exception):
    """No token can be acquired now. Transient, whatever the cause."""


class WrongTenant(TokenUnavailable):
    """The token belongs to another tenant than PARTNER_CENTER_TENANT_ID. It was not used."""
