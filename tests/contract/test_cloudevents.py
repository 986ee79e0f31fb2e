"""The events are CloudEvents 1.0 to CNCF's own library, both ways: ours to it, and one that it wrote to us."""

import json
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import http as older
from cloudevents.v1.conversion import to_json

from local.simulator.scenarios import SCENARIOS, Scenario
from shared.core.messages import CheckoutRequest, decode
from tests.contract.test_schemas import event
from tests.docs.test_docs import EXAMPLES
from tests.support.builders import delivery, members
from tests.support.world import World


def same(published: dict[str, Any]) -> None:
    """Parsed by the library, an event has the published values."""
    text = json.dumps(published)
    read = JSONFormat().read(CloudEvent, text)
    assert (published["id"], published["source"], published["type"]) == (
        read.get_id(),
        read.get_source(),
        read.get_type(),
    )
    assert (published["specversion"], published["dataschema"]) == (read.get_specversion(), read.get_dataschema())
    assert (published.get("subject"), published.get("data")) == (read.get_subject(), read.get_data())
    for name in ("partitionkey", "correlationid", "causationid", "traceparent", "dataref"):
        assert published.get(name) == read.get_extension(name)
    moment = read.get_time()
    if "time" in published:
        assert moment is not None
        assert published["time"] == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_library_reads_a_real_outcome_of_every_kind(name: str) -> None:
    same(event(name))


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.number < 1000], ids=lambda each: each.name)
def test_the_library_reads_the_outcome_of_every_scenario(scenario: Scenario) -> None:
    world = World()
    world.enqueue(scenario.name, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    world.run()
    for published in world.published():
        same(published)


def test_the_library_adds_a_time_to_the_event_of_an_invalid_message() -> None:
    published = event("invalid")
    assert "time" not in published
    assert JSONFormat().read(CloudEvent, json.dumps(published)).get_time() is not None


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_librarys_first_interface_reads_it_too(name: str) -> None:
    published = event(name)
    read = older.from_json(json.dumps(published))
    assert (published["id"], published["type"]) == (read["id"], read["type"])
    assert published.get("data") == read.data


def test_an_event_that_the_library_wrote_is_a_request() -> None:
    attributes = {"id": "7f3a", "source": "/shop/orders", "type": "order.placed"}
    written = JSONFormat().write(CloudEvent(attributes, members(requestId="order-4711")))
    decoded = decode(written, delivery())
    assert isinstance(decoded, CheckoutRequest)
    assert ("order-4711", "7f3a") == (decoded.request_id, decoded.causation_id)


def test_an_event_of_the_librarys_first_interface_is_a_request() -> None:
    written = to_json(older.CloudEvent({"source": "/shop", "type": "order.placed", "id": "7f3a"}, members()))
    decoded = decode(written, delivery())
    assert isinstance(decoded, CheckoutRequest)
    assert "7f3a" == decoded.causation_id
