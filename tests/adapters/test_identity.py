"""The real credentials against a real identity endpoint: whose token, how often, and what happens without one."""

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import HttpTransport
from azure.core.utils import case_insensitive_dict
from azure.identity import ClientAssertionCredential, ManagedIdentityCredential

from local.simulator.server import Simulator
from shared.adapters import identity as module
from shared.adapters.identity import (
    LAST_USE,
    LONGEST_REQUEST,
    REFRESH_BEFORE,
    RENEW_EVERY,
    TokenProvider,
    claims,
    credential_factory,
)
from shared.ports import TokenUnavailable, WrongTenant
from shared.settings import CHINA_URL, DEFAULT_URL, Settings
from tests.support.sockets import PATIENCE, Peer, Server, always, answer, refusing_port

if TYPE_CHECKING:
    from azure.core.rest import HttpRequest

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"
APP = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CLIENT = "cccccccc-bbbb-cccc-dddd-eeeeeeeeeeee"
SECRET = "the-header-that-opens-the-endpoint"
SCOPE = f"{DEFAULT_URL}/.default"


def part(tree: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).rstrip(b"=").decode()


def jwt(name: str = "token", **more: object) -> str:
    return f"{part({'alg': 'none'})}.{part({'jti': name, 'tid': TENANT} | more)}.c2lnbmF0dXJl"


def gives(token: str, lifetime: float = 86_400.0) -> bytes:
    body = {"access_token": token, "expires_on": str(int(time.time() + lifetime)), "resource": "x"}
    return answer(200, json.dumps(body | {"token_type": "Bearer"}).encode(), Content_Type="application/json")


def settings(**more: Any) -> Settings:
    return Settings("carts", "outcomes", "records", **{"tenant_id": TENANT} | more)


@pytest.fixture(autouse=True)
def _no_other_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT", "AZURE_AUTHORITY_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Peer], None]], Any]:
    """Opens an identity endpoint that plays a part, in the place of App Service's."""

    @contextmanager
    def opened(play: Callable[[Peer], None]) -> Iterator[Server]:
        with Server(play) as server:
            monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
            monkeypatch.setenv("IDENTITY_HEADER", SECRET)
            yield server

    return opened


Endpoint = Callable[[Callable[[Peer], None]], Any]


class Clock:
    """Both clocks of an `TokenProvider`, turned by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A credential factory of ours: each credential has a token of its own until it is set to fail."""

    def __init__(self, lifetime: float = 86_400.0) -> None:
        self.lifetime = lifetime
        self.credentials = 0
        self.requests = 0
        self.failure: Exception | None = None
        self.clock = Clock()

    def __call__(self) -> "Issued":
        self.credentials += 1
        return Issued(self, self.credentials)

    def identity(self, tenant: str | None = TENANT) -> TokenProvider:
        return TokenProvider(self, SCOPE, tenant, clock=self.clock, monotonic=self.clock)


class Issued:
    """One credential of an issuer."""

    def __init__(self, issuer: Issuer, number: int) -> None:
        self._issuer = issuer
        self._number = number

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        issuer = self._issuer
        assert scopes == (SCOPE,)
        issuer.requests += 1
        if issuer.failure is not None:
            raise issuer.failure
        name = jwt(f"{self._number}.{issuer.requests}")
        return AccessToken(name, int(issuer.clock.now + issuer.lifetime))


# --- the managed identity's own token ------------------------------------------------------------------------


def test_the_system_assigned_identity_is_asked_for_the_api_by_app_services_protocol(endpoint: Endpoint) -> None:
    with endpoint(always(gives(jwt()))) as server:
        assert TokenProvider(credential_factory(settings()), SCOPE, TENANT).token() == jwt()
    (request,) = server.requests
    assert request.method == "GET"
    assert parse_qs(urlsplit(request.target).query) == {"api-version": ["2019-08-01"], "resource": [DEFAULT_URL]}
    assert request.headers["X-IDENTITY-HEADER"] == SECRET


def test_a_user_assigned_identity_is_asked_for_by_its_client_id(endpoint: Endpoint) -> None:
    with endpoint(always(gives(jwt()))) as server:
        TokenProvider(credential_factory(settings(identity_client_id=CLIENT)), SCOPE, TENANT).token()
    assert parse_qs(urlsplit(server.requests[0].target).query)["client_id"] == [CLIENT]


@pytest.mark.parametrize("client_id", [None, CLIENT])
def test_the_simulated_endpoint_gives_a_token_to_the_real_credential(
    client_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Simulator() as simulator:
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        tenant = simulator.identity.tenant_id
        local = settings(partner_center_url=simulator.url, tenant_id=tenant, identity_client_id=client_id)
        token = TokenProvider(credential_factory(local), local.scope, tenant).token()
    assert claims(token)["tid"] == tenant
    assert (claims(token)["appid"] == CLIENT) is (client_id is not None)


def test_thirty_two_cold_threads_make_one_request(endpoint: Endpoint) -> None:
    all_wait = threading.Event()

    def play(peer: Peer) -> None:
        peer.request()
        assert all_wait.wait(PATIENCE)
        peer.send(gives(jwt()))

    with endpoint(play) as server:
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        barrier = threading.Barrier(32, action=all_wait.set)

        def start() -> str:
            barrier.wait(PATIENCE)
            return identity.token()

        with ThreadPoolExecutor(32) as threads:
            tokens = [future.result() for future in [threads.submit(start) for _ in range(32)]]
    assert tokens == [jwt()] * 32
    assert len(server.requests) == 1


class Crowd:
    """A credential whose request ends when all other threads wait for it."""

    def __init__(self, crowd: int) -> None:
        self.requests = 0
        self.waiting = 0
        self._crowd = crowd
        self._all_wait = threading.Condition()

    def arrive(self) -> float:
        """The identity's monotonic clock, which a caller reads last before it waits for the lock."""
        with self._all_wait:
            self.waiting += 1
            self._all_wait.notify_all()
        return time.monotonic()

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        self.requests += 1
        with self._all_wait:
            assert self._all_wait.wait_for(lambda: self.waiting >= self._crowd, PATIENCE)
        raise ValueError("no")


def test_threads_that_wait_for_a_request_share_its_failure() -> None:
    crowd = Crowd(32)
    identity = TokenProvider(lambda: crowd, SCOPE, TENANT, monotonic=crowd.arrive)

    def outcome() -> str:
        with pytest.raises(TokenUnavailable) as caught:
            identity.token()
        return str(caught.value)

    with ThreadPoolExecutor(32) as threads:
        texts = {future.result() for future in [threads.submit(outcome) for _ in range(32)]}
    assert len(texts) == 1
    assert crowd.requests == 1


def test_a_failure_is_shared_only_with_the_threads_that_waited_for_it(endpoint: Endpoint) -> None:
    with endpoint(always(answer(400, b"{}"), gives(jwt()))):
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        with pytest.raises(TokenUnavailable):
            identity.token()
        assert identity.token() == jwt()


def test_a_token_is_used_almost_until_it_expires_if_no_new_one_can_be_acquired() -> None:
    issuer = Issuer()
    identity = issuer.identity()
    token = identity.token()
    issuer.failure = ValueError("no")
    issuer.clock.now += issuer.lifetime - REFRESH_BEFORE + 1
    assert identity.token() == token
    assert issuer.requests == 2, "a new one is asked for all the same"
    issuer.clock.now += REFRESH_BEFORE - LAST_USE
    with pytest.raises(TokenUnavailable):
        identity.token()


def test_a_refused_token_is_not_used_until_it_expires() -> None:
    issuer = Issuer()
    identity = issuer.identity()
    token = identity.token()
    issuer.failure = ValueError("no")
    issuer.clock.now += issuer.lifetime - REFRESH_BEFORE + 1
    assert identity.renew(token) is None
    with pytest.raises(TokenUnavailable):
        identity.token()


# --- the tenant that pays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tid", [OTHER_TENANT, None, "", 7, [TENANT], {"tid": TENANT}, f"{TENANT} ", f"{{{TENANT}}}"])
def test_another_tenants_token_is_never_returned(tid: object, endpoint: Endpoint) -> None:
    token = jwt(tid=tid)
    with endpoint(always(gives(token))):
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        for _ in range(2):  # nor the second time, when it might lie in a cache
            with pytest.raises(WrongTenant) as caught:
                identity.token()
            assert TENANT in str(caught.value)
            assert token not in str(caught.value)


def test_after_another_tenants_token_a_new_one_is_asked_for(endpoint: Endpoint) -> None:
    """The credential keeps the token that it has for a day, so a corrected identity would be of no use until then."""
    with endpoint(always(gives(jwt(tid=OTHER_TENANT)), gives(jwt("own")))):
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        with pytest.raises(WrongTenant):
            identity.token()
        assert jwt("own") == identity.token()


def test_the_tenant_of_a_renewed_token_is_checked_too() -> None:
    issuer = Issuer()
    identity = issuer.identity(OTHER_TENANT)
    assert identity.renew("refused") is None
    assert issuer.requests == 1


@pytest.mark.parametrize(
    "token",
    ["opaque", "a.b.c", "..", f"{part({})}.{part([TENANT])}.x", f"{part({})}.{part(TENANT)}.", "a.e30.", "x.\u00e9.y"],
)
def test_a_token_that_is_not_a_jwt_names_no_tenant(token: str, endpoint: Endpoint) -> None:
    with endpoint(always(gives(token))), pytest.raises(WrongTenant) as caught:
        TokenProvider(credential_factory(settings()), SCOPE, TENANT).token()
    assert "no tenant" in str(caught.value)


def test_tenants_are_compared_without_their_case(endpoint: Endpoint) -> None:
    token = jwt(tid=APP.upper())
    with endpoint(always(gives(token))):
        assert TokenProvider(credential_factory(settings(tenant_id=APP)), SCOPE, APP).token() == token


def test_without_a_configured_tenant_any_token_is_accepted(endpoint: Endpoint) -> None:
    with endpoint(always(gives("opaque"))):
        assert TokenProvider(credential_factory(settings(tenant_id=None)), SCOPE, None).token() == "opaque"


def test_deeply_nested_claims_are_no_claims() -> None:
    deep = base64.urlsafe_b64encode(b'{"tid":' + b"[" * 100_000).decode()
    assert claims(f"a.{deep}.c") == {}


# --- the endpoint fails --------------------------------------------------------------------------------------

QUOTED = "what-the-endpoint-said"
FAILURES = {
    "400": answer(400, json.dumps({"statusCode": 400, "message": QUOTED}).encode()),
    "403": answer(403, json.dumps({"error": "invalid", "error_description": QUOTED}).encode()),
    "500": answer(500, json.dumps({"statusCode": 500, "message": QUOTED}).encode()),
    "503, come back in half a minute": answer(503, QUOTED.encode(), Retry_After="30"),
    "429, come back in half a minute": answer(429, QUOTED.encode(), Retry_After="30"),
    "a page": answer(200, f"<html>{QUOTED}</html>".encode(), Content_Type="text/html"),
    "no body": answer(200),
    "no object": answer(200, f'["{QUOTED}"]'.encode(), Content_Type="application/json"),
    "null": answer(200, b"null", Content_Type="application/json"),
    "a token only": answer(200, json.dumps({"access_token": QUOTED}).encode()),
    "an end that is no number": answer(200, json.dumps({"access_token": QUOTED, "expires_on": QUOTED}).encode()),
    "an end that is a list": answer(200, json.dumps({"access_token": QUOTED, "expires_on": [1]}).encode()),
    "a token that is a number": answer(200, b'{"access_token": 5, "expires_on": "9999999999"}'),
    "no UTF-8": answer(200, b"\xff\xfe{}", Content_Type="application/json"),
    "no HTTP": f"{QUOTED}\r\n\r\n".encode(),
    "nothing": b"",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_endpoint_is_a_missing_token_at_once_and_its_text_is_not_quoted(
    failure: str, endpoint: Endpoint
) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(FAILURES[failure])

    begin = time.monotonic()
    with endpoint(play):
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        with pytest.raises(TokenUnavailable) as caught:
            identity.token()
    assert time.monotonic() - begin < LONGEST_REQUEST
    assert QUOTED not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None  # whoever prints the chain prints no answer either
    assert caught.value.__suppress_context__


def test_an_endpoint_that_never_answers_is_a_missing_token_in_bounded_time(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.LIMITS, "read_timeout", 0.2)

    def play(peer: Peer) -> None:
        peer.request()
        peer.hold()

    begin = time.monotonic()
    with endpoint(play):
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        with pytest.raises(TokenUnavailable):
            identity.token()
    assert time.monotonic() - begin < 5.0


def test_an_endpoint_that_refuses_connections_is_a_missing_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{refusing_port()}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", SECRET)
    with pytest.raises(TokenUnavailable) as caught:
        TokenProvider(credential_factory(settings()), SCOPE, TENANT).token()
    assert SECRET not in str(caught.value)


def test_the_error_text_names_the_scope_and_the_error_code() -> None:
    issuer = Issuer()
    issuer.failure = ValueError(f"AADSTS700213: No matching federated identity record found for {QUOTED}")
    with pytest.raises(TokenUnavailable) as caught:
        issuer.identity().token()
    assert str(caught.value) == f"no token for {SCOPE}: ValueError AADSTS700213"


# --- a token ends, or is refused -----------------------------------------------------------------------------


def test_a_token_is_acquired_once_and_again_before_it_expires() -> None:
    issuer = Issuer(lifetime=3600.0)
    identity = issuer.identity()
    first = identity.token()
    issuer.clock.now += 3600.0 - REFRESH_BEFORE - 1
    assert (identity.token(), issuer.requests) == (first, 1)
    issuer.clock.now += 2
    assert identity.token() != first
    assert issuer.requests == 2


def test_a_short_lived_token_is_used_all_the_same() -> None:
    issuer = Issuer(lifetime=REFRESH_BEFORE / 2)
    assert claims(issuer.identity().token())["tid"] == TENANT


def test_a_refused_token_is_replaced_by_one_of_a_new_credential(endpoint: Endpoint) -> None:
    with endpoint(always(gives(jwt("first")), gives(jwt("second")))) as server:
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        assert identity.token() == jwt("first")
        assert identity.renew(jwt("first")) == jwt("second")
        assert identity.token() == jwt("second")
    assert len(server.requests) == 2


def test_at_most_one_credential_a_minute_is_made_for_a_service_that_refuses_every_token() -> None:
    issuer = Issuer()
    identity = issuer.identity()
    token: str | None = identity.token()
    for second in range(121):
        token = identity.renew(token or "") or token
        issuer.clock.now += 1.0
        assert issuer.credentials <= 2 + second // RENEW_EVERY
    assert issuer.credentials == 1 + 3


def test_a_token_that_another_thread_has_renewed_is_used() -> None:
    issuer = Issuer()
    identity = issuer.identity()
    refused = identity.token()
    renewed = identity.renew(refused)
    assert renewed != refused
    assert [identity.renew(refused) for _ in range(31)] == [renewed] * 31
    assert (issuer.credentials, issuer.requests) == (2, 2)


def test_a_renewal_that_fails_returns_none_and_the_next_message_tries_again() -> None:
    issuer = Issuer()
    identity = issuer.identity()
    refused = identity.token()
    issuer.failure = ValueError("no")
    assert identity.renew(refused) is None
    issuer.failure = None
    issuer.clock.now += 1.0
    assert identity.token() != refused


def test_threads_that_wait_to_renew_share_a_failure() -> None:
    """Each message's time is bounded: no thread waits for one request and then makes another."""
    crowd = Crowd(2)
    identity = TokenProvider(lambda: crowd, SCOPE, TENANT, monotonic=crowd.arrive)

    def ask() -> str | None:
        with pytest.raises(TokenUnavailable):
            identity.token()
        return None

    with ThreadPoolExecutor(2) as threads:
        asking = threads.submit(ask)
        with crowd._all_wait:
            assert crowd._all_wait.wait_for(lambda: crowd.waiting >= 1, PATIENCE)
        renewing = threads.submit(identity.renew, "refused")
        assert (asking.result(PATIENCE), renewing.result(PATIENCE)) == (None, None)
    assert crowd.requests == 1


# --- the identity vouches for a registered app ---------------------------------------------------------------


class SignIn(HttpTransport[Any, Any]):
    """Entra ID, in the place of the network."""

    def __init__(self, status: int = 200, body: dict[str, Any] | None = None, **headers: str) -> None:
        self.requests: list[HttpRequest] = []
        self._status = status
        self._body = body or {"access_token": jwt("app"), "expires_in": 3599, "token_type": "Bearer"}
        self._headers = headers

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def sleep(self, duration: float) -> None:
        pytest.fail(f"a thread would sleep {duration} seconds to wait for a service")

    def send(self, request: Any, **_: Any) -> Any:
        self.requests.append(request)
        return Said(request, self._status, json.dumps(self._body).encode(), self._headers)


class Said:
    """As much of an HTTP response as the pipeline reads."""

    reason = "Said"
    content_type = "application/json"

    def __init__(self, request: object, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.request = self.http_request = request
        self.status_code = status
        self.headers = case_insensitive_dict({"Content-Type": "application/json"} | headers)
        self.content = body

    def body(self) -> bytes:
        return self.content

    def text(self, encoding: str | None = None) -> str:
        return self.content.decode(encoding or "utf-8")


FEDERATED = {"auth": "federated", "app_id": APP}


def test_federated_the_identitys_token_is_the_assertion_of_the_app(endpoint: Endpoint) -> None:
    sign_in, ours = SignIn(), settings(identity_client_id=CLIENT, **FEDERATED)
    with endpoint(always(gives("the-assertion"))) as server:
        credential = credential_factory(ours, sign_in=sign_in)
        assert TokenProvider(credential, ours.scope, TENANT).token() == jwt("app")

    (asked,) = server.requests
    query = parse_qs(urlsplit(asked.target).query)
    assert (query["resource"], query["client_id"]) == (["api://AzureADTokenExchange"], [CLIENT])
    (request,) = sign_in.requests
    assert request.method == "POST"
    assert request.url == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
    form = dict(parse_qsl(request.content)) if isinstance(request.content, str) else dict(request.content)
    assert form == {
        "client_assertion": "the-assertion",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_id": APP,
        "grant_type": "client_credentials",
        "scope": SCOPE,
    }


def test_federated_in_china_signs_in_there(endpoint: Endpoint) -> None:
    sign_in, ours = SignIn(), settings(partner_center_url=CHINA_URL, **FEDERATED)
    with endpoint(always(gives("the-assertion"))) as server:
        TokenProvider(credential_factory(ours, sign_in=sign_in), ours.scope, TENANT).token()
    assert "AzureADTokenExchangeChina" in server.requests[0].target
    assert sign_in.requests[0].url == f"https://login.chinacloudapi.cn/{TENANT}/oauth2/v2.0/token"


def test_federated_the_tenant_of_the_apps_token_is_checked(endpoint: Endpoint) -> None:
    sign_in = SignIn(body={"access_token": jwt(tid=OTHER_TENANT), "expires_in": 3599, "token_type": "Bearer"})
    ours = settings(**FEDERATED)
    with endpoint(always(gives(jwt()))), pytest.raises(WrongTenant):
        TokenProvider(credential_factory(ours, sign_in=sign_in), SCOPE, TENANT).token()


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_federated_a_refused_sign_in_is_a_missing_token_without_a_pause(status: int, endpoint: Endpoint) -> None:
    refusal = {"error": "invalid_client", "error_description": f"AADSTS700016: {QUOTED} the-assertion"}
    sign_in = SignIn(status, refusal, **{"Retry-After": "3600"})
    ours = settings(**FEDERATED)
    with endpoint(always(gives("the-assertion"))), pytest.raises(TokenUnavailable) as caught:
        TokenProvider(credential_factory(ours, sign_in=sign_in), SCOPE, TENANT).token()
    assert QUOTED not in str(caught.value)
    assert "the-assertion" not in str(caught.value)
    assert "AADSTS700016" in str(caught.value)


def test_federated_without_the_identitys_token_there_is_no_sign_in(endpoint: Endpoint) -> None:
    sign_in, ours = SignIn(), settings(**FEDERATED)
    with endpoint(always(answer(400, b"{}"))), pytest.raises(TokenUnavailable):
        TokenProvider(credential_factory(ours, sign_in=sign_in), SCOPE, TENANT).token()
    assert sign_in.requests == []


def test_each_mode_has_its_credential() -> None:
    assert isinstance(credential_factory(settings())(), ManagedIdentityCredential)
    assert isinstance(credential_factory(settings(**FEDERATED))(), ClientAssertionCredential)


# --- nothing secret is logged --------------------------------------------------------------------------------


def test_no_log_line_contains_a_token_or_a_response(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "cart_checkout"), endpoint(always(gives(jwt()), FAILURES["400"])):
        identity = TokenProvider(credential_factory(settings()), SCOPE, TENANT)
        token = identity.token()
        assert identity.renew(token) is None
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("cart_checkout", "shared"))]
    assert not [line for line in ours if token in line or QUOTED in line or SECRET in line]
