"""The throughput limit of a back end: the seven requests of a cart on plain sockets, by eight threads.

The requests are prepared bytes with a shared access signature in the address, so the client costs little. A
competitor that comes near this limit would measure the back end instead of itself.
"""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.queue import AccountSasPermissions, ResourceTypes, generate_account_sas

from bench.competitor import OURS
from bench.stub.service import CUSTOMER
from local.azurite import ACCOUNT, ACCOUNT_KEY, HOST

if TYPE_CHECKING:
    from bench.backend import Backend
    from bench.measure import Sample

CLIENTS = 8
_EVENT = b"x" * 2_000
_ENTRY = "x" * 300
_ETAG = re.compile(rb"^etag: *(\S+)", re.IGNORECASE | re.MULTILINE)


class RawClient:
    """One connection to each of the three services."""

    def __init__(self, backend: Backend) -> None:
        ends = datetime.now(UTC) + timedelta(hours=1)
        environ = backend.environment()
        self._queue_sas = generate_account_sas(
            ACCOUNT,
            ACCOUNT_KEY,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, add=True, update=True, process=True, write=True, delete=True),
            ends,
        )
        self._blob_sas = generate_container_sas(
            ACCOUNT,
            environ["RECORDS_CONTAINER"],
            ACCOUNT_KEY,
            permission=ContainerSasPermissions(read=True, write=True, create=True, add=True),
            expiry=ends,
        )
        self._carts = f"/{ACCOUNT}/{environ['CARTS_QUEUE']}/messages"
        self._outcomes = f"/{ACCOUNT}/{environ['OUTCOMES_QUEUE']}/messages"
        self._records = f"/{ACCOUNT}/{environ['RECORDS_CONTAINER']}"
        self._queue = _connect(urlsplit(backend.queue_endpoint).port)
        self._blob = _connect(urlsplit(backend.blob_endpoint).port)
        self._service = _connect(backend.service_port)

    def check_out(self, cart_id: str) -> None:
        """Receive one message and make the requests of its checkout, with the entry before its POST."""
        reply = _request(self._queue, "GET", f"{self._carts}?numofmessages=1&visibilitytimeout=600&{self._queue_sas}")
        message_id, receipt = _between(reply, b"MessageId"), _between(reply, b"PopReceipt")
        blob = f"{self._records}/{CUSTOMER}/{cart_id}.json?{self._blob_sas}"
        _request(self._blob, "GET", blob)
        entry = f"x-ms-meta-post: {_ENTRY}"
        etag = _etag(
            _request(self._blob, "PUT", blob, "x-ms-blob-type: BlockBlob", "If-None-Match: *", entry, body=b"[]")
        )
        path = f"/v1/customers/{CUSTOMER}/carts/{cart_id}/checkout"
        _request(self._service, "POST", path, "Authorization: Bearer none")
        _request(self._blob, "PUT", blob, "x-ms-blob-type: BlockBlob", f"If-Match: {etag}", body=_EVENT)
        body = b"<QueueMessage><MessageText>" + _EVENT + b"</MessageText></QueueMessage>"
        _request(self._queue, "POST", f"{self._outcomes}?messagettl=-1&{self._queue_sas}", body=body)
        receipt = quote(receipt, safe="")
        _request(self._queue, "DELETE", f"{self._carts}/{message_id}?popreceipt={receipt}&{self._queue_sas}")

    def close(self) -> None:
        """Close the connections."""
        for each in (self._queue, self._blob, self._service):
            each.close()


def measure(backend: Backend, carts: int) -> Sample:
    """Carts per second that the back end can serve while the service answers at once."""
    backend.prepare(0.0)
    backend.feed(OURS.message, carts + CLIENTS)
    clients = [RawClient(backend) for _ in range(CLIENTS)]

    def drive(number: int) -> None:
        for index in range(carts // CLIENTS):
            clients[number].check_out(f"{index:08x}-0000-4000-9000-{number:012x}")

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(drive, range(CLIENTS)))
    seconds = time.perf_counter() - started
    backend.stop_feeding()
    for client in clients:
        client.close()
    return {"carts_per_second": carts // CLIENTS * CLIENTS / seconds}


def _connect(port: int | None) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _request(connection: socket.socket, method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """Make a request, and return its response with the head."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", "x-ms-version: 2021-12-02", *headers]
    lines += [f"Content-Length: {len(body)}", "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)
    response = b""
    while b"\r\n\r\n" not in response:
        response += _received(connection)
    head, _, rest = response.partition(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while not rest.endswith(b"0\r\n\r\n"):
            rest += _received(connection)
        return head + rest
    found = lower.find(b"content-length:")
    length = int(lower[found + 15 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
    while len(rest) < length:
        rest += _received(connection)
    return head + rest


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("the back end closed the connection")
    return data


def _etag(response: bytes) -> str:
    found = _ETAG.search(response)
    return "" if found is None else found[1].decode()


def _between(xml: bytes, tag: bytes) -> str:
    return xml.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0].decode()
