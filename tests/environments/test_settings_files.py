"""`--settings FILE`: a command finds the file's settings where the app would, in its environment.

`func start` exports every value of a local.settings.json to the app. The SDKs look for the identity, the sign-in,
proxies and authorities in the environment alone, and a shell has those of somebody else.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from cli.connection import exported
from tests.adapters.test_identity import gives, jwt
from tests.environments.conftest import CART, CUSTOMER, STORAGE_VERBS
from tests.support.certificates import Authority
from tests.support.sockets import Server, always, answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environments.conftest import Machine

TENANT = "11111111-2222-3333-4444-555555555555"
NAMES = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "outcomes", "RECORDS_CONTAINER": "records"}
REFUSED = answer(403, x_ms_error_code="AuthorizationPermissionMismatch")


def written(folder: Path, **values: str) -> str:
    """A local.settings.json with these values."""
    file = folder / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": NAMES | values}))
    return str(file)


def addresses(url: str) -> dict[str, str]:
    return {"CheckoutStorage__queueServiceUri": url, "CheckoutStorage__blobServiceUri": url}


@pytest.mark.parametrize(
    "verb",
    [
        *STORAGE_VERBS,
        ("resolve", CUSTOMER, CART, "--not-bought", "--dry-run"),
        ("doctor", "--skip", "host", "--skip", "service"),
    ],
)
def test_every_verb_signs_in_to_storage_as_the_file_says(
    machine: Machine, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    authority = Authority.make(tmp_path)
    with (
        Server(always(gives(jwt()))) as files,
        Server(always(gives(jwt("of the shell")))) as shells,
        Server(always(REFUSED), authority.server()) as account,
    ):
        of_file = {"IDENTITY_ENDPOINT": f"{files.url}/msi/token", "IDENTITY_HEADER": "of the file"}
        of_shell = {"IDENTITY_ENDPOINT": f"{shells.url}/msi/token", "IDENTITY_HEADER": "of the shell"}
        also = {"CheckoutStorage__credential": "managedidentity", "PARTNER_CENTER_URL": "http://localhost"}
        also["REQUESTS_CA_BUNDLE"] = str(authority.path)
        file = written(tmp_path, **of_file, **also, **addresses(account.url))
        done = machine.on(**of_shell).cli(verb[0], "--settings", file, *verb[1:])
    assert done.returncode in (1, 3), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert {f"Bearer {jwt()}"} == {request.headers["Authorization"] for request in account.requests}
    assert {"of the file"} == {request.headers["X-IDENTITY-HEADER"] for request in files.requests}
    assert [] == shells.requests
    assert f"Bearer {jwt()}" not in done.stdout + done.stderr


def test_the_sign_in_and_the_authorities_of_the_file_are_used_and_the_reason_is_shown(
    machine: Machine, tmp_path: Path
) -> None:
    authority = Authority.make(tmp_path)
    body = b'{"error": "invalid_client", "error_description": "AADSTS700016: not found"}'
    (tmp_path / "assertion").write_text("assertion")
    with Server(always(answer(401, body, Content_Type="application/json")), authority.server()) as sign_in:
        file = written(
            tmp_path,
            AZURE_CLIENT_ID=CART,
            AZURE_TENANT_ID=TENANT,
            AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "assertion"),
            AZURE_AUTHORITY_HOST=sign_in.url,
            REQUESTS_CA_BUNDLE=str(authority.path),
            **addresses("https://account.example"),
        )
        done = machine.cli("status", "--settings", file)
    assert 3 == done.returncode, done.stderr
    assert sign_in.requests
    assert "WorkloadIdentityCredential: " in done.stderr
    assert "AADSTS700016" in done.stderr
    assert "VisualStudioCode" not in done.stderr, "nobody has set that up"


def test_the_environment_is_as_before_when_the_command_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "of the shell")
    monkeypatch.setenv("AZURE_CLIENT_ID", "of the shell")
    before = dict(os.environ)
    with exported({"AZURE_CLIENT_ID": "of the file", "HTTPS_PROXY": "http://proxy", "A=B": "x", "NUL": "\0", "": "x"}):
        assert os.environ["AZURE_CLIENT_ID"] == "of the file"
        assert os.environ["HTTPS_PROXY"] == "http://proxy"
        assert not {"IDENTITY_ENDPOINT", "NUL", "A"} & os.environ.keys()
    assert before == dict(os.environ)
