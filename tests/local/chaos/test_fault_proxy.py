"""The proxy on real sockets, in front of a server that records its requests."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from local.azurite import HOST
from local.chaos.fault_proxy import Exchange, ExchangeStage, Proxies, Proxy, ProxyFault, ProxyFaultKind

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 10.0


class RecordingServer(ThreadingHTTPServer):
    """Answers as the path says, and records each request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__((HOST, 0), RecordingHandler)
        self.asked: list[tuple[str, str, bytes]] = []
        self.hosts: list[str | None] = []
        self.connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class RecordingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RecordingServer

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.answer(body)

    def do_GET(self) -> None:
        self.answer(b"")

    def do_HEAD(self) -> None:
        self.answer(b"")

    def answer(self, body: bytes) -> None:
        self.server.asked.append((self.command, self.path, body))
        self.server.hosts.append(self.headers.get("Host"))
        match self.path:
            case "/empty":
                self.send_response(204)
                self.end_headers()
            case "/chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            case "/until-it-ends":
                self.close_connection = True
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(b"to the end")
            case "/cut":
                self.close_connection = True
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"half")
            case _:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) + 2))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(b"<" + body + b">")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies() as running:
        yield running


@pytest.fixture
def proxy(proxies: Proxies, server: RecordingServer) -> Proxy:
    return proxies.add(server.server_port)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection, method: str = "POST", path: str = "/", body: Any = b"hi") -> bytes:
    client.request(method, path, body)
    return client.getresponse().read()


def test_requests_and_responses_pass_unchanged_over_one_connection(
    client: http.client.HTTPConnection, server: RecordingServer
) -> None:
    assert b"<hi>" == ask(client)
    assert b"<>" == ask(client, "GET", "/a?b=c", None)
    assert b"<" + b"x" * 300_000 + b">" == ask(client, body=b"x" * 300_000)

    assert [("POST", "/", b"hi"), ("GET", "/a?b=c", b"")] == server.asked[:2]
    assert 1 == server.connections


def test_bodies_in_chunks_pass_both_ways(client: http.client.HTTPConnection, server: RecordingServer) -> None:
    client.request("POST", "/chunked", iter([b"one", b"two"]), encode_chunked=True)

    assert b"abcde" == client.getresponse().read()
    assert ("POST", "/chunked", b"onetwo") == server.asked[0]
    assert b"<hi>" == ask(client)


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/"), ("GET", "/empty")])
def test_a_response_without_a_body_does_not_delay_the_next_one(
    client: http.client.HTTPConnection, method: str, path: str
) -> None:
    assert b"" == ask(client, method, path, None)
    assert b"<hi>" == ask(client)


def test_a_response_that_ends_with_its_connection_passes(client: http.client.HTTPConnection) -> None:
    assert b"to the end" == ask(client, "GET", "/until-it-ends", None)
    assert b"<hi>" == ask(client)


def test_a_response_that_the_service_cuts_is_cut_for_the_client(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/cut")
    answer = client.getresponse()

    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()


def test_a_request_that_is_dropped_never_arrives(
    client: http.client.HTTPConnection, proxy: Proxy, server: RecordingServer
) -> None:
    proxy.set(ProxyFault(ProxyFaultKind.DROP_BEFORE))

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(client)

    assert [] == server.asked
    assert 1 == proxy.counts[ProxyFaultKind.DROP_BEFORE]


def test_a_response_is_dropped_after_the_request_took_effect(
    client: http.client.HTTPConnection, proxy: Proxy, server: RecordingServer
) -> None:
    proxy.set(ProxyFault(ProxyFaultKind.DROP_AFTER))

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(client)

    assert [("POST", "/", b"hi")] == server.asked
    assert 1 == proxy.counts[ProxyFaultKind.DROP_AFTER]


def test_nothing_listens_while_it_refuses_and_open_connections_are_cut(
    client: http.client.HTTPConnection, proxy: Proxy, server: RecordingServer
) -> None:
    assert b"<hi>" == ask(client)
    proxy.set(ProxyFault(ProxyFaultKind.REFUSE))

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        ask(client)
    client.close()
    with pytest.raises(ConnectionRefusedError):
        ask(client)
    proxy.set()

    client.close()
    assert b"<hi>" == ask(client)
    assert 2 == len(server.asked)
    assert 1 == proxy.counts[ProxyFaultKind.REFUSE]


def test_no_other_program_gets_the_port_while_it_refuses(proxy: Proxy) -> None:
    proxy.set(ProxyFault(ProxyFaultKind.REFUSE))

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, proxy.port))


def test_a_delay_comes_before_the_request_is_passed_on(client: http.client.HTTPConnection, proxy: Proxy) -> None:
    proxy.set(ProxyFault(ProxyFaultKind.DELAY, seconds=0.2))
    began = time.monotonic()

    assert b"<hi>" == ask(client)

    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("kind", [kind for kind in ProxyFaultKind if kind is not ProxyFaultKind.PASS])
def test_every_kind_of_fault_has_an_effect(
    client: http.client.HTTPConnection, proxy: Proxy, server: RecordingServer, kind: ProxyFaultKind
) -> None:
    proxy.set(ProxyFault(kind, seconds=1.0))
    began, answer = time.monotonic(), b""

    with suppress(OSError, http.client.HTTPException):
        answer = ask(client)

    delayed = time.monotonic() - began >= 1.0
    assert delayed or (answer, server.asked) != (b"<hi>", [("POST", "/", b"hi")])


def test_the_random_source_determines_which_requests_are_affected(proxies: Proxies, server: RecordingServer) -> None:
    def hits() -> list[bool]:
        proxy = proxies.add(server.server_port, random_source=random.Random(7))
        proxy.set(ProxyFault(ProxyFaultKind.DROP_BEFORE, share=0.5))
        found = []
        for _ in range(20):
            client = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)
            try:
                ask(client)
                found.append(False)
            except (http.client.RemoteDisconnected, ConnectionResetError):
                found.append(True)
            finally:
                client.close()
        return found

    first = hits()

    assert first == hits()
    assert {True, False} == set(first)


def test_a_fault_spares_what_it_must_not_affect(proxies: Proxies, server: RecordingServer) -> None:
    proxy = proxies.add(server.server_port, affects=lambda exchange: exchange.target == "/v1")
    proxy.set(ProxyFault(ProxyFaultKind.DROP_BEFORE))
    client = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)

    assert b"<hi>" == ask(client, path="/token")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(client, path="/v1")

    client.close()


@pytest.mark.parametrize(("stage", "arrived"), [(ExchangeStage.REQUESTED, 0), (ExchangeStage.ANSWERED, 1)])
def test_a_watcher_can_cut_the_connection_at_its_stage(
    proxies: Proxies, server: RecordingServer, stage: ExchangeStage, arrived: int
) -> None:
    proxy = proxies.add(server.server_port, watch=lambda _, at: at is stage)
    client = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(client)

    client.close()
    assert arrived == len(server.asked)


def test_a_watcher_sees_the_whole_exchange(proxies: Proxies, server: RecordingServer) -> None:
    seen: list[tuple[ExchangeStage, Exchange]] = []
    done = threading.Event()

    def watch(exchange: Exchange, stage: ExchangeStage) -> bool:
        seen.append((stage, exchange))
        if stage is ExchangeStage.DONE:
            done.set()
        return False

    proxy = proxies.add(server.server_port, watch=watch)
    client = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)

    ask(client, path="/path")

    client.close()
    assert done.wait(TIMEOUT)  # the answer is with the client before the proxy is done
    assert [ExchangeStage.REQUESTED, ExchangeStage.ANSWERED, ExchangeStage.DONE] == [stage for stage, _ in seen]
    exchange = seen[-1][1]
    assert exchange.head.startswith(b"POST /path HTTP/1.1\r\n")
    assert Exchange("POST", "/path", b"hi", 200, b"<hi>", exchange.head) == exchange


def test_the_service_behind_finds_its_own_address_in_the_request(
    client: http.client.HTTPConnection, proxy: Proxy, server: RecordingServer
) -> None:
    ask(client, "GET", f"/token?resource=http%3A%2F%2F127.0.0.1%3A{proxy.port}", None)

    assert f"/token?resource=http%3A%2F%2F127.0.0.1%3A{server.server_port}" == server.asked[0][1]
    assert [f"{HOST}:{server.server_port}"] == server.hosts


def test_a_client_that_sends_no_http_is_disconnected(proxy: Proxy, server: RecordingServer) -> None:
    with socket.create_connection((HOST, proxy.port), timeout=TIMEOUT) as line:
        line.sendall(b"nonsense\r\n\r\n")

        assert b"" == line.recv(1)

    assert [] == server.asked


def test_the_connection_is_cut_if_the_service_is_unreachable(proxies: Proxies) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        proxy = proxies.add(unused.getsockname()[1])
        client = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)

        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(client)

        client.close()


def test_the_end_cuts_open_exchanges_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as silent:
        with Proxies() as proxies:
            proxy = proxies.add(silent.getsockname()[1])
            client = http.client.HTTPConnection(HOST, proxy.port, timeout=TIMEOUT)
            client.request("POST", "/", b"hi")
            upstream, _ = silent.accept()
            assert upstream.recv(1)
            began = time.monotonic()

        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client.getresponse()
        client.close()
        upstream.close()

    assert time.monotonic() - began < 2.0
    assert [] == caplog.records
