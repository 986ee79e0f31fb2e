"""The published schemas against real messages: of every scenario, of every outcome, and against broken ones."""

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker, ValidationError, validators

from local.simulator.scenarios import SCENARIOS, Scenario
from scripts import schemas
from shared.core.errors import ErrorClass
from shared.core.messages import CheckoutRequest, decode
from shared.core.models import OrderStatus
from shared.core.outcomes import Outcome
from tests.docs.test_docs import EXAMPLES, README, blocks
from tests.support.builders import CART, CUSTOMER, cloud_event, delivery, members, text_of
from tests.support.world import World

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
OTHER = "0dd0dd00-1111-4222-8333-444444444444"


def _pattern(_: Any, pattern: str, value: object, __: Any) -> Iterator[ValidationError]:
    """As ECMA 262 reads it, which JSON Schema refers to: `$` is the end, and not before a line break as in Python."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


Validator = validators.extend(Draft7Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def validator(name: str) -> Any:
    """Of a published file, with the formats checked."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Validator(schema, format_checker=FormatChecker())


def faults(name: str, value: Any) -> list[str]:
    """What a schema finds wrong, and where."""
    return [f"{error.json_path}: {error.message}"[:300] for error in validator(name).iter_errors(value)]


def outcome_faults(event: Any) -> list[str]:
    """What the schema of its type finds wrong with an event."""
    return faults(f"checkout-{event['type'].rpartition('.')[2]}-event", event)


def undescribed(value: Any, schema: Any, root: Any = None, path: str = "$") -> list[str]:
    """The members that a schema does not name. An unknown member is valid, so nothing else notices."""
    root = root or schema
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rpartition("/")[2]]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    unknown = [f"{path}.{name}" for name in value if name not in schema["properties"]]
    known = [name for name in value if name in schema["properties"]]
    inner = (undescribed(value[name], schema["properties"][name], root, f"{path}.{name}") for name in known)
    return unknown + [each for found in inner for each in found]


def check_outcome(event: dict[str, Any], data: dict[str, Any] | None) -> None:
    """An event, and its data wherever they are, match the schemas that its type and its `dataschema` name."""
    name = f"checkout-{event['type'].rpartition('.')[2]}"
    assert [] == outcome_faults(event)
    assert [] == undescribed(event, validator(f"{name}-event").schema), "describe it in scripts/outcome_schemas.py"
    if data is not None:
        assert validator(name).schema["$id"] == event["dataschema"]
        assert [] == faults(name, data)
        assert [] == undescribed(data, validator(name).schema), "describe it in scripts/outcome_schemas.py"


def event(name: str) -> dict[str, Any]:
    """A real outcome, one of the README's."""
    return dict(json.loads(_published(name)))


@cache
def _published(name: str) -> str:
    return EXAMPLES[name][0]()


# --- they are the code's ----------------------------------------------------------------------------------------


def test_the_published_schemas_are_those_of_the_code() -> None:
    assert [] == schemas.stale(), "run python -m scripts.schemas"


def test_a_stale_or_unknown_file_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "FOLDER", tmp_path / "schemas")
    assert 0 == schemas.main([])
    assert 0 == schemas.main(["--check"])
    file = tmp_path / "schemas" / "checkout-request.schema.json"
    file.write_text(file.read_text() + " ")
    (tmp_path / "schemas" / "old.json").write_text("{}")
    assert ["checkout-request.schema.json", "old.json"] == schemas.stale()
    assert 1 == schemas.main(["--check"])


def test_a_new_member_of_a_request_must_be_described(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {name: rule for name, rule in schemas.MEMBERS.items() if name != "context"}
    monkeypatch.setattr(schemas, "MEMBERS", without)
    with pytest.raises(AssertionError, match="members of a request have changed"):
        schemas.schemas()


# --- real messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_message_of_every_scenario_matches_the_schemas(scenario: Scenario) -> None:
    world = World()
    waited: list[str] = []
    send = world.carts.send

    def tapped(text: str, delay: float = 0.0) -> None:
        waited.append(text)
        send(text, delay)

    world.carts.send = tapped  # type: ignore[method-assign]
    if scenario.number % 2:  # every other one as a CloudEvent
        cart = f"{scenario.number:08x}-1111-4222-8333-444444444444"
        send(cloud_event({"customerId": CUSTOMER, "cartId": cart, "context": {"é": [1.50, None]}}).decode())
    else:
        world.enqueue(scenario.name)
        waited.clear()
    world.run()
    events = world.published()

    assert events
    for published in events:
        check_outcome(published, world.data(published))
        assert [] == faults("cart-checkout-result", world.data(published).get("result", {}))
    assert scenario.expected == world.data(events[-1])["outcome"]
    for text in waited:
        assert [] == faults("deferred-copy", json.loads(base64.b64decode(text)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_real_outcome_of_every_kind_matches_the_schema(name: str) -> None:
    check_outcome(event(name), event(name).get("data"))


def test_the_request_in_the_readme_matches_the_schema() -> None:
    asked, *_ = (json.loads(block) for block in blocks(README, "json"))
    assert [] == faults("checkout-request", asked)
    assert [] == faults("checkout-request-event", json.loads(cloud_event(asked)))


# --- broken ones ------------------------------------------------------------------------------------------------


def without(*path: str | int) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


def put(new: object, *path: str | int) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = new

    return change


BROKEN: list[tuple[str, Callable[[Any], None]]] = [
    *(("completed", without(name)) for name in ("specversion", "id", "source", "type", "time", "subject", "data")),
    *(("completed", without(name)) for name in ("datacontenttype", "dataschema", "partitionkey", "correlationid")),
    *(("completed", without("data", name)) for name in ("outcome", "customerId", "cartId", "requestId", "result")),
    *(("completed", without("data", name)) for name in ("attempts", "revision", "startedAt", "finishedAt")),
    ("completed", put("0.3", "specversion")),
    ("completed", put("urn:somebody:else", "source")),
    ("completed", put("partnercenter.cart.checkout.perhaps", "type")),
    ("completed", put("partnercenter.cart.checkout.failed", "type")),
    ("completed", put("urn:partnercenter:cart-checkout:completed-event:1", "dataschema")),
    ("completed", put("perhaps", "data", "outcome")),
    ("completed", put("partial", "data", "outcome")),
    ("completed", put("yesterday", "time")),
    ("completed", put("2026-11-22T10:00:02.300", "time")),
    ("completed", put("22.11.2026", "data", "startedAt")),
    ("completed", put("C0FFEE00-1111-4222-8333-444444444444", "data", "customerId")),
    ("completed", put("order-4711", "data", "cartId")),
    ("completed", put("", "data", "requestId")),
    ("completed", put("x" * 257, "data", "requestId")),
    ("completed", put("1", "data", "attempts")),
    ("completed", put(-1, "data", "attempts")),
    ("completed", put(0, "data", "revision")),
    ("completed", put("1", "data", "revision")),
    ("completed", put([], "data", "result")),
    ("completed", put(None, "data", "result")),
    ("completed", put(None, "data", "error")),
    ("completed", put(99, "data", "response", "status")),
    ("completed", put("abc", "traceparent")),
    ("action_required", without("data", "error")),
    ("action_required", without("data", "result")),
    ("partial", without("data", "error")),
    ("partial", without("data", "result")),
    ("failed", without("data", "error")),
    ("failed", put(800013, "data", "error", "code")),
    ("failed", put("no", "data", "error", "retryable")),
    ("failed", put({"quantity": 3}, "data", "error", "data")),
    ("unknown", without("data", "error", "advice")),
    ("invalid", without("data", "sha256")),
    ("invalid", without("data", "error", "path")),
    ("invalid", put("cart", "data", "error", "class")),
    ("invalid", put("not base64!", "data", "body")),
    ("invalid", put("", "data", "requestId")),
    ("invalid", put("yes", "data", "deferred")),
    ("invalid", put("partnercenter.cart.checkout.failed", "type")),
    ("invalid", without("data")),
    ("answeredBy", put("order-4711", "data", "answeredBy")),
    ("corrects", put("order-4711", "data", "corrects")),
    ("dataref", put("not a uri", "dataref")),
    ("dataref", without("dataref")),
]


@pytest.mark.parametrize(("name", "change"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_outcome_does_not_match_the_schema(name: str, change: Callable[[Any], None]) -> None:
    broken = copy.deepcopy(event(name))
    change(broken)
    assert broken != event(name)
    assert faults(f"checkout-{event(name)['type'].rpartition('.')[2]}-event", broken)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_outcome_may_have_unknown_members(name: str) -> None:
    later = event(name) | {"newattribute": "1"}
    if "data" in later:
        later["data"] = later["data"] | {"new": {"a": 1}}
    assert [] == outcome_faults(later)


# --- requests: what the schema says is what the program does ----------------------------------------------------

GUIDS = st.sampled_from(
    [
        CUSTOMER,
        CART.upper(),
        f"{{{CART}}}",
        "",
        "x",
        CART[:-1],
        f"{CART}\n",
        f"{{{CART}",
        "\uff11" + CART[1:],
        f"urn:uuid:{CART}",
    ]
)
CHARACTERS = st.text(st.characters(codec="utf-8"), max_size=5)
TEXTS = CHARACTERS | st.sampled_from(
    ["order-1", "a\n", "\x7f", "\x9f", "x" * 256, "x" * 257, " a", "a ", "kim@a.b\n", "é"]
)
JUNK: st.SearchStrategy[Any] = st.none() | st.integers() | st.booleans() | st.lists(st.none(), max_size=1) | st.just({})
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "customerId": GUIDS | JUNK,
        "cartId": GUIDS | JUNK,
        "requestId": TEXTS | JUNK,
        "correlationId": GUIDS | JUNK,
        "customerUserUpn": TEXTS | JUNK,
        "notAfter": st.sampled_from(
            ["2026-11-22T18:00:00Z", "2026-11-22T18:00:00.5+01:00", "2026-11-22T18:00:00", "2026-11-22", "", "now"]
        )
        | JUNK,
        "traceparent": TEXTS | JUNK,
        "context": JUNK | TEXTS,
        "requestID": TEXTS | st.none(),
        "$AzureWebJobsParentId": JUNK | TEXTS,
    },
)


def accepts(body: bytes) -> bool:
    return isinstance(decode(body, delivery()), CheckoutRequest)


@given(st.fixed_dictionaries({"customerId": st.just(CUSTOMER), "cartId": GUIDS}) | REQUESTS)
def test_a_request_matches_the_schema_exactly_if_the_program_accepts_it(asked: dict[str, Any]) -> None:
    assert accepts(text_of(asked).encode()) == (not faults("checkout-request", asked))


@given(REQUESTS.map(lambda more: members() | more))
def test_the_schema_of_each_member_agrees_with_the_program(asked: dict[str, Any]) -> None:
    assert accepts(text_of(asked).encode()) == (not faults("checkout-request", asked))


@given(
    st.fixed_dictionaries(
        {"data": REQUESTS.map(lambda more: members() | more) | JUNK | st.just("absent")},
        optional={
            **{n: st.sampled_from(["1.0", "0.3", "", "x"]) | JUNK for n in ("id", "source", "type", "specversion")},
            "data_base64": st.none() | st.just(base64.b64encode(text_of(members()).encode()).decode()) | st.just(5),
        },
    )
)
def test_an_event_matches_the_schema_exactly_if_the_program_accepts_it(more: dict[str, Any]) -> None:
    asked = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "cart.ready", **more}
    if more["data"] == "absent":
        del asked["data"]
    assert accepts(text_of(asked).encode()) == (not faults("checkout-request-event", asked))


RETRIES = st.fixed_dictionaries(
    {},
    optional={
        "attempt": st.sampled_from([0, 7, 1_000_000, 1_000_001, -1, "1", 1.5, None]),
        "since": st.sampled_from(
            ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00.123+01:00", "2026-11-22T10:00:00", "now", 5, None]
        ),
        "held": st.sampled_from(["2026-11-22T10:00:00Z", "now"]),
        "deaths": st.sampled_from([0, 5, -1, 1_000_001]),
        "renewals": st.sampled_from([0, 1_000_000, "1"]),
        "refused": st.sampled_from(
            [
                None,
                {"status": 400, "key": 0, "at": "2026-11-22T10:00:00Z", "code": "800013", "later": 1},
                {"status": 400, "key": -1, "at": "2026-11-22T10:00:00Z"},
                {"status": 400, "key": 0},
                {"status": "400", "key": 0, "at": "2026-11-22T10:00:00Z"},
            ]
        ),
        "startedAt": st.sampled_from(["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-02-30T00:00:00Z"]),
        "reason": st.sampled_from(["storage", None, 5]),
        "poisoned": st.sampled_from([True, False, None, "yes"]),
        "later": st.just(1),
    },
)


@given(RETRIES)
def test_a_copy_matches_the_schema_exactly_if_the_program_accepts_it(retry: dict[str, Any]) -> None:
    asked = members(retry=retry)
    assert accepts(text_of(asked).encode()) == (not faults("deferred-copy", asked))
    assert accepts(cloud_event(asked)) == (not faults("deferred-copy", json.loads(cloud_event(asked))))


@pytest.mark.parametrize("asked", [members(requestID="typo"), members(retry={}), members(customerId=None), []], ids=str)
def test_a_broken_request_does_not_match_the_schema(asked: Any) -> None:
    assert faults("checkout-request", asked)


# --- as generators and strict validators read them --------------------------------------------------------------

PUBLIC = sorted({*schemas.schemas()} - {"deferred-copy.schema.json"})
GLOBALS = {
    *("Action", "Array", "Attribute", "Blob", "Boolean", "Buffer", "Cache", "Client", "Comment", "Date", "Decimal"),
    *(
        "Delegate",
        "Document",
        "Enum",
        "Environment",
        "Error",
        "Event",
        "Exception",
        "File",
        "Function",
        "Guid",
        "Index",
    ),
    *(
        "KeyValuePair",
        "List",
        "Location",
        "Lock",
        "Map",
        "Math",
        "Node",
        "Number",
        "Object",
        "Option",
        "Partial",
        "Pick",
    ),
    *(
        "Plugin",
        "Promise",
        "Proxy",
        "Random",
        "Range",
        "Record",
        "Request",
        "Required",
        "Response",
        "Result",
        "Selection",
    ),
    *("Set", "String", "Symbol", "Task", "Text", "Thread", "Timer", "Tuple", "Type", "Uri", "Version", "Worker"),
}
"""Names that TypeScript or C# has without an import: a type of that name hides it."""


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Each schema in a schema, its own values and examples apart."""
    yield schema
    for name, value in schema.items():
        if name in ("properties", "definitions"):
            for each in value.values():
                yield from parts(each)
        elif name in ("items", "if", "then", "else", "not"):
            yield from parts(value)
        elif name in ("allOf", "anyOf", "oneOf"):
            for each in value:
                yield from parts(each)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_schema_uses_only_what_generators_and_strict_validators_read(name: str) -> None:
    schema = schemas.schemas()[name]
    found = [*parts(schema)]
    titles = {part["title"] for part in found if "title" in part} | {*schema.get("definitions", {})}
    assert {"oneOf", "anyOf", "allOf"} & schema.keys() == set()
    assert set() == titles & GLOBALS
    for part in found:
        assert "enum" not in part, "a list of values would be closed"
        assert "const" not in part or "type" in part
        assert {*part.get("required", [])} <= {*part.get("properties", {})}
        assert "anyOf" not in part
        assert part.get("oneOf", [])[:1] in ([], [{"type": "null"}])
        kinds = part.get("type", "")
        assert isinstance(kinds, str) or kinds[1:] == ["null"]


def test_each_schema_has_an_id_of_its_own() -> None:
    ids = [schema["$id"] for schema in schemas.schemas().values()]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch(r"urn:partnercenter:cart-checkout:[a-z_-]+:1", each) for each in ids)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_type_and_the_schema_of_its_data_decide_an_outcome(outcome: Outcome) -> None:
    events, data = (validator(f"checkout-{outcome}{kind}").schema for kind in ("-event", ""))
    assert {"type": "string", "const": f"partnercenter.cart.checkout.{outcome}"} == events["properties"]["type"]
    assert {"type": "string", "const": data["$id"]} == events["properties"]["dataschema"]
    assert {"type": "string", "const": outcome} == data["properties"]["outcome"]
    assert f"urn:partnercenter:cart-checkout:{outcome}:1" == data["$id"]


@pytest.mark.parametrize("outcome", Outcome)
def test_the_examples_of_the_schemas_are_those_of_the_documents(outcome: Outcome) -> None:
    events = [event(name) for name in EXAMPLES if event(name)["type"].endswith(f".{outcome}")]
    assert events
    assert events == validator(f"checkout-{outcome}-event").schema["examples"]
    assert [each["data"] for each in events if "data" in each] == validator(f"checkout-{outcome}").schema["examples"]


def test_one_schema_has_each_type_of_all_outcomes_once() -> None:
    together = validator("checkout-outcomes").schema
    assert [*Outcome] == [*together["properties"]]
    for outcome in Outcome:
        alone = validator(f"checkout-{outcome}-event").schema
        name = together["properties"][outcome]["$ref"].rpartition("/")[2]
        same = ("title", "type", "properties", "required", "if", "else")
        assert {key: alone.get(key) for key in same} == {key: together["definitions"][name].get(key) for key in same}
        assert alone["definitions"].items() <= together["definitions"].items()


# --- open for what comes ----------------------------------------------------------------------------------------

OPEN: list[tuple[str, Callable[[Any], None]]] = [
    ("failed", put("weather", "data", "error", "class")),
    ("failed", put("weather", "data", "error", "later")),
    ("completed", put("https://contoso.blob.core.windows.net/checkout-records/x", "dataref")),
    ("completed", put(1, "data", "response", "later")),
    ("partial", put("on_hold", "data", "result", "orders", 0, "status")),
    ("partial", put("PSS-1", "data", "result", "orderErrors", 0, "code")),
    ("partial", put(None, "data", "result", "orderErrors", 0, "code")),
    ("partial", put(None, "data", "result", "orders", 0, "links")),
]


@pytest.mark.parametrize(("name", "change"), OPEN, ids=range(len(OPEN)))
def test_an_outcome_may_say_what_no_version_says_yet(name: str, change: Callable[[Any], None]) -> None:
    later = copy.deepcopy(event(name))
    change(later)
    assert later != event(name)
    assert [] == outcome_faults(later)
    assert [] == faults("cart-checkout-result", later["data"].get("result", {}))


def test_the_known_values_are_listed_though_others_may_come() -> None:
    definitions = validator("checkout-failed").schema["definitions"]
    classes = definitions["CheckoutError"]["properties"]["class"]
    order = validator("cart-checkout-result").schema["definitions"]["Order"]["properties"]
    assert {*ErrorClass} == {*classes["examples"], "invalid_message"}
    assert all(
        f"{each}," in classes["description"] or f"{each}." in classes["description"] for each in classes["examples"]
    )
    assert [*OrderStatus] == order["status"]["examples"]
