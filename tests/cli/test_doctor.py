from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerClient,
    ResourceTypes,
    Services,
    generate_account_sas,
)
from click.testing import CliRunner, Result

from cli.checks.storage import check_changeable
from cli.main import main
from local.azurite import ACCOUNT, ACCOUNT_KEY
from tests.adapters.test_identity import gives, jwt
from tests.support.sockets import Server, always, answer, refusing_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from local.azurite import Azurite
    from local.simulator.server import Simulator
    from tests.conftest import Storage

OTHER_TENANT = "99999999-2222-4333-8444-555555555555"


@dataclass(slots=True)
class Doctor:
    """Runs `cart-checkout doctor` on settings of the test's own."""

    values: dict[str, str]
    folder: Path

    def run(self, *arguments: str, **settings: str | None) -> Result:
        values = {name: value for name, value in (self.values | settings).items() if value is not None}
        file = self.folder / "settings.json"
        file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
        result = CliRunner().invoke(main, ["doctor", "--settings", str(file), *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    def findings(self, *arguments: str, **settings: str | None) -> list[dict[str, str]]:
        result = self.run("--json", *arguments, **settings)
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert result.exit_code == any(finding["status"] == "failed" for finding in found)
        return found

    def failed(self, *arguments: str, **settings: str | None) -> list[tuple[str, str, str]]:
        """Check, finding, and what to do, of each that failed; fails where that is nothing."""
        found = [f for f in self.findings(*arguments, **settings) if f["status"] == "failed"]
        assert all(finding["todo"] for finding in found)
        return [(finding["check"], finding["found"], finding["todo"]) for finding in found]


@pytest.fixture
def doctor(storage: Storage, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"):
        monkeypatch.delenv(name, raising=False)  # the file names the identity, not the shell
    values = storage.environ | simulator.environment() | {"PYTHON_THREADPOOL_THREAD_COUNT": "32"}
    return Doctor(values, tmp_path)


@pytest.fixture
def signed(azurite: Azurite) -> Callable[[str], str]:
    """Makes a connection string that is allowed only this much; Azurite honours it as Azure does."""

    def make(permissions: str, hours: float = 1.0) -> str:
        signature = generate_account_sas(
            ACCOUNT,
            ACCOUNT_KEY,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions.from_string(permissions),  # type: ignore[no-untyped-call]
            datetime.now(UTC) + timedelta(hours=hours),
            services=Services(blob=True, queue=True),
        )
        return (
            f"BlobEndpoint={azurite.blob_endpoint};QueueEndpoint={azurite.queue_endpoint};"
            f"SharedAccessSignature={signature};"
        )

    return make


def test_with_a_correct_setup_nothing_fails_and_nothing_is_changed(doctor: Doctor, storage: Storage) -> None:
    result = doctor.run()

    assert result.exit_code == 0
    assert "Nothing failed." in result.stdout
    assert "" == result.stderr
    for word in ("settings", "host.threads", "storage.queue", "storage.container", "identity.token", "service.admits"):
        assert word in result.stdout
    for queue in (storage.carts, storage.poison, storage.outcomes):
        assert 0 == queue.get_queue_properties().approximate_message_count
    assert [] == [*storage.records.list_blobs()]


def test_what_was_not_checked_is_named(doctor: Doctor) -> None:
    result = doctor.run("--skip", "identity")
    assert (0, "Not checked: identity, service.admits.\n") == (result.exit_code, result.stderr)


def test_it_shows_tenant_audience_and_expiry_of_the_token_and_never_the_token(
    doctor: Doctor, simulator: Simulator
) -> None:
    found = {finding["check"]: finding["found"] for finding in doctor.findings()}
    assert simulator.identity.tenant_id in found["identity.token"]
    assert simulator.url in found["identity.token"]
    assert "in 24 h" in found["identity.expiry"]
    shown = doctor.run().output
    assert "eyJ" not in shown
    assert simulator.identity.header not in shown
    assert ACCOUNT_KEY not in shown


def test_nothing_is_bought_and_nothing_is_posted(doctor: Doctor, simulator: Simulator) -> None:
    doctor.run()
    totals = simulator.snapshot()["totals"]
    assert (0, 0) == (totals["posts"], totals["purchases"])


def test_a_missing_identity_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(always(answer(404))) as imds:  # the endpoint of a virtual machine, which this is not
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", imds.url)
        (found,) = doctor.failed("--skip", "storage", IDENTITY_ENDPOINT=None, IDENTITY_HEADER=None)
    check, said, todo = found
    assert check == "identity.token"
    assert "no token for" in said
    assert "No identity: this process has no IDENTITY_ENDPOINT" in todo


@pytest.mark.parametrize("failure", [400, 500])
def test_an_identity_endpoint_that_refuses_is_named(doctor: Doctor, simulator: Simulator, failure: int) -> None:
    simulator.identity.failure = failure
    ((check, said, todo),) = doctor.failed("--skip", "storage")
    assert check == "identity.token"
    assert "no token for" in said
    assert "400: no such identity" in todo


def test_a_wrong_tenant_is_named(doctor: Doctor, simulator: Simulator) -> None:
    ((check, said, todo),) = doctor.failed("--skip", "storage", PARTNER_CENTER_TENANT_ID=OTHER_TENANT)
    assert check == "identity.tenant"
    assert said.startswith("wrong tenant: ")
    assert simulator.identity.tenant_id in said
    assert OTHER_TENANT in said
    assert "PARTNER_CENTER_TENANT_ID" in todo


def test_a_token_about_to_expire_and_one_without_claims_are_reported(doctor: Doctor) -> None:
    def statuses(token: str, lifetime: float = 3600) -> dict[str, str]:
        with Server(always(gives(token, lifetime))) as endpoint:
            found = doctor.findings(
                "--skip", "storage", IDENTITY_ENDPOINT=f"{endpoint.url}/msi/token", PARTNER_CENTER_TENANT_ID=None
            )
        return {finding["check"]: finding["status"] for finding in found}

    assert "warning" == statuses(jwt(exp=int(datetime.now(UTC).timestamp()) + 60))["identity.expiry"]
    assert "warning" == statuses(jwt())["identity.expiry"]
    assert "warning" == statuses(jwt())["identity.tenant"], "none is demanded"
    assert "warning" == statuses("opaque")["identity.token"]


@pytest.mark.parametrize("role", ["carts", "poison", "outcomes"])
def test_a_missing_queue_is_named(doctor: Doctor, storage: Storage, role: str) -> None:
    queue = getattr(storage, role)
    queue.delete_queue()
    ((check, said, todo),) = doctor.failed("--skip", "identity", "--skip", "service")
    assert (check, said) == ("storage.queue", f"the queue {queue.queue_name} does not exist")
    assert "Create it" in todo


def test_a_missing_container_is_named(doctor: Doctor, storage: Storage) -> None:
    storage.records.delete_container()
    ((check, said, _),) = doctor.failed("--skip", "identity", "--skip", "service")
    assert (check, said) == ("storage.container", f"the container {storage.records.container_name} does not exist")


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ("wdlacup", ["carts: missing right to count, peek", "records: missing right to read"]),
        ("rwdlcup", ["carts: missing right to send", "outcomes: missing right to send"]),
        ("rwdlacu", ["carts: missing right to receive"]),
        ("rwdlacp", ["carts: missing right to update"]),
        ("rdlaup", ["records: missing right to write, set metadata"]),
        ("rwlacup", ["records: missing right to delete"]),
    ],
)
def test_a_missing_permission_is_named(
    doctor: Doctor, storage: Storage, signed: Callable[[str], str], permissions: str, expected: list[str]
) -> None:
    failed = doctor.failed("--skip", "identity", "--skip", "service", CheckoutStorage=signed(permissions))
    findings = [found for _, found, _ in failed]
    for each in expected:
        role, _, what = each.partition(": ")
        name = storage.records.container_name if role == "records" else getattr(storage, role).queue_name
        of_it = [found.removeprefix(name) for found in findings if found.startswith(f"{name}: {what}")]
        assert of_it, findings
        assert all("403" not in found for found in of_it), findings  # a name may have these digits
    assert all("Storage Queue Data" in todo or "Storage Blob Data" in todo for _, _, todo in failed)
    assert "sig=" not in str(failed)


def test_a_missing_permission_that_only_the_tools_need_is_a_warning(
    doctor: Doctor, signed: Callable[[str], str]
) -> None:
    result = doctor.run("--skip", "identity", "--skip", "service", CheckoutStorage=signed("rwdacup"))
    assert result.exit_code == 0
    assert "no right to list, which the app does not need" in result.stdout


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, []),
        (200, {"x_ms_has_immutability_policy": "false", "x_ms_has_legal_hold": "false"}, []),
        (200, {"x_ms_has_immutability_policy": "true"}, [("failed", "an immutability policy forbids")]),
        (200, {"x_ms_has_legal_hold": "true"}, [("failed", "a legal hold forbids")]),
        (403, {"x_ms_error_code": "AuthorizationPermissionMismatch"}, [("skipped", "not checked")]),
        (404, {"x_ms_error_code": "ContainerNotFound"}, []),
        (None, {}, []),
    ],
)
def test_a_container_whose_records_cannot_be_changed_is_named(
    status: int | None, headers: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    dated: dict[str, Any] = {"Last_Modified": "Sun, 22 Nov 2026 10:00:00 GMT", "ETag": '"1"', **headers}
    with Server(always(answer(status or 200, **dated))) as server:
        url = server.url if status else f"http://127.0.0.1:{refusing_port()}"
        with ContainerClient(f"{url}/account", "records", retry_total=0) as container:
            found = [*check_changeable(container)]
    assert [each for each, _ in expected] == [finding.status for finding in found]
    assert all(text in finding.found for (_, text), finding in zip(expected, found, strict=True))


def test_an_expired_signature_is_named(doctor: Doctor, signed: Callable[..., str]) -> None:
    failed = doctor.failed("--skip", "identity", "--skip", "service", CheckoutStorage=signed("rwdlacup", -1))
    assert all("not admitted at all" in found and "expired" in todo for _, found, todo in failed), failed
    assert len(failed) == 4


def test_a_storage_account_that_is_not_reached_is_named(doctor: Doctor) -> None:
    nowhere = f"http://127.0.0.1:{refusing_port()}/a"
    connection = f"BlobEndpoint={nowhere};QueueEndpoint={nowhere};SharedAccessSignature=sv=2024&sig=hush;"
    failed = doctor.failed("--skip", "identity", "--skip", "service", CheckoutStorage=connection)
    assert "could not be tried" in failed[0][1]
    assert "hush" not in str(failed)
    assert 4 == len(failed)


@pytest.mark.parametrize("count", ["8", "31", None, "many"])
def test_a_wrong_thread_count_is_named(doctor: Doctor, count: str | None) -> None:
    failed = doctor.failed("--skip", "storage", "--skip", "service", PYTHON_THREADPOOL_THREAD_COUNT=count)
    (said,) = [(found, todo) for check, found, todo in failed if check == "host.threads"]
    assert "hands over 32 messages" in said[0]
    assert "Set PYTHON_THREADPOOL_THREAD_COUNT to 32" in said[1]


def test_a_host_json_that_loses_messages_is_named(doctor: Doctor, tmp_path: Path) -> None:
    def checks(text: str) -> list[str]:
        (tmp_path / "host.json").write_text(text)
        skipped = ("--skip", "storage", "--skip", "service", "--skip", "identity")
        return [check for check, _, _ in doctor.failed(*skipped, "--host-json", str(tmp_path / "host.json"))]

    assert ["host.encoding", "host.visibility"] == checks(
        '{"extensions": {"queues": {"batchSize": 1, "newBatchThreshold": 0}}}'
    )
    assert ["host.threads", "host.encoding", "host.visibility"] == checks(
        '{"extensions": {"queues": {"batchSize": 16, "newBatchThreshold": 17}}}'
    )
    assert {"host.encoding", "host.visibility"} <= {*checks("{}")}
    assert ["host.json"] == checks('{"extensions": {"queues": {"batchSize": 33}}}')
    assert ["host.json"] == checks("[]")
    ((check, _, todo),) = doctor.failed("--skip", "storage", "--host-json", str(tmp_path / "no.json"))
    assert check == "host.json"
    assert "--host-json FILE" in todo


def test_an_unreachable_service_is_named(doctor: Doctor) -> None:
    url = f"http://127.0.0.1:{refusing_port()}"
    ((check, said, todo),) = doctor.failed("--skip", "storage", "--skip", "identity", PARTNER_CENTER_URL=url)
    assert (check, said) == ("service.reachable", "127.0.0.1 cannot be reached: Connection refused")
    assert "make run" in todo


@pytest.mark.parametrize(
    ("status", "expected"), [(401, "failed"), (403, "failed"), (429, "warning"), (503, "warning"), (404, "ok")]
)
def test_whether_the_service_admits_the_identity_is_reported(doctor: Doctor, status: int, expected: str) -> None:
    with Server(always(answer(401), answer(status))) as service:
        found = doctor.findings("--skip", "storage", PARTNER_CENTER_URL=service.url)
    assert [expected] == [finding["status"] for finding in found if finding["check"] == "service.admits"]
    assert {"GET"} == {request.method for request in service.requests}


def test_a_service_that_closes_the_connection_is_named(doctor: Doctor) -> None:
    def play(peer: Any) -> None:
        request = peer.request()
        if request is not None and "Authorization" not in request.headers:
            peer.send(answer(401))

    with Server(play) as service:
        ((check, said, _),) = doctor.failed("--skip", "storage", PARTNER_CENTER_URL=service.url)
    assert ("service.admits", "no answer: ConnectionError") == (check, said)


def test_all_wrong_settings_are_named_and_the_other_checks_run(doctor: Doctor) -> None:
    found = doctor.findings(SETTLE_SECONDS="soon", PARTNER_CENTER_URL="https://evil.example", PARTNER_CENTER_AUTH="x")
    failed = [finding["found"] for finding in found if finding["status"] == "failed"]
    assert {"SETTLE_SECONDS", "PARTNER_CENTER_URL", "PARTNER_CENTER_AUTH"} == {said.split()[0] for said in failed}
    assert {"identity", "service"} == {finding["check"] for finding in found if finding["status"] == "skipped"}
    assert 4 == sum(finding["check"].startswith("storage.") for finding in found)


def test_with_wrong_storage_settings_storage_is_not_checked(doctor: Doctor) -> None:
    found = doctor.findings(CARTS_QUEUE=None)
    assert "CARTS_QUEUE is missing (for example carts)" in [finding["found"] for finding in found]
    assert "skipped" in [finding["status"] for finding in found if finding["check"] == "storage"]


@pytest.mark.parametrize("dot", [".", "_", "__"])
def test_a_disabled_function_is_reported_however_its_setting_is_spelled(doctor: Doctor, dot: str) -> None:
    result = doctor.run(**{f"AzureWebJobs{dot}checkout_cart{dot}Disabled": "true"})
    assert result.exit_code == 0
    assert "checkout_cart is disabled: its messages wait" in result.stdout


def test_a_settle_time_that_is_too_short_is_named(doctor: Doctor) -> None:
    skipped = ("--skip", "storage", "--skip", "identity", "--skip", "service")
    ((check, found, _),) = doctor.failed(*skipped, PARTNER_CENTER_URL=None, SETTLE_SECONDS="419")
    assert ("settings", True) == (check, found.startswith("SETTLE_SECONDS must be at least 420"))
    assert [] == doctor.failed(*skipped, PARTNER_CENTER_URL=None, SETTLE_SECONDS="420")


def test_the_settings_of_the_environment_are_checked_where_no_file_is_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in doctor.values.items():
        monkeypatch.setenv(name, value)
    assert 0 == CliRunner().invoke(main, ["doctor"]).exit_code


def test_the_federated_sign_in_is_distinguished(doctor: Doctor) -> None:
    with Server(always(answer(400))) as endpoint:
        ((_, said, todo),) = doctor.failed(
            "--skip",
            "storage",
            PARTNER_CENTER_AUTH="federated",
            PARTNER_CENTER_APP_ID=str(uuid.uuid4()),
            IDENTITY_ENDPOINT=f"{endpoint.url}/msi/token",
        )
    assert "federated" in said
    assert "federated credential" in todo
