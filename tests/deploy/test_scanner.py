"""What a public scanner finds in the snapshots, each finding with the reason why it stays.

Checkov reads neither Bicep modules nor compiled symbolic names, but a list of resources with their values: a snapshot.
Skipped where ``CHECKOV`` does not name it.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.bicep import SNAPSHOTS

ACCEPTED = {
    "CKV_AZURE_17": "client certificates: the app has no HTTP function, and its host's own endpoints need a key",
    "CKV_AZURE_206": "geo-replication is asynchronous: a failover would lose the newest records",
    "CKV_AZURE_212": "a minimum of instances: Flex Consumption scales to zero, and a queue loses nothing meanwhile",
    "CKV_AZURE_213": "a health check: Flex Consumption has none, and nothing is sent to an instance by HTTP",
    "CKV_AZURE_222": "public access to the app: deployments are uploaded to it, under an identity",
}
BY_CHOICE = {
    "CKV_AZURE_35": "a storage account that refuses by default is VNET_ENABLED",
    "CKV_AZURE_59": "no public access to storage is VNET_ENABLED",
    "CKV_AZURE_36": "trusted services: none is needed, so with VNET_ENABLED none is let in",
    "CKV_AZURE_225": "a plan over several zones is ZONE_REDUNDANT",
}
CHOSEN = {
    "default": {"CKV_AZURE_35", "CKV_AZURE_59", "CKV_AZURE_225"},
    "federated": {"CKV_AZURE_35", "CKV_AZURE_59"},
    "private-network": {"CKV_AZURE_36", "CKV_AZURE_225"},
}
"""What remains of these choices in each snapshot."""


@pytest.fixture
def scan(tmp_path: Path) -> Callable[[list[object]], set[str]]:
    """What the scanner finds in these resources. One that is promised and does not run fails the test."""
    if not (program := os.environ.get("CHECKOV")):
        pytest.skip("CHECKOV does not name the scanner")

    def findings(resources: list[object]) -> set[str]:
        schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
        template = tmp_path / "template.json"
        template.write_text(
            json.dumps({"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources}), "utf-8"
        )
        options = ["--framework", "arm", "--output", "json", "--compact", "--skip-download", "--file", str(template)]
        env = {**os.environ, "LOG_LEVEL": "ERROR"}
        done = subprocess.run([program, *options], env=env, capture_output=True, text=True, check=False, timeout=900)  # noqa: S603  the caller's own
        report = json.loads(done.stdout)
        assert report["summary"]["parsing_errors"] == 0
        return {each["check_id"] for each in report["results"]["failed_checks"]}

    return findings


@pytest.mark.parametrize("name", CHOSEN)
def test_the_scanner_finds_nothing_that_is_not_explained(name: str, scan: Callable[[list[object]], set[str]]) -> None:
    snapshot = json.loads((SNAPSHOTS / f"{name}.snapshot.json").read_text("utf-8"))

    assert set(ACCEPTED) | CHOSEN[name] == scan(snapshot["predictedResources"])


def test_the_scanner_finds_an_account_that_admits_old_tls(scan: Callable[[list[object]], set[str]]) -> None:
    snapshot = json.loads((SNAPSHOTS / "private-network.snapshot.json").read_text("utf-8"))
    text = json.dumps(snapshot["predictedResources"]).replace("TLS1_2", "TLS1_0")

    assert "CKV_AZURE_44" in scan(json.loads(text))


def test_every_choice_is_explained_and_open_somewhere() -> None:
    assert set(BY_CHOICE) == set().union(*CHOSEN.values())
