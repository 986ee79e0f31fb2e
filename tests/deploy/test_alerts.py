"""The alerts ask for what the program and the storage account really write, and say what to do."""

import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.core.errors import HELD_FOR_OPERATOR
from shared.core.outcomes import Outcome
from shared.ports import StorageUnavailable
from shared.settings import SettingsError
from shared.telemetry import LOGGER
from tests.deploy.bicep import Deployment, Resource
from tests.deploy.conftest import INFRA, ROOT
from tests.support.world import World

QUERIES = sorted((INFRA / "alerts").glob("*.kql"))
TABLES = INFRA / "queries" / "tables.kql"
PICTURES = sorted(set(TABLES.parent.glob("*.kql")) - {TABLES})
OPERATIONS = ROOT / "docs" / "operations.md"
ALERTS = {
    "carts-wait-too-long": 2,
    "stuck-in-poison": 2,
    "configuration-or-authentication": 1,
    "unknown-outcomes": 2,
    "no-outcomes": 1,
}
"""Each alert's name, which is its section of the runbook, and its severity."""


def rules(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """The alerts' properties, by name."""
    made = deployment.of("Microsoft.Insights/scheduledQueryRules")
    return {each.name.rpartition("-")[0]: each.properties for each in made}


def query(deployment: Deployment, name: str) -> str:
    """The query of an alert, without its comments."""
    (criterion,) = rules(deployment)[name]["criteria"]["allOf"]
    return re.sub(r"^\s*//.*\n", "", criterion["query"], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What the program logs of carts: bought, refused, unknown, held, deferred, unreadable, poisoned and broken."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear, level = Ear(), LOGGER.level
    LOGGER.addHandler(ear)
    LOGGER.setLevel(logging.DEBUG)
    try:
        for scenario in SCENARIOS:
            world = World()
            world.enqueue(scenario)
            world.run(until=_an_hour_later(world))
        world = World()
        world.carts.send('{"retry": {}}')
        world.run()
        _renewed()
        _raised()
    finally:
        LOGGER.removeHandler(ear)
        LOGGER.setLevel(level)
    return [json.loads(each) for each in heard]


SCENARIOS = (
    "created",
    "already-ordered",
    "fault-400-800013",
    "unauthorized-for-ever",
    "conditional-access",
    "service-down",
)


def _an_hour_later(world: World) -> Callable[[], bool]:
    end = world.clock.now + timedelta(hours=1)
    return lambda: world.clock.now > end


def _renewed() -> None:
    """The fourth delivery of a message from the poison queue."""
    world = World()
    world.enqueue("created")
    message = world.carts.receive()
    assert message is not None
    message.dequeue_count = 4
    world.deliver(message, from_poison=True)


def _raised() -> None:
    """A copy that should wait cannot be sent."""

    class Away:
        def send(self, text: str, delay: float = 0.0) -> None:
            raise StorageUnavailable(f"away: {len(text)} {delay}")

    world = World()
    world.enqueue("service-down")
    world.queues["carts"] = Away()
    message = world.carts.receive()
    assert message is not None
    world.deliver(message, checkout=world.worker())


def test_there_is_an_alert_for_each_condition_that_needs_an_operator(deployment: Deployment) -> None:
    assert {name: rule["severity"] for name, rule in rules(deployment).items()} == ALERTS
    assert [path.stem for path in QUERIES] == sorted(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do_and_links_to_the_runbook(name: str, deployment: Deployment) -> None:
    rule = rules(deployment)[name]
    advice, _, link = rule["description"].rpartition(" ")

    assert link == f"docs/operations.md#{name}"
    assert len(advice) > 60
    assert rule["enabled"] is True


def test_the_address_of_the_runbook_is_a_parameter(federated: Deployment) -> None:
    rule = rules(federated)["no-outcomes"]

    assert rule["description"].endswith(" https://git.example/cart-checkout/operations.md#no-outcomes")


def test_an_alert_rule_that_azure_disables_is_an_alert_itself(deployment: Deployment) -> None:
    (rule,) = deployment.of("Microsoft.Insights/activityLogAlerts")
    (group,) = deployment.of("Microsoft.Resources/resourceGroups")

    assert rule.properties["enabled"] is True
    assert rule.properties["scopes"] == [group.id]
    assert {each["field"]: each["equals"] for each in rule.properties["condition"]["allOf"]} == {
        "category": "Administrative",
        "operationName": "Microsoft.Insights/ScheduledQueryRules/disable/action",
    }
    assert rule.properties["description"].endswith("docs/operations.md#alert-rule-disabled")


@pytest.mark.parametrize("name", [*ALERTS, "alert-rule-disabled"])
def test_the_runbook_has_the_section_that_an_alert_links_to(name: str) -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}

    assert name in anchors or f'id="{name}"' in OPERATIONS.read_text("utf-8")


@pytest.mark.parametrize("name", ALERTS)
def test_a_query_names_the_queues_that_are_deployed(name: str, deployment: Deployment) -> None:
    text = query(deployment, name).partition("let lines = ")[2]

    assert re.findall(r"<\w+>", text) == []
    for queue in re.findall(r"'/([\w-]+)/messages'", text):
        assert queue in {"carts", "carts-poison", "checkout-outcomes"}
    if "queueLog" in text:
        assert f"AccountName == '{deployment.outputs['CHECKOUT_STORAGE_ACCOUNT']}'" in text


@pytest.mark.parametrize("path", [*QUERIES, *PICTURES], ids=lambda path: path.stem)
def test_a_query_uses_fields_that_the_program_logs(path: Path, lines: list[dict[str, Any]]) -> None:
    used = set(re.findall(r"\bline\.(\w+)", path.read_text("utf-8")))
    logged = {name for line in lines for name in line}

    # a trace's id is logged only for a message that carries one
    assert used - {"traceId"} <= logged
    assert used or path.stem in {"no-outcomes", "deleted-records", "outcomes-by-metric"}


@pytest.mark.parametrize("path", [*QUERIES, *PICTURES], ids=lambda path: path.stem)
def test_a_query_compares_with_values_that_the_program_logs(path: Path, lines: list[dict[str, Any]]) -> None:
    text = path.read_text("utf-8")
    for fact in ("function", "result", "outcome", "copy"):
        used = re.findall(rf"line\.{fact}\) (?:==|!=) '(\w+)'", text)
        for several in re.findall(rf"line\.{fact}\) in \(([^)]+)\)", text):
            used += re.findall(r"'(\w+)'", several)
        assert set(used) <= {line.get(fact) for line in lines}


def test_the_queries_recognize_the_programs_lines_by_their_beginning(lines: list[dict[str, Any]]) -> None:
    (beginning,) = re.findall(r"let lines = .*startswith '([^']+)'", TABLES.read_text("utf-8"))

    assert all(json.dumps(line, separators=(",", ":")).startswith(beginning) for line in lines)


def test_every_line_of_a_cart_says_how_long_it_has_waited(lines: list[dict[str, Any]]) -> None:
    assert len(lines) > 20
    assert all(isinstance(line["waited"], float) for line in lines)
    # the poison handler sends a message on without reading it at its third delivery: that line has no ids
    assert all(line["eventId"] for line in lines if line["result"] != "renewed" and "copy" not in line)


def test_the_alert_on_operator_errors_lists_their_classes(deployment: Deployment) -> None:
    (classes,) = re.findall(r"class in \(([^)]+)\)", query(deployment, "configuration-or-authentication"))

    assert {str(each) for each in HELD_FOR_OPERATOR} == set(re.findall(r"'(\w+)'", classes))


def test_an_app_that_cannot_start_is_recognized_by_its_error_text(deployment: Deployment) -> None:
    (words,) = set(re.findall(r"has '([^']+)'", query(deployment, "configuration-or-authentication")))

    assert words in str(SettingsError(["CARTS_QUEUE is missing"]))


def test_the_query_uses_the_programs_names_of_what_is_open(deployment: Deployment) -> None:
    assert "tostring(line.copy) == 'unreadable'" in query(deployment, "unknown-outcomes")
    assert f"'{Outcome.UNKNOWN}'" in query(deployment, "unknown-outcomes")


def test_the_alert_on_unknown_outcomes_is_not_resolved_automatically_and_misses_none(deployment: Deployment) -> None:
    made = rules(deployment)

    assert {name for name, rule in made.items() if not rule["autoMitigate"]} == {"unknown-outcomes"}
    assert made["unknown-outcomes"]["windowSize"] == "PT30M"
    assert made["unknown-outcomes"]["evaluationFrequency"] == "PT15M"


@pytest.mark.parametrize("name", ["carts-wait-too-long", "stuck-in-poison", "no-outcomes"])
def test_the_query_for_long_waits_looks_back_further_than_its_window(name: str, deployment: Deployment) -> None:
    assert rules(deployment)[name]["overrideQueryTimeRange"] == "P2D"


def queue_log(deployment: Deployment) -> Resource:
    """The diagnostic setting of the queues."""
    (log,) = [each for each in deployment.of("Microsoft.Insights/diagnosticSettings") if each.name == "queue-log"]
    return log


def test_the_queue_log_has_the_operations_that_queries_use(deployment: Deployment) -> None:
    log = queue_log(deployment)
    used = {operation for path in QUERIES for operation in re.findall(r"OperationName == '(\w+)'", path.read_text())}
    logged_as = {"PutMessage": "StorageWrite", "DeleteMessage": "StorageDelete"}

    assert used == set(logged_as)
    assert {each["category"] for each in log.properties["logs"] if each["enabled"]} == set(logged_as.values())
    assert log.scope.endswith("/queueServices/default")


def test_alerts_and_logs_share_the_workspace(deployment: Deployment) -> None:
    (workspace,) = deployment.of("Microsoft.OperationalInsights/workspaces")
    logs = deployment.of("Microsoft.Insights/diagnosticSettings")
    (insights,) = deployment.of("Microsoft.Insights/components")

    assert {rule["scopes"][0] for rule in rules(deployment).values()} == {workspace.id}
    assert {log.properties["workspaceId"] for log in logs} == {workspace.id}
    assert insights.properties["WorkspaceResourceId"] == workspace.id


def test_no_line_is_lost_to_sampling(settings: dict[str, str]) -> None:
    prefix = "AzureFunctionsJobHost__logging__applicationInsights__samplingSettings__"
    host = json.loads((ROOT / "host.json").read_text("utf-8"))
    sampling = host.get("logging", {}).get("applicationInsights", {}).get("samplingSettings", {})
    sampling |= {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}

    assert sampling.get("isEnabled") is False or "Trace" in sampling.get("excludedTypes", "").split(";")


def test_operators_are_notified_by_mail_when_there_is_an_address(deployment: Deployment, federated: Deployment) -> None:
    (group,) = federated.of("Microsoft.Insights/actionGroups")
    (disabled,) = federated.of("Microsoft.Insights/activityLogAlerts")

    assert group.properties["emailReceivers"][0]["emailAddress"] == "operators@contoso.example"
    assert all(rule["actions"]["actionGroups"] == [group.id] for rule in rules(federated).values())
    assert disabled.properties["actions"]["actionGroups"] == [{"actionGroupId": group.id}]
    assert deployment.of("Microsoft.Insights/actionGroups") == []
    assert all(rule["actions"]["actionGroups"] == [] for rule in rules(deployment).values())


def test_how_long_a_cart_may_wait_can_be_chosen(federated: Deployment) -> None:
    assert "let limit = 240m;" in query(federated, "carts-wait-too-long")
    assert "240 minutes" in rules(federated)["carts-wait-too-long"]["description"]
