"""A .netrc in the home folder: none of its entries is sent to anybody.

`requests` reads it at each request, and its entry replaces the Authorization header (psf/requests#3929). A `default`
entry is for every host: it would replace a storage key, and be shown to the identity endpoint and the sign-in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.adapters.test_identity import gives, jwt
from tests.environments.conftest import CART, CUSTOMER
from tests.support.certificates import Authority
from tests.support.sockets import Server, always, answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Storage
    from tests.environments.conftest import Machine

TENANT = "11111111-2222-3333-4444-555555555555"
APP = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
TOKEN = """
from shared.adapters.identity import TokenProvider, credential_factory
from shared.settings import Settings
settings = Settings.from_env()
print(TokenProvider(credential_factory(settings), settings.scope, settings.tenant_id).token())
"""
NAMES = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "outcomes", "RECORDS_CONTAINER": "records"}


@pytest.fixture
def at_home(machine: Machine, tmp_path: Path) -> Machine:
    """A machine whose user has a .netrc, with an entry for every host and one for this machine."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login kim password secret\ndefault login any password body\n")
    netrc.chmod(0o600)
    return machine.on(HOME=str(tmp_path), NETRC=str(netrc))


def authorizations(server: Server) -> list[str | None]:
    return [request.headers["Authorization"] for request in server.requests]


@pytest.mark.parametrize("verb", [("send", CUSTOMER, CART), ("status",), ("watch", "--timeout", "0")])
def test_the_storage_account_gets_its_own_key(at_home: Machine, storage: Storage, verb: tuple[str, ...]) -> None:
    done = at_home.cli(*verb, **storage.environ)
    assert (0, "") == (done.returncode, done.stderr)


def test_the_identity_endpoint_is_sent_no_password(at_home: Machine) -> None:
    with Server(always(gives(jwt()))) as endpoint:
        where = {"IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token", "IDENTITY_HEADER": "opens"}
        settings = {"PARTNER_CENTER_TENANT_ID": TENANT, "CheckoutStorage": "UseDevelopmentStorage=true"}
        done = at_home.run("-c", TOKEN, **where, **settings, **NAMES)
    assert (jwt(), "") == (done.stdout.strip(), done.stderr)
    assert [None] == authorizations(endpoint)


def test_the_sign_in_is_sent_no_password(at_home: Machine, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    signed_in = json.dumps({"access_token": jwt("app"), "expires_in": 3599, "token_type": "Bearer"}).encode()
    said = answer(200, signed_in, Content_Type="application/json")
    with Server(always(gives("assertion"))) as endpoint, Server(always(said), authority.server()) as sign_in:
        done = at_home.run(
            "-c",
            TOKEN,
            PARTNER_CENTER_AUTH="federated",
            PARTNER_CENTER_APP_ID=APP,
            PARTNER_CENTER_TENANT_ID=TENANT,
            CheckoutStorage="UseDevelopmentStorage=true",
            AZURE_AUTHORITY_HOST=sign_in.url,
            REQUESTS_CA_BUNDLE=str(authority.path),
            IDENTITY_ENDPOINT=f"{endpoint.url}/msi/token",
            IDENTITY_HEADER="opens",
            **NAMES,
        )
    assert (jwt("app"), "") == (done.stdout.strip(), done.stderr)
    assert [[None], [None]] == [authorizations(endpoint), authorizations(sign_in)]


def test_a_person_signs_in_for_the_tools_without_a_password_of_it(at_home: Machine, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    body = b'{"error": "invalid_client", "error_description": "AADSTS7000215: wrong"}'
    refused = answer(401, body, Content_Type="application/json")
    (tmp_path / "assertion").write_text("assertion")
    with Server(always(refused), authority.server()) as sign_in:
        done = at_home.cli(
            "status",
            AZURE_CLIENT_ID=APP,
            AZURE_TENANT_ID=TENANT,
            AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "assertion"),
            AZURE_AUTHORITY_HOST=sign_in.url,
            REQUESTS_CA_BUNDLE=str(authority.path),
            CheckoutStorage__queueServiceUri="https://account.queue.core.windows.net",
            CheckoutStorage__blobServiceUri="https://account.blob.core.windows.net",
            **NAMES,
        )
    assert 3 == done.returncode, done.stderr
    assert "WorkloadIdentityCredential: " in done.stderr
    assert "AADSTS7000215" in done.stderr
    assert sign_in.requests
    assert {None} == set(authorizations(sign_in))


def test_partner_center_gets_the_token_or_nothing(at_home: Machine) -> None:
    with Server(always(gives(jwt()))) as endpoint, Server(always(answer(401), answer(404))) as service:
        done = at_home.cli(
            "doctor",
            "--json",
            "--skip",
            "host",
            "--skip",
            "storage",
            PARTNER_CENTER_URL=service.url,
            IDENTITY_ENDPOINT=f"{endpoint.url}/msi/token",
            IDENTITY_HEADER="opens",
            CheckoutStorage="UseDevelopmentStorage=true",
            **NAMES,
        )
    assert 0 == done.returncode, done.stdout
    assert [None, f"Bearer {jwt()}"] == authorizations(service)
