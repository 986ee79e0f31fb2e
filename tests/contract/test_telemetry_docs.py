"""docs/telemetry.md lists what there is: every field of the line, span and metric; and its queries use the fields."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from local.simulator import scenarios
from local.simulator.scenarios import SCENARIOS
from shared import telemetry
from shared.otlp import ENDPOINTS, REQUIREMENTS
from shared.poison import FIRST_UNREAD_DELIVERY
from shared.ports import StorageUnavailable
from tests.docs.test_docs import Blobs, Service, blocks, order, ordered, quoted, request, table, worker
from tests.support.world import CUSTOMER, World

DOCUMENT = Path(__file__).parents[2] / "docs" / "telemetry.md"
QUEUES = {"CARTS_QUEUE": "carts", "OUTCOMES_QUEUE": "checkout-outcomes"}  # as a World names them


class Everything:
    """All that the program says of every scenario, of poison, and of storage that fails."""

    def __init__(self) -> None:
        self.facts: set[str] = set()
        self.steps: set[str] = set()
        self.spans: dict[str, str] = {}
        self.attributes: set[str] = set()
        self.metrics: dict[str, set[str]] = {}


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    said = Everything()
    spans, reader, lines = InMemorySpanExporter(), InMemoryMetricReader(), Lines()
    provider, meters = TracerProvider(), MeterProvider([reader])
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer", provider.get_tracer)
        patch.setattr(metrics, "get_meter", meters.get_meter)
        for setting, name in QUEUES.items():
            patch.setenv(setting, name)
        telemetry.LOGGER.addHandler(lines)
        level = telemetry.LOGGER.level
        telemetry.LOGGER.setLevel(logging.INFO)
        try:
            live()
        finally:
            telemetry.LOGGER.removeHandler(lines)
            telemetry.LOGGER.setLevel(level)
    for line in lines.said:
        said.facts |= {*line}
        said.steps |= {*line["ms"]}
    for span in spans.get_finished_spans():
        said.spans[re.sub(r" (?:checkout-)?(carts|outcomes)(?=-poison$|$)", r" {\1}", span.name)] = span.kind.name
        said.attributes |= {*(span.attributes or {})}
    data = reader.get_metrics_data()
    for metric in [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []:
        said.metrics[metric.name] = {name for point in metric.data.data_points for name in point.attributes or {}}
    yield said
    meters.shutdown()


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(json.loads(record.getMessage()))


KINDS = {(scenario.expected, scenario.error_class, scenario.code): scenario for scenario in reversed(SCENARIOS)}
"""One scenario for each outcome, class and code."""


def live() -> None:
    """The scenarios; no request, and one whose id was used before; storage that is away; no token; what is poisoned."""
    for scenario in (scenario for scenario in KINDS.values() if not scenario.decided_by_giving_up):
        world = World()
        world.enqueue(scenario.name)
        world.run()
    world = World()
    world.carts.send("no request")
    world.carts.send('{"retry": {}}')
    world.enqueue("dropped-before")
    world.enqueue("throttled")
    world.run()
    for port, method in (
        ("container", "read"),
        ("container", "write"),
        ("container", "set_metadata"),
        ("service", "checkout"),
        ("outcomes", "send"),
    ):
        world = World()
        setattr(getattr(world, port), method, away)
        world.enqueue("throttled")
        some(world)
    buy_twice()
    world = World()
    for context in (1, 2):
        world.enqueue("created", context=context)
    world.run()
    world = World()
    world.carts.send = away  # type: ignore[method-assign]
    world.poison.send(json.dumps({"customerId": CUSTOMER, "cartId": scenarios.cart_id("created", "poisoned")}))
    some(world)
    for _ in range(FIRST_UNREAD_DELIVERY):
        world.poison.receive(lease=0)
    (message,) = world.poison.messages
    world.deliver(message, from_poison=True)
    world = World()
    world.container.read = away  # type: ignore[method-assign]
    world.poison.send(json.dumps({"customerId": CUSTOMER, "cartId": CUSTOMER, "retry": {"poisoned": True}}))
    some(world)


def buy_twice() -> None:
    """Two POSTs of one cart, each of which is answered by another order."""
    world = World()
    blobs = Blobs(world.clock)
    world.blobs = blobs
    first, second = (Service(world, ordered(order(name, "completed"))) for name in ("one", "two"))
    other = worker(world, second)

    def deliver_the_duplicate() -> None:
        duplicate = world.carts.receive()
        assert duplicate is not None
        world.deliver(duplicate, checkout=other)

    blobs.before_append = deliver_the_duplicate
    world.serve(first)
    for _ in range(2):
        world.carts.send(json.dumps(request()))
    world.run()


def some(world: World) -> None:
    """A few deliveries: what is away is never given up."""
    left = iter(range(12))
    world.run(until=lambda: next(left, None) is None)


def away(*_: Any, **__: Any) -> Any:
    raise StorageUnavailable("away")


def rows(heading: str) -> dict[str, list[str]]:
    return {quoted(row[0])[0]: row[1:] for row in table(DOCUMENT, heading)}


def test_every_field_of_the_line_is_listed_and_there_is_no_other(everything: Everything) -> None:
    assert {*rows("The line")} == everything.facts


def test_every_step_is_listed(everything: Everything) -> None:
    assert everything.steps == {*quoted(rows("The line")["ms"][0])}


def test_every_span_is_listed_with_its_kind(everything: Everything) -> None:
    listed = {name: row[0] for name, row in rows("Spans").items()}
    also = {"process {carts}-poison": "CONSUMER", "send {carts}-poison": "CLIENT"}
    assert listed | also == everything.spans


def test_every_attribute_of_a_span_is_named(everything: Everything) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    ours = {name for name in everything.attributes if name.startswith("cart_checkout.")}
    assert [] == [name for name in everything.attributes - ours if f"`{name}`" not in text]
    assert [] == [name for name in ours if f"`{name}`" not in text and f"`.{name.partition('.')[2]}`" not in text]


def test_every_metric_is_listed_with_its_attributes(everything: Everything) -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Metrics")[2].partition("\n## ")[0]
    assert {*rows("Metrics")} == {*everything.metrics}
    named = {*re.findall(r"`([a-z_.]+)`", text)} | {"http.request.method", "server.address", "server.port"}
    assert set().union(*everything.metrics.values()) <= named


def test_the_queries_use_existing_fields(everything: Everything) -> None:
    queries = "\n".join(blocks(DOCUMENT, "kusto"))
    used = {*re.findall(r"\bline\.(\w+)", queries)}
    assert used <= everything.facts
    assert {*re.findall(r"\bline\.ms\.(\w+)", queries)} <= everything.steps
    assert """Message startswith '{"function":"'""" in queries


def test_the_settings_that_enable_otlp_and_its_requirements_are_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"`{ENDPOINTS[0]}`" in text
    pyproject = (DOCUMENT.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    otlp = next(line for line in pyproject.splitlines() if line.startswith("otlp = "))
    assert all(name in otlp for name in REQUIREMENTS)
