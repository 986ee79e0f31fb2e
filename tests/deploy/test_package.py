"""What is sent to Azure or into the image: the program, and nothing else."""

import fnmatch
import json
import re
import shlex
import shutil
from typing import Any

import pytest
import yaml

from bench.competitor import OURS
from shared.host_json import queue_options
from tests.deploy.bicep import Deployment
from tests.deploy.conftest import ROOT, run

DOCKERFILE = ROOT / "Dockerfile"
PROGRAM = ["function_app.py", "host.json", "requirements.txt", "shared"]

# What azure-functions-doctor says of the package, and why it is left so.
ACCEPTED = {
    "check_native_dependency_risk": "cryptography, of azure-identity; azure.yaml has the packages installed in Azure",
}
NOT_ABOUT_US = {
    "check_asgi_wsgi_exposure",
    "check_durabletask_config",
    "check_functions_extension_version",  # Flex Consumption decides these three itself
    "check_functions_runtime_lifecycle",
    "check_linux_fx_version",
    "check_local_settings_git_tracked",  # the package has none
}


def ignored(name: str, patterns: list[str]) -> bool:
    """Whether a pattern without a slash fits a file's or a folder's name, as in .gitignore."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def patterns_of(file: str) -> list[str]:
    """The patterns of an ignore file."""
    lines = (line.strip() for line in (ROOT / file).read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


# --- Azure ------------------------------------------------------------------------------------------------------


def test_azd_deploys_this_folder_to_the_app_that_is_tagged_for_it(deployment: Deployment) -> None:
    azd = yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))
    (app,) = deployment.of("Microsoft.Web/sites")
    ((service, said),) = azd["services"].items()

    assert service == app.body["tags"]["azd-service-name"]
    assert said == {"project": ".", "language": "python", "host": "function", "remoteBuild": True}
    assert (ROOT / azd["infra"]["path"] / f"{azd['infra']['module']}.bicep").is_file()


def test_the_package_is_the_program_and_nothing_else() -> None:
    patterns = patterns_of(".funcignore")

    assert all("/" not in pattern and not pattern.startswith("!") for pattern in patterns)
    names = {path.name for path in ROOT.iterdir()} - {".funcignore"}  # azd leaves that out by itself
    assert sorted(name for name in names if not ignored(name, patterns)) == PROGRAM
    left = [path for path in (ROOT / "shared").iterdir() if not ignored(path.name, patterns)]
    assert {path.suffix or path.name for path in left} == {".py", "adapters", "core"}


@pytest.mark.parametrize(
    "name",
    [
        *("local.settings.json", ".coverage", "infra", "tests", "bench", "examples", "local", "cli", "docs"),
        *(".github", ".azure", ".venv-3.13", "main_env", "Dockerfile", "azure.yaml", "requirements-dev.txt"),
    ],
)
def test_no_local_file_of_a_developer_is_deployed(name: str) -> None:
    assert ignored(name, patterns_of(".funcignore"))


def test_every_package_is_installed_against_its_hash() -> None:
    text = (ROOT / "requirements.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    assert all("--hash=sha256:" in line and "==" in line for line in lines)


@pytest.fixture(scope="module")
def diagnosis(
    deployment: Deployment, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What azure-functions-doctor says of the package with the app that it is sent to, by rule."""
    folder = tmp_path_factory.mktemp("package")
    for name in PROGRAM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    shutil.copy(ROOT / ".funcignore", folder)
    (app,) = deployment.of("Microsoft.Web/sites")
    (plan,) = deployment.of("Microsoft.Web/serverfarms")
    template = {"resources": [each.body for each in (plan, app)]}
    (folder / "infra.json").write_text(json.dumps(template), "utf-8")
    report = folder / "report"
    options = ["--profile", "deploy", "--hosting-plan", "flex-consumption", "--target-python", "3.13"]
    options += ["--path", str(folder), "--format", "json", "--output", str(report)]
    status, said = run("azure-functions-doctor", "doctor", *options, **settings)
    assert status == 0, said
    results = json.loads(report.read_text("utf-8"))["results"]
    return {item["rule_id"]: item for section in results for item in section["items"]}


def test_the_doctor_finds_nothing_wrong_with_the_package(diagnosis: dict[str, dict[str, Any]]) -> None:
    unwell = {rule: item["value"] for rule, item in diagnosis.items() if item["status"] not in {"pass", "skip"}}

    assert {rule: said for rule, said in unwell.items() if rule not in ACCEPTED} == {}


def test_the_doctor_ran_every_relevant_check(diagnosis: dict[str, dict[str, Any]]) -> None:
    assert {rule for rule, item in diagnosis.items() if item["status"] == "skip"} <= NOT_ABOUT_US
    for rule in ("check_flex_runtime_config", "check_flex_deployment_storage", "check_binding_connection_resolution"):
        assert (rule, "pass") == (rule, diagnosis[rule]["status"])


# --- the image --------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def arguments_of(name: str) -> list[str]:
    """The arguments of each instruction of this name."""
    return [argument for instruction, argument in instructions() if instruction == name]


def test_the_dockerfile_passes_its_linter() -> None:
    assert run("hadolint", "--no-color", str(DOCKERFILE)) == (0, "")


def test_the_image_has_the_python_of_the_app_in_azure(deployment: Deployment) -> None:
    (app,) = deployment.of("Microsoft.Web/sites")
    version = app.properties["functionAppConfig"]["runtime"]["version"]

    assert arguments_of("ARG") == [f"PYTHON_VERSION={version}"]
    assert arguments_of("FROM") == ["mcr.microsoft.com/azure-functions/python:4-python${PYTHON_VERSION}"]


def test_the_image_installs_hashed_wheels_only() -> None:
    (install,) = re.findall(r"pip install [^&]+", " ".join(arguments_of("RUN")))

    assert {"--require-hashes", "--only-binary=:all:", "--no-cache-dir"} <= set(install.split())
    assert "--requirement /tmp/requirements.txt" in install


def test_the_image_holds_the_program_and_nothing_else() -> None:
    copied = [source for argument in arguments_of("COPY") for source in shlex.split(argument)[:-1]]

    assert sorted(copied) == PROGRAM
    assert arguments_of("ADD") == []


def test_the_build_context_contains_nothing_else() -> None:
    patterns = patterns_of(".dockerignore")

    assert patterns[0] == "*"
    assert sorted(pattern[1:] for pattern in patterns if pattern.startswith("!")) == PROGRAM
    assert "local.settings" not in DOCKERFILE.read_text("utf-8")


def test_the_image_does_not_run_as_root_and_needs_no_privileged_port() -> None:
    assert arguments_of("USER") == ["10001"]
    assert instructions()[-1][0] == "USER"
    assert arguments_of("EXPOSE") == ["8080"]
    assert "ASPNETCORE_URLS=http://+:8080" in arguments_of("ENV")[0]


def test_the_image_has_a_thread_for_each_message_that_the_host_hands_over_from_both_queues() -> None:
    assert (
        f"PYTHON_THREADPOOL_THREAD_COUNT={2 * queue_options(ROOT / 'host.json', {}).in_flight}"
        in arguments_of("ENV")[0]
    )


def test_the_benchmark_uses_the_allocator_settings_of_the_image() -> None:
    assert f"MALLOC_ARENA_MAX={OURS.settings['MALLOC_ARENA_MAX']}" in arguments_of("ENV")[0].split()
