"""A TLS certificate that is refused: the reason is told in OpenSSL's words, and where trusted authorities are named.

Companies open TLS at a proxy with an authority of their own. Since Python 3.13 a certificate without an Authority Key
Identifier is refused as well, as those of many such proxies are (Azure/azure-cli#32083 is one report). "SSLError" alone
tells nobody which of these it is.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import urllib3.util.ssl_

from cli.checks.service import check_service
from cli.checks.storage import check_storage
from shared.adapters import http_session
from shared.adapters.identity import TokenProvider, credential_factory
from shared.adapters.partner_center import PartnerCenter
from shared.adapters.storage import Storage
from shared.adapters.tls import MOST_CAUSES, tls_refusal
from shared.core.messages import CheckoutRequest
from shared.ports import StorageUnavailable, TokenUnavailable
from shared.settings import Settings
from tests.adapters.test_identity import gives
from tests.environments.conftest import CART, CUSTOMER
from tests.support.certificates import Authority
from tests.support.sockets import Server, always, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cli.checks import Finding

KINDS: dict[str, tuple[str, Callable[[Authority, Authority], ssl.SSLContext]]] = {
    "unknown authority": ("unable to get local issuer certificate", lambda _, other: other.server()),
    "expired": ("certificate has expired", lambda own, _: own.server(days=-1)),
    "another name": (
        "IP address mismatch, certificate is not valid for '127.0.0.1'",
        lambda own, _: own.server("127.0.0.2"),
    ),
    "no authority key identifier": (
        "Missing Authority Key Identifier",
        lambda own, _: own.server(identifies_authority=False),
    ),
}


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority that is trusted, and by no other variable than this. The rules are those of Python 3.13."""
    for name in ("CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def strict() -> ssl.SSLContext:
        context = urllib3.util.ssl_.create_urllib3_context()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(http_session, "create_urllib3_context", strict)
    own = Authority.make(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own.path))
    return own


@pytest.fixture(params=KINDS)
def refused(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """A server whose certificate is refused, and OpenSSL's reason."""
    reason, make = KINDS[request.param]
    other = Authority.make(tmp_path_factory.mktemp("other"))
    with Server(always(answer(200, b"{}")), make(authority, other)) as server:
        yield server, f"{reason}; trusted are those of REQUESTS_CA_BUNDLE={authority.path}"
    assert [] == server.requests


def cart() -> CheckoutRequest:
    return CheckoutRequest(CUSTOMER, CART, "order-1", datetime.now(UTC))


class Token:
    """A credential that has one."""

    def token(self) -> str:
        return "token"

    def renew(self, refused: str) -> None:
        del refused


def service(server: Server) -> tuple[Settings, Any]:
    return Settings("carts", "outcomes", "records", partner_center_url=server.url), Token()


def account(server: Server) -> dict[str, str]:
    url = f"{server.url}/account"
    connection = f"BlobEndpoint={url};QueueEndpoint={url};SharedAccessSignature=sv=2024&sig=hush;"
    names = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "outcomes", "RECORDS_CONTAINER": "records"}
    return {"CheckoutStorage": connection, "PARTNER_CENTER_URL": "http://localhost", **names}


def only(findings: Iterator[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


def test_what_is_trusted_is_heard(authority: Authority) -> None:
    with Server(always(answer(200, b"{}")), authority.server()) as server:
        assert 200 == PartnerCenter(*service(server)).get_cart(cart()).status


def test_a_call_to_partner_center_tells_the_reason(refused: tuple[Server, str]) -> None:
    server, reason = refused
    response = PartnerCenter(*service(server)).get_cart(cart())
    assert (f"not sent: SSLError (TLS: {reason})", False) == (response.failure, response.sent)


def test_a_storage_operation_tells_the_reason(refused: tuple[Server, str]) -> None:
    server, reason = refused
    settings = Settings.from_env(account(server))
    with pytest.raises(StorageUnavailable) as caught:
        Storage(settings).queue("carts").send("x")
    assert str(caught.value).endswith(f"TLS: {reason}")


def test_a_sign_in_tells_the_reason(refused: tuple[Server, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, reason = refused
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", server.url)
    settings = Settings("carts", "outcomes", "records", auth="federated", tenant_id=CUSTOMER, app_id=CART)
    with Server(always(gives("assertion"))) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "opens")
        with pytest.raises(TokenUnavailable) as caught:
            TokenProvider(credential_factory(settings), settings.scope, None).token()
    assert f"(TLS: {reason})" in str(caught.value)


def test_doctor_tells_the_reason_of_the_service(refused: tuple[Server, str]) -> None:
    server, reason = refused
    found = only(check_service(*service(server)), "service.reachable")
    assert ("failed", f"127.0.0.1 cannot be reached: TLS: {reason}") == (found.status, found.found)
    assert "REQUESTS_CA_BUNDLE" in found.todo


def test_doctor_tells_the_reason_of_storage(refused: tuple[Server, str]) -> None:
    server, reason = refused
    found = only(check_storage(account(server)), "storage.queue")
    assert ("failed", f"carts: count could not be tried: TLS: {reason}") == (found.status, found.found)
    assert "REQUESTS_CA_BUNDLE" in found.todo
    assert "hush" not in str(found)


def test_without_the_variable_it_is_named(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with Server(always(answer(200)), authority.server()) as server:
        failure = PartnerCenter(*service(server)).get_cart(cart()).failure or ""
    assert failure.endswith(
        "unable to get local issuer certificate; trusted are certifi's, REQUESTS_CA_BUNDLE names others)"
    )


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), ("", "NO_CERTIFICATE_OR_CRL_FOUND")]
)
def test_authorities_that_cannot_be_read_are_named(
    authority: Authority, content: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with Server(always(answer(200)), authority.server()) as server:
        failure = PartnerCenter(*service(server)).get_cart(cart()).failure
        stored = only(check_storage(account(server)), "storage.queue").found
    told = f"TLS: REQUESTS_CA_BUNDLE cannot be read: {reason}"
    assert f"not sent: AuthoritiesUnreadable ({told})" == failure
    assert f"carts: count could not be tried: {told}" == stored


@pytest.mark.usefixtures("authority")
def test_what_is_no_tls_is_told() -> None:
    with Server(lambda peer: peer.send(b"no TLS at all\r\n")) as server:
        server.url = server.url.replace("http:", "https:")
        failure = PartnerCenter(*service(server)).get_cart(cart()).failure
    assert failure in (
        "not sent: SSLError (TLS: wrong version number)",
        "not sent: SSLError (TLS: record layer failure)",
    )


def test_of_errors_in_a_circle_each_is_looked_at_once() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__context__ = second, first
    assert tls_refusal(first) is None
    chain: BaseException = ssl.SSLError("far down")
    for _ in range(MOST_CAUSES):
        chain = ValueError(chain)
    assert tls_refusal(chain) is None
