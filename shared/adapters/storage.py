"""Azure Storage as the ports `Queue` and `Blobs`. The in-memory ones of the tests pass the same contract tests."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient, ContentSettings
from azure.storage.queue import QueueClient, QueueServiceClient

from shared.adapters import identity
from shared.adapters.sdk_transport import sdk_transport
from shared.adapters.tls import tls_refusal
from shared.core.jsontext import printable
from shared.ports import (
    Conflict,
    MissingBlob,
    StorageError,
    StorageUnavailable,
    StoredBlob,
    checked_metadata,
    is_metadata,
)
from shared.settings import Settings

CONNECT_TIMEOUT = 2.0
READ_TIMEOUT = 3.0
TRIES = 3
PAUSE, JITTER = 1.5, 0.25
LONGEST_OPERATION = TRIES * (CONNECT_TIMEOUT + READ_TIMEOUT) + (TRIES - 1) * (PAUSE + JITTER)
"""Seconds that one storage operation can take at worst: every try times out, with the pauses between them."""
READ_TRIES = 3
"""How often the SDK restarts a download whose body stalls, a second apart. It has no setting for that."""
READ_AGAIN, READ_PAUSE = 2.0, 0.75
"""A download that fails before its body is repeated after a pause, but only if it failed within these seconds."""
LONGEST_READ = READ_AGAIN + READ_PAUSE + READ_TRIES * (CONNECT_TIMEOUT + 2 * READ_TIMEOUT) + (READ_TRIES - 1) * 1.0
"""Seconds that reading a blob takes at worst: one failure, then every try times out in headers and body."""
LONGEST_SIGN_IN = TRIES * (identity.CONNECT_TIMEOUT + identity.READ_TIMEOUT)
"""Seconds that an identity-based operation takes longer where no token can be acquired."""
_CLIENTS_KEPT = 32
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_QUERY = re.compile(r"\?\S+")
_IF_ABSENT: dict[str, Any] = {"overwrite": False}
_CONDITION_FAILED = ("BlobAlreadyExists", "ConditionNotMet", "BlobNotFound")
"""The error codes of a failed If-None-Match or If-Match, and of a missing blob to match.

Not a set: the members of the SDK's enumeration equal their text, but do not hash like it."""


class AzureQueue:
    """A queue of Azure Queue Storage."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client

    def send(self, text: str, delay: float = 0.0) -> None:
        """See `Queue.send`."""
        with _translate_errors(f"send to the queue {self._client.queue_name}"):
            self._client.send_message(text, visibility_timeout=math.ceil(delay), time_to_live=-1)


class AzureBlobs:
    """A container of Azure Blob Storage."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container
        # one message reads and writes the same blob, and making a client costs half as much as a request
        self._client: Callable[[str], BlobClient] = lru_cache(_CLIENTS_KEPT)(container.get_blob_client)

    def read(self, name: str) -> StoredBlob | MissingBlob:
        """See `Blobs.read`."""
        answers: list[datetime | None] = []
        with _translate_errors(f"read a blob of {self._container.container_name}"):
            try:
                return self._download(name, answers)
            except ResourceNotFoundError as error:
                # a missing container differs only in its code, and does not mean that nothing was bought
                if getattr(error, "error_code", None) == "BlobNotFound":
                    return MissingBlob(_latest(answers))
                raise

    def _download(self, name: str, answers: list[datetime | None]) -> StoredBlob:
        """Download a blob. What fails at once (refused, cut, busy) is tried again like every other operation."""
        started = time.monotonic()
        for _ in range(TRIES - 1):
            try:
                return self._download_once(name, answers)
            except (ServiceRequestError, ServiceResponseError, HttpResponseError) as error:
                is_transient = not isinstance(error, HttpResponseError) or error.status_code in _TRANSIENT
                if not is_transient or time.monotonic() - started > READ_AGAIN:
                    raise
            time.sleep(READ_PAUSE)
        return self._download_once(name, answers)

    def _download_once(self, name: str, answers: list[datetime | None]) -> StoredBlob:
        # the SDK's properties hold every header of the response but its Date
        note = partial(_note_date, answers)
        # a body that breaks off has its own tries, see READ_TRIES, which the policy's would multiply
        stream = self._client(name).download_blob(retry_total=0, raw_response_hook=note)
        content, found = stream.readall(), stream.properties
        if not isinstance(found.etag, str) or not isinstance(found.last_modified, datetime):
            raise StorageUnavailable("a response without ETag or Last-Modified") from None
        # metadata of others that could not be written back are passed over, so that they block no cart
        lower = {key.lower(): value for key, value in found.metadata.items()}
        metadata = {key: value for key, value in lower.items() if is_metadata(key, value)}
        return StoredBlob(content, found.etag, metadata, found.last_modified, _latest(answers))

    def write(
        self, name: str, content: bytes, *, content_type: str, metadata: Mapping[str, str], match: str | None = None
    ) -> str:
        """See `Blobs.write`."""
        metadata = checked_metadata(metadata)
        condition = _IF_ABSENT if match is None else _if_match(match) | {"overwrite": True}
        settings = ContentSettings(content_type)
        with _conditional(f"write a blob of {self._container.container_name}"):
            return _etag_of(
                self._client(name).upload_blob(content, metadata=metadata, content_settings=settings, **condition)
            )

    def set_metadata(self, name: str, metadata: Mapping[str, str], *, match: str) -> str:
        """See `Blobs.set_metadata`."""
        metadata = checked_metadata(metadata)
        with _conditional(f"set metadata in {self._container.container_name}"):
            return _etag_of(self._client(name).set_blob_metadata(metadata, **_if_match(match)))

    def url(self, name: str) -> str:
        """See `Blobs.url`."""
        return f"{self._container.url.partition('?')[0]}/{name}"


def _note_date(answers: list[datetime | None], response: Any) -> None:  # noqa: ANN401  a PipelineResponse, untyped
    try:
        answers.append(parsedate_to_datetime(response.http_response.headers.get("Date", "")))
    except ValueError:
        answers.append(None)


def _latest(answers: list[datetime | None]) -> datetime:
    """The `Date` of the last response, which is the one that brought the result where a read was tried again."""
    latest = answers[-1] if answers else None
    if latest is None or latest.tzinfo is None:
        raise StorageUnavailable("a response without a Date, by which ages are measured") from None
    return latest


def _if_match(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _etag_of(answer: Mapping[str, Any]) -> str:
    etag = answer.get("etag")
    if not isinstance(etag, str):
        raise StorageUnavailable("a response without an ETag: the blob may be written or not") from None
    return etag


@contextmanager
def _conditional(what: str) -> Iterator[None]:
    with _translate_errors(what):
        try:
            yield
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
            if getattr(error, "error_code", None) in _CONDITION_FAILED:
                raise Conflict from error
            raise


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  a malformed response ends in ValueError, TypeError, IndexError, …
        code = getattr(error, "error_code", None) or getattr(error, "status_code", None) or ""
        code = getattr(code, "value", code)
        message = error.message if isinstance(error, AzureError) else ""
        detail = tls_refusal(error) or printable(_QUERY.sub("?…", str(message).partition("\n")[0]), 200)
        # `from None`: the error's text may quote the URL, and with it the signature of a SharedAccessSignature
        raise StorageUnavailable(f"could not {what}: {type(error).__name__} {code} {detail}".strip()) from None


class Storage:
    """The storage account of the queues and the records: one session, as many connections as threads."""

    def __init__(self, settings: Settings) -> None:
        options = {
            "transport": sdk_transport(CONNECT_TIMEOUT, READ_TIMEOUT, hosts=4, connections=settings.threads),
            # the SDK's own policy would sleep for 15 seconds and more in a thread that could serve a cart
            "initial_backoff": PAUSE - 1,
            "increment_base": 1,  # the SDK adds this to the power of the count
            "random_jitter_range": JITTER,
            "retry_total": TRIES - 1,
            "connection_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
        }
        if settings.storage_connection_string is not None:
            connection = settings.storage_connection_string
            self._queues = QueueServiceClient.from_connection_string(connection, **options)
            self._blobs = BlobServiceClient.from_connection_string(connection, **options)
        else:
            credential = storage_credential(settings)
            self._queues = QueueServiceClient(settings.storage_queue_uri or "", credential, **options)
            self._blobs = BlobServiceClient(settings.storage_blob_uri or "", credential, **options)

    def queue(self, name: str) -> AzureQueue:
        """The queue of this name, which is not created."""
        return AzureQueue(self._queues.get_queue_client(name))

    def blobs(self, container: str) -> AzureBlobs:
        """The container of this name, which is not created."""
        return AzureBlobs(self._blobs.get_container_client(container))


def storage_credential(settings: Settings) -> DefaultAzureCredential | ManagedIdentityCredential:
    """Choose a credential as the Functions host does: `managedidentity`, or whatever the machine offers."""
    options = identity.LIMITS | {"transport": identity.transport()}
    if settings.storage_credential is not None:
        return ManagedIdentityCredential(client_id=settings.storage_client_id, **options)
    return DefaultAzureCredential(managed_identity_client_id=settings.storage_client_id, **options)
