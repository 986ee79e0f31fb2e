"""Servers that refuse every call: `doctor` finds no right in their answers.

Whatever is between the command and the account answers with statuses of its own, and an account has reasons to refuse
that are not rights. A stock Azurite, for one, refuses the API version of a newer SDK with 400 (Azure/Azurite#2562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import ContainerClient
from azure.storage.blob import StorageErrorCode as BlobCode
from azure.storage.queue import QueueClient
from azure.storage.queue import StorageErrorCode as QueueCode

from cli.checks.permissions import (
    Target,
    check_permissions,
    container_permissions,
    queue_permissions,
)
from cli.checks.storage import check_storage
from local.azurite import Azurite
from tests.adapters.test_identity import gives, jwt
from tests.environments.conftest import findings
from tests.support.certificates import Authority
from tests.support.sockets import Server, always, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cli.checks import Finding
    from local.azurite import StorageService
    from tests.conftest import Storage
    from tests.environments.conftest import Machine
    from tests.support.sockets import Peer

NAMES = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "outcomes", "RECORDS_CONTAINER": "records"}
PAGE = b"<html><body>Blocked by the web filter</body></html>"
CODES = sorted({str(code.value) for code in (*BlobCode, *QueueCode)})


class StockAzurite(Azurite):
    """Azurite as people start it themselves."""

    def _command(self, name: str, services: list[StorageService]) -> list[str]:
        return [each for each in super()._command(name, services) if each != "--skipApiVersionCheck"]


def account(url: str) -> dict[str, str]:
    connection = f"BlobEndpoint={url}/account;QueueEndpoint={url}/account;SharedAccessSignature=sv=2024&sig=hush;"
    return {"CheckoutStorage": connection, **NAMES}


def of_storage(values: dict[str, str]) -> list[Finding]:
    """What was found of the queues and the container."""
    return [finding for finding in check_storage(values) if finding.check != "storage"]


def coded(status: int, code: str) -> bytes:
    return answer(status, x_ms_error_code=code)


@pytest.mark.parametrize(
    ("said", "told", "todo"),
    [
        (answer(404), "HTTP 404, without an error code of the storage service", "HTTPS_PROXY"),
        (answer(403, PAGE, Content_Type="text/html"), "HTTP 403, without an error code", "HTTPS_PROXY"),
        (answer(407), "HTTP 407, without an error code", "HTTPS_PROXY"),
        (answer(502, PAGE), "HTTP 502, without an error code", "HTTPS_PROXY"),
        (answer(412), "HTTP 412, without an error code", "HTTPS_PROXY"),
        (coded(400, "AccountRequiresHttps"), "AccountRequiresHttps", "https only"),
        (coded(400, "InvalidAuthenticationInfo"), "InvalidAuthenticationInfo", "Authorization header"),
        (coded(400, "InvalidHeaderValue"), "InvalidHeaderValue", "--skipApiVersionCheck"),
        (coded(409, "QueueBeingDeleted"), "QueueBeingDeleted", "health"),
        (coded(503, "ServerBusy"), "ServerBusy", "health"),
    ],
)
def test_whatever_refuses_every_call_grants_nothing(said: bytes, told: str, todo: str) -> None:
    with Server(always(said)) as server:
        found = of_storage(account(server.url))
    assert ["failed"] * 4 == [finding.status for finding in found], found
    assert all("could not be tried: " in finding.found and told in finding.found for finding in found), found
    assert all(todo in finding.todo for finding in found), found
    assert "hush" not in str(found)


def test_a_server_that_accepts_the_impossible_grants_nothing() -> None:
    with Server(always(answer(204))) as server:
        found = of_storage(account(server.url))
    assert ["failed"] * 4 == [finding.status for finding in found], found


def test_a_stock_azurite_is_named(azurite: Azurite) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent
    with StockAzurite() as stock:
        found = of_storage({"CheckoutStorage": stock.connection_string, **NAMES})
    assert ["failed"] * 4 == [finding.status for finding in found], found
    assert all("InvalidHeaderValue" in finding.found for finding in found)
    assert all("start it with --skipApiVersionCheck" in finding.todo for finding in found)


def test_of_the_services_codes_a_call_accepts_its_own_alone() -> None:
    """Each permission against every code that the service has, in place of the one that proves it."""
    given = [""]

    def play(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(coded(400, given[0]))

    proven: dict[str, set[str]] = {}
    with Server(play) as server:
        url, key = f"{server.url}/account", AzureNamedKeyCredential("account", "a2V5")
        with QueueClient(url, "carts", key, retry_total=0) as queue, ContainerClient(url, "records", key) as blobs:
            for permission in (*queue_permissions(queue), *container_permissions(blobs)):
                for given[0] in CODES:
                    target = Target("queue", "name", "SETTING", "role", "r")
                    if [finding.status for finding in check_permissions(target, [permission])] == ["ok"]:
                        proven.setdefault(permission.name, set()).add(given[0])
    assert {
        "send": {"InvalidQueryParameterValue", "OutOfRangeQueryParameterValue"},
        "receive": {"MessageNotFound", "PopReceiptMismatch"},
        "update": {"MessageNotFound", "PopReceiptMismatch"},
        "read": {"BlobNotFound"},
        "write": {"ConditionNotMet"},
        "set metadata": {"BlobNotFound", "ConditionNotMet"},
        "delete": {"BlobNotFound"},
    } == proven


def answers(codes: dict[str, tuple[int, str]]) -> Callable[[Peer], None]:
    """Play an account whose blobs answer each method with its status and code."""

    def play(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            peer.send(coded(*codes[request.method]))

    return play


def test_an_immutability_policy_is_no_right_to_write() -> None:
    """Azure refuses a write to a protected container with 409, whether or not the condition holds."""
    codes = {"GET": (404, "BlobNotFound"), "PUT": (409, "BlobImmutableDueToPolicy"), "DELETE": (404, "BlobNotFound")}
    with (
        Server(answers(codes)) as server,
        ContainerClient(f"{server.url}/account", "records", retry_total=0) as container,
    ):
        target = Target("container", "records", "RECORDS_CONTAINER", "role", "rwd")
        (found,) = check_permissions(target, container_permissions(container))
    assert found.found.startswith("records: write could not be tried: BlobImmutableDueToPolicy")
    assert ("failed", True) == (found.status, "docs/deployment.md, Records" in found.todo)


@pytest.fixture
def identity() -> Iterator[dict[str, str]]:
    """A platform whose identity endpoint gives a token of Kim's."""
    with Server(always(gives(jwt(upn="kim@example.com")))) as endpoint:
        yield {"IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token", "IDENTITY_HEADER": "opens"}


@pytest.mark.parametrize(
    ("credential", "status", "told"),
    [
        ({}, "warning", "the rights of kim@example.com, signed in on this machine, and not with the app's"),
        ({"CheckoutStorage__credential": "managedidentity"}, "ok", "as the managed identity kim@example.com"),
    ],
)
def test_doctor_says_whose_rights_it_tried(
    machine: Machine, identity: dict[str, str], credential: dict[str, str], status: str, told: str, tmp_path: Path
) -> None:
    authority = Authority.make(tmp_path)
    with Server(always(coded(403, "AuthorizationPermissionMismatch")), authority.server()) as server:
        uris: dict[str, str] = {f"CheckoutStorage__{each}ServiceUri": server.url for each in ("queue", "blob")}
        environ = identity | credential | uris | NAMES | {"REQUESTS_CA_BUNDLE": str(authority.path)}
        found = findings(machine.cli("doctor", "--json", "--skip", "host", **environ))["storage"]
    assert (status, True) == (found["status"], told in found["found"]), found
    assert ("az role assignment list" in found.get("todo", "")) == (status == "warning")


def test_the_rights_of_a_key_are_said_to_be_the_apps(machine: Machine, storage: Storage) -> None:
    done = machine.cli("doctor", "--json", "--skip", "host", **storage.environ)
    assert ("ok", True) == (
        findings(done)["storage"]["status"],
        "key or signature, as the app uses it" in findings(done)["storage"]["found"],
    )


def test_where_nobody_is_signed_in_that_is_said_once(machine: Machine) -> None:
    uris: dict[str, Any] = {f"CheckoutStorage__{each}ServiceUri": "https://a.example" for each in ("queue", "blob")}
    nobody = {"PATH": "/nowhere", "AZURE_TOKEN_CREDENTIALS": "dev"}
    found = findings(machine.cli("doctor", "--json", "--skip", "host", **uris, **nobody, **NAMES))
    assert "nobody is signed in on this machine" in found["storage"]["found"]
    assert "az login" in found["storage"]["todo"]
    assert "storage.queue" not in found
