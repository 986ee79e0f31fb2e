"""The simulator over real sockets, with the clients that the function uses."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential

from local.simulator.identity import claims_of
from local.simulator.scenarios import SCENARIOS, Scenario, cart_id
from local.simulator.server import TENANT, Simulator
from local.simulator.steps import BOM, Interim

CUSTOMER = "22222222-2222-4222-8222-222222222222"


class Client:
    """A caller with one keep-alive connection and a valid token."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "application/json"
        self.session.headers["Authorization"] = f"Bearer {simulator.identity.issue(simulator.url, time.time())}"

    def url(self, cart: str) -> str:
        return f"{self.simulator.url}/v1/customers/{CUSTOMER}/carts/{cart}"

    def checkout(self, cart: str, ms_request_id: str = "A", timeout: float = 5) -> requests.Response:
        headers = {"MS-RequestId": ms_request_id, "MS-CorrelationId": "C"}
        return self.session.post(f"{self.url(cart)}/checkout", headers=headers, timeout=timeout, allow_redirects=False)

    def get(self, path: str) -> requests.Response:
        return self.session.get(f"{self.simulator.url}{path}", timeout=5)

    def control(self, path: str, **settings: object) -> requests.Response:
        return self.session.post(f"{self.simulator.url}/_simulator/{path}", json=settings, timeout=5)

    def page(self, cart: str) -> dict[str, Any]:
        return self.simulator.service.page(CUSTOMER, cart)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(scale=0.001) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Client]:
    caller = Client(simulator)
    with caller.session:
        yield caller


@pytest.fixture(scope="module")
def lasting() -> Iterator[Client]:
    """One simulator for the whole table: every scenario has a cart of its own."""
    with Simulator(scale=0.0001) as running:
        caller = Client(running)
        with caller.session:
            yield caller


# Over the socket


@pytest.mark.parametrize(
    "scenario",
    # urllib3 takes an interim answer for the answer: test_clients.py plays those
    [each for each in SCENARIOS if not any(isinstance(step, Interim) for step in each.script)],
    ids=lambda scenario: scenario.name,
)
def test_every_scenario_can_be_played_to_its_last_step(lasting: Client, scenario: Scenario) -> None:
    cart = cart_id(scenario.name, "socket")
    for _ in scenario.script:
        try:
            answer = lasting.checkout(cart)
        except requests.RequestException:  # dropped
            continue
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert answer.headers["Date"]
    assert lasting.page(cart)["posts"] == len(scenario.script)


def test_a_checkout_answers_with_the_ids_it_was_called_with(client: Client) -> None:
    answer = client.checkout(cart_id("created", ""), "A")
    assert (answer.status_code, answer.headers["MS-RequestId"], answer.headers["MS-CorrelationId"]) == (201, "A", "C")
    assert answer.headers["MS-CV"]
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json()["orders"][0]["status"] == "completed"


def test_a_call_without_ids_gets_new_ones(client: Client) -> None:
    url = f"{client.url(cart_id('created', ''))}/checkout"
    first, second = (client.session.post(url, timeout=5).headers["MS-RequestId"] for _ in range(2))
    assert len(first) == len(second) == 36
    assert first != second


def test_a_post_dropped_after_the_purchase_and_repeated_with_its_id_bought_once(client: Client) -> None:
    cart = cart_id("dropped-after", "")
    with pytest.raises(requests.ConnectionError):
        client.checkout(cart, "A")
    assert client.get(f"/v1/customers/{CUSTOMER}/carts/{cart}").json()["status"] == "Ordered"
    assert client.checkout(cart, "A").status_code == 200
    assert (client.page(cart)["purchases"], client.page(cart)["msRequestIds"]) == (1, ["A", "A"])


def test_repeated_with_another_id_it_bought_twice(client: Client) -> None:
    cart = cart_id("dropped-after", "")
    with pytest.raises(requests.ConnectionError):
        client.checkout(cart, "A")
    assert client.checkout(cart, "B").status_code == 201
    assert client.page(cart)["purchases"] == 2


def test_a_post_dropped_before_the_purchase_bought_nothing(client: Client) -> None:
    cart = cart_id("dropped-before", "")
    with pytest.raises(requests.ConnectionError):
        client.checkout(cart)
    assert client.page(cart)["purchases"] == 0
    assert client.checkout(cart).status_code == 201


def test_half_a_body_is_a_lost_response(client: Client) -> None:
    cart = cart_id("dropped-mid-body", "")
    with pytest.raises(requests.RequestException, match="IncompleteRead"):
        client.checkout(cart)
    assert client.checkout(cart).status_code == 200
    assert client.page(cart)["purchases"] == 1


def test_a_slow_response_arrives_after_its_delay() -> None:
    with Simulator(scale=0.01) as simulator:
        caller = Client(simulator)
        with caller.session:
            began = time.monotonic()
            assert caller.checkout(cart_id("slow", "")).status_code == 201
            assert time.monotonic() - began >= 0.2


def test_a_repeat_after_an_early_disconnect_finds_the_first_call_in_progress() -> None:
    with Simulator(scale=0.01) as simulator:
        caller = Client(simulator)
        cart = cart_id("too-slow", "")
        with caller.session:
            with pytest.raises(requests.Timeout):
                caller.checkout(cart, timeout=0.05)
            busy = caller.checkout(cart)
    assert (busy.status_code, busy.json()["code"]) == (409, 800064)


def test_two_posts_at_once_buy_once(client: Client) -> None:
    cart = cart_id("slow", "")
    client.simulator.service.latency = 0.3
    callers = [Client(client.simulator) for _ in range(2)]
    with ThreadPoolExecutor() as pool, callers[0].session, callers[1].session:
        answers = pool.map(lambda pair: pair[1].checkout(cart, pair[0]).status_code, zip("AB", callers, strict=True))
        assert sorted(answers) == [201, 409]
    assert client.page(cart)["purchases"] == 1


def test_a_trickling_body_arrives_whole(client: Client) -> None:
    assert client.checkout(cart_id("trickle", "")).json()["orders"]


def test_a_trickle_without_end_outlasts_a_read_timeout() -> None:
    with Simulator(scale=0.005) as simulator:
        caller = Client(simulator)
        headers = {**caller.session.headers, "MS-RequestId": "A"}
        cart = cart_id("endless-trickle", "")
        with caller.session:
            began = time.monotonic()
            with caller.session.post(
                f"{caller.url(cart)}/checkout", headers=headers, timeout=0.2, stream=True
            ) as answer:
                for _ in answer.iter_content(1):
                    if time.monotonic() - began > 0.3:  # longer than the timeout, and still bytes
                        break
                else:
                    pytest.fail("the body ended")
            assert caller.checkout(cart, "A").status_code == 200


def test_a_redirect_leads_back_here(client: Client) -> None:
    answer = client.checkout(cart_id("redirect", ""))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/v1/somewhere/else")


def test_a_byte_order_mark_goes_over_the_wire(client: Client) -> None:
    assert client.checkout(cart_id("byte-order-mark", "")).content.startswith(BOM)


def test_the_orders_of_a_customer_are_listed(client: Client) -> None:
    bought = client.checkout(cart_id("created", "")).json()["orders"]
    listed = client.get(f"/v1/customers/{CUSTOMER}/orders").json()
    assert (listed["totalCount"], listed["items"]) == (1, bought)


def test_one_order_is_had_by_its_id(client: Client) -> None:
    (bought,) = client.checkout(cart_id("created", "")).json()["orders"]
    found = client.get(f"/v1/customers/{CUSTOMER}/orders/{bought['id']}")
    missing = client.get(f"/v1/customers/{CUSTOMER}/orders/{bought['id'][:-1]}")
    assert (found.status_code, found.json()) == (200, bought)
    assert (missing.status_code, missing.json()["code"]) == (404, 1000)
    assert client.get("/v1/customers/x/orders/y").status_code == 400


def test_a_dropped_post_can_be_ordered_after_the_connection_is_gone(client: Client) -> None:
    cart = cart_id("ordered-late", "")
    with pytest.raises(requests.ConnectionError):
        client.checkout(cart)
    assert client.checkout(cart).status_code == 200  # it waited for the result of the first
    assert client.page(cart)["purchases"] == 1


def test_one_connection_serves_many_calls(client: Client) -> None:
    for number in range(20):
        client.checkout(cart_id("created", str(number)))
    assert len(client.simulator._server._open) == 1


# Tokens


def assert_refused(client: Client, status: int, code: int) -> None:
    answer = client.checkout(cart_id("created", ""))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.simulator.snapshot()["totals"]["posts"] == 0


@pytest.mark.parametrize(
    "header", ["", "Basic abc", "Bearer", "Bearer abc", "Bearer a.b.c", "Bearer é.é.é", "Bearer .bnVsbA."]
)
def test_a_missing_or_malformed_token_is_refused(client: Client, header: str) -> None:
    client.session.headers["Authorization"] = header.encode()
    assert_refused(client, 401, 800001)
    assert client.simulator.snapshot()["totals"]["refusedTokens"] == 1


def test_a_token_for_another_audience_is_refused(client: Client) -> None:
    token = client.simulator.identity.issue("https://graph.windows.net", time.time())
    client.session.headers["Authorization"] = f"Bearer {token}"
    assert_refused(client, 401, 900420)


def test_an_expired_token_is_refused(client: Client) -> None:
    token = client.simulator.identity.issue(client.simulator.url, 0)
    client.session.headers["Authorization"] = f"Bearer {token}"
    assert_refused(client, 401, 800001)


def test_a_revoked_token_is_refused_and_a_new_one_is_not(client: Client) -> None:
    identity = client.simulator.identity
    identity.revoke(str(client.session.headers["Authorization"]).split()[1])
    assert_refused(client, 401, 800001)
    client.session.headers["Authorization"] = f"Bearer {identity.issue(client.simulator.url + '/', time.time())}"
    assert client.checkout(cart_id("created", "")).status_code == 201


def test_another_tenants_token_is_refused(client: Client) -> None:
    identity = client.simulator.identity
    identity.tenants["stranger"] = CUSTOMER
    token = identity.issue(client.simulator.url, time.time(), "stranger")
    client.session.headers["Authorization"] = f"Bearer {token}"
    assert_refused(client, 401, 800001)


def test_an_accept_header_without_json_is_refused(client: Client) -> None:
    client.session.headers["Accept"] = "*/*"
    assert_refused(client, 400, 800002)


# The managed identity


def settle(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make this process look like a function app, and return the scope."""
    for name, value in simulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return f"{simulator.url}/.default"


def test_azure_identity_gets_a_token_that_is_accepted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = settle(client.simulator, monkeypatch)
    with ManagedIdentityCredential() as credential:
        token = credential.get_token(scope).token
        credential.get_token(scope)
    claims = claims_of(token)
    assert (claims["tid"], claims["aud"]) == (TENANT, client.simulator.url)
    client.session.headers["Authorization"] = f"Bearer {token}"
    assert client.checkout(cart_id("created", "")).status_code == 201
    assert client.simulator.identity.requests == 1  # the second came from the credential's own cache


def test_a_client_id_can_belong_to_a_wrong_tenant(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = settle(simulator, monkeypatch)
    simulator.identity.tenants[CUSTOMER] = "somewhere"
    with ManagedIdentityCredential(client_id=CUSTOMER) as credential:
        claims = claims_of(credential.get_token(scope).token)
    assert (claims["tid"], claims["appid"]) == ("somewhere", CUSTOMER)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_the_identity_endpoint_can_fail_for_a_while(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    scope = settle(simulator, monkeypatch)
    simulator.identity.failure = status
    failures = (ClientAuthenticationError, CredentialUnavailableError)
    with ManagedIdentityCredential(retry_total=0) as credential, pytest.raises(failures):
        credential.get_token(scope)
    simulator.identity.failure = None
    with ManagedIdentityCredential(retry_total=0) as credential:  # MSAL replays a 5xx to the old one for 5 s
        assert credential.get_token(scope).token


@pytest.mark.parametrize(
    ("query", "secret", "status"),
    [
        ("api-version=2019-08-01&resource=r", "", 401),
        ("api-version=2017-09-01&resource=r", None, 400),
        ("api-version=2019-08-01", None, 400),
        ("api-version=2019-08-01&resource=r&client_id=c", None, 200),
    ],
)
def test_the_identity_endpoint_is_strict(client: Client, query: str, secret: str | None, status: int) -> None:
    header = client.simulator.identity.header if secret is None else secret
    answer = client.session.get(
        f"{client.simulator.url}/msi/token?{query}", headers={"X-IDENTITY-HEADER": header}, timeout=5
    )
    assert answer.status_code == status
    if status == 200:
        assert set(answer.json()) == {"access_token", "expires_on", "resource", "token_type", "client_id"}
        assert answer.json()["client_id"] == "c"


# Controls


def test_the_report_can_be_read_over_http(client: Client) -> None:
    client.checkout(cart_id("created", ""))
    books = client.get("/_simulator/books").json()
    assert books["totals"]["purchases"] == 1
    assert books["carts"][0]["scenario"] == "created"


def test_the_scenarios_can_be_read_over_http(client: Client) -> None:
    rows = client.get("/_simulator/scenarios").json()["scenarios"]
    assert [row["number"] for row in rows] == [scenario.number for scenario in SCENARIOS]


def test_the_limiter_can_be_switched_on(client: Client) -> None:
    assert client.control("limiter", limit=1, window=60, per="customer").status_code == 200
    first, second = (client.checkout(cart_id("created", str(number))) for number in range(2))
    assert (first.status_code, second.status_code) == (201, 429)
    assert 0 < int(second.headers["Retry-After"]) <= 60


def test_an_outage_can_be_switched_on_and_off(client: Client) -> None:
    cart = cart_id("created", "")
    client.control("outage", mode="503")
    assert client.checkout(cart).status_code == 503
    client.control("outage", mode="drop")
    with pytest.raises(requests.ConnectionError):
        client.checkout(cart)
    client.control("outage", mode=None)
    assert client.checkout(cart).status_code == 201


def test_tokens_can_be_revoked_over_http(client: Client) -> None:
    client.control("identity", revoke=True, failure=500)
    assert client.checkout(cart_id("created", "")).status_code == 401
    assert client.simulator.identity.failure == 500


@pytest.mark.parametrize("settings", [{"limit": "many"}, {"limit": 1, "per": "moon"}, {}, {"unknown": 1}])
def test_a_wrong_control_is_answered_with_400(client: Client, settings: dict[str, object]) -> None:
    assert client.control("limiter", **settings).status_code == 400


# Malformed requests


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /v1/customers/../../etc/passwd HTTP/1.1\r\n\r\n",
        b"GET /v1/customers/%2e%2e/orders HTTP/1.1\r\nAccept: application/json\r\n\r\n",
        b"PUT / HTTP/1.1\r\n\r\n",
        b"POST /_simulator/limiter HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /_simulator/limiter HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /_simulator/limiter HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]",
        b"POST /_simulator/limiter HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"POST /v1/customers/x/carts/y/checkout HTTP/1.1\r\nMS-RequestId: a\r\n b\r\n\r\n",
    ],
)
def test_a_malformed_request_gets_a_4xx_or_nothing_and_the_server_goes_on(client: Client, request_bytes: bytes) -> None:
    port = int(client.simulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=2) as rude:
        rude.sendall(request_bytes)
        rude.shutdown(socket.SHUT_WR)
        received = rude.recv(65_536)
    assert received == b"" or received.split()[1] in {b"400", b"401", b"404", b"414", b"431", b"501", b"505"}
    assert client.checkout(cart_id("created", "")).status_code == 201


def test_a_path_with_a_good_token_and_no_guid_is_refused(client: Client) -> None:
    assert client.get("/v1/customers/%2e%2e/orders").status_code == 400
    assert client.get("/v1/somewhere/else").status_code == 404


def test_stopping_does_not_wait_for_slow_answers() -> None:
    with Simulator() as simulator:
        caller = Client(simulator)
        with caller.session, ThreadPoolExecutor() as pool:
            waiting = pool.submit(caller.checkout, cart_id("slow", ""))
            while not simulator.snapshot()["totals"]["posts"]:
                time.sleep(0.005)
            began = time.monotonic()
            simulator.stop()
            assert isinstance(waiting.exception(timeout=5), requests.ConnectionError)
    assert time.monotonic() - began < 2


def test_it_runs_as_a_program_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "local.simulator", "--tenant", CUSTOMER, "--scale", "0.01"]
    command += ["--idempotency", "remembering"]
    with subprocess.Popen(  # noqa: S603  this very program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        environment = json.loads(program.stdout.readline())
        answer = requests.get(f"{environment['PARTNER_CENTER_URL']}/_simulator/books", timeout=5)
        program.send_signal(signal.SIGTERM)
        _, errors = program.communicate(timeout=5)
    assert (answer.status_code, environment["PARTNER_CENTER_TENANT_ID"]) == (200, CUSTOMER)
    assert (program.returncode, errors) == (0, "")
    assert "IDENTITY_HEADER" not in os.environ
