"""The workflows run pinned actions, on every Python that is supported, and without a secret."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import INFRA, NEEDED, ROOT, run

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BY_NAME = {path.stem: path for path in WORKFLOWS}
PINNED = re.compile(r"^[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def read(path: Path) -> dict[str, Any]:
    """A workflow, or another YAML file."""
    made = yaml.safe_load(path.read_text("utf-8"))
    return {"on" if key is True else str(key): value for key, value in made.items()}  # YAML reads `on` as true


def jobs(name: str) -> dict[str, Any]:
    """The jobs of a workflow."""
    return dict(read(BY_NAME[name])["jobs"])


def used() -> list[str]:
    """Every `uses:`, with its comment."""
    text = "\n".join(path.read_text("utf-8") for path in WORKFLOWS)
    return re.findall(r"^[\s-]*uses: (.+)$", text, re.MULTILINE)


def test_there_are_two_workflows_that_test_and_one_that_deploys() -> None:
    assert sorted(BY_NAME) == ["ci", "deploy", "infrastructure"]


@pytest.mark.parametrize("action", sorted(set(used())))
def test_an_action_is_pinned_to_a_commit_and_says_its_version(action: str) -> None:
    assert PINNED.match(action) or action.startswith(
        ("./.github/workflows/ci.yml", "./.github/workflows/infrastructure.yml")
    )


def test_an_action_has_the_same_version_everywhere() -> None:
    pins = {action for action in used() if "@" in action}

    assert len(pins) == len({action.partition("@")[0] for action in pins})


def test_the_tests_run_on_every_python_that_the_project_supports() -> None:
    lowest, highest = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[0]

    assert [f"3.{minor}" for minor in range(int(lowest), int(highest))] == jobs("ci")["test"]["strategy"]["matrix"][
        "python"
    ]


def test_the_checks_before_a_merge_are_the_local_ones() -> None:
    steps = jobs("ci")["test"]["steps"]

    assert steps[-1]["run"] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_tests_of_dotnet_run_where_its_absence_fails() -> None:
    step = jobs("ci")["dotnet"]["steps"][-1]

    assert {"DOTNET": "required"} == step["env"]
    assert "tests/contract/test_dotnet.py" in step["run"]


def test_the_tests_of_the_templates_run_with_the_compiler_and_the_scanner_that_other_jobs_lack() -> None:
    *_, install, test = jobs("infrastructure")["templates"]["steps"]

    assert "az bicep install --version v" in install["run"]
    assert "--require-hashes --requirement tests/deploy/checkov/requirements.txt" in install["run"]
    assert re.findall(r"\b([A-Z]+)=\"", test["run"]) == ["BICEP", "CHECKOV", "ARGS"]
    assert 'make test ARGS="tests/deploy"' in test["run"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_secret_and_no_right_that_its_jobs_do_not_name(path: Path) -> None:
    workflow = read(path)

    assert workflow["permissions"] == {}
    assert "secrets." not in path.read_text("utf-8")
    for name, job in workflow["jobs"].items():
        rights = {"contents": "read"} | ({"id-token": "write"} if (path.stem, name) == ("deploy", "deploy") else {})
        assert job["permissions"] == rights
        assert "timeout-minutes" in job or "uses" in job


def test_nothing_is_deployed_that_was_not_tested() -> None:
    needs = {"test": "ci", "infrastructure": "infrastructure"}

    assert jobs("deploy")["deploy"]["needs"] == list(needs)
    for job, workflow in needs.items():
        assert jobs("deploy")[job]["uses"] == f"./.github/workflows/{workflow}.yml"
        assert "workflow_call" in read(BY_NAME[workflow])["on"]
    assert list(read(BY_NAME["deploy"])["on"]) == ["workflow_dispatch"]


def test_azd_signs_in_with_githubs_token_and_deploys_to_the_chosen_environment() -> None:
    deploy = jobs("deploy")["deploy"]
    scripts = [step["run"] for step in deploy["steps"] if "run" in step]

    assert "--federated-credential-provider github" in scripts[0]
    assert scripts[1:] == ["azd provision --no-prompt", "azd deploy --no-prompt"]
    assert deploy["environment"] == deploy["env"]["AZURE_ENV_NAME"] == "${{ inputs.environment }}"
    assert deploy["concurrency"]["cancel-in-progress"] is False


def test_every_parameter_can_be_set_as_a_variable_of_the_environment() -> None:
    variables = set(re.findall(r"\$\{(\w+)", (INFRA / "main.parameters.json").read_text("utf-8")))
    given = jobs("deploy")["deploy"]["env"]

    assert variables | {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"} == set(given)
    assert variables >= NEEDED
    exceptions = {"AZURE_ENV_NAME": "${{ inputs.environment }}", "TAGS": "${{ vars.TAGS || '{}' }}"}
    for name, value in given.items():
        assert value == exceptions.get(name, f"${{{{ vars.{name} }}}}")


def test_the_workflow_auditor_reports_nothing() -> None:
    status, output = run("zizmor", "--offline", "--no-progress", str(ROOT / ".github" / "workflows"))

    assert status == 0, output
