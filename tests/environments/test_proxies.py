"""A proxy in the environment: it is shown no secret, and nothing that is meant for this machine.

Containers, company laptops and build machines set HTTP_PROXY for every process. What that does to a managed identity
is told in microsoft/azure-pipelines-tasks#8539. The identity endpoint is plain http: a proxy would be shown the header
that opens it, and the token that buys. It could not even reach the endpoint, which is at this machine's own loopback or
link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.adapters import identity
from shared.adapters.connections import ExchangeAdapter
from shared.adapters.http_session import Session, is_local
from tests.adapters.test_identity import gives, jwt
from tests.environments.conftest import STORAGE_VERBS
from tests.support.certificates import Authority
from tests.support.sockets import Server, always, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Storage
    from tests.environments.conftest import Machine

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
SECRET = "the-header-that-opens-the-endpoint"
LOCAL = [
    "127.0.0.1",
    "127.1.2.3",
    "127.1",
    "0x7f000001",
    "2130706433",
    "localhost",
    "LOCALHOST.",
    "app.localhost",
    "169.254.169.254",
    "169.254.255.2",
    "0.0.0.0",  # noqa: S104  an address, not a bind
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
]
FOREIGN = [
    "api.partnercenter.microsoft.com",
    "10.0.0.1",
    "128.0.0.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "localhost.example",
    "",
]

ASK = """
from shared.adapters.identity import TokenProvider, credential_factory
from shared.settings import Settings
settings = Settings.from_env()
print(TokenProvider(credential_factory(settings), settings.scope, None).token())
"""
SEND = """
import sys
from shared.adapters.storage import Storage
from shared.settings import Settings
settings = Settings.from_env()
Storage(settings).queue(settings.carts_queue).send("eyJ9")
"""


@pytest.fixture
def proxy() -> Iterator[Server]:
    """A proxy that records what it is shown, and leads nowhere."""
    with Server(always(answer(502))) as server:
        yield server


def proxied(machine: Machine, proxy: Server, **environ: str) -> Machine:
    return machine.on(**dict.fromkeys(NAMES, proxy.url), **environ)


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_and_its_link_are_local_however_they_are_written(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_no_other_host_is_local(host: str) -> None:
    assert not is_local(host)


@pytest.mark.parametrize("host", [host for host in LOCAL if "%" not in host])
def test_no_proxy_is_used_for_what_is_local(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "http://proxy.example:3128")
    for no_proxy in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(no_proxy, raising=False)
    session = Session(ExchangeAdapter())
    address = f"[{host}]" if ":" in host else host
    assert {} == session.proxies(f"http://{address}:8081/msi/token")
    assert session.proxies("http://partner.example/"), "the proxy is there"


def test_no_proxy_is_used_for_the_identity_endpoint_wherever_the_platform_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://Identity.platform:8081/msi/token")
    for no_proxy in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(no_proxy, raising=False)
    session = identity.transport().session
    assert isinstance(session, Session)
    assert {} == session.proxies("http://identity.platform:8081/msi/token?resource=x")
    assert session.proxies("http://another.platform:8081/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_identity_endpoint_is_asked_directly(machine: Machine, proxy: Server, host: str) -> None:
    with Server(always(gives(jwt()))) as endpoint:
        where = {"IDENTITY_ENDPOINT": f"http://{host}:{endpoint.port}/msi/token", "IDENTITY_HEADER": SECRET}
        settings = {"PARTNER_CENTER_URL": "http://localhost", "CheckoutStorage": "UseDevelopmentStorage=true"}
        names = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "outcomes", "RECORDS_CONTAINER": "records"}
        done = proxied(machine, proxy).run("-c", ASK, **where, **settings, **names)
    assert (jwt(), "") == (done.stdout.strip(), done.stderr)
    assert [SECRET] == [request.headers["X-IDENTITY-HEADER"] for request in endpoint.requests]
    assert 0 == proxy.connections


def test_the_app_reaches_an_account_on_this_machine_directly(machine: Machine, proxy: Server, storage: Storage) -> None:
    done = proxied(machine, proxy).run("-c", SEND, PARTNER_CENTER_URL="http://localhost", **storage.environ)
    assert (0, "") == (done.returncode, done.stderr)
    assert 1 == storage.carts.get_queue_properties().approximate_message_count
    assert 0 == proxy.connections


@pytest.mark.parametrize(
    "verb",
    [
        *STORAGE_VERBS,
        ("doctor", "--skip", "host", "--skip", "identity"),
    ],
)
def test_no_verb_shows_a_proxy_what_is_for_this_machine(
    machine: Machine, proxy: Server, storage: Storage, verb: tuple[str, ...]
) -> None:
    with Server(always(answer(401))) as service:
        done = proxied(machine, proxy).cli(*verb, PARTNER_CENTER_URL=service.url, **storage.environ)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert 0 == proxy.connections


def test_the_tools_ask_the_identity_endpoint_directly(
    machine: Machine, proxy: Server, storage: Storage, tmp_path: Path
) -> None:
    authority, refused = Authority.make(tmp_path), answer(403, x_ms_error_code="AuthorizationPermissionMismatch")
    with Server(always(gives(jwt()))) as endpoint, Server(always(refused), authority.server()) as account:
        environ = storage.environ | {
            "CheckoutStorage__queueServiceUri": account.url,
            "CheckoutStorage__blobServiceUri": account.url,
            "IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token",
            "IDENTITY_HEADER": SECRET,
            "REQUESTS_CA_BUNDLE": str(authority.path),
        }
        del environ["CheckoutStorage"]
        for credential in ({}, {"CheckoutStorage__credential": "managedidentity"}):
            done = proxied(machine, proxy).cli("doctor", "--json", "--skip", "host", **environ, **credential)
            assert "missing right to count" in done.stdout
    assert {f"Bearer {jwt()}"} == {request.headers["Authorization"] for request in account.requests}
    assert {SECRET} == {request.headers.get("X-IDENTITY-HEADER") for request in endpoint.requests}
    assert 0 == proxy.connections


def test_for_any_other_host_a_proxy_is_used_and_sees_its_name_only(machine: Machine, proxy: Server) -> None:
    federated = {
        "PARTNER_CENTER_AUTH": "federated",
        "PARTNER_CENTER_APP_ID": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "PARTNER_CENTER_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "CheckoutStorage": "UseDevelopmentStorage=true",
    }
    names = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "outcomes", "RECORDS_CONTAINER": "records"}
    with Server(always(gives(jwt()))) as endpoint:
        where = {"IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token", "IDENTITY_HEADER": SECRET}
        done = proxied(machine, proxy).run("-c", ASK, **federated, **names, **where)
    assert "TokenUnavailable" in done.stderr
    assert [("CONNECT", "login.microsoftonline.com:443")] == [(each.method, each.target) for each in proxy.requests]
    assert jwt() not in str([each.headers.items() for each in proxy.requests])


def test_no_proxy_names_hosts_that_no_proxy_is_used_for(machine: Machine, proxy: Server) -> None:
    program = "from shared.adapters.http_session import *; print(Session(Adapter()).proxies('https://a.example/x'))"
    assert proxy.url in proxied(machine, proxy).run("-c", program).stdout
    assert "{}\n" == proxied(machine, proxy, NO_PROXY=".example").run("-c", program).stdout
    assert "{'http': " == machine.on(HTTP_PROXY=proxy.url).run("-c", program).stdout[:9], "not for https"
