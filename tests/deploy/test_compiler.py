"""What Microsoft's Bicep compiler says of the templates. Skipped where ``BICEP`` does not name it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.settings import CHINA_URL, DEFAULT_URL
from tests.deploy.bicep import SNAPSHOTS, bicep, snapshot
from tests.deploy.conftest import INFRA, MAIN, NEEDED, ROOT

pytestmark = pytest.mark.usefixtures("compiler")

PARAMETERS = sorted(SNAPSHOTS.glob("*.bicepparam"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the templates that a test may change."""
    folder = tmp_path_factory.mktemp("templates")
    shutil.copy(ROOT / "host.json", folder)
    return Path(shutil.copytree(INFRA, folder / "infra"))


@pytest.fixture(scope="module")
def built() -> tuple[dict[str, Any], str]:
    """The compiled template, and what the compiler and its linter said."""
    done = bicep("build", MAIN, "--stdout")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def parameters(built: tuple[dict[str, Any], str]) -> dict[str, dict[str, Any]]:
    """The parameters of main.bicep, as compiled."""
    return dict(built[0]["parameters"])


def test_the_compiler_and_its_linter_report_only_the_age_of_api_versions(built: tuple[dict[str, Any], str]) -> None:
    found = re.findall(r" : (\w+) ([\w-]+): ", built[1])

    assert len(found) == len(built[1].strip().splitlines())
    assert set(found) <= {("Warning", "use-recent-api-versions")}


def test_a_mistake_in_a_template_is_found(copy: Path) -> None:
    text = MAIN.read_text("utf-8")
    (copy / "mistyped.bicep").write_text(text.replace("recordsRetentionDays: records", "retention: records"), "utf-8")

    done = bicep("build", copy / "mistyped.bicep", "--stdout")

    assert done.returncode == 1
    assert "recordsRetentionDays" in done.stderr


def test_every_rule_of_the_linter_that_is_configured_is_an_error_but_the_one_that_depends_on_the_date() -> None:
    rules = json.loads((INFRA / "bicepconfig.json").read_text("utf-8"))["analyzers"]["core"]["rules"]

    assert {name for name, rule in rules.items() if rule["level"] != "error"} == {"use-recent-api-versions"}
    assert {"no-module-name", "use-user-defined-types", "what-if-short-circuiting", "no-unused-params"} <= set(rules)


def test_the_templates_are_formatted(copy: Path) -> None:
    formatted = copy.parent / "formatted"
    shutil.copytree(INFRA, formatted)
    done = bicep("format", "--pattern", f"{formatted}/**/*.bicep*")
    written = {path.relative_to(INFRA): path.read_text("utf-8") for path in INFRA.rglob("*.bicep*")}

    assert done.returncode == 0, done.stderr
    assert {name: (formatted / name).read_text("utf-8") for name in written} == written


@pytest.mark.parametrize("path", PARAMETERS, ids=lambda path: path.stem)
def test_a_snapshot_is_what_the_templates_come_to(path: Path) -> None:
    done = snapshot(path, "validate")

    assert done.returncode == 0, f"BICEP=... python -m tests.deploy.bicep writes it anew\n{done.stdout}"


def test_a_snapshot_fails_when_a_template_changes(copy: Path) -> None:
    queues = copy / "storage.bicep"
    queues.write_text(
        queues.read_text("utf-8").replace("'StorageWrite', enabled: true", "'StorageWrite', enabled: false")
    )

    done = snapshot(copy / "snapshots" / "default.bicepparam", "validate")

    assert done.returncode == 1
    assert "queue-log" in done.stdout


# --- the parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("instanceMemoryMB", {"allowedValues": [512, 2048, 4096]}),
        ("maximumInstanceCount", {"minValue": 1, "maxValue": 1000}),
        ("partnerCenterAuth", {"allowedValues": ["managed_identity", "federated"]}),
        ("partnerCenterTenantId", {"minLength": 36, "maxLength": 36}),
        ("partnerCenterUrl", {"allowedValues": [DEFAULT_URL, CHINA_URL]}),
        ("recordsRetentionDays", {"minValue": 90}),
        ("siteUpdateStrategy", {"allowedValues": ["RollingUpdate", "Recreate"]}),
        ("storageSku", {"allowedValues": ["Standard_ZRS", "Standard_LRS"]}),
    ],
)
def test_a_harmful_value_is_refused_before_anything_is_created(
    name: str, limits: dict[str, Any], parameters: dict[str, dict[str, Any]]
) -> None:
    assert limits.items() <= parameters[name].items()


def test_every_parameter_of_every_module_has_a_description(built: tuple[dict[str, Any], str]) -> None:
    modules = [
        resource["properties"]["template"]
        for resource in built[0]["resources"].values()
        if resource["type"] == "Microsoft.Resources/deployments"
    ]
    missing = [
        name
        for template in [built[0], *modules]
        for name, parameter in template["parameters"].items()
        if not parameter.get("metadata", {}).get("description")
    ]

    assert len(modules) == 11
    assert missing == []


def test_the_defaults_that_azd_fills_in_are_the_templates_own(parameters: dict[str, dict[str, Any]]) -> None:
    file = json.loads((INFRA / "main.parameters.json").read_text("utf-8"))["parameters"]
    values = {name: re.fullmatch(r"\$\{(\w+)(?:=([^}]*))?\}", given["value"]) for name, given in file.items()}

    assert sorted(parameters) == sorted(values)
    for name, found in values.items():
        assert found is not None
        default = parameters[name].get("defaultValue")
        if found[2] is None:  # azd leaves out what is not set, and asks for what has no default
            assert default in ({None} if found[1] in NEEDED else ("", {})), name
        else:
            assert str(default) == (found[2].title() if isinstance(default, bool) else found[2]), name
