"""The storage ports: one contract, which the ports in memory and real storage pass; and storage that fails."""

import base64
import gc
import http.client
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.queue import QueueClient
from azure.storage.queue import QueueMessage as SentMessage

from local.azurite import Azurite
from shared.adapters import identity as identity_module
from shared.adapters import storage as module
from shared.adapters.storage import LONGEST_OPERATION, LONGEST_READ, TRIES, AzureBlobs, AzureQueue, Storage
from shared.ports import Blobs, Conflict, Queue, StorageError, StorageUnavailable
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
        return MemoryBlobs()
    real: conftest.Storage = request.getfixturevalue("storage")
    return storage_of(real.connection_string).blobs(real.records.container_name)


def write(blobs: Blobs, name: str, content: bytes, match: str | None = None) -> None:
    blobs.write(name, content, content_type=JSON, match=match)


def read(blobs: Blobs, name: str) -> tuple[bytes, str]:
    found = blobs.read(name)
    assert found is not None
    return found


class TestBlobs:
    """What every implementation of the port does."""

    def test_an_absent_blob_is_none(self, blobs: Blobs) -> None:
        assert blobs.read(f"{FOLDER}/absent.json") is None

    @pytest.mark.parametrize("content", [b"", b"[]", "\ufeffé\r\n\0".encode(), bytes(range(256)) * 4096])
    def test_a_new_blob_is_read_as_it_was_written(self, blobs: Blobs, content: bytes) -> None:
        write(blobs, f"{FOLDER}/a.json", content)
        assert read(blobs, f"{FOLDER}/a.json")[0] == content

    def test_an_existing_blob_is_not_created_again(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"second")
        assert read(blobs, "a.json")[0] == b"first"

    def test_a_blob_is_replaced_under_the_etag_it_was_read_with(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        write(blobs, "a.json", b"second", read(blobs, "a.json")[1])
        assert read(blobs, "a.json")[0] == b"second"

    def test_a_blob_is_not_replaced_under_a_stale_etag(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        etag = read(blobs, "a.json")[1]
        write(blobs, "a.json", b"rival", etag)
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"second", etag)
        assert read(blobs, "a.json")[0] == b"rival"

    def test_the_same_content_written_again_has_another_etag(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"same")
        etag = read(blobs, "a.json")[1]
        write(blobs, "a.json", b"same", etag)
        assert read(blobs, "a.json")[1] != etag

    def test_reading_changes_no_etag(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"same")
        assert read(blobs, "a.json") == read(blobs, "a.json")

    def test_an_absent_blob_is_not_replaced(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        etag = read(blobs, "a.json")[1]
        blobs.overwrite("a.json", None)
        with pytest.raises(Conflict):
            write(blobs, "a.json", b"second", etag)
        assert blobs.read("a.json") is None

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
        assert [str(number).encode() for number in won] == [read(blobs, "a.json")[0]]

    def test_overwriting_needs_no_etag_and_can_be_repeated(self, blobs: Blobs) -> None:
        for content in (b"first", b"second", b"second"):
            blobs.overwrite("a.waiting.json", content)
            assert read(blobs, "a.waiting.json")[0] == content

    def test_deleting_can_be_repeated(self, blobs: Blobs) -> None:
        blobs.overwrite("a.waiting.json", b"note")
        for _ in range(3):
            blobs.overwrite("a.waiting.json", None)
            assert blobs.read("a.waiting.json") is None

    def test_a_deleted_blob_can_be_created_again(self, blobs: Blobs) -> None:
        write(blobs, "a.json", b"first")
        blobs.overwrite("a.json", None)
        write(blobs, "a.json", b"second")
        assert read(blobs, "a.json")[0] == b"second"

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
        etag = match and read(blobs, "a.json")[1]
        blobs.write("a.json", b"[]", content_type=batch, match=etag)
        properties = storage.records.get_blob_client("a.json").get_blob_properties()
        assert properties.content_settings.content_type == batch


@pytest.mark.parametrize("what", ["read", "make", "replace", "overwrite"])
def test_a_missing_container_is_not_a_missing_blob(what: str, azurite: Azurite) -> None:
    """None would mean that nothing was bought."""
    blobs = storage_of(azurite.connection_string).blobs(f"absent-{uuid.uuid4().hex}")
    with pytest.raises(StorageUnavailable, match="ContainerNotFound"):
        _do(blobs, what)


def _do(blobs: Blobs, what: str) -> None:
    if what == "read":
        blobs.read("a.json")
    elif what == "overwrite":
        blobs.overwrite("a.json", b"")
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
    "overwrite": lambda blobs, _: blobs.overwrite("a.json", b"[]"),
    "delete": lambda blobs, _: blobs.overwrite("a.json", None),
    "send": lambda _, queue: queue.send("text"),
}


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
    good = answer(206, b"[]", ETag='"0x8D"', Content_Range="bytes 0-1/2", x_ms_blob_type="BlockBlob")
    answers = iter([b"", busy, good])

    def play(peer: Peer) -> None:
        while peer.request() is not None and (content := next(answers)):
            peer.send(content)

    with Server(play) as server:
        assert (b"[]", '"0x8D"') == storage_of(signed(server.url)).blobs("records").read("a.json")

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
@pytest.mark.parametrize("operation", ["read", "send", "overwrite"])
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
        assert storage_of(keyed(server.url)).blobs("records").read("a.json") is None


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
    assert operation != "read"  # which would be an absent blob


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
    lost = threading.Event()

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

    with Server(play) as server:
        yield server


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
    assert read(blobs, "a.json")[0] == b"mine"
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
        write(blobs, "a.json", b"mine", read(blobs, "a.json")[1])
    assert read(blobs, "a.json")[0] == b"mine"
    assert len(pauses) == 1


def test_a_message_whose_response_is_lost_is_sent_twice(
    lossy: Server, azurite: Azurite, storage: conftest.Storage, pauses: list[float]
) -> None:
    """Therefore every event has an id that stays."""
    storage_of(behind(lossy, azurite)).queue(storage.carts.queue_name).send("text")
    assert _texts(storage.carts) == ["text", "text"]
    assert len(pauses) == 1


def _texts(client: QueueClient) -> list[str]:
    return [str(message.content) for message in client.peek_messages(max_messages=32)]
