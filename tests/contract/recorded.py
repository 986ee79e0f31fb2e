"""Recorded events: what the program publishes in every simulator scenario and in every example of the documents.

As text, since a parser that makes floats of numbers loses digits.
"""

import base64
import json
from functools import cache

from local.simulator.scenarios import SCENARIOS, cart_id
from shared.core import jsontext
from shared.ports import StoredBlob
from tests.docs.test_docs import EXAMPLES
from tests.support.world import CUSTOMER, World

_CONTEXT = '{"digits": [36.480, 1E+2, -0.0, 12345678901234567890], "é": null}'
_INVALID = ('{"customerId": 1}', "not JSON", f'{{"customerId": "{CUSTOMER}", "retry": {{"attempt": "two"}}}}')


@cache
def recorded() -> tuple[str, ...]:
    """Each event once, in the order of the scenarios. One with `dataref` is there with its data as well."""
    carts = {each.name: cart_id(each.name, each.name) for each in SCENARIOS}
    bodies = [
        f'{{"customerId": "{CUSTOMER}", "cartId": "{cart}", "requestId": "{name}", "context": {_CONTEXT}}}'
        for name, cart in carts.items()
    ]
    found = dict.fromkeys(event for body in (*bodies, *_INVALID) for event in _published(body))
    found.update(dict.fromkeys(make() for make, _ in EXAMPLES.values()))
    return tuple(found)


def deep() -> str:
    """An event as deep as they come: of a request with 64 levels, whose context lies one level deeper in its event."""
    levels = jsontext.MAX_DEPTH - 1
    context = "[" * levels + "]" * levels
    (event,) = _published(f'{{"customerId": "{CUSTOMER}", "cartId": "{cart_id("created", "")}", "context": {context}}}')
    return event


def _published(body: str) -> list[str]:
    """The events that a message leads to."""
    world = World()
    world.carts.send(body)
    world.run()
    events = [jsontext.decode(base64.b64decode(message.text)) for message in world.outcomes.messages]
    return events + [_with_data(world, event) for event in events if '"dataref"' in event]


def _with_data(world: World, event: str) -> str:
    found = world.blobs.read(json.loads(event)["dataref"].removeprefix("memory://records/"))
    assert isinstance(found, StoredBlob)
    return f'{event.removesuffix("}")},"data":{found.content.decode()}}}'
