"""The storage ports: one contract, which the ports in memory and real storage pass; and storage that fails."""

import base64
import gc
import http.client
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.queue import QueueClient
from azure.storage.queue import QueueMessage as SentMessage

from local.azurite import Azurite
from shared.adapters import identity as identity_module
from shared.adapters import storage as module
from shared.adapters.storage import LONGEST_OPERATION, LONGEST_READ, TRIES, AzureBlobs, AzureQueue, Storage
from shared.ports import (
    LONGEST_METADATA,
    Blobs,
    Conflict,
    MissingBlob,
    Queue,
    StorageError,
    StorageUnavailable,
    StoredBlob,
)
from shared.settings import Settings
from tests import conftest
from tests.support.memory import MemoryBlobs, MemoryQueue
from tests.support.sockets import Peer, Server, always, answer, refusing_port

KEY = base64.b64encode(b"the account's own key").decode()
SIGNATURE = "c2lnbmF0dXJl"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
JSON = "application/json"
FOLDER = "c0ffee00-1111-4222-8333-444444444444"


# The SDK leaves a connection to the garbage collector when a reply makes no sense.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _collected_here() -> Iterator[None]:
    yield
    gc.collect()


def storage_of(connection_string: str) -> Storage:
    settings = Settings("carts", "outcomes", "records", storage_connection_string=connection_string, threads=4)
    return Storage(settings)


# --- the contract of Blobs -----------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "azurite"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    if request.param == "memory":
        return MemoryBlobs(lambda: datetime.now(UTC))
    real: conftest.Storage = request.getfixturevalue("storage")
    return storage_of(real.connection_string).blobs(real.records.container_name)


def write(blobs: Blobs, name: str, content: bytes, match: str | None = None, **metadata: str) -> str:
    return blobs.write(name, content, content_type=JSON, metadata=metadata, match=match)


def read(blobs: Blobs, name: str) -> StoredBlob:
    found = blobs.read(name)
    assert isinstance(found, StoredBlob)
    return found


def content_type_of(blobs: Blobs, name: str) -> str | None:
    """What the port does not tell: as what a blob lies there."""
    if isinstance(blobs, MemoryBlobs):
        return blobs.blobs[name].content_type
    assert isinstance(blobs, AzureBlobs)
    return blobs._container.get_blob_client(name).get_blob_properties().content_settings.content_type


def by_hand(blobs: Blobs, name: str, content: bytes | None) -> None:
    """Upload a blob as a person does, without a condition and metadata, or delete it (None)."""
    if isinstance(blobs, MemoryBlobs):
        blobs.overwrite(name, content)
        return
    assert isinstance(blobs, AzureBlobs)
    if content is None:
        blobs._container.delete_blob(name)
    else:
        blobs._container.upload_blob(name, content, overwrite=True)


STATE = {"key": "0", "post_at": "2026-11-22T10:00:00.000Z", "reason": 'a,b; c="d" ~', "_1": "x" * 4000}


class TestBlobs:
    """What every implementation of the port does."""

    def test_an_absent_blob_is_missing(self, blobs: Blobs) -> None:
        assert isinstance(blobs.read(f"{FOLDER}/absent.json"), MissingBlob)

    @pytest.mark.parametrize("content", [b"", b"[]", "\ufeffé\r\n\0".encode(), bytes(range(256)) * 4096])
    def test_a_new_blob_is_read_as_it_was_written(self, blobs: Blobs, content: bytes) -> None:
        write(blobs, f"{FOLDER}/a.json", content)
        assert read(blobs, f"{FOLDER}/a.json").content == content

    def test_an_existing_blob_is_not_created_again(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"second")
        assert read(blobs, "a.json").content == b"first"

    def test_a_blob_is_replaced_under_the_etag_it_was_read_with(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        write(blobs, "a.json", b"second", read(blobs, "a.json").etag)
        assert read(blobs, "a.json").content == b"second"

    def test_a_blob_is_not_replaced_under_a_stale_etag(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        etag = read(blobs, "a.json").etag
        write(blobs, "a.json", b"rival", etag)
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"second", etag)
        assert read(blobs, "a.json").content == b"rival"

    def test_the_same_content_written_again_has_another_etag(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"same")
        etag = read(blobs, "a.json").etag
        write(blobs, "a.json", b"same", etag)
        assert read(blobs, "a.json").etag != etag

    def test_reading_changes_no_etag(self, blobs: Blobs) -> None:
        etag = write(blobs, "a.json", b"same")
        assert [etag] * 2 == [read(blobs, "a.json").etag, read(blobs, "a.json").etag]

    def test_an_absent_blob_is_not_replaced(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        etag = read(blobs, "a.json").etag
        by_hand(blobs, "a.json", None)
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"second", etag)
        assert isinstance(blobs.read("a.json"), MissingBlob)

    def test_one_of_many_concurrent_creators_wins(self, blobs: Blobs) -> None:
        barrier = threading.Barrier(8)
        won: list[int] = []

        def rival(number: int) -> None:
            barrier.wait(20)
            try:
                write(blobs, "a.json", str(number).encode())
            except Conflict:
                return
            won.append(number)

        rivals = [threading.Thread(target=rival, args=(number,)) for number in range(8)]
        for thread in rivals:
            thread.start()
        for thread in rivals:
            thread.join(20)
        assert [str(number).encode() for number in won] == [read(blobs, "a.json").content]

    def test_a_deleted_blob_can_be_created_again(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        by_hand(blobs, "a.json", None)
        write(blobs, "a.json", b"second")
        assert read(blobs, "a.json").content == b"second"

    @pytest.mark.parametrize("content", [b"[]", b'[{"id": "x"}]'])
    def test_metadata_are_read_beside_the_content(self, blobs: Blobs, content: bytes) -> None:
        write(blobs, "a.json", content, **STATE)
        found = read(blobs, "a.json")
        assert (content, STATE) == (found.content, found.metadata)

    def test_a_blob_without_metadata_has_none(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"[]")
        assert {} == read(blobs, "a.json").metadata

    def test_a_write_carries_all_the_metadata_that_there_will_be(self, blobs: Blobs) -> None:
        etag = write(blobs, "a.json", b"[]", key="0", post="first")
        etag = write(blobs, "a.json", b"[1]", etag, key="1")
        assert {"key": "1"} == read(blobs, "a.json").metadata
        etag = blobs.set_metadata("a.json", {"doubt": "now"}, match=etag)
        assert {"doubt": "now"} == read(blobs, "a.json").metadata
        write(blobs, "a.json", b"[]", etag)
        assert {} == read(blobs, "a.json").metadata, "an upload without them erases them"

    def test_what_is_uploaded_by_hand_has_no_metadata(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"[]", **STATE)
        by_hand(blobs, "a.json", b"[]")
        assert {} == read(blobs, "a.json").metadata

    def test_setting_metadata_leaves_content_and_content_type(self, blobs: Blobs) -> None:
        batch = "application/cloudevents-batch+json"
        etag = blobs.write("a.json", b"[]", content_type=batch, metadata={"key": "0"})
        for number in range(2):
            etag = blobs.set_metadata("a.json", {"key": str(number)}, match=etag)
            found = read(blobs, "a.json")
            assert (b"[]", {"key": str(number)}) == (found.content, found.metadata)
            assert batch == content_type_of(blobs, "a.json")

    def test_each_write_returns_the_etag_that_is_read_and_the_next_write_matches(self, blobs: Blobs) -> None:
        etags = [write(blobs, "a.json", b"[]", key="0")]
        assert etags[-1] == read(blobs, "a.json").etag
        etags.append(blobs.set_metadata("a.json", {"key": "0"}, match=etags[-1]))
        assert etags[-1] == read(blobs, "a.json").etag
        etags.append(write(blobs, "a.json", b"[1]", etags[-1], key="0"))
        assert etags[-1] == read(blobs, "a.json").etag
        assert 3 == len({*etags}), "the same metadata set again make another ETag, too"

    def test_metadata_are_not_set_under_a_stale_etag(self, blobs: Blobs) -> None:
        stale = write(blobs, "a.json", b"[]", key="0")
        rival = blobs.set_metadata("a.json", {"key": "0", "by": "rival"}, match=stale)
        with pytest.raises(Conflict):
            blobs.set_metadata("a.json", {"key": "0", "by": "us"}, match=stale)
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"[1]", stale, key="0", by="us")
        found = read(blobs, "a.json")
        assert (b"[]", "rival", rival) == (found.content, found.metadata["by"], found.etag)

    def test_metadata_of_an_absent_blob_are_not_set(self, blobs: Blobs) -> None:
        etag = write(blobs, "a.json", b"[]", key="0")
        by_hand(blobs, "a.json", None)
        with pytest.raises(Conflict):
            blobs.set_metadata("a.json", {"key": "0"}, match=etag)
        assert isinstance(blobs.read("a.json"), MissingBlob)

    def test_a_write_that_is_sent_again_conflicts_with_itself_and_is_found(self, blobs: Blobs) -> None:
        """As after an answer that was lost: to find the own write and call it success is the caller's business."""
        first = write(blobs, "a.json", b"[]", by="us")
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"[]", by="us")
        assert {"by": "us"} == read(blobs, "a.json").metadata
        second = blobs.set_metadata("a.json", {"by": "us", "at": "1"}, match=first)
        with pytest.raises(Conflict):
            blobs.set_metadata("a.json", {"by": "us", "at": "1"}, match=first)
        found = read(blobs, "a.json")
        assert (second, {"by": "us", "at": "1"}) == (found.etag, found.metadata)

    def test_one_of_many_who_set_metadata_wins(self, blobs: Blobs) -> None:
        etag = write(blobs, "a.json", b"[]")
        barrier = threading.Barrier(8)
        won: list[str] = []

        def rival(number: int) -> None:
            barrier.wait(20)
            with suppress(Conflict):
                blobs.set_metadata("a.json", {"by": str(number)}, match=etag)
                won.append(str(number))

        rivals = [threading.Thread(target=rival, args=(number,)) for number in range(8)]
        for thread in rivals:
            thread.start()
        for thread in rivals:
            thread.join(20)
        assert won == [read(blobs, "a.json").metadata["by"]]

    def test_names_of_metadata_come_back_in_lower_case(self, blobs: Blobs) -> None:
        etag = write(blobs, "a.json", b"[]", nextAt="Mixed Case", KEY="0")
        assert {"nextat": "Mixed Case", "key": "0"} == read(blobs, "a.json").metadata
        blobs.set_metadata("a.json", {"NEXTat": "again"}, match=etag)
        assert {"nextat": "again"} == read(blobs, "a.json").metadata

    @pytest.mark.parametrize(
        "metadata",
        [
            {"": "x"},
            {"next-at": "x"},
            {"1st": "x"},
            {"é": "x"},
            {"key": ""},
            {"key": " x"},
            {"key": "x "},
            {"key": "é"},
            {"key": "a\r\nx-ms-meta-doubt: b"},
            {"key": "\0"},
            {"key": "0", "Key": "1"},
            {"key": "x" * (LONGEST_METADATA - 2)},
        ],
        ids=lambda metadata: repr(metadata)[:30],
    )
    def test_what_no_header_can_carry_is_refused_and_not_quoted(self, blobs: Blobs, metadata: dict[str, str]) -> None:
        etag = write(blobs, "a.json", b"[]", key="0")
        with pytest.raises(ValueError, match="metadata") as caught:
            write(blobs, "b.json", b"[]", **metadata)
        assert "doubt: b" not in str(caught.value)
        with pytest.raises(ValueError, match="metadata"):
            blobs.set_metadata("a.json", metadata, match=etag)
        assert (etag, {"key": "0"}) == (read(blobs, "a.json").etag, read(blobs, "a.json").metadata)
        assert isinstance(blobs.read("b.json"), MissingBlob)

    def test_as_much_metadata_as_fits_is_kept(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"[]", key="x" * (LONGEST_METADATA - 3))
        assert LONGEST_METADATA - 3 == len(read(blobs, "a.json").metadata["key"])

    def test_a_read_is_dated_by_storage_whether_the_blob_is_there_or_not(self, blobs: Blobs) -> None:
        missing = blobs.read("a.json")
        etag = write(blobs, "a.json", b"[]")
        first = read(blobs, "a.json")
        blobs.set_metadata("a.json", {"key": "0"}, match=etag)
        second = read(blobs, "a.json")
        times = [missing.read_at, first.last_modified, first.read_at, second.last_modified, second.read_at]
        a_second = timedelta(seconds=1)  # the clocks of one server's headers may be so far apart
        assert all(earlier <= later + a_second for earlier, later in pairwise(times))
        assert all(at.utcoffset() == timedelta(0) and at.microsecond == 0 for at in times)
        assert abs(datetime.now(UTC) - second.read_at) < timedelta(minutes=1)

    def test_the_url_ends_in_the_name(self, blobs: Blobs) -> None:
        assert blobs.url(f"{FOLDER}/a.json").endswith(f"/{FOLDER}/a.json")


def test_the_url_is_the_blobs_address_exactly_and_without_any_key(storage: conftest.Storage) -> None:
    blobs = storage_of(storage.connection_string).blobs(storage.records.container_name)
    write(blobs, f"{FOLDER}/a.json", b"{}")
    assert blobs.url(f"{FOLDER}/a.json") == storage.records.get_blob_client(f"{FOLDER}/a.json").url


def test_the_url_has_no_signature_in_it() -> None:
    signed = f"BlobEndpoint=https://b.example/;QueueEndpoint=https://q.example/;SharedAccessSignature=sig={SIGNATURE}"
    assert storage_of(signed).blobs("records").url("a/b.json") == "https://b.example/records/a/b.json"


def test_the_content_type_is_stored(storage: conftest.Storage) -> None:
    blobs = storage_of(storage.connection_string).blobs(storage.records.container_name)
    batch = "application/cloudevents-batch+json"
    for match in (None, "again"):
        etag = match and read(blobs, "a.json").etag
        blobs.write("a.json", b"[]", content_type=batch, metadata={}, match=etag)
        properties = storage.records.get_blob_client("a.json").get_blob_properties()
        assert properties.content_settings.content_type == batch


@pytest.mark.parametrize("what", ["read", "make", "replace", "set metadata"])
def test_a_missing_container_is_no_missing_blob(what: str, azurite: Azurite) -> None:
    """None would mean that nothing was bought."""
    blobs = storage_of(azurite.connection_string).blobs(f"absent-{uuid.uuid4().hex}")
    with pytest.raises(StorageUnavailable, match="ContainerNotFound"):
        _do(blobs, what)


def _do(blobs: Blobs, what: str) -> None:
    if what == "read":
        blobs.read("a.json")
    elif what == "set metadata":
        blobs.set_metadata("a.json", {"key": "0"}, match='"0x8D"')
    else:
        write(blobs, "a.json", b"", '"0x8D"' if what == "replace" else None)


# --- the contract of Queue -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lying:
    """A message as it is in a queue."""

    inserted_at: datetime
    visible_at: datetime
    expires_at: datetime


class QueueUnderTest:
    """A queue to send to, and what has come of that."""

    def __init__(self, queue: Queue, sent: Callable[[], list[Lying]], receive: Callable[[], str | None]) -> None:
        self.queue = queue
        self.sent = sent
        self.receive = receive


FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "azurite"])
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> QueueUnderTest:
    if request.param == "memory":
        memory = MemoryQueue(lambda: NOW)

        def taken() -> str | None:
            message = memory.receive()
            return None if message is None else message.text

        return QueueUnderTest(
            memory, lambda: [Lying(m.inserted_at, m.visible_at, FOR_EVER) for m in memory.messages], taken
        )
    real: conftest.Storage = request.getfixturevalue("storage")
    return queue_under_test(real.connection_string, real.carts, monkeypatch)


def queue_under_test(connection: str, carts: QueueClient, monkeypatch: pytest.MonkeyPatch) -> QueueUnderTest:
    """The port on a storage account, and a client that looks at what it did there."""
    port = storage_of(connection).queue(carts.queue_name)
    returned: list[SentMessage] = []
    send_message = port._client.send_message

    def noting(*args: Any, **kwargs: Any) -> SentMessage:
        returned.append(send_message(*args, **kwargs))
        return returned[-1]

    monkeypatch.setattr(port._client, "send_message", noting)

    def received() -> str | None:
        message = carts.receive_message()
        return None if message is None else str(message.content)

    return QueueUnderTest(
        port, lambda: [Lying(_at(m.inserted_on), _at(m.next_visible_on), _at(m.expires_on)) for m in returned], received
    )


def _at(instant: datetime | None) -> datetime:
    assert instant is not None
    return instant


class TestQueue:
    """What every implementation of the port does."""

    @pytest.mark.parametrize(
        "text",
        [
            '{"customerId": "…", "context": "<&>\\u0000\'"}',
            base64.b64encode(bytes(range(256))).decode(),
            "é 你 \U0001f600 \u2028",
            " two lines,\n\tand spaces at both ends \n",
        ],
    )
    def test_a_text_is_received_as_it_was_sent(self, queue: QueueUnderTest, text: str) -> None:
        queue.queue.send(text)
        assert queue.receive() == text
        assert queue.receive() is None

    def test_without_a_delay_a_message_is_visible_at_once(self, queue: QueueUnderTest) -> None:
        queue.queue.send("now")
        (lying,) = queue.sent()
        assert lying.visible_at == lying.inserted_at

    @pytest.mark.parametrize(
        ("delay", "seconds"), [(1, 1), (0.1, 1), (29.0, 29), (29.01, 30), (7 * 86_400 - 1, 604_799)]
    )
    def test_a_message_is_visible_after_the_delay_rounded_up_and_not_before(
        self, queue: QueueUnderTest, delay: float, seconds: int
    ) -> None:
        queue.queue.send("later", delay)
        (lying,) = queue.sent()
        assert lying.visible_at - lying.inserted_at == timedelta(seconds=seconds)
        assert queue.receive() is None

    def test_a_message_never_expires(self, queue: QueueUnderTest) -> None:
        queue.queue.send("for ever")
        queue.queue.send("for ever, later", 60)
        assert all(lying.expires_at >= FOR_EVER for lying in queue.sent())

    def test_sixty_four_kibibytes_fit_to_the_byte(self, queue: QueueUnderTest) -> None:
        text = base64.b64encode(bytes(48 * 1024)).decode()
        assert len(text) == 64 * 1024
        queue.queue.send(text)
        assert queue.receive() == text

    def test_one_byte_more_is_refused(self, queue: QueueUnderTest) -> None:
        with pytest.raises((StorageUnavailable, ValueError)):  # the one in memory calls it the bug that it is
            queue.queue.send("x" * (64 * 1024 + 1))
        assert queue.receive() is None

    def test_bytes_count_not_characters(self, queue: QueueUnderTest) -> None:
        with pytest.raises((StorageUnavailable, ValueError)):
            queue.queue.send("é" * (32 * 1024) + "x")
        assert queue.receive() is None


def test_a_missing_queue_is_unavailable_storage(azurite: Azurite) -> None:
    name = f"absent-{uuid.uuid4().hex}"
    with pytest.raises(StorageUnavailable, match=f"{name}: ResourceNotFoundError QueueNotFound"):
        storage_of(azurite.connection_string).queue(name).send("text")


def test_both_ports_errors_are_storage_errors() -> None:
    assert issubclass(StorageUnavailable, StorageError)
    assert issubclass(Conflict, StorageError)
    assert not issubclass(Conflict, StorageUnavailable)


# --- storage that fails --------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[AzureBlobs, AzureQueue], object]] = {
    "read": lambda blobs, _: blobs.read("a.json"),
    "make": lambda blobs, _: write(blobs, "a.json", b"[]"),
    "replace": lambda blobs, _: write(blobs, "a.json", b"[]", '"0x8D"'),
    "set metadata": lambda blobs, _: blobs.set_metadata("a.json", {"key": "0"}, match='"0x8D"'),
    "send": lambda _, queue: queue.send("text"),
}


AT = "Sun, 22 Nov 2026 10:00:07 GMT"
HEADERS = {
    "ETag": '"0x8D"',
    "Last_Modified": "Sun, 22 Nov 2026 09:59:00 GMT",
    "Date": AT,
    "Content_Range": "bytes 0-1/2",
    "x_ms_blob_type": "BlockBlob",
}
A_BLOB = answer(206, b"[]", **HEADERS)


def keyed(url: str) -> str:
    return f"AccountName=shop;AccountKey={KEY};BlobEndpoint={url}/shop;QueueEndpoint={url}/shop"


def signed(url: str) -> str:
    return f"SharedAccessSignature=sv=2024-01-01&sig={SIGNATURE};BlobEndpoint={url}/shop;QueueEndpoint={url}/shop"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the SDK would make, without the waiting."""
    made: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: made.append(seconds))
    monkeypatch.setattr("azure.storage.blob._download.time.sleep", made.append)
    return made


def failure(operation: str, connection_string: str) -> str:
    """What the operation says when it fails, as a log and a traceback would show it."""
    storage = storage_of(connection_string)
    with pytest.raises(StorageUnavailable) as caught:
        OPERATIONS[operation](storage.blobs("records"), storage.queue("carts"))
    assert caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize("credential", [keyed, signed])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_storage_that_refuses_connections_is_unavailable_and_no_secret_is_shown(
    operation: str, credential: Callable[[str], str], pauses: list[float]
) -> None:
    text = failure(operation, credential(f"http://127.0.0.1:{refusing_port()}"))
    assert KEY not in text
    assert SIGNATURE not in text
    assert sum(pauses) <= LONGEST_OPERATION - TRIES * (module.CONNECT_TIMEOUT + module.READ_TIMEOUT)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_busy_storage_is_called_three_times_at_most(operation: str, pauses: list[float]) -> None:
    busy = answer(503, b"<Error><Code>ServerBusy</Code></Error>", x_ms_error_code="ServerBusy", Retry_After="3600")
    with Server(always(busy)) as server:
        text = failure(operation, signed(server.url))
    assert SIGNATURE not in text
    assert "ServerBusy" in text
    assert len(server.requests) == TRIES
    assert sum(pauses) <= LONGEST_OPERATION - TRIES * (module.CONNECT_TIMEOUT + module.READ_TIMEOUT)
    assert all(pause < 2.0 for pause in pauses)  # no Retry-After is slept out in a thread


def test_a_read_survives_a_connection_that_is_cut_and_a_busy_answer(pauses: list[float]) -> None:
    """A pooled connection that storage has closed meanwhile looks like the first: no cart is put off for that."""
    busy = answer(503, b"<Error><Code>ServerBusy</Code></Error>", x_ms_error_code="ServerBusy")
    answers = iter([b"", busy, A_BLOB])

    def play(peer: Peer) -> None:
        while peer.request() is not None and (content := next(answers)):
            peer.send(content)

    with Server(play) as server:
        found = read(storage_of(signed(server.url)).blobs("records"), "a.json")

    assert (b"[]", '"0x8D"') == (found.content, found.etag)
    assert TRIES == len(server.requests)
    assert [module.READ_PAUSE] * 2 == pauses


def test_a_read_that_failed_late_is_not_repeated(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_AGAIN", 0.0)

    failure("read", keyed(f"http://127.0.0.1:{refusing_port()}"))

    assert [] == pauses


@pytest.mark.parametrize("operation", OPERATIONS)
def test_storage_that_never_answers_is_unavailable_in_bounded_time(
    operation: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)

    def play(peer: Peer) -> None:
        peer.request()
        peer.hold()

    begin = time.monotonic()
    with Server(play) as server:
        text = failure(operation, signed(server.url))
    assert time.monotonic() - begin < 10.0
    assert SIGNATURE not in text
    assert server.connections <= TRIES
    assert sum(pauses) <= LONGEST_OPERATION - TRIES * (module.CONNECT_TIMEOUT + 3.0)


def test_a_blob_whose_body_stalls_is_unavailable_within_the_longest_read(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK begins such a download anew, on top of its policy's tries."""
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)
    head = answer(206, Content_Range="bytes 0-99/100", ETag='"0x8D"').replace(b"Length: 0", b"Length: 100")

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(head + b"[")
        peer.hold()

    begin = time.monotonic()
    with Server(play) as server:
        failure("read", keyed(server.url))
    assert time.monotonic() - begin < 10.0
    assert server.connections == module.READ_TRIES
    assert sum(pauses) == module.READ_TRIES - 1
    assert LONGEST_READ >= sum(pauses) + server.connections * (module.CONNECT_TIMEOUT + 2 * 3.0)


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500, 501])
@pytest.mark.parametrize("operation", ["read", "send", "set metadata"])
def test_storage_that_refuses_access_is_unavailable_and_not_an_absent_blob(
    operation: str, status: int, pauses: list[float]
) -> None:
    del pauses
    body = f"<Error><Code>AuthenticationFailed</Code><Message>no\nstring to sign: {SIGNATURE}</Message></Error>"
    refusal = answer(status, body.encode(), Content_Type="application/xml")
    with Server(always(refusal)) as server:
        assert SIGNATURE not in failure(operation, keyed(server.url))


@pytest.mark.parametrize("code", [None, "ContainerNotFound", "ResourceNotFound", "AccountNotFound"])
def test_a_404_is_an_absent_blob_only_where_it_says_so(code: str | None, pauses: list[float]) -> None:
    del pauses
    headers = {} if code is None else {"x_ms_error_code": code}
    with Server(always(answer(404, b"<html>no such page</html>", Content_Type="text/html", **headers))) as server:
        failure("read", keyed(server.url))
    with Server(always(answer(404, x_ms_error_code="BlobNotFound"))) as server:
        failure("read", keyed(server.url))  # it cannot be dated
    with Server(always(answer(404, x_ms_error_code="BlobNotFound", Date=AT))) as server:
        found = storage_of(keyed(server.url)).blobs("records").read("a.json")
    assert MissingBlob(NOW + timedelta(seconds=7)) == found


def test_a_read_takes_its_times_from_the_answer_that_brought_the_content(pauses: list[float]) -> None:
    busy = answer(503, x_ms_error_code="ServerBusy", Date="Sun, 22 Nov 2026 09:00:00 GMT")
    cut = answer(206, b"[", **HEADERS | {"Date": "Sun, 22 Nov 2026 09:30:00 GMT"}).replace(b"Length: 1", b"Length: 2")
    answers = iter([busy, cut, A_BLOB])

    def play(peer: Peer) -> None:
        while peer.request() is not None:
            content = next(answers)
            peer.send(content)
            if content is cut:
                return

    with Server(play) as server:
        found = read(storage_of(keyed(server.url)).blobs("records"), "a.json")

    assert (NOW + timedelta(seconds=7), NOW - timedelta(minutes=1)) == (found.read_at, found.last_modified)
    assert 3 == len(server.requests)
    assert 2 == len(pauses)


@pytest.mark.parametrize("missing", ["Date", "ETag", "Last_Modified"])
def test_an_answer_that_does_not_say_when_or_which_is_unavailable_storage(missing: str, pauses: list[float]) -> None:
    del pauses
    kept = {name: value for name, value in HEADERS.items() if name != missing}
    with Server(always(answer(206, b"[]", **kept))) as server:
        assert missing.replace("_", "-") in failure("read", keyed(server.url))


@pytest.mark.parametrize("date", ["", "yesterday", "1795341600", "Sun, 22 Nov 2026 10:00:07 -0000"])
def test_an_answer_whose_date_is_none_is_unavailable_storage(date: str, pauses: list[float]) -> None:
    del pauses
    with Server(always(answer(206, b"[]", **HEADERS | {"Date": date}))) as server:
        failure("read", keyed(server.url))


@pytest.mark.parametrize("before", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b""])
@pytest.mark.parametrize("after", [b"", answer(206, b"[]", **HEADERS)])
def test_a_blob_is_never_read_as_what_another_read_left_on_the_connection(
    before: bytes, after: bytes, pauses: list[float]
) -> None:
    """Each cart's record decides what becomes of it, so one that is read as another's buys, or does not."""
    del pauses
    other = answer(206, b"[1]", **HEADERS | {"Content_Range": "bytes 0-2/3"})
    with Server(always(before + A_BLOB + after, other)) as server:
        blobs = storage_of(keyed(server.url)).blobs("records")
        assert [b"[]", b"[1]"] == [read(blobs, name).content for name in ("a.json", "b.json")]
    assert (2 if after else 1) == server.connections


def test_metadata_that_we_could_not_write_back_are_passed_over(pauses: list[float]) -> None:
    """Whoever put them there must not hold up the cart at its next write."""
    del pauses
    foreign = {"x_ms_meta_Key": "0", "x_ms_meta_note": "é", "x_ms_meta_empty": "", "x_ms_meta_a.b": "c"}
    with Server(always(answer(206, b"[]", **HEADERS, **foreign))) as server:
        assert {"key": "0"} == read(storage_of(keyed(server.url)).blobs("records"), "a.json").metadata


@pytest.mark.parametrize("code", ["ContainerBeingDeleted", "LeaseIdMissing", "BlobImmutableDueToPolicy", ""])
@pytest.mark.parametrize("operation", ["make", "replace", "set metadata"])
def test_a_409_or_412_is_a_conflict_only_where_the_condition_failed(
    operation: str, code: str, pauses: list[float]
) -> None:
    del pauses
    for status in (409, 412):
        with Server(always(answer(status, x_ms_error_code=code))) as server:
            assert (code or str(status)) in failure(operation, keyed(server.url)), "the log's `detail` names it"
    for status, told in ((409, "BlobAlreadyExists"), (412, "ConditionNotMet"), (404, "BlobNotFound")):
        with Server(always(answer(status, x_ms_error_code=told))) as server, pytest.raises(Conflict):
            OPERATIONS[operation](storage_of(keyed(server.url)).blobs("records"), AzureQueue.__new__(AzureQueue))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_on_a_broken_connection_is_retried_or_unavailable(operation: str, pauses: list[float]) -> None:
    del pauses

    def play(peer: Peer) -> None:
        peer.request()

    with Server(play) as server:
        failure(operation, keyed(server.url))
    assert server.connections <= TRIES


def test_the_adapter_logs_nothing_and_the_sdks_no_secret(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    del pauses
    with caplog.at_level(logging.INFO), Server(always(answer(500))) as server:
        for operation in OPERATIONS:
            failure(operation, keyed(server.url))
    assert KEY not in caplog.text


NONSENSE = {
    "a gateway's page": answer(200, b"<html>sign in</html>", Content_Type="text/html"),
    "nothing": answer(200),
    "created, no body": answer(201),
    "another document": answer(201, b"<A><B/></A>", Content_Type="application/xml"),
    "no document": answer(201, b"<A>", Content_Type="application/xml"),
    "an empty list": answer(201, b"<QueueMessagesList/>", Content_Type="application/xml"),
    "a range that is none": answer(206, b"[]", Content_Range="x"),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_with_a_malformed_response_succeeds_or_is_unavailable(
    operation: str, nonsense: str, pauses: list[float]
) -> None:
    del pauses
    with Server(always(NONSENSE[nonsense])) as server:
        storage = storage_of(keyed(server.url))
        try:
            done = OPERATIONS[operation](storage.blobs("records"), storage.queue("carts"))
        except StorageUnavailable:
            return
    assert done is None
    assert "send" == operation  # a read would be an absent blob, a write one without an ETag


# --- identity-based ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ["managedidentity", None])
def test_an_identity_that_fails_is_unavailable_storage_in_bounded_time_and_is_not_quoted(
    credential: str | None, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = "what-the-endpoint-said"
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")  # no other tool of this machine signs in
    settings = Settings(
        "carts",
        "outcomes",
        "records",
        storage_queue_uri="https://shop.queue.example",
        storage_blob_uri="https://shop.blob.example",
        storage_credential=credential,
    )
    with Server(always(answer(503, quoted.encode(), Retry_After="3600"))) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "the-header")
        with pytest.raises(StorageUnavailable) as caught:
            Storage(settings).queue("carts").send("text")
    assert 1 <= len(endpoint.requests) <= TRIES
    assert max(pauses, default=0.0) < 2.0
    assert quoted not in str(caught.value)
    assert identity_module.LIMITS["retry_total"] == 0


# --- a reply that is lost ------------------------------------------------------------------------------------


@pytest.fixture
def lossy(azurite: Azurite) -> Iterator[Server]:
    """Real storage whose first reply to a write is lost after the write."""
    with Server(forwarding(azurite, threading.Event())) as server:
        yield server


def forwarding(azurite: Azurite, lost: threading.Event) -> Callable[[Peer], None]:
    """Stands before real storage; the first reply to a write is lost, unless `lost` is set already."""

    def play(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            port = azurite.blob_endpoint if request.target.count("/records") else azurite.queue_endpoint
            upstream = http.client.HTTPConnection("127.0.0.1", int(port.split(":")[2].split("/")[0]), timeout=20)
            upstream.request(request.method, request.target, request.body, dict(request.headers.items()))
            reply = upstream.getresponse()
            body = reply.read()
            upstream.close()
            if request.method in ("PUT", "POST") and not lost.is_set():
                lost.set()
                return
            framing = ("content-length", "transfer-encoding", "connection", "keep-alive")
            recorded = {name: value for name, value in reply.getheaders() if name.lower() not in framing}
            peer.send(answer(reply.status, body, **recorded))

    return play


def behind(lossy: Server, azurite: Azurite) -> str:
    account = azurite.connection_string.split("BlobEndpoint")[0]
    return f"{account}BlobEndpoint={lossy.url}/devstoreaccount1;QueueEndpoint={lossy.url}/devstoreaccount1;"


def test_a_write_whose_response_is_lost_is_a_conflict(lossy: Server, azurite: Azurite, pauses: list[float]) -> None:
    """The SDK writes again; the caller, who reads after a conflict, finds its own entry."""
    name = f"records-{uuid.uuid4().hex[:8]}"
    direct = storage_of(azurite.connection_string)
    direct._blobs.create_container(name)
    blobs = storage_of(behind(lossy, azurite)).blobs(name)

    with pytest.raises(Conflict):
        write(blobs, "a.json", b"mine")
    assert read(blobs, "a.json").content == b"mine"
    assert len(pauses) == 1


def test_a_replacement_whose_response_is_lost_is_a_conflict(
    lossy: Server, azurite: Azurite, pauses: list[float]
) -> None:
    name = f"records-{uuid.uuid4().hex[:8]}"
    direct = storage_of(azurite.connection_string)
    direct._blobs.create_container(name)
    write(direct.blobs(name), "a.json", b"first")
    blobs = storage_of(behind(lossy, azurite)).blobs(name)

    with pytest.raises(Conflict):
        write(blobs, "a.json", b"mine", read(blobs, "a.json").etag)
    assert read(blobs, "a.json").content == b"mine"
    assert len(pauses) == 1


def test_metadata_whose_reply_is_lost_show_themselves_as_a_conflict(
    lossy: Server, azurite: Azurite, pauses: list[float]
) -> None:
    name = f"records-{uuid.uuid4().hex[:8]}"
    direct = storage_of(azurite.connection_string)
    direct._blobs.create_container(name)
    etag = write(direct.blobs(name), "a.json", b"[]", by="first")
    blobs = storage_of(behind(lossy, azurite)).blobs(name)

    with pytest.raises(Conflict):
        blobs.set_metadata("a.json", {"by": "mine"}, match=etag)
    assert {"by": "mine"} == read(blobs, "a.json").metadata
    assert len(pauses) == 1


def test_each_operation_is_one_request(azurite: Azurite) -> None:
    name = f"records-{uuid.uuid4().hex[:8]}"
    storage_of(azurite.connection_string)._blobs.create_container(name)
    nothing_lost = threading.Event()
    nothing_lost.set()
    with Server(forwarding(azurite, nothing_lost)) as server:
        blobs = storage_of(behind(server, azurite)).blobs(name)
        blobs.read("a.json")
        etag = blobs.set_metadata("a.json", {"key": "1"}, match=write(blobs, "a.json", b"[]", key="0"))
        write(blobs, "a.json", b"x" * 1_000_000, etag, key="1")
        blobs.read("a.json")
    assert ["GET", "PUT", "PUT", "PUT", "GET"] == [request.method for request in server.requests]
    lengths = [int(request.headers.get("Content-Length") or 0) for request in server.requests]
    assert [0, 2, 0, 1_000_000, 0] == lengths, "setting metadata sends no content"


def test_a_message_whose_reply_is_lost_is_sent_twice(
    lossy: Server, azurite: Azurite, storage: conftest.Storage, pauses: list[float]
) -> None:
    """Therefore every event has an id that stays."""
    storage_of(behind(lossy, azurite)).queue(storage.carts.queue_name).send("text")
    assert _texts(storage.carts) == ["text", "text"]
    assert len(pauses) == 1


def _texts(client: QueueClient) -> list[str]:
    return [str(message.content) for message in client.peek_messages(max_messages=32)]
