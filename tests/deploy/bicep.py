"""The committed snapshots of what the templates come to, and Microsoft's Bicep compiler where ``BICEP`` names it.

A snapshot is what Azure would get, with every default filled in and every name resolved. The compiler writes it without
Azure, and the tests read it without the compiler. Only what Azure itself knows is left in it as an expression:
``deployment_of`` puts values of the same form in their place.

``BICEP=/path/to/bicep python -m tests.deploy.bicep`` writes the snapshots anew.
"""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parents[2] / "infra"
SNAPSHOTS = INFRA / "snapshots"
TENANT = "44444444-4444-4444-4444-444444444444"
SUBSCRIPTION = "33333333-3333-3333-3333-333333333333"
CLIENT = "c1000000-0000-4000-8000-00000000000c"
PRINCIPAL = "9a000000-0000-4000-8000-00000000000d"

_RUN_TIME_VALUES = {
    r"reference\('[^']*/storageAccounts/(\w+)', '[\d-]+'\)\.primaryEndpoints\.(\w+)": r"'https://\1.\2.core.windows.net/'",
    r"reference\('[^']*/components/([\w-]+)', '[\d-]+'\)\.ConnectionString": r"'InstrumentationKey=\1'",
    r"reference\('[^']*/userAssignedIdentities/[^']*', '[\d-]+'\)\.clientId": f"'{CLIENT}'",
    r"reference\('[^']*/userAssignedIdentities/[^']*', '[\d-]+'\)\.principalId": f"'{PRINCIPAL}'",
    r"environment\(\)\.suffixes\.storage": "'core.windows.net'",
    r"environment\(\)\.authentication\.loginEndpoint": "'https://login.microsoftonline.com/'",
}
_ID = {"--tenant-id": TENANT, "--subscription-id": SUBSCRIPTION, "--location": "westeurope"}


@dataclass(frozen=True)
class Resource:
    """A resource as Azure would get it."""

    body: dict[str, Any]

    @property
    def type(self) -> str:
        """Its type, as `Microsoft.Storage/storageAccounts`."""
        return str(self.body["type"])

    @property
    def id(self) -> str:
        """Its resource id."""
        return str(self.body["id"])

    @property
    def name(self) -> str:
        """Its own name, without its parents'."""
        return str(self.body["name"]).rpartition("/")[2]

    @property
    def properties(self) -> dict[str, Any]:
        """The properties that the template sets."""
        return dict(self.body.get("properties", {}))

    @property
    def scope(self) -> str:
        """The id of what an extension resource (a role assignment, a lock, a diagnostic setting) is about."""
        computed = re.match(r"\[extensionResourceId\('([^']+)'", self.id)
        return computed[1] if computed else self.id.rpartition(f"/providers/{self.type}/")[0]


@dataclass(frozen=True)
class Deployment:
    """What a template comes to."""

    snapshot: dict[str, Any]

    @cached_property
    def resources(self) -> list[Resource]:
        """All resources."""
        return [Resource(each) for each in self.snapshot["predictedResources"]]

    @property
    def outputs(self) -> dict[str, Any]:
        """What azd writes into its environment."""
        return dict(self.snapshot["outputs"])

    def of(self, type_: str) -> list[Resource]:
        """The resources of a type."""
        return [each for each in self.resources if each.type == type_]


def deployment_of(name: str) -> Deployment:
    """The deployment of a committed snapshot: `default`, `private-network` or `federated`."""
    text = (SNAPSHOTS / f"{name}.snapshot.json").read_text("utf-8")
    return Deployment(_filled(json.loads(text)))


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if not isinstance(value, str) or not value.startswith("["):
        return value
    text = value[1:-1]
    for pattern, known in _RUN_TIME_VALUES.items():
        text = re.sub(pattern, known, text)
    if literal := re.fullmatch(r"'([^']*)'", text):
        return literal[1]
    if arguments := re.fullmatch(r"format(\((?:'[^']*'(?:, )?)+\))", text):
        template, *parts = ast.literal_eval(arguments[1])
        return template.format(*parts)
    return f"[{text}]"


def bicep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the compiler that `BICEP` names."""
    command = [os.environ["BICEP"], *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)  # noqa: S603  the caller's own


def snapshot(parameters: Path, mode: str) -> subprocess.CompletedProcess[str]:
    """`overwrite` or `validate` the snapshot beside a parameters file. A fixed deployment name resolves all outputs."""
    fixed = [part for option in _ID.items() for part in option]
    return bicep("snapshot", parameters, "--mode", mode, "--deployment-name", "snapshot", *fixed)


if __name__ == "__main__":
    for each in sorted(SNAPSHOTS.glob("*.bicepparam")):
        if (done := snapshot(each, "overwrite")).returncode:
            sys.exit(done.stderr)
