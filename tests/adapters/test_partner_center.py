"""The client over real sockets: what is sent, what comes back, and that every exchange ends in its time."""

import gzip
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from local.simulator.scenarios import cart_id
from local.simulator.server import Simulator
from shared.adapters import http_session
from shared.adapters import partner_center as module
from shared.adapters.identity import TokenProvider, credential_factory
from shared.adapters.partner_center import LONGEST_BODY, PartnerCenter
from shared.core.messages import CheckoutRequest, ms_request_id
from shared.core.models import ServiceResponse
from shared.core.verdict import candidates
from shared.ports import TokenUnavailable
from shared.settings import Settings
from tests.support.sockets import PATIENCE, Peer, Server, always, answer, refusing_port

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
CART = "bebebebe-1111-4222-8333-444444444444"
UPN = "kim@contoso.example"
TOKEN = "the-token"
KEY = ms_request_id(CUSTOMER, CART, 0)
RENEWED = "the-renewed-token"
REQUEST = CheckoutRequest(CUSTOMER, CART, "order-1", datetime(2026, 11, 22, tzinfo=UTC), customer_user_upn=UPN)
BOUGHT = b'{"orders": [{"id": "o", "status": "completed"}]}'
SHORT = 0.3
"""Seconds: the deadline where one must be met."""
GENEROUS = 10.0
"""Seconds after which a deadline of `SHORT` was certainly not kept."""


class Tokens(TokenProvider):
    """An identity without a service behind it."""

    def __init__(self, renewed: str | None = RENEWED, missing: TokenUnavailable | None = None) -> None:
        self.renewals: list[str] = []
        self._renewed_token = renewed
        self._missing = missing

    def token(self) -> str:
        if self._missing is not None:
            raise self._missing
        return TOKEN

    def renew(self, refused: str) -> str | None:
        self.renewals.append(refused)
        return self._renewed_token


def client(
    url: str, identity: TokenProvider | None = None, *, timeout: float = PATIENCE, threads: int = 32
) -> PartnerCenter:
    settings = Settings(
        "carts", "outcomes", "records", partner_center_url=url, threads=threads, checkout_timeout=timeout
    )
    return PartnerCenter(settings, identity or Tokens())


def post(
    service: PartnerCenter, request: CheckoutRequest, may_begin: Callable[[], bool] = lambda: True
) -> ServiceResponse:
    return service.checkout(request, ms_request_id=KEY, token=TOKEN, may_begin=may_begin)


def exchange(play: Callable[[Peer], None], *, timeout: float = PATIENCE) -> ServiceResponse:
    """One checkout with a service that plays this part."""
    with Server(play) as server:
        return post(client(server.url, timeout=timeout), REQUEST)


@pytest.fixture(autouse=True)
def _a_plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


# --- what is sent --------------------------------------------------------------------------------------------

TRANSPORT = {"Host", "Accept-Encoding", "Connection"}
"""Headers of HTTP itself, which any client sends."""


def sent(call: Callable[[PartnerCenter], ServiceResponse]) -> tuple[str, str, dict[str, str], bytes]:
    with Server(always(answer(200, b"{}"))) as server:
        call(client(server.url))
        (request,) = server.requests
    headers = {name: value for name, value in request.headers.items() if name not in TRANSPORT}
    return request.method, request.target, headers, request.body


USER_AGENT = "cart-checkout-function/0.1.0"


def test_a_checkout_is_a_post_without_a_body_with_the_documented_headers() -> None:
    assert sent(lambda service: post(service, REQUEST)) == (
        "POST",
        f"/v1/customers/{CUSTOMER}/carts/{CART}/checkout",
        {
            "Authorization": f"Bearer {TOKEN}",
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "X-Locale": "en-US",
            "MS-RequestId": KEY,
            "MS-CorrelationId": REQUEST.correlation_id,
            "x-ms-customeruser-upn": UPN,
            "Content-Type": "application/json",
            "Content-Length": "0",
        },
        b"",
    )


def test_the_customers_user_is_named_only_where_one_is_given() -> None:
    nobody = CheckoutRequest(CUSTOMER, CART, "order-1", REQUEST.started_at)
    _, _, headers, _ = sent(lambda service: post(service, nobody))
    assert "x-ms-customeruser-upn" not in {name.lower() for name in headers}


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (PartnerCenter.get_cart, f"/v1/customers/{CUSTOMER}/carts/{CART}"),
        (PartnerCenter.list_orders, f"/v1/customers/{CUSTOMER}/orders"),
    ],
)
def test_a_get_names_no_user(call: Callable[[PartnerCenter, CheckoutRequest], ServiceResponse], target: str) -> None:
    method, asked, headers, body = sent(lambda service: call(service, REQUEST))
    assert (method, asked, body) == ("GET", target, b"")
    del headers["MS-RequestId"]
    assert headers == {
        "Authorization": f"Bearer {TOKEN}",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "X-Locale": "en-US",
        "MS-CorrelationId": REQUEST.correlation_id,
    }


def test_each_get_has_an_ms_request_id_of_its_own_and_never_the_key_of_a_post() -> None:
    """A service that remembers the answer of an id would give an old one, and a second GET the 401 of the first."""
    with Server(always(answer(401), answer(200, b"{}"))) as server:
        service = client(server.url)
        service.get_cart(REQUEST)
        service.get_cart(REQUEST)
        service.list_orders(REQUEST)
        service.get_order(CUSTOMER, "order")
    ids = [uuid.UUID(request.headers["MS-RequestId"]) for request in server.requests]
    assert 5 == len(set(ids))
    assert {4} == {each.version for each in ids}
    assert 5 == uuid.UUID(KEY).version


def test_the_user_agent_names_this_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert USER_AGENT == f"{project['name']}/{project['version']}"


def test_the_messages_own_correlation_id_is_passed_on() -> None:
    correlated = CheckoutRequest(CUSTOMER, CART, "order-1", REQUEST.started_at, correlation=CART)
    _, _, headers, _ = sent(lambda service: post(service, correlated))
    assert headers["MS-CorrelationId"] == CART


def test_a_cookie_is_not_sent_back() -> None:
    """A session is shared by all customers: whatever a gateway pins one of them to must not pin the others."""
    with Server(always(answer(201, BOUGHT, Set_Cookie="pinned=1; Path=/"))) as server:
        service = client(server.url)
        for _ in range(2):
            post(service, REQUEST)
    assert [request.headers["Cookie"] for request in server.requests] == [None, None]


def test_the_api_version_is_that_of_the_settings() -> None:
    with Server(always(answer(200, b"{}"))) as server:
        settings = Settings("carts", "outcomes", "records", partner_center_url=server.url, api_version="v2")
        PartnerCenter(settings, Tokens()).get_cart(REQUEST)
    assert server.requests[0].target.startswith("/v2/customers/")


# --- what comes back -----------------------------------------------------------------------------------------


def test_the_status_the_body_and_the_ids_come_back() -> None:
    ids = {"MS_RequestId": "A", "MS_CorrelationId": "B", "MS_CV": "C.0", "Retry_After": "7"}
    assert exchange(always(answer(201, BOUGHT, **ids))) == ServiceResponse(
        201, BOUGHT, retry_after="7", request_id="A", correlation_id="B", cv="C.0"
    )


def test_absent_headers_are_none() -> None:
    assert exchange(always(answer(503, b"busy"))) == ServiceResponse(503, b"busy")


@pytest.mark.parametrize("status", [200, 202, 204, 400, 403, 404, 408, 409, 417, 429, 500, 501, 502, 503, 504, 599])
def test_every_status_is_a_response_and_nothing_is_retried(status: int) -> None:
    with Server(always(answer(status, Retry_After="1"))) as server:
        assert post(client(server.url), REQUEST).status == status
    assert len(server.requests) == 1


def test_a_chunked_response_is_read_completely() -> None:
    chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (BOUGHT[:5], BOUGHT[5:], b"")
    )
    assert exchange(always(chunked)).body == BOUGHT


def test_an_interim_response_is_ignored() -> None:
    assert exchange(always(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(201, BOUGHT))) == ServiceResponse(201, BOUGHT)


def test_a_response_that_ends_with_its_connection_is_read_completely() -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n" + BOUGHT * 10_000)

    assert exchange(play).body == BOUGHT * 10_000


def test_a_closed_connection_with_a_length_is_read_completely_and_the_next_call_reconnects() -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(answer(201, BOUGHT * 10_000, Connection="close"))

    with Server(play) as server:
        service = client(server.url)
        assert [post(service, REQUEST).body for _ in range(2)] == [BOUGHT * 10_000] * 2
    assert server.connections == 2


# --- redirects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_response_and_not_followed(status: int) -> None:
    with Server(always(answer(200, b"{}"))) as elsewhere:
        redirected = exchange(always(answer(status, b"moved", Location=f"{elsewhere.url}/v1")))
    assert (redirected.status, redirected.body) == (status, b"moved")
    assert elsewhere.connections == 0


@pytest.mark.parametrize("location", ["http://[::1", "//", "http://\u00ff/", "http://x:y/", "\x01", "https:///a", ""])
def test_a_redirect_to_an_invalid_address_is_a_response_too(location: str) -> None:
    assert exchange(always(answer(302, b"moved", Location=location))).status == 302


def test_a_redirects_body_is_bounded_like_every_other() -> None:
    begun = threading.Event()

    def play(peer: Peer) -> None:
        peer.request()
        head = answer(302, Location="http://127.0.0.1:9/").replace(b"Content-Length: 0", b"Content-Length: 99999999999")
        peer.send(head)
        begun.set()
        while True:
            peer.send(bytes(1024 * 1024))  # until the caller hangs up

    assert exchange(play).status is None
    assert begun.is_set()


# --- 401 -----------------------------------------------------------------------------------------------------


def bearers(server: Server) -> list[str]:
    return [request.headers["Authorization"] for request in server.requests]


@pytest.mark.parametrize("call", [PartnerCenter.get_cart, PartnerCenter.list_orders])
def test_a_401_is_tried_once_more_with_a_new_token(
    call: Callable[[PartnerCenter, CheckoutRequest], ServiceResponse],
) -> None:
    tokens = Tokens()
    with Server(always(answer(401), answer(200, b'{"items":[]}'))) as server:
        assert call(client(server.url, tokens), REQUEST) == ServiceResponse(200, b'{"items":[]}')
    assert bearers(server) == [f"Bearer {TOKEN}", f"Bearer {RENEWED}"]
    assert tokens.renewals == [TOKEN]


def test_a_401_of_a_checkout_is_a_response_like_any_other() -> None:
    tokens = Tokens()
    with Server(always(answer(401, b"first"), answer(201, BOUGHT))) as server:
        assert post(client(server.url, tokens), REQUEST) == ServiceResponse(401, b"first")
    assert len(server.requests) == 1
    assert tokens.renewals == []


def test_a_second_401_of_a_get_is_final() -> None:
    with Server(always(answer(401, b"first"), answer(401, b"second"))) as server:
        assert client(server.url).get_cart(REQUEST) == ServiceResponse(401, b"second")
    assert len(server.requests) == 2


def test_a_401_of_a_get_is_final_where_there_is_no_other_token() -> None:
    with Server(always(answer(401, b"first"))) as server:
        assert client(server.url, Tokens(renewed=None)).get_cart(REQUEST) == ServiceResponse(401, b"first")
    assert len(server.requests) == 1


def test_a_401_of_a_get_is_final_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GET_TIMEOUT", SHORT)

    class Slow(Tokens):
        def renew(self, refused: str) -> str | None:
            threading.Event().wait(SHORT + 0.05)
            return super().renew(refused)

    with Server(always(answer(401, b"first"), answer(200, b"{}"))) as server:
        assert client(server.url, Slow()).get_cart(REQUEST) == ServiceResponse(401, b"first")
    assert len(server.requests) == 1


def test_the_token_of_a_post_is_asked_for_and_renewed_by_the_caller() -> None:
    service = client("http://127.0.0.1:9")
    assert (service.token(), service.renew_token(TOKEN)) == (TOKEN, RENEWED)


def test_a_post_asks_for_no_token_so_its_whole_time_is_its_own() -> None:
    with Server(always(answer(201, BOUGHT))) as server:
        service = client(server.url, Tokens(missing=TokenUnavailable("it would take some time to say so")))
        assert ServiceResponse(201, BOUGHT) == post(service, REQUEST)


def test_a_missing_token_is_raised() -> None:
    with pytest.raises(TokenUnavailable):
        client("http://127.0.0.1:9", Tokens(missing=TokenUnavailable("no token"))).token()


@pytest.mark.parametrize("call", [PartnerCenter.get_cart, PartnerCenter.list_orders])
def test_without_a_token_a_get_has_no_response(
    call: Callable[[PartnerCenter, CheckoutRequest], ServiceResponse],
) -> None:
    with Server(always(answer(200, b"{}"))) as server:
        unasked = call(client(server.url, Tokens(missing=TokenUnavailable("no token"))), REQUEST)
    assert unasked == ServiceResponse(None, failure="no token", sent=False)
    assert server.connections == 0


def test_the_deadline_of_a_get_includes_the_time_for_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 seconds in all: the limits of one message add up."""
    monkeypatch.setattr(module, "GET_TIMEOUT", SHORT)

    class Slow(Tokens):
        def token(self) -> str:
            threading.Event().wait(SHORT + 0.05)
            return super().token()

    with Server(always(answer(200, b"{}"))) as server:
        assert client(server.url, Slow()).get_cart(REQUEST).status is None
    assert len(server.requests) == 0


def test_with_the_real_identity_a_revoked_token_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator() as simulator:
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        settings = Settings("carts", "outcomes", "records", partner_center_url=simulator.url)
        identity = TokenProvider(credential_factory(settings), settings.scope, simulator.identity.tenant_id)
        service = PartnerCenter(settings, identity)
        created = replace(REQUEST, cart_id=cart_id("created", ""))
        bought = service.checkout(created, ms_request_id=KEY, token=service.token(), may_begin=lambda: True)
        assert bought.status == 201
        simulator.identity.revoke()
        assert service.get_cart(created).status == 200
        assert (simulator.identity.requests, simulator.identity.refused) == (2, 1)


# --- no answer -----------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 201 Created\r\nContent-Length: 48\r\n\r\n"


def hang_up(content: bytes) -> Callable[[Peer], None]:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(content)

    return play


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 20",
        HEAD[:40],
        HEAD,
        HEAD + BOUGHT[:20],
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc Nonsense\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 201 Created\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        answer(201, b"no gzip", Content_Encoding="gzip"),
    ],
)
def test_a_broken_connection_or_malformed_response_is_no_response(content: bytes) -> None:
    response = exchange(hang_up(content))
    assert response.status is None
    assert (response.failure or "").startswith("no answer: ")


@given(st.binary(max_size=80), st.booleans())
@hypothesis_settings(deadline=None, max_examples=60)
def test_any_bytes_are_read_as_a_response_or_as_none(content: bytes, after_a_head: bool) -> None:
    response = exchange(hang_up((b"HTTP/1.1 200 OK\r\n" if after_a_head else b"") + content), timeout=2.0)
    assert response.status is None or 100 <= response.status <= 999


def test_a_refused_connection_is_no_response() -> None:
    response = post(client(f"http://127.0.0.1:{refusing_port()}"), REQUEST)
    assert response == ServiceResponse(None, failure="not sent: NewConnectionError", sent=False)


def test_without_a_response_the_next_call_is_made_on_a_new_connection() -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(answer(201, BOUGHT) if peer.number == 2 else HEAD)

    with Server(play) as server:
        service = client(server.url)
        assert [post(service, REQUEST).status for _ in range(2)] == [None, 201]


def test_a_failure_names_neither_the_token_nor_the_user_nor_the_address() -> None:
    for got in (exchange(hang_up(b"")), post(client(f"http://127.0.0.1:{refusing_port()}"), REQUEST)):
        for secret in (TOKEN, UPN, CUSTOMER, CART):
            assert secret not in repr(got)


# --- the deadline --------------------------------------------------------------------------------------------


def silent(peer: Peer) -> None:
    peer.request()
    peer.hold()


def trickling(before: bytes, content: bytes) -> Callable[[Peer], None]:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(before)
        peer.trickle(content)

    return play


LATE = {
    "silent": silent,
    "a trickling head": trickling(b"HTTP/1.1 201 Created\r\nX: ", b"y" * 60_000),
    "trickling headers": trickling(b"HTTP/1.1 201 Created\r\n", b"X: y\r\n" * 90),
    "endless interim answers": trickling(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a trickling body": trickling(b"HTTP/1.1 201 Created\r\nContent-Length: 60000\r\n\r\n", b"x" * 60_000),
    "a trickling body without a length": trickling(b"HTTP/1.1 201 Created\r\n\r\n", b"x" * 60_000),
    "trickling chunks": trickling(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 9999),
    "a trickling redirect": trickling(
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 60000\r\n\r\n", b"x" * 60_000
    ),
}


@pytest.mark.parametrize("late", LATE)
def test_an_exchange_ends_by_its_deadline_however_the_response_arrives(late: str) -> None:
    begin = time.monotonic()
    assert exchange(LATE[late], timeout=SHORT).status is None
    assert SHORT * 0.9 < time.monotonic() - begin < GENEROUS


def test_a_get_has_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GET_TIMEOUT", SHORT)
    begin = time.monotonic()
    with Server(LATE["a trickling body"]) as server:
        assert client(server.url).get_cart(REQUEST).status is None
    assert time.monotonic() - begin < GENEROUS


def test_a_slow_response_within_the_deadline_is_returned() -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.trickle(answer(201, BOUGHT), pause=0.001)

    assert exchange(play) == ServiceResponse(201, BOUGHT)


def test_a_passed_deadline_does_not_affect_the_next_exchange() -> None:
    def play(peer: Peer) -> None:
        while peer.request() is not None:
            if peer.number == 1:
                peer.hold()
            peer.send(answer(201, BOUGHT))

    with Server(play) as server:
        service = client(server.url, timeout=SHORT)
        first, second, third = (post(service, REQUEST) for _ in range(3))
    assert [first.status, second.status, third.status] == [None, 201, 201]


# --- the body's size -----------------------------------------------------------------------------------------


def test_a_body_of_ten_mebibytes_is_read() -> None:
    assert exchange(always(answer(201, bytes(LONGEST_BODY)))).body == bytes(LONGEST_BODY)


def test_a_body_of_one_byte_more_is_refused() -> None:
    assert exchange(always(answer(201, bytes(LONGEST_BODY + 1)))).status is None


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    sent_bytes = 0

    def play(peer: Peer) -> None:
        nonlocal sent_bytes
        peer.request()
        peer.send(b"HTTP/1.1 201 Created\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            peer.send(bytes(1024 * 1024))
            sent_bytes += 1024 * 1024

    assert exchange(play).status is None
    assert sent_bytes < 10 * LONGEST_BODY  # what the sockets' buffers hold, and no more


def test_a_compressed_body_is_decoded() -> None:
    with Server(always(answer(201, gzip.compress(BOUGHT), Content_Encoding="gzip"))) as server:
        assert post(client(server.url), REQUEST).body == BOUGHT
    assert "gzip" in server.requests[0].headers["Accept-Encoding"]


def test_a_compressed_bomb_is_refused_without_its_whole_content_in_memory() -> None:
    bomb = gzip.compress(bytes(1024**3 // 4), 9)
    child = f"""
import resource, sys
limit = 1024**2 * 200
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
from datetime import UTC, datetime
from shared.core.messages import CheckoutRequest
from shared.adapters.partner_center import PartnerCenter
from shared.settings import Settings
settings = Settings("carts", "outcomes", "records", partner_center_url=sys.argv[1], threads=2)
class Tokens:
    token = staticmethod(lambda: "t")
request = CheckoutRequest("{CUSTOMER}", "{CART}", "o", datetime.now(UTC))
answer = PartnerCenter(settings, Tokens()).checkout(request, ms_request_id="r", token="t", may_begin=lambda: True)
print(answer.status, answer.failure)
"""
    with Server(always(answer(201, bomb, Content_Encoding="gzip"))) as server:
        done = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-c", child, server.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parents[2],
        )
    assert done.stdout.startswith("None no answer"), done.stderr


# --- connections ---------------------------------------------------------------------------------------------


def test_sequential_calls_share_one_connection() -> None:
    with Server(always(answer(201, BOUGHT))) as server:
        service = client(server.url)
        for _ in range(5):
            post(service, REQUEST)
            service.get_cart(REQUEST)
    assert server.connections == 1
    assert len(server.requests) == 10


def test_as_many_threads_as_the_settings_say_keep_their_connections(caplog: pytest.LogCaptureFixture) -> None:
    threads = 24
    together = threading.Barrier(threads)

    def play(peer: Peer) -> None:
        while peer.request() is not None:
            together.wait(PATIENCE)  # all of them at once, twice
            peer.send(answer(201, BOUGHT))

    with Server(play) as server, ThreadPoolExecutor(threads) as pool:
        service = client(server.url, threads=threads)
        for _ in range(2):
            calls = [pool.submit(post, service, REQUEST) for _ in range(threads)]
            assert [call.result().status for call in calls] == [201] * threads
    assert server.connections == threads
    assert "pool is full" not in caplog.text


def test_a_connection_that_the_service_closed_while_idle_is_not_used() -> None:
    closed = threading.Event()

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(answer(201, BOUGHT))
        peer.close()
        closed.set()

    with Server(play) as server:
        service = client(server.url)
        assert post(service, REQUEST).status == 201
        assert closed.wait(PATIENCE)
        assert post(service, REQUEST).status == 201
    assert server.connections == 2


# --- the environment -----------------------------------------------------------------------------------------


def test_a_netrc_does_not_replace_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login any password body\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(always(answer(401), answer(201, BOUGHT))) as server:
        client(server.url).get_cart(REQUEST)
    assert bearers(server) == [f"Bearer {TOKEN}", f"Bearer {RENEWED}"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_is_not_used_for_loopback(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(always(answer(502))) as proxy, Server(always(answer(201, BOUGHT))) as server:
        monkeypatch.setenv(name, proxy.url)
        assert post(client(server.url), REQUEST).status == 201
    assert proxy.connections == 0


# --- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.mark.usefixtures("trusted")
def test_over_tls_responses_are_returned_and_the_connection_is_reused(tls: ssl.SSLContext) -> None:
    with Server(always(answer(201, BOUGHT)), tls) as server:
        service = client(server.url)
        assert [post(service, REQUEST) for _ in range(3)] == [ServiceResponse(201, BOUGHT)] * 3
    assert server.connections == 1


@pytest.mark.usefixtures("trusted")
def test_over_tls_a_response_that_ends_with_its_connection_is_read_completely(tls: ssl.SSLContext) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(answer(201, BOUGHT * 10_000, Connection="close"))

    with Server(play, tls) as server:
        assert post(client(server.url), REQUEST).body == BOUGHT * 10_000


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("late", LATE)
def test_over_tls_the_deadline_holds_too(late: str, tls: ssl.SSLContext) -> None:
    begin = time.monotonic()
    with Server(LATE[late], tls) as server:
        assert post(client(server.url, timeout=SHORT), REQUEST).status is None
    assert time.monotonic() - begin < GENEROUS


def test_a_tls_handshake_that_never_ends_is_no_response_at_the_deadline() -> None:
    def play(peer: Peer) -> None:
        peer.hold()
        peer.server.stopped.wait(PATIENCE)

    begin = time.monotonic()
    with Server(play) as server:
        response = post(client(server.url.replace("http:", "https:"), timeout=SHORT), REQUEST)
        assert response.status is None
        assert time.monotonic() - begin < GENEROUS


def test_a_server_with_an_untrusted_certificate_gets_no_token(tls: ssl.SSLContext) -> None:
    with Server(always(answer(201, BOUGHT)), tls) as server:
        assert post(client(server.url), REQUEST).status is None
    assert server.requests == []


@pytest.fixture
def tunnel() -> Iterator[Callable[[Server], Server]]:
    """A proxy that connects us to whatever server we give it."""
    opened: list[Any] = []

    def through(server: Server) -> Server:
        def play(peer: Peer) -> None:
            if peer.request() is None:
                return
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                back = threading.Thread(target=_pump, args=(upstream, peer.sock))
                back.start()
                _pump(peer.sock, upstream)
                back.join(PATIENCE)

        proxy = Server(play)
        opened.append(proxy)
        return proxy.__enter__()

    yield through
    for proxy in opened:
        proxy.__exit__()


def _pump(source: Any, target: Any) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        source.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("trusted")
def test_behind_a_proxy_the_deadline_holds_too(
    tls: ssl.SSLContext, tunnel: Callable[[Server], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Corporate networks have one. The token travels inside the tunnel: the proxy sees the address alone."""
    with Server(LATE["a trickling body"], tls) as server:
        proxy = tunnel(server)
        # as a cloud's address is: no loopback, so that the proxy is asked
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        service = client(server.url, timeout=SHORT)
        monkeypatch.setattr(http_session, "is_local", lambda _: False)
        begin = time.monotonic()
        assert post(service, REQUEST).status is None
        assert time.monotonic() - begin < GENEROUS
    (asked,) = proxy.requests
    assert asked.method == "CONNECT"
    assert TOKEN not in str(asked.headers)
    assert len(server.requests) == 1


def test_the_url_contains_nothing_of_the_request_but_its_ids() -> None:
    for _ in range(20):
        customer, cart = str(uuid.uuid4()), str(uuid.uuid4())
        request = CheckoutRequest(customer, cart, "/../?x#y", REQUEST.started_at)
        _, target, _, _ = sent(lambda service, request=request: post(service, request))  # type: ignore[misc]
        assert re.fullmatch(rf"/v1/customers/{customer}/carts/{cart}/checkout", target)


# --- whether anything was sent -------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    response = post(client("http://nothing.invalid"), REQUEST)
    assert response == ServiceResponse(None, failure="not sent: NameResolutionError", sent=False)


def test_a_get_says_too_that_it_was_not_sent() -> None:
    response = client(f"http://127.0.0.1:{refusing_port()}").get_cart(REQUEST)
    assert response == ServiceResponse(None, failure="not sent: NewConnectionError", sent=False)


def test_an_untrusted_certificate_is_not_sent_to(tls: ssl.SSLContext) -> None:
    with Server(always(answer(201, BOUGHT)), tls) as server:
        response = post(client(server.url), REQUEST)
    why = "TLS: self-signed certificate; trusted are certifi's, REQUESTS_CA_BUNDLE names others"
    assert response == ServiceResponse(None, failure=f"not sent: SSLError ({why})", sent=False)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("said", [b"", b"no TLS at all\r\n"])
def test_a_tls_handshake_that_fails_is_not_sent(said: bytes) -> None:
    with Server(lambda peer: peer.send(said)) as server:
        response = post(client(server.url.replace("http:", "https:")), REQUEST)
    assert response.sent is False
    assert (response.failure or "").startswith("not sent: ")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("said", [b"", answer(407), b"HTTP/1.1 200 Connection established\r\n\r\n"])
def test_a_proxy_that_refuses_or_closes_is_not_sent(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def may_begin() -> bool:
        asked.append("asked")
        return True

    with Server(hang_up(said)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        service = client("https://partner.example")
        response = post(service, REQUEST, may_begin)
    assert response.status is None
    assert response.sent is False
    assert (response.failure or "").startswith("not sent: ")
    assert asked == []
    assert [request.method for request in proxy.requests] == ["CONNECT"]


@pytest.mark.usefixtures("trusted")
def test_a_proxys_connect_is_no_first_byte(
    tls: ssl.SSLContext, tunnel: Callable[[Server], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(always(answer(201, BOUGHT)), tls) as server:
        proxy = tunnel(server)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        service = client(server.url)
        monkeypatch.setattr(http_session, "is_local", lambda _: False)
        assert post(service, REQUEST, lambda: False) == TOO_OLD
        assert post(service, REQUEST) == ServiceResponse(201, BOUGHT)
    assert len(server.requests) == 1


@pytest.mark.parametrize("read_first", [False, True])
def test_a_connection_that_closes_without_a_response_may_have_been_sent(read_first: bool) -> None:
    def play(peer: Peer) -> None:
        if read_first:
            peer.request()
        else:
            peer.sock.recv(1, socket.MSG_PEEK)  # it has come, and lies there unread

    response = exchange(play)
    assert response.sent is True
    assert (response.failure or "").startswith("no answer: ")


TOO_OLD = ServiceResponse(None, failure="not sent: the entry is too old", sent=False)


def check_that_a_late_post_is_not_sent(server: Server, kept_alive: bool) -> None:
    """One that may not begin between those that may, on a fresh connection or on a kept one."""
    service = client(server.url)
    if kept_alive:
        assert post(service, REQUEST).status == 201
    assert post(service, REQUEST, lambda: False) == TOO_OLD
    assert post(service, REQUEST) == ServiceResponse(201, BOUGHT)
    assert len(server.requests) == 1 + kept_alive


@pytest.mark.parametrize("kept_alive", [False, True])
def test_what_may_not_begin_is_not_sent_and_the_next_request_works(kept_alive: bool) -> None:
    with Server(always(answer(201, BOUGHT))) as server:
        check_that_a_late_post_is_not_sent(server, kept_alive)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kept_alive", [False, True])
def test_over_tls_what_may_not_begin_is_not_sent(kept_alive: bool, tls: ssl.SSLContext) -> None:
    with Server(always(answer(201, BOUGHT)), tls) as server:
        check_that_a_late_post_is_not_sent(server, kept_alive)


def test_whether_it_may_begin_is_asked_once_and_only_when_connected() -> None:
    connected: list[int] = []
    with Server(always(answer(201, BOUGHT))) as server:
        service = client(server.url)

        def may_begin() -> bool:
            connected.append(len(server.requests))
            return True

        for _ in range(2):
            assert post(service, REQUEST, may_begin).status == 201
        assert post(client(f"http://127.0.0.1:{refusing_port()}"), REQUEST, may_begin).sent is False
    assert connected == [0, 1]


# --- one order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["b0d70a69-4c42-4b27-b2f7-9a6b8c4fd5b6", "-zkAXwWUqz_q"])
def test_an_order_is_asked_for_by_its_id(order: str) -> None:
    method, target, _, _ = sent(lambda service: service.get_order(CUSTOMER, order))
    assert (method, target) == ("GET", f"/v1/customers/{CUSTOMER}/orders/{order}")


@pytest.mark.parametrize(
    "wrong", ["", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a b", "a\n", "a\\b", "\u0661", "\u00e9", "a" * 65]
)
def test_an_id_that_is_more_than_a_segment_is_refused(wrong: str) -> None:
    with Server(always(answer(200, b"{}"))) as server:
        for ids in ((CUSTOMER, wrong), (wrong, "order")):
            with pytest.raises(ValueError, match="not an id"):
                client(server.url).get_order(*ids)
    assert server.connections == 0


# --- whose the answer is -------------------------------------------------------------------------------------

OTHER = "0ddba11a-1111-4222-8333-444444444444"
FOREIGN = ServiceResponse(None, failure="no answer: another call's", foreign=True)

Call = Callable[[PartnerCenter], ServiceResponse]


def _checkout(service: PartnerCenter) -> ServiceResponse:
    return post(service, REQUEST)


def _get_cart(service: PartnerCenter) -> ServiceResponse:
    return service.get_cart(REQUEST)


def _list_orders(service: PartnerCenter) -> ServiceResponse:
    return service.list_orders(REQUEST)


def _get_order(service: PartnerCenter) -> ServiceResponse:
    return service.get_order(CUSTOMER, "order")


def about(customer: str) -> bytes:
    return b'{"id": "o", "referenceCustomerId": "%s", "status": "completed"}' % customer.encode()


ANOTHERS = {
    "a checkout of another's order": (_checkout, 201, b'{"orders": [%s]}' % about(OTHER)),
    "a checkout of its own and another's": (_checkout, 201, b'{"orders": [%s, %s]}' % (about(CUSTOMER), about(OTHER))),
    "a checkout with a bare order": (_checkout, 200, about(OTHER)),
    "a refusal that names another's order": (_checkout, 409, b'{"code": 800065, "orders": [%s]}' % about(OTHER)),
    "an order of another": (_get_order, 200, about(OTHER.upper())),
    "a list of another's orders": (
        _list_orders,
        200,
        b'{"items": [%s, %s]}' % (about(CUSTOMER), about(f"{{{OTHER}}}")),
    ),
    "another cart": (_get_cart, 200, b'{"id": "%s", "status": "Active"}' % OTHER.encode()),
}


@pytest.mark.parametrize("anothers", ANOTHERS)
def test_an_answer_that_names_another_customer_or_cart_is_none_and_its_connection_is_not_used_again(
    anothers: str,
) -> None:
    call, status, body = ANOTHERS[anothers]
    with Server(always(answer(status, body), answer(201, BOUGHT))) as server:
        service = client(server.url)
        assert FOREIGN == call(service)
        assert BOUGHT == post(service, REQUEST).body
    assert 2 == server.connections


SPELT = [CUSTOMER, CUSTOMER.upper(), f"{{{CUSTOMER}}}", "", "aaaa", "c0ffee00"]


@pytest.mark.parametrize("spelt", SPELT)
@pytest.mark.parametrize("call", [_checkout, _get_order])
def test_an_answer_that_names_the_customer_in_any_spelling_or_nobody_is_returned(spelt: str, call: Call) -> None:
    for body in (about(spelt), b'{"orders": [%s]}' % about(spelt), b"{}", b"[]", b"<html>"):
        with Server(always(answer(200, body))) as server:
            assert ServiceResponse(200, body) == call(client(server.url))


@pytest.mark.parametrize("spelt", [CART, CART.upper(), f"{{{CART}}}", "", "cart"])
def test_a_cart_in_any_spelling_or_without_an_id_is_returned(spelt: str) -> None:
    body = b'{"id": "%s", "status": "Active"}' % spelt.encode()
    with Server(always(answer(200, body))) as server:
        assert ServiceResponse(200, body) == client(server.url).get_cart(REQUEST)


# --- the list of orders --------------------------------------------------------------------------------------

AN_ORDER = (
    b'{"id": "order-%d", "alternateId": "x", "referenceCustomerId": "' + CUSTOMER.encode() + b'", "creationDate":'
    b' "2026-11-22T10:00:00Z", "lineItems": [{"offerId": "P:S:A", "quantity": 1, "links": {"sku": {"uri": "/x"}}}],'
    b' "links": {"self": {"uri": "' + b"y" * 1800 + b'"}}, "status": "completed"}'
)


def list_of_orders(count: int) -> bytes:
    return b'{"totalCount": %d, "items": [%s]}' % (count, b",".join(AN_ORDER % number for number in range(count)))


def test_of_a_list_of_orders_only_what_a_decision_needs_is_kept() -> None:
    with Server(always(answer(200, list_of_orders(2), MS_CV="C.0"))) as server:
        response = client(server.url).list_orders(REQUEST)
    kept = [
        f'{{"id":"order-{number}","creationDate":"2026-11-22T10:00:00Z","lineItems":[{{"offerId":"P:S:A"}}],'
        f'"referenceCustomerId":"{CUSTOMER}"}}'
        for number in range(2)
    ]
    assert ServiceResponse(200, f'{{"items":[{",".join(kept)}]}}'.encode(), cv="C.0") == response


def test_a_list_longer_than_any_other_answer_may_be_is_read_to_its_end() -> None:
    body = list_of_orders(6000)
    assert len(body) > LONGEST_BODY
    with Server(always(answer(200, body), answer(200, b"{}"))) as server:
        service = client(server.url)
        found = candidates(SHOP_CART, service.list_orders(REQUEST), datetime(2026, 11, 23, tzinfo=UTC))
        assert 200 == service.get_cart(REQUEST).status
    assert tuple(f"order-{number}" for number in range(6000)) == found
    assert 1 == server.connections


SHOP_CART = ServiceResponse(200, b'{"lineItems": [{"catalogItemId": "P:S:A"}]}')


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items": {}}', b'{"items": null}', b'{"items": [1, "x"'])
def test_a_list_that_is_none_has_no_orders(body: bytes) -> None:
    with Server(always(answer(200, body))) as server:
        assert ServiceResponse(200, b'{"items":[]}') == client(server.url).list_orders(REQUEST)


def test_a_list_that_is_refused_is_returned_as_it_came() -> None:
    with Server(always(answer(403, b'{"code": 1}'))) as server:
        assert ServiceResponse(403, b'{"code": 1}') == client(server.url).list_orders(REQUEST)


def test_a_list_that_breaks_off_is_no_answer() -> None:
    with Server(hang_up(answer(200, list_of_orders(9))[:-100])) as server:
        assert client(server.url).list_orders(REQUEST).status is None


def test_what_is_kept_of_a_list_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_BODY", 1000)
    with Server(always(answer(200, list_of_orders(9)))) as server:
        assert client(server.url).list_orders(REQUEST).status is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process, not of its parent's too")
def test_lists_of_orders_in_all_threads_do_not_fill_the_memory() -> None:
    """Lists of 4 MiB in eight threads at once, each of which takes 24 MiB where it is parsed as a whole."""
    child = f"""
import sys, threading
from datetime import UTC, datetime
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.verdict import candidates
from shared.core.verdict import candidates
from shared.adapters.partner_center import PartnerCenter
from shared.settings import Settings
settings = Settings("carts", "outcomes", "records", partner_center_url=sys.argv[1], threads=8)
class Tokens:
    token = staticmethod(lambda: "t")
service = PartnerCenter(settings, Tokens())
now = datetime(2026, 11, 23, tzinfo=UTC)
cart = ServiceResponse(200, {SHOP_CART.body!r})
request = CheckoutRequest("{CUSTOMER}", "{CART}", "o", now)
service.get_cart(request)
found = []
def ask():
    found.append(len(candidates(cart, service.list_orders(request), now)))
def peak():
    (line,) = (each for each in open("/proc/self/status") if each.startswith("VmHWM"))
    return int(line.split()[1])
before = peak()
threads = [threading.Thread(target=ask) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(set(found), (peak() - before) // 1024)
"""
    count = 4 * 1024 * 1024 // len(AN_ORDER)
    with Server(always(answer(200, list_of_orders(count)))) as server:
        done = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-c", child, server.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=Path(__file__).parents[2],
        )
    found, _, mebibytes = done.stdout.rpartition(" ")
    assert f"{{{count}}}" == found, done.stderr
    assert int(mebibytes) < 40
