"""The documents agree with the program: their examples are its output, their lists are its settings and members.

The examples in docs/outcomes.md are the program's own output. After a change that moves them:

    python -m tests.docs.test_docs
"""

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cli.main import VERBS
from local.simulator.scenarios import SCENARIOS, ScenarioGroup
from shared.checkout import Checkout
from shared.core import errors, jsontext, messages, outcomes, request_fields
from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.models import ServiceResponse
from shared.core.outcomes import Outcome
from shared.core.retry import RetryState
from shared.settings import Settings, SettingsError
from tests.support.memory import MemoryBlobs
from tests.support.world import CUSTOMER, SETTINGS, World

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONTRACT = ROOT / "docs" / "contract.md"
OUTCOMES = ROOT / "docs" / "outcomes.md"
SERVICE = ROOT / "docs" / "service.md"
LOCAL = ROOT / "docs" / "local.md"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=lambda path: (len(path.parts), path.as_posix())
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]

CART = "5ca1ab1e-2222-4333-8444-555555555555"
OFFER = "CFQ7TTC0LH18:0001:CFQ7TTC0K971"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WIDTH = 116

# --- the examples: what the program really publishes ------------------------------------------------------------


class Service:
    """A Partner Center with scripted answers. The last one repeats."""

    def __init__(self, world: World, *answers: ServiceResponse, cart: bytes = b"", orders: bytes = b"") -> None:
        self._world, self._answers = world, list(answers)
        self._cart, self._orders = ServiceResponse(200, cart), ServiceResponse(200, orders)

    def token(self) -> str:
        return "token"

    def renew_token(self, _: str) -> str | None:
        return None

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        del token
        assert may_begin()
        self._world.clock.advance(2.3)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer.status is None:
            return answer
        return replace(
            answer,
            request_id=ms_request_id,
            correlation_id=request.correlation_id,
            cv="Jd2sVXJnS0q1b2Jt.0",
        )

    def get_cart(self, _: CheckoutRequest) -> ServiceResponse:
        return self._cart

    def list_orders(self, _: CheckoutRequest) -> ServiceResponse:
        return self._orders

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        raise AssertionError(f"{customer_id} {order_id}: only an operator fetches one order")


class Blobs(MemoryBlobs):
    """Blobs with an address like Azure's, and a hook that runs just before an outcome is appended."""

    before_append: Callable[[], object] | None = None

    def write(
        self, name: str, content: bytes, *, content_type: str, metadata: Mapping[str, str], match: str | None = None
    ) -> str:
        before_append = self.before_append
        if before_append is not None and content != b"[]":  # that would be the entry of the POST
            self.before_append = None
            before_append()
        return super().write(name, content, content_type=content_type, metadata=metadata, match=match)

    def url(self, name: str) -> str:
        return f"https://contoso.blob.core.windows.net/checkout-records/{name}"


def world_of(*answers: ServiceResponse, **asked: bytes) -> World:
    """A world with this service."""
    world = World()
    world.blobs = Blobs(world.clock)
    world.serve(Service(world, *answers, **asked))
    return world


def published(world: World) -> str:
    """The last published outcome as text."""
    return jsontext.decode(base64.b64decode(world.outcomes.messages[-1].text))


def order(order_id: str, status: str, lines: int = 1) -> str:
    line = f'"offerId":"{OFFER}","quantity":1,"subscriptionId":"9f8e7d6c-1111-4222-8333-444444444444"'
    listed = ",".join(f'{{"lineItemNumber":{number},{line}}}' for number in range(lines))
    return f'{{"id":"{order_id}","status":"{status}","currencyCode":"EUR","lineItems":[{listed}]}}'


def ordered(*orders: str, failures: str = "") -> ServiceResponse:
    return ServiceResponse(201, f'{{"orders":[{",".join(orders)}],"orderErrors":[{failures}]}}'.encode())


def request(request_id: str = "order-4711", **more: object) -> dict[str, object]:
    return {"customerId": CUSTOMER, "cartId": CART, "requestId": request_id, **more}


def publish(world: World, *bodies: Mapping[str, object]) -> str:
    """Deliver these messages one after another. Returns the last published outcome as text."""
    for body in bodies:
        world.carts.send(json.dumps(body))
        world.run()
    return published(world)


REFUSED = ServiceResponse(
    400,
    b'{"code":800013,"description":"The quantity is not valid for this offer.",'
    b'"data":["quantity"],"source":"PartnerFD"}',
)


def completed() -> str:
    original = request(
        correlationId="0dd0dd00-1111-4222-8333-444444444444", context={"basket": 17}, traceparent=TRACEPARENT
    )
    return publish(world_of(ordered(order("a4e9d2b0c1f3", "completed"))), original)


def action_required() -> str:
    return publish(world_of(ordered(order("a4e9d2b0c1f3", "pending_review"))), request())


def partial() -> str:
    failure = '{"orderGroupId":"1","code":800089,"description":"The offer cannot be bought in this quantity."}'
    return publish(world_of(ordered(order("a4e9d2b0c1f3", "completed"), failures=failure)), request())


def failed() -> str:
    return publish(world_of(REFUSED), request())


def unknown() -> str:
    line = f'"lineItems":[{{"catalogItemId":"{OFFER}","offerId":"{OFFER}"}}]'
    return publish(
        world_of(
            ServiceResponse(None, failure="no answer: ReadTimeout"),
            ServiceResponse(
                400, b'{"code":800065,"description":"The cart was already submitted.","source":"PartnerFD"}'
            ),
            cart=f'{{"status":"Ordered",{line}}}'.encode(),
            orders=f'{{"items":[{{"id":"a4e9d2b0c1f3","creationDate":"2026-11-22T10:00:01.1234567Z",{line}}}]}}'.encode(),
        ),
        request(),
    )


def invalid() -> str:
    mistyped = {"customerId": CUSTOMER, "cartId": CART, "requestID": "order-4711"}
    return publish(world_of(REFUSED), mistyped)


def unreadable_copy() -> str:
    event = {"specversion": "1.0", "id": "7f3a", "source": "/shop/orders", "type": "order.placed"}
    return publish(world_of(REFUSED), {**event, "data": request(retry={"attempt": "many"})})


def answered_by() -> str:
    event = {"specversion": "1.0", "id": "7f3a", "source": "/shop/orders", "type": "order.placed"}
    again = {"customerId": CUSTOMER, "cartId": CART}
    return publish(world_of(ordered(order("a4e9d2b0c1f3", "completed"))), request(), {**event, "data": again})


def worker(world: World, service: Service) -> Checkout:
    """Another worker, whose calls are answered by `service`."""
    present, world.partner_center = world.partner_center, service
    made = world.worker()
    world.partner_center = present
    return made


def corrects() -> str:
    """A POST that outlives SETTLE_SECONDS, which here is a minute: its duplicate is refused and told `failed`."""
    world = World(replace(SETTINGS, settle=60.0))
    world.blobs = Blobs(world.clock)
    service = Service(world, ordered(order("a4e9d2b0c1f3", "completed")))

    def refuse_the_duplicate() -> None:
        concurrent = worker(world, Service(world, REFUSED, cart=b'{"status":"Active"}'))
        for seconds in (0.0, 62.0):  # deferred until the POST counts as settled, then decided
            world.clock.advance(seconds)
            duplicate = world.carts.receive()
            assert duplicate is not None
            world.deliver(duplicate, checkout=concurrent)

    world.blobs.before_append = refuse_the_duplicate
    world.serve(service)
    world.carts.send(json.dumps(request()))
    world.carts.send(json.dumps(request()))
    world.run()
    return published(world)


def dataref() -> str:
    return publish(world_of(ordered(order("a4e9d2b0c1f3", "completed", lines=400))), request())


EXAMPLES: dict[str, tuple[Callable[[], str], Outcome]] = {
    "completed": (completed, Outcome.COMPLETED),
    "action_required": (action_required, Outcome.ACTION_REQUIRED),
    "partial": (partial, Outcome.PARTIAL),
    "failed": (failed, Outcome.FAILED),
    "unknown": (unknown, Outcome.UNKNOWN),
    "invalid": (invalid, Outcome.INVALID),
    "unreadableCopy": (unreadable_copy, Outcome.INVALID),
    "answeredBy": (answered_by, Outcome.COMPLETED),
    "corrects": (corrects, Outcome.COMPLETED),
    "dataref": (dataref, Outcome.COMPLETED),
}


def pretty(text: str, indent: int = 0) -> str:
    """The same JSON with line breaks between its members, and each value as written."""
    if text.startswith("{"):
        pieces = [f'"{name}": {pretty(raw, indent + 1)}' for name, raw in jsontext.members(text).items()]
    elif text.startswith("["):
        pieces = [pretty(raw, indent + 1) for raw in jsontext.elements(text)]
    else:
        return text
    lines, last = [""], len(pieces) - 1
    for number, piece in enumerate(pieces):
        ended = piece + ("," if number < last else "")
        line = f"{lines[-1]} {ended}" if lines[-1] else ended
        if lines[-1] and ("\n" in line or indent + 1 + len(line) > WIDTH):
            lines.append(ended)
        else:
            lines[-1] = line
    return text[0] + ("\n" + " " * (indent + 1)).join(lines) + text[-1]


MARKED = re.compile(r"<!-- example: (\w+) -->\n+```json\n(.*?)\n```", re.DOTALL)


def shown() -> dict[str, str]:
    """The examples in docs/outcomes.md, by name."""
    return dict(MARKED.findall(OUTCOMES.read_text(encoding="utf-8")))


def refresh() -> None:
    """Write the program's current output into docs/outcomes.md."""

    def present(found: re.Match[str]) -> str:
        made = pretty(EXAMPLES[found[1]][0]())
        return found[0].replace(found[2], made)

    OUTCOMES.write_text(MARKED.sub(present, OUTCOMES.read_text(encoding="utf-8")), encoding="utf-8")


# --- reading the documents --------------------------------------------------------------------------------------


def table(path: Path, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its header."""
    section = path.read_text(encoding="utf-8").partition(f"# {heading}\n")[2]
    assert section, f"{path.name} has no heading {heading}"
    lines = [line.strip() for line in section.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def quoted(cell: str) -> list[str]:
    """The texts in back quotes."""
    return re.findall(r"`([^`]+)`", cell)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def every_json_block() -> Iterator[Any]:
    for path, name in zip(DOCUMENTS, NAMES, strict=True):
        for number, block in enumerate(blocks(path, "json"), 1):
            yield pytest.param(block, id=f"{name}-{number}")


class Watched(dict[str, str]):
    """An environment that records which variables are read."""

    def __init__(self, *args: Mapping[str, str]) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def settings_read() -> set[str]:
    """Every setting that the program reads, in every way of configuring it."""
    read: set[str] = set()
    for env in ({}, {"CheckoutStorage": "UseDevelopmentStorage=true"}, {"PARTNER_CENTER_AUTH": "federated"}):
        watched = Watched(env)
        with pytest.raises(SettingsError):
            Settings.from_env(watched)
        read |= watched.read
    return read


# --- the tests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_the_program_publishes(name: str) -> None:
    make, _ = EXAMPLES[name]

    assert pretty(make()) == shown()[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_the_outcome_that_it_claims(name: str) -> None:
    _, outcome = EXAMPLES[name]
    event = json.loads(shown()[name])

    assert f"{outcomes.TYPE}{outcome}" == event["type"]
    assert outcome == event.get("data", {"outcome": outcome})["outcome"]
    if name in {"answeredBy", "corrects"}:
        assert uuid.UUID(event["data"][name])
    assert ("dataref" in event) is (name == "dataref")


def test_every_example_of_the_documents_is_made_by_the_program() -> None:
    assert [*EXAMPLES] == [*shown()]


@pytest.mark.parametrize("block", [*every_json_block()])
def test_every_json_text_in_the_documents_is_json(block: str) -> None:
    jsontext.load(block.encode(), unique_keys=True)


@pytest.mark.parametrize(
    ("heading", "members_of"),
    [
        ("Attributes", lambda event: [event]),
        ("Data", lambda event: [event["data"]] if "attempts" in event.get("data", {}) else []),
        ("Data of an invalid message", lambda event: [event["data"]] if "sha256" in event.get("data", {}) else []),
        ("Error", lambda event: [event["data"]["error"]] if "error" in event.get("data", {}) else []),
        ("Response", lambda event: [event["data"]["response"]] if "response" in event.get("data", {}) else []),
    ],
)
def test_the_contract_lists_every_member_in_the_programs_order(
    heading: str, members_of: Callable[[Any], list[dict[str, Any]]]
) -> None:
    documented = [quoted(row[0])[0] for row in table(CONTRACT, heading)]
    found = [[*members] for text in shown().values() for members in members_of(json.loads(text))]

    assert all(names == [name for name in documented if name in names] for names in found)
    assert {*documented} == {name for names in found for name in names}


def test_the_contract_lists_the_members_of_a_request() -> None:
    documented = [quoted(row[0])[0] for row in table(CONTRACT, "In: the carts queue")]

    assert [*request_fields.NAMES] == documented


def test_the_contract_lists_the_state_in_a_deferred_copy() -> None:
    assert [*RetryState.__struct_encode_fields__] == [quoted(row[0])[0] for row in table(CONTRACT, "Deferred copies")]


def test_the_contract_lists_every_class_of_error_and_whether_it_is_retryable() -> None:
    documented = {quoted(row[0])[0]: row[1] for row in table(CONTRACT, "Error classes")}

    expected = {str(each): "yes" if each in errors.RETRYABLE else "no" for each in errors.ErrorClass}
    assert expected == documented


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("44 KiB", messages.LONGEST),
        ("47 KiB", messages.LONGEST_COPY),
        ("48 KiB", outcomes.LONGEST_EVENT),
        ("6 KiB", outcomes.SHOWN_OF_INVALID),
    ],
)
def test_the_contract_states_the_limits_of_the_program(text: str, value: int) -> None:
    assert int(text.split(maxsplit=1)[0]) * 1024 == value
    assert text in CONTRACT.read_text(encoding="utf-8")


def test_the_contract_lists_host_json() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    queues = {name: str(value) for name, value in host["extensions"]["queues"].items()}
    expected = {
        **queues,
        "functionTimeout": host["functionTimeout"],
        "extensionBundle": host["extensionBundle"]["version"],
    }

    assert expected == {quoted(row[0])[0]: quoted(row[1])[0] for row in table(CONTRACT, "host.json")}


def test_the_settings_listed_are_those_that_are_read() -> None:
    documented = [name for row in table(CONTRACT, "Settings") for name in quoted(row[0])]

    assert sorted(settings_read()) == sorted(documented)


def test_the_defaults_listed_are_the_programs() -> None:
    listed = {quoted(row[0])[0]: row[1].strip("`") for row in table(CONTRACT, "Settings") if row[1].startswith("`")}
    needed = {
        "CheckoutStorage": "UseDevelopmentStorage=true",
        "CARTS_QUEUE": "carts",
        "OUTCOMES_QUEUE": "checkout-outcomes",
        "RECORDS_CONTAINER": "checkout-records",
        "PARTNER_CENTER_TENANT_ID": CUSTOMER,
    }

    assert Settings.from_env(needed) == Settings.from_env(needed | listed)


def test_the_example_settings_are_known() -> None:
    # read by the host, by the worker and by azure-identity, not by us
    theirs = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"}
    example = json.loads((ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]

    assert theirs == {*example} - settings_read()
    assert Settings.from_env(example)


def test_the_ids_of_the_contract_are_those_of_the_program() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    example = CheckoutRequest(CUSTOMER, CART, "order-4711", now)
    delivered = messages.Delivery("", 1, now)
    event = {"specversion": "1.0", "id": "7f3a", "source": "/shop/orders", "type": "order.placed"}
    caused = messages.decode(
        json.dumps({**event, "data": {"customerId": CUSTOMER, "cartId": CART}}).encode(), delivered
    )
    refused = messages.decode(b"hello", delivered)
    assert isinstance(caused, CheckoutRequest)
    assert isinstance(refused, InvalidMessage)
    expected = {
        "event `id`": example.event_id,
        "event `id` of a correction": example.correction_id(),
        "event `id` of the correction of that, and so on": example.correction_id(2),
        "`MS-RequestId` of the cart's key 0": messages.ms_request_id(CUSTOMER, CART, 0),
        "`MS-RequestId` of the cart's key 1": messages.ms_request_id(CUSTOMER, CART, 1),
        "`MS-CorrelationId` where the message has none": example.correlation_id,
        "event `id`, request id not in ASCII": replace(example, request_id="größe-✓").event_id,
        "`requestId` of a CloudEvent without one": caused.request_id,
        "event `id` of the invalid message `hello`": refused.event_id,
    }

    rows = table(CONTRACT, "Ids")
    assert expected == {row[0]: quoted(row[2])[0] for row in rows}
    assert [*expected.values()] == [messages.derive(*json.loads(quoted(row[1])[0])) for row in rows]


def test_the_snippet_of_the_contract_derives_the_same_ids(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = blocks(CONTRACT, "python")
    names: dict[str, Any] = {}

    exec(snippet, names)  # noqa: S102  the contract's own six lines

    rows = table(CONTRACT, "Ids")
    assert 6 == len([line for line in snippet.splitlines() if line])
    assert quoted(rows[0][2])[0] == capsys.readouterr().out.strip()
    assert [quoted(row[2])[0] for row in rows] == [names["derive"](*json.loads(quoted(row[1])[0])) for row in rows]


def test_the_error_table_is_the_programs() -> None:
    documented = [
        errors.Row(errors.ErrorClass(quoted(error_class)[0]), int(status), frozenset(codes.split()))
        for error_class, status, codes in table(SERVICE, "The error table")
    ]

    assert [*errors.ROWS] == documented


def test_the_classes_by_status_are_the_programs() -> None:
    documented = {int(status): quoted(error_class)[0] for status, error_class in table(SERVICE, "By status alone")}

    assert errors.BY_STATUS == documented


def test_the_scenarios_are_listed_by_their_groups() -> None:
    listed = {}
    for group, numbers, *_ in table(LOCAL, "The simulator")[: len(ScenarioGroup)]:
        spans = [span.split(" to ") for span in numbers.split(", ")]
        listed[group] = {number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)}

    assert listed == {
        group.removeprefix("the service: "): {s.number for s in SCENARIOS if s.group is group and s.number < 1000}
        for group in ScenarioGroup
    }


def test_the_listed_tools_exist() -> None:
    assert [*VERBS] == [quoted(row[0])[0] for row in table(LOCAL, "Tools")]


def test_the_architecture_lists_every_module_of_the_program() -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("shared/**/*.py") if path.stem != "__init__"}

    assert modules == {quoted(row[0])[0] for row in table(ROOT / "docs" / "architecture.md", "Modules")}


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", NAMES)
def test_links_have_targets(name: str) -> None:
    path = ROOT / name
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name}: {link}"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    documents = [name.removeprefix("docs/") for name in NAMES if name.startswith("docs/") and name != "docs/README.md"]

    assert [] == [name for name in documents if f"]({name})" not in index]


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_and_files_that_a_document_names_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))

    assert [] == [test for test in re.findall(r"`(test_\w+)`", text) if f"def {test}(" not in tests]
    files = re.findall(r"`((?:shared|cli|local|bench|tests|docs|scripts|infra|examples)/[\w./]+\w)`", text)
    assert [] == [file for file in files if not (ROOT / file).exists()]


if __name__ == "__main__":
    refresh()
