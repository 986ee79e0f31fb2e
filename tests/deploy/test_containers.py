"""The manifests of other platforms agree with the program and with what the function app is given."""

import json
import re
from typing import Any

import pytest
import yaml

from shared.host_json import queue_options
from shared.settings import Settings
from tests.deploy.bicep import bicep
from tests.deploy.conftest import INFRA, PAYER, ROOT

CONTAINERS = INFRA / "containers"
SET_BY_THE_IMAGE = {"PYTHON_THREADPOOL_THREAD_COUNT", "MALLOC_ARENA_MAX"}
PLACEHOLDERS = {"<TENANT_THAT_PAYS>": PAYER, "<CHECKOUT_ACCOUNT>": "stcart", "<HOST_ACCOUNT>": "sthost"}


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """The Kubernetes manifests, by kind."""
    text = (CONTAINERS / "kubernetes.yaml").read_text("utf-8")
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The pod that the deployment makes."""
    return dict(manifests["Deployment"]["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def environment(pod: dict[str, Any]) -> dict[str, str]:
    """The container's environment."""
    (container,) = pod["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def longest_delivery() -> int:
    """The seconds of host.json's functionTimeout."""
    hours, minutes, seconds = json.loads((ROOT / "host.json").read_text("utf-8"))["functionTimeout"].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def test_a_pod_is_given_the_settings_of_the_function_app(environment: dict[str, str], settings: dict[str, str]) -> None:
    same = ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER", "PARTNER_CENTER_URL", "PARTNER_CENTER_AUTH")

    assert set(environment) | SET_BY_THE_IMAGE == set(settings)
    assert {name: environment[name] for name in same} == {name: settings[name] for name in same}
    assert not {name for name, value in environment.items() if "AccountKey" in value}


def test_the_program_accepts_the_settings_of_a_pod(environment: dict[str, str]) -> None:
    given = {name: value.replace("<IDENTITY_CLIENT_ID>", PAYER) for name, value in environment.items()}

    assert Settings.from_env(given).poison_queue == "carts-poison"


def test_both_queues_scale_by_the_visible_messages_that_a_pod_takes(
    manifests: dict[str, dict[str, Any]], environment: dict[str, str]
) -> None:
    spec = manifests["ScaledObject"]["spec"]
    carts = environment["CARTS_QUEUE"]

    assert [trigger["type"] for trigger in spec["triggers"]] == ["azure-queue"] * 2
    assert [trigger["metadata"] for trigger in spec["triggers"]] == [
        {
            "accountName": "stcart",
            "queueName": queue,
            "queueLength": str(queue_options(ROOT / "host.json", {}).in_flight),
            "queueLengthStrategy": "visibleonly",
        }
        for queue in (carts, f"{carts}-poison")
    ]
    assert spec["maxReplicaCount"] == default_of("main.bicep", "maximumInstanceCount")


def test_pods_and_keda_sign_in_with_workload_identity(
    manifests: dict[str, dict[str, Any]], pod: dict[str, Any]
) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    authentication = manifests["TriggerAuthentication"]
    account = manifests["ServiceAccount"]["metadata"]
    references = {each["authenticationRef"]["name"] for each in manifests["ScaledObject"]["spec"]["triggers"]}

    assert labels["azure.workload.identity/use"] == "true"
    assert pod["serviceAccountName"] == account["name"]
    assert authentication["spec"]["podIdentity"]["provider"] == "azure-workload"
    assert references == {authentication["metadata"]["name"]}
    assert manifests["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]


def test_a_pod_that_is_stopped_finishes_what_it_has_begun_and_is_not_root(pod: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] == longest_delivery()
    assert f"USER {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text("utf-8")


def default_of(file: str, parameter: str) -> int:
    """A number that a template defaults to."""
    (value,) = re.findall(rf"param {parameter} int = (\d+)", (INFRA / file).read_text("utf-8"))
    return int(value)


@pytest.mark.usefixtures("compiler")
def test_the_container_app_is_given_the_settings_of_the_function_app(settings: dict[str, str]) -> None:
    done = bicep("build", CONTAINERS / "container-app.bicep", "--stdout")
    assert (done.returncode, re.findall(r"(?:Error|Warning) (?!use-recent)", done.stderr)) == (0, []), done.stderr
    template = json.loads(done.stdout)
    app = template["resources"]["app"] if isinstance(template["resources"], dict) else template["resources"][0]
    given = template["variables"]["settings"]

    assert set(given) | SET_BY_THE_IMAGE == set(settings)
    assert given["CARTS_QUEUE"] == settings["CARTS_QUEUE"]
    assert app["kind"] == "functionapp"
    assert app["properties"]["template"]["terminationGracePeriodSeconds"] == longest_delivery()
    assert default_of("containers/container-app.bicep", "maxReplicas") == default_of(
        "main.bicep", "maximumInstanceCount"
    )
