"""What the tools of TypeScript, C# and Java teams make of the schemas, and of the events of every outcome.

Each tool reads the published schemas, and schemas and events with a mistake that it must report.
"""

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.core.outcomes import TYPE, Outcome
from tests.contract.generators import SCHEMAS, GeneratorsUnavailable, Row, check, consume, exact
from tests.contract.recorded import deep, recorded
from tests.contract.test_schemas import event

TOOLS = (
    "ajv",
    "json-schema-to-typescript",
    "quicktype TypeScript",
    "quicktype C#",
    "quicktype Java",
    "cloudevents",
)
GENERATORS = [tool for tool in TOOLS if tool.startswith("quicktype")]
CLASSES = {"".join(word.title() for word in each.split("_")) + "Outcome" for each in Outcome}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generators")


@pytest.fixture(scope="module")
def found(scratch: Path) -> dict[str, Row]:
    """What each tool says of the published schemas and the recorded events. Absent: skipped, and failed in CI."""
    return checked(recorded(), scratch)


def checked(events: Any, folder: Path, schemas: Path = SCHEMAS) -> dict[str, Row]:
    try:
        return check(events, folder, schemas)
    except GeneratorsUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


# --- the recorded events ----------------------------------------------------------------------------------------


def test_events_of_every_outcome_are_recorded() -> None:
    assert {TYPE + each for each in Outcome} == {json.loads(text)["type"] for text in recorded()}


def test_some_recorded_events_have_digits_that_a_float_loses() -> None:
    assert [text for text in recorded() if "36.480" in text]


def test_some_recorded_events_refer_to_their_data() -> None:
    referring = [json.loads(text) for text in recorded() if '"dataref"' in text]
    assert {False, True} == {"data" in each for each in referring}


# --- the tools --------------------------------------------------------------------------------------------------


def test_ajv_compiles_every_schema_in_its_strict_mode_and_validates_every_example_and_event(
    found: dict[str, Row],
) -> None:
    assert [] == found["ajv"]["faults"]
    assert len([*SCHEMAS.iterdir()]) == found["ajv"]["schemas"]
    assert found["ajv"]["examples"] > len(Outcome)
    assert len(recorded()) == found["ajv"]["events"]


def test_json_schema_to_typescript_makes_a_type_of_each_outcome(found: dict[str, Row]) -> None:
    assert {*found["json-schema-to-typescript"]["types"]} >= CLASSES


def test_no_type_hides_a_global_of_javascript_or_typescript(found: dict[str, Row]) -> None:
    assert [] == found["json-schema-to-typescript"]["hiddenGlobals"]


def test_the_consumer_compiles_with_those_types_in_strict_mode_and_without_a_cast(found: dict[str, Row]) -> None:
    assert [] == found["json-schema-to-typescript"]["faults"]


@pytest.mark.parametrize("tool", GENERATORS)
def test_quicktype_makes_a_class_of_each_outcome(found: dict[str, Row], tool: str) -> None:
    assert {*found[tool]["classes"]} >= CLASSES


def test_quicktypes_typescript_compiles_and_reads_every_event(found: dict[str, Row]) -> None:
    assert [] == found["quicktype TypeScript"]["faults"]
    assert len(recorded()) == found["quicktype TypeScript"]["events"]


@pytest.mark.skipif(not (shutil.which("javac") or os.environ.get("CI")), reason="no Java compiler is installed")
def test_quicktypes_java_compiles(found: dict[str, Row]) -> None:
    assert [] == found["quicktype Java"]["faults"]


def test_the_cloudevents_library_for_javascript_reads_every_event_as_it_was_sent(found: dict[str, Row]) -> None:
    assert [] == found["cloudevents"]["faults"]
    assert len(recorded()) == found["cloudevents"]["events"]


def test_that_library_adds_a_time_to_the_event_of_an_invalid_message(found: dict[str, Row]) -> None:
    assert [TYPE + Outcome.INVALID] == found["cloudevents"]["timeMadeUpFor"]


# --- they can fail ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """What each tool says of schemas and events with a mistake for each."""
    folder = tmp_path_factory.mktemp("broken")
    schemas = shutil.copytree(SCHEMAS, folder / "schemas")
    for name, right, wrong in (
        ("outcomes", '"#/definitions/PartialOutcome"', '"#/definitions/CompletedOutcome"'),
        ("outcomes", '"const": "partnercenter.cart.checkout.failed"', '"description": "any"'),
        ("outcomes", '"CheckoutError"', '"Error"'),
        ("outcomes", "/CheckoutError", "/Error"),
        ("unknown-event", '"definitions":', '"oneOf": [{"required": ["data"]}], "definitions":'),
    ):
        path = schemas / f"checkout-{name}.schema.json"
        text = path.read_text(encoding="utf-8")
        assert right in text
        path.write_text(text.replace(right, wrong), encoding="utf-8")
    events = [event("completed") | {"id": 7}, {name: value for name, value in event("failed").items() if name != "id"}]
    scratch = folder / "scratch"
    scratch.mkdir()
    return checked(map(json.dumps, events), scratch, schemas)


def test_ajv_reports_a_schema_that_is_not_strict_and_an_event_that_is_not_valid(broken: dict[str, Row]) -> None:
    refused, *invalid = broken["ajv"]["faults"]
    assert refused.startswith("checkout-unknown-event: strict mode")
    assert ["checkout-completed-event", "checkout-failed-event"] == sorted({each.split(":")[0] for each in invalid})


def test_the_consumer_does_not_compile_where_an_outcome_has_no_type(broken: dict[str, Row]) -> None:
    assert [each for each in broken["json-schema-to-typescript"]["faults"] if "'PartialOutcome'" in each]


def test_the_consumer_does_not_compile_where_the_type_decides_nothing(broken: dict[str, Row]) -> None:
    assert [each for each in broken["json-schema-to-typescript"]["faults"] if "consumer.ts" in each]


def test_a_type_that_hides_a_global_is_found(broken: dict[str, Row]) -> None:
    assert ["Error"] == broken["json-schema-to-typescript"]["hiddenGlobals"]


@pytest.mark.parametrize("tool", GENERATORS)
def test_an_outcome_without_a_class_is_found(broken: dict[str, Row], tool: str) -> None:
    assert {"PartialOutcome"} == CLASSES - {*broken[tool]["classes"]}


@pytest.mark.parametrize("tool", ["quicktype TypeScript", "cloudevents"])
def test_an_event_that_does_not_fit_is_found(broken: dict[str, Row], tool: str) -> None:
    assert broken[tool]["faults"]


# --- the consumer in TypeScript ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def consumed(found: dict[str, Row], scratch: Path) -> list[Row]:
    assert found
    return consume(recorded(), scratch)


def test_the_consumer_keeps_every_digit_of_every_event(consumed: list[Row]) -> None:
    assert [exact(text) for text in recorded()] == [each["event"] for each in consumed]


def test_the_consumer_has_an_answer_to_each_outcome(consumed: list[Row]) -> None:
    answers: dict[str, set[str]] = {}
    for each in consumed:
        if "data" in each["event"]:
            answers.setdefault(each["event"]["type"].removeprefix(TYPE), set()).add(each["action"])
    assert {
        "completed": {"store purchase", "link"},
        "action_required": {"store purchase"},
        "partial": {"store purchase"},
        "failed": {"tell customer"},
        "unknown": {"look at the cart"},
        "invalid": {"correct the producer", "look at the cart"},
    } == answers


def test_the_consumer_reads_an_amount_digit_for_digit(consumed: list[Row]) -> None:
    assert ["36.480"] in [each.get("amounts") for each in consumed]


def test_the_consumer_loads_data_that_are_not_in_the_event(consumed: list[Row]) -> None:
    referring = [each for each in consumed if "data" not in each["event"]]
    assert referring
    for each in referring:
        assert ("load data", each["event"]["dataref"]) == (each["action"], each["from"])


def test_the_consumer_reads_the_deepest_event(found: dict[str, Row], scratch: Path) -> None:
    assert found
    (said,) = consume([deep()], scratch)
    assert exact(deep()) == said["event"]


def test_the_consumer_passes_on_what_it_does_not_know_and_reads_base64(found: dict[str, Row], scratch: Path) -> None:
    assert found
    later = json.dumps(event("completed") | {"type": f"{TYPE}refunded"})
    later = later.replace('"revision": 1', '"revision": 1.0')
    (said,) = consume([base64.b64encode(later.encode()).decode()], scratch)
    assert ("pass on", f"{TYPE}refunded") == (said["action"], said["type"])
    assert exact(later) == said["event"]
