"""docs/asyncapi.yaml: what AsyncAPI's own parser says of it, and whether it says what the program does."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts import schemas
from scripts.outcome_schemas import ABOUT
from shared.core.outcomes import Outcome
from shared.settings import STORAGE, Settings
from tests.contract.parser import ParserUnavailable, parse
from tests.contract.test_schemas import faults

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCS / "asyncapi.yaml"
WARNING = 1
"""The diagnostics' severity: 0 is an error, 1 a warning; higher numbers are about newer versions of AsyncAPI."""
MISTAKES = {
    "an action that there is not": ("action: receive", "action: consume"),
    "a channel that there is not": ("$ref: '#/channels/outcomes'", "$ref: '#/channels/nowhere'"),
    "a schema that there is not": ("checkout-failed-event.schema.json", "nowhere.schema.json"),
    "a message without its payload's reference": (
        "$ref: ./schemas/checkout-failed-event.schema.json",
        "type: everything",
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the parser says of the document ("") and of it with each mistake. Absent: skipped, and failed in CI."""
    folder = tmp_path_factory.mktemp("asyncapi")
    shutil.copytree(DOCS / "schemas", folder / "schemas")
    text = DOCUMENT.read_text(encoding="utf-8")
    documents = {"": DOCUMENT}
    for name, (right, wrong) in MISTAKES.items():
        assert right in text
        documents[name] = folder / f"{len(documents)}.yaml"
        documents[name].write_text(text.replace(right, wrong), encoding="utf-8")
    try:
        return dict(zip(documents, parse(*documents.values()), strict=True))
    except ParserUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


OUTCOMES = [f"{name}Outcome" for name, _ in ABOUT.values()]
Found = dict[str, dict[str, Any]]


def wrong(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in said["diagnostics"] if each["severity"] <= WARNING]


def test_the_asyncapi_parser_reports_no_error(found: Found) -> None:
    assert [] == wrong(found[""])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_parser_rejects_an_invalid_document(found: Found, mistake: str) -> None:
    assert wrong(found[mistake])


def test_the_parser_reads_two_channels_and_what_is_done_with_them(found: Found) -> None:
    read = found[""]["document"]
    assert ["carts", "outcomes"] == read["channels"]
    assert ["receive checkOutCart", "send tellOutcome"] == read["operations"]


def test_the_parser_reads_the_payloads_from_the_generated_schemas(found: Found) -> None:
    members = found[""]["document"]["members"]
    assert {"CheckoutRequest", "CheckoutRequestEvent", *OUTCOMES} == {*members}
    assert [name for name in schemas.MEMBERS if name != "retry"] == members["CheckoutRequest"]
    for outcome in OUTCOMES:
        assert {"specversion", "id", "type", "data"} <= {*members[outcome]}


def test_the_examples_match_the_schemas(found: Found) -> None:
    examples = found[""]["document"]["examples"]
    for message, file in {
        "CheckoutRequest": "checkout-request",
        "CheckoutRequestEvent": "checkout-request-event",
    }.items():
        assert examples[message]
        for example in examples[message]:
            assert [] == faults(file, example)


def test_the_queues_have_addresses_of_their_own(found: Found) -> None:
    assert ["{cartsQueue}", "{outcomesQueue}"] == found[""]["document"]["addresses"]


def test_the_queues_are_named_by_the_settings_of_those_names() -> None:
    named = dict(re.findall(r"The app setting (\w+)\.\n +default: ([\w-]+)", DOCUMENT.read_text(encoding="utf-8")))
    others = {
        STORAGE: "UseDevelopmentStorage=true",
        "PARTNER_CENTER_URL": "http://localhost",
        "RECORDS_CONTAINER": "records",
    }
    settings = Settings.from_env(named | others)
    assert ("carts", "checkout-outcomes") == (settings.carts_queue, settings.outcomes_queue)


def test_the_schemas_of_all_public_messages_are_used_and_no_others() -> None:
    used = re.findall(r"\./schemas/([\w.-]+)", DOCUMENT.read_text(encoding="utf-8"))
    requests = {"checkout-request.schema.json", "checkout-request-event.schema.json"}
    assert requests | {f"checkout-{outcome}-event.schema.json" for outcome in Outcome} == {*used}
