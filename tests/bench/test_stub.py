"""The stub behind the real SDK clients, with the contract tests of the storage ports."""

from __future__ import annotations

import gc
import json
import uuid
from typing import TYPE_CHECKING

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient, QueueServiceClient

from bench.stub.http_server import HttpRequest, MalformedRequest, parse
from bench.stub.server import Stub
from bench.stub.service import CUSTOMER, IDENTITY_HEADER, LatencyModel
from local.simulator.identity import claims_of
from shared.ports import Blobs, StorageUnavailable
from tests.adapters import test_storage as contract
from tests.adapters.test_storage import FOLDER, JSON, QueueUnderTest, storage_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.conftest import RunningStub

# The SDK leaves a connection to the garbage collector when a session is not closed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _collected_here() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def carts(running_stub: RunningStub) -> Iterator[QueueClient]:
    """A queue of this test's own."""
    name = f"carts-{uuid.uuid4().hex[:12]}"
    with QueueClient.from_connection_string(running_stub.connection_string, name) as client:
        client.create_queue()
        yield client


# --- the contracts of the storage ports -----------------------------------------------------------------------


@pytest.fixture
def blobs(running_stub: RunningStub) -> Blobs:
    name = f"records-{uuid.uuid4().hex[:12]}"
    with BlobServiceClient.from_connection_string(running_stub.connection_string) as client:
        client.create_container(name)
    return storage_of(running_stub.connection_string).blobs(name)


class TestBlobs(contract.TestBlobs):
    """The contract that the in-memory storage and Azurite pass too."""


@pytest.fixture
def queue(running_stub: RunningStub, carts: QueueClient, monkeypatch: pytest.MonkeyPatch) -> QueueUnderTest:
    return contract.queue_under_test(running_stub.connection_string, carts, monkeypatch)


class TestQueue(contract.TestQueue):
    """The contract that the in-memory storage and Azurite pass too."""


@pytest.mark.parametrize("what", ["read", "make", "replace", "set metadata"])
def test_a_missing_container_is_not_a_missing_blob(running_stub: RunningStub, what: str) -> None:
    with pytest.raises(StorageUnavailable, match="ContainerNotFound"):
        contract._do(storage_of(running_stub.connection_string).blobs("absent"), what)


def test_a_missing_queue_is_unavailable_storage(running_stub: RunningStub) -> None:
    with pytest.raises(StorageUnavailable, match="QueueNotFound"):
        storage_of(running_stub.connection_string).queue("absent").send("text")


def test_the_content_type_is_stored(running_stub: RunningStub, blobs: Blobs) -> None:
    blobs.write(f"{FOLDER}/a.json", b"[]", content_type="application/cloudevents-batch+json", metadata={})
    client = BlobServiceClient.from_connection_string(running_stub.connection_string)
    address = blobs.url(f"{FOLDER}/a.json").rsplit("/", 3)
    properties = client.get_blob_client(address[1], f"{address[2]}/a.json").get_blob_properties()
    assert properties.content_settings.content_type == "application/cloudevents-batch+json"
    blobs.write(f"{FOLDER}/b.json", b"[]", content_type=JSON, metadata={})


# --- what the host needs of a queue ---------------------------------------------------------------------------


def test_a_received_message_is_hidden_until_its_lease_ends_and_counted(carts: QueueClient) -> None:
    carts.send_message("text")
    first = carts.receive_message(visibility_timeout=600)
    assert first is not None
    assert (first.content, first.dequeue_count) == ("text", 1)
    assert carts.receive_message() is None
    carts.update_message(first.id, first.pop_receipt, visibility_timeout=0)
    second = carts.receive_message()
    assert second is not None
    assert (second.id, second.dequeue_count) == (first.id, 2)


def test_a_message_is_deleted_with_its_latest_receipt_only(carts: QueueClient) -> None:
    carts.send_message("text")
    message = carts.receive_message()
    assert message is not None
    renewed = carts.update_message(message.id, message.pop_receipt, visibility_timeout=600)
    with pytest.raises(HttpResponseError, match="PopReceiptMismatch"):
        carts.delete_message(message.id, message.pop_receipt)
    carts.delete_message(message.id, renewed.pop_receipt)
    with pytest.raises(ResourceNotFoundError):
        carts.delete_message(message.id, renewed.pop_receipt)
    assert carts.get_queue_properties().approximate_message_count == 0


def test_messages_come_in_the_order_they_were_sent_and_at_most_as_many_as_asked_for(carts: QueueClient) -> None:
    for number in range(6):
        carts.send_message(str(number))
    (page,) = [list(page) for page in [next(carts.receive_messages(messages_per_page=4).by_page())]]
    assert [message.content for message in page] == ["0", "1", "2", "3"]
    assert [message.content for message in carts.peek_messages(max_messages=4)] == ["4", "5"]


def test_queues_are_listed_made_twice_cleared_and_deleted(running_stub: RunningStub, carts: QueueClient) -> None:
    with QueueServiceClient.from_connection_string(running_stub.connection_string) as service:
        assert carts.queue_name in [queue.name for queue in service.list_queues()]
    with pytest.raises(ResourceExistsError):
        carts.create_queue()
    carts.send_message("text")
    carts.clear_messages()
    assert carts.receive_message() is None
    carts.delete_queue()
    with pytest.raises(ResourceNotFoundError):
        carts.get_queue_properties()


def test_a_container_is_made_once_and_deleted(running_stub: RunningStub) -> None:
    container = BlobServiceClient.from_connection_string(running_stub.connection_string).get_container_client("once")
    container.create_container()
    with pytest.raises(ResourceExistsError):
        container.create_container()
    assert container.exists()
    container.delete_container()
    assert not container.exists()


# --- the service ----------------------------------------------------------------------------------------------


def test_the_real_credential_gets_a_token_of_the_tenant(
    running_stub: RunningStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{running_stub.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
    with ManagedIdentityCredential() as credential:
        token = credential.get_token(f"{running_stub.url}/.default").token
    assert claims_of(token)["aud"] == running_stub.url


def test_a_checkout_is_a_plain_purchase_and_counted(running_stub: RunningStub) -> None:
    _control(running_stub, "reset")
    answer = requests.post(
        f"{running_stub.url}/v1/customers/{CUSTOMER}/carts/{uuid.uuid4()}/checkout",
        headers={"Authorization": "Bearer none", "MS-RequestId": "a", "MS-CorrelationId": "b"},
        timeout=20,
    )
    assert answer.status_code == 201
    assert [order["status"] for order in answer.json()["orders"]] == ["completed"]
    assert (answer.headers["MS-RequestId"], answer.headers["MS-CorrelationId"]) == ("a", "b")
    state = requests.get(f"{running_stub.url}/_stub/wait?answered=1", timeout=20).json()
    assert (state["answered"], state["carts"]) == (1, 1)


def test_without_a_token_nothing_is_bought(running_stub: RunningStub) -> None:
    address = f"{running_stub.url}/v1/customers/{CUSTOMER}/carts/{uuid.uuid4()}/checkout"
    assert requests.post(address, timeout=20).status_code == 401


def test_a_fed_queue_is_never_empty_and_repeats_no_cart(running_stub: RunningStub, carts: QueueClient) -> None:
    _control(running_stub, "feed", queue=carts.queue_name, text='{"cartId":"{cart}"}', depth=3)
    received = [json.loads(str(message.content)) for _ in range(20) if (message := carts.receive_message()) is not None]
    assert len({cart["cartId"] for cart in received}) == 20
    _control(running_stub, "feed", queue=carts.queue_name, text="", depth=0)
    assert carts.receive_message() is None


def test_a_lognormal_latency_has_the_mean_that_it_is_given_and_repeats() -> None:
    latency = LatencyModel(2.0, 0.5)
    drawn = [latency.draw() for _ in range(50_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.01)
    again = LatencyModel(2.0, 0.5)
    assert [again.draw() for _ in range(5)] == drawn[:5]
    assert LatencyModel(0.2).draw() == 0.2


def test_storage_answers_after_its_latency_and_the_service_after_its_own() -> None:
    stub = Stub()
    stub.set_latency(mean=0.2, storage=0.005)
    missing = HttpRequest("GET", "/account/absent/messages", {}, {}, b"")
    assert stub.storage(stub.queues.answer)(missing).delay == stub.storage(stub.blobs.answer)(missing).delay == 0.005
    assert stub.service.latency.draw() == 0.2


def _control(running_stub: RunningStub, command: str, **arguments: object) -> None:
    assert requests.post(f"{running_stub.url}/_stub/{command}", json=arguments, timeout=20).ok


# --- the wire -------------------------------------------------------------------------------------------------

POST = b"POST /a%20b?x=1&y=%2F HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET"


def test_a_request_is_parsed_wherever_the_network_cuts_it() -> None:
    whole, rest = parse(POST)
    assert whole is not None
    assert (whole.method, whole.path, whole.query, whole.body) == ("POST", "/a b", {"x": "1", "y": "/"}, b"abc")
    assert rest == b"GET"
    for end in range(len(POST) - 3):
        assert parse(POST[:end]) == (None, POST[:end])


@pytest.mark.parametrize(
    "text",
    [
        b"no request\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_bytes_that_are_not_a_request_are_refused(text: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(text)


def test_a_malformed_request_is_answered_and_ends_the_connection(running_stub: RunningStub) -> None:
    answer = requests.post(running_stub.url, data=iter([b"chunk"]), timeout=20)
    assert (answer.status_code, answer.headers["Connection"]) == (400, "close")
