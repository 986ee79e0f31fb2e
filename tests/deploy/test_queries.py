"""Every query (of the alerts, of the workbook, of docs/telemetry.md) binds, and binds while no table exists yet."""

import json
import re
from typing import Any

import pytest

from tests.deploy.bicep import Deployment, deployment_of
from tests.deploy.conftest import INFRA, ROOT
from tests.deploy.language import TABLES, Bound, bind

PREFIX = (INFRA / "queries" / "tables.kql").read_text("utf-8")
DOCUMENTED = re.findall(
    r"^```kusto\n(.+?)^```$", (ROOT / "docs" / "telemetry.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)
MISSING_TABLE = "KS205"  # a warning, where the name is one of several in a union that is fuzzy


def pictures(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """The queries of the workbook, by title."""
    (workbook,) = deployment.of("Microsoft.Insights/workbooks")
    items = json.loads(workbook.properties["serializedData"])["items"]
    return {item["name"]: item["content"] for item in items if item["content"]["version"] == "KqlItem/1.0"}


def deployed_queries() -> dict[str, str]:
    """Every query that a deployment contains."""
    deployment = deployment_of("default")
    alerts = deployment.of("Microsoft.Insights/scheduledQueryRules")
    found = {rule.name: str(rule.properties["criteria"]["allOf"][0]["query"]) for rule in alerts}
    return found | {title: str(content["query"]) for title, content in pictures(deployment).items()}


QUERIES = deployed_queries() | {f"telemetry.md {index}": PREFIX + text for index, text in enumerate(DOCUMENTED[1:])}


@pytest.fixture(scope="module")
def bound() -> dict[str, Bound]:
    """Every query in a workspace that has all tables."""
    return bind(QUERIES, TABLES)


@pytest.fixture(scope="module")
def in_a_new_workspace() -> dict[str, Bound]:
    """Every query in a workspace that has none."""
    return bind(QUERIES, {})


@pytest.fixture(scope="module")
def without_columns() -> dict[str, Bound]:
    """Every query with nothing but the columns that it declares itself: of an unknown table the service assumes any."""
    return bind(QUERIES, dict.fromkeys(TABLES, "()"))


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_binds(name: str, bound: dict[str, Bound]) -> None:
    assert (bound[name].errors, bound[name].warnings) == ([], [])


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_binds_before_any_table_exists(name: str, in_a_new_workspace: dict[str, Bound]) -> None:
    found = in_a_new_workspace[name]

    assert found.errors == []
    assert {warning.split()[0] for warning in found.warnings} <= {MISSING_TABLE}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_uses_only_columns_that_its_empty_tables_declare(
    name: str, bound: dict[str, Bound], without_columns: dict[str, Bound]
) -> None:
    columns = without_columns[name].columns

    assert without_columns[name].errors == []
    assert columns
    assert columns.items() <= bound[name].columns.items()


def test_a_query_with_an_unknown_column_or_table_is_found() -> None:
    wrong = {"column": f"{PREFIX}lines | where Mesage has 'x'", "table": "AppTrace | take 1"}

    for tables in (TABLES, dict.fromkeys(TABLES, "()")):
        assert {name: len(found.errors) for name, found in bind(wrong, tables).items()} == {"column": 1, "table": 1}


def test_the_document_shows_each_query_of_the_folder_once() -> None:
    files = {path.name: path.read_text("utf-8") for path in (INFRA / "queries").glob("*.kql")}

    assert sorted(DOCUMENTED) == sorted(files.values())
    assert files["tables.kql"] == DOCUMENTED[0]


def test_the_workbook_shows_the_documented_queries_of_the_workspace(deployment: Deployment) -> None:
    (workspace,) = deployment.of("Microsoft.OperationalInsights/workspaces")
    shown = pictures(deployment)

    assert {content["query"].removeprefix(PREFIX) for content in shown.values()} <= set(DOCUMENTED)
    assert all(content["crossComponentResources"] == [workspace.id] for content in shown.values())
    assert {"Carts by outcome", "Deferrals by reason", "What waits for an operator"} <= set(shown)


def test_a_chart_over_time_has_times(deployment: Deployment, bound: dict[str, Bound]) -> None:
    for title, content in pictures(deployment).items():
        charted = content["visualization"] == "timechart"
        numbers = {name for name, kind in bound[title].columns.items() if kind in {"long", "real"}}
        assert (bound[title].columns.get("TimeGenerated") == "datetime" and numbers != set()) or not charted
