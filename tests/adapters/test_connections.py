"""No request reads what another one left on its connection: every way in which that happens, on real sockets."""

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from shared.adapters.connections import MOST_INTERIM, ExchangeAdapter
from shared.adapters.http_session import Session
from shared.core.models import ServiceResponse
from tests.adapters.test_partner_center import BOUGHT, REQUEST, client, post
from tests.support.sockets import PATIENCE, Peer, Server, always, answer

OWN = b'{"orders": [{"id": "own"}]}'
"""What the second request is answered with."""
NO_ANSWER = None
LAST_CHUNK = b"0\r\n\r\n"
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = f"Content-Length: {len(BOUGHT)}\r\n".encode()


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def head(*fields: bytes, status: int = 201) -> bytes:
    return b"\r\n".join([f"HTTP/1.1 {status} Said".encode(), *(field.strip() for field in fields), b"", b""])


class Service:
    """Gives the first request one answer, and the second its own, on whatever connection that comes."""

    def __init__(self, first: bytes, *, later: bytes = b"", close: bool = False) -> None:
        self._first = first
        self._later = later
        self._close = close
        self.answered = threading.Event()
        self.said_later = threading.Event()

    def __call__(self, peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(self._first)
            if self._later:
                assert self.answered.wait(PATIENCE)
                with suppress(OSError):  # a caller that has disconnected
                    peer.send(self._later)
            if self._close:
                peer.close()
            self.said_later.set()
            if self._close:
                return
        while peer.request() is not None:
            peer.send(answer(201, OWN))


def ask_twice(
    service: Service, tls: ssl.SSLContext | None = None, *, timeout: float = PATIENCE
) -> tuple[list[bytes | None], int]:
    """The bodies of two checkouts, None where there was no answer, and the number of connections that they took."""
    with Server(service, tls) as server:
        caller = client(server.url, timeout=timeout)
        bodies = []
        for _ in range(2):
            response = post(caller, REQUEST)
            bodies.append(response.body if response.status is not None else NO_ANSWER)
            service.answered.set()
            assert service.said_later.wait(PATIENCE)
        return bodies, server.connections


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


INTERIM = {
    "one 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "one 102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "one 103 with fields": b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nContent-Length: 5\r\n\r\n",
    "an unknown one": b"HTTP/1.1 199\r\n\r\n",
    "several": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    "as many as are read": b"HTTP/1.1 103 Early Hints\r\n\r\n" * MOST_INTERIM,
}


@pytest.mark.parametrize("interim", INTERIM)
def test_interim_responses_are_not_the_answer(interim: str) -> None:
    assert ([BOUGHT, OWN], 1) == ask_twice(Service(INTERIM[interim] + answer(201, BOUGHT)))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("interim", INTERIM)
def test_over_tls_interim_responses_are_not_the_answer(interim: str, tls: ssl.SSLContext) -> None:
    assert ([BOUGHT, OWN], 1) == ask_twice(Service(INTERIM[interim] + answer(201, BOUGHT)), tls)


def test_an_interim_response_may_be_split_across_packets() -> None:
    """Sent byte by byte, and without Nagle's delay, so that each is read on its own."""

    def play(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.request()
        peer.trickle(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\n", pause=0.002)
        peer.send(LENGTH + b"\r\n" + BOUGHT)

    with Server(play) as server:
        assert post(client(server.url), REQUEST) == ServiceResponse(201, BOUGHT)


FIRST_IN_VAIN = {
    "more interim responses than are read": b"HTTP/1.1 103 Hints\r\n\r\n" * (MOST_INTERIM + 1) + answer(201, BOUGHT),
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + answer(201, BOUGHT),
    "chunks that are none": CHUNKED + b"xyz\r\n" + BOUGHT + b"\r\n" + LAST_CHUNK,
    "a chunk that is longer than it says": CHUNKED + b"5\r\n" + BOUGHT + b"\r\n" + LAST_CHUNK,
    "two lengths": head(b"Content-Length: 5", LENGTH) + BOUGHT,
    "no HTTP": b"nonsense\r\n\r\n" + answer(201, BOUGHT),
    "a body that is not gzip": answer(201, BOUGHT, Content_Encoding="gzip"),
}


@pytest.mark.parametrize("first", FIRST_IN_VAIN)
def test_after_what_is_no_answer_the_next_request_gets_its_own_on_another_connection(first: str) -> None:
    bodies, connections = ask_twice(Service(FIRST_IN_VAIN[first]))
    assert ([NO_ANSWER, OWN], 2) == (bodies, connections)


@pytest.mark.parametrize("content", [answer(201, BOUGHT)[:-5], CHUNKED + chunk(BOUGHT), CHUNKED + b"30\r\n{", b""])
def test_after_a_body_that_breaks_off_the_next_request_gets_its_own_answer(content: bytes) -> None:
    assert ([NO_ANSWER, OWN], 2) == ask_twice(Service(content, close=True))


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", head(LENGTH), head(LENGTH) + BOUGHT[:9], CHUNKED + chunk(BOUGHT)]
)
def test_what_comes_after_the_deadline_is_not_the_next_requests_answer(said: bytes) -> None:
    rest = b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(201, BOUGHT)
    assert ([NO_ANSWER, OWN], 2) == ask_twice(Service(said, later=rest), timeout=0.3)


ANSWERED = {
    "a whole second answer": answer(201, BOUGHT) + answer(201, BOUGHT),
    "a second answer's beginning": answer(201, BOUGHT) + b"HTTP/1.1 201",
    "bytes after its length": answer(201, BOUGHT) + b"!",
    "bytes after the last chunk": CHUNKED + chunk(BOUGHT) + LAST_CHUNK + b"!",
    "an answer after the last chunk": CHUNKED + chunk(BOUGHT) + LAST_CHUNK + answer(201, BOUGHT),
    "the announcement of its end": answer(201, BOUGHT, Connection="close"),
    "a length and chunks": head(LENGTH, b"Transfer-Encoding: chunked") + chunk(BOUGHT) + LAST_CHUNK,
    "the same length twice": head(LENGTH, LENGTH) + BOUGHT,
    "a length with a sign": head(b"Content-Length: +%d" % len(BOUGHT)) + BOUGHT,
    "an unknown encoding with a length": head(LENGTH, b"Transfer-Encoding: identity") + BOUGHT,
}


@pytest.mark.parametrize("first", ANSWERED)
def test_after_an_answer_with_more_or_an_unclear_end_the_next_request_gets_its_own_on_another_connection(
    first: str,
) -> None:
    assert ([BOUGHT, OWN], 2) == ask_twice(Service(ANSWERED[first]))


def test_a_clean_answer_does_not_excuse_what_comes_with_the_next_on_its_connection() -> None:
    more = answer(201, BOUGHT) + answer(201, BOUGHT)
    with Server(always(answer(201, OWN), more, answer(201, OWN))) as server:
        caller = client(server.url)
        assert [OWN, BOUGHT, OWN] == [post(caller, REQUEST).body for _ in range(3)]
    assert 2 == server.connections


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("first", ANSWERED)
@pytest.mark.parametrize("longest", [False, True])
def test_over_tls_what_comes_with_an_answer_is_not_the_next_requests(
    first: str, longest: bool, tls: ssl.SSLContext
) -> None:
    """What is decrypted already, nobody sees who polls the socket: a record has 16 KiB, and the reader asks for 8."""
    padding = b"X-Padding: " + b"x" * (8100 - len(ANSWERED[first])) + b"\r\n" if longest else b""
    status, _, rest = ANSWERED[first].partition(b"\r\n")
    assert ([BOUGHT, OWN], 2) == ask_twice(Service(status + b"\r\n" + padding + rest), tls)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"", BOUGHT])
def test_after_a_body_that_must_not_be_there_the_next_request_gets_its_own_answer(status: int, body: bytes) -> None:
    assert ([b"", OWN], 2) == ask_twice(Service(answer(status, BOUGHT)[: -len(BOUGHT)] + body))


IDLE = {
    "a timeout": answer(408, b"idle for too long"),
    "a second answer": answer(201, BOUGHT),
    "one byte": b"!",
    "an interim response": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("later", IDLE)
def test_what_comes_on_an_idle_connection_is_not_the_next_requests_answer(later: str, close: bool) -> None:
    assert ([BOUGHT, OWN], 2) == ask_twice(Service(answer(201, BOUGHT), later=IDLE[later], close=close))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("later", IDLE)
def test_over_tls_what_comes_on_an_idle_connection_is_not_the_next_requests_answer(
    later: str, tls: ssl.SSLContext
) -> None:
    assert ([BOUGHT, OWN], 2) == ask_twice(Service(answer(201, BOUGHT), later=IDLE[later]), tls)


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("before", [answer(503, b"overloaded"), answer(201, BOUGHT), b"!"])
def test_what_comes_before_the_request_is_no_answer_and_the_request_is_not_sent(before: bytes, close: bool) -> None:
    check_that_nothing_is_sent_after(before, close=close)


def test_on_a_connection_that_was_closed_before_the_request_nothing_is_sent() -> None:
    check_that_nothing_is_sent_after(b"", close=True)


def check_that_nothing_is_sent_after(before: bytes, *, close: bool) -> None:
    said = threading.Event()

    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.send(before)
            if close:
                peer.close()
            said.set()
            if close:
                return
        while peer.request() is not None:
            peer.send(answer(201, OWN))

    def may_begin() -> bool:
        begun.append("begun")
        return True

    unsent = ServiceResponse(None, failure="not sent: Unsolicited", sent=False)
    begun: list[str] = []
    with Server(play) as server:
        caller = client(server.url)
        connect = socket.socket.connect

        def connect_and_wait(sock: socket.socket, address: object) -> None:
            connect(sock, address)  # type: ignore[arg-type]
            assert said.wait(PATIENCE)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", connect_and_wait)
            assert unsent == post(caller, REQUEST, may_begin)
        assert [] == begun
        assert OWN == post(caller, REQUEST, may_begin).body
    assert 1 == len(server.requests)


def test_a_large_body_is_sent_whole_on_a_new_and_on_a_used_connection() -> None:
    """It does not fit into the socket's buffer, so its sender has to wait for the reader."""
    body = b"x" * 8 * 1024 * 1024
    with Server(always(answer(201))) as server:
        session = Session(ExchangeAdapter(pool_maxsize=1))
        for _ in range(2):
            assert session.request("PUT", server.url, data=body, headers={}, timeout=(PATIENCE, PATIENCE)).ok
    assert [body] * 2 == [request.body for request in server.requests]
    assert 1 == server.connections
