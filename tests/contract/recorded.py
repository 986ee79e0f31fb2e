"""Recorded events: what the program publishes in every simulator scenario and in every example of the documents.

    python -m tests.contract.recorded folder     write one event to a file, for tools that are no Python

As text, since digits are lost where a parser makes floats of them.
"""

import base64
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from local.simulator.scenarios import SCENARIOS
from shared.core import jsontext
from tests.docs.test_docs import EXAMPLES
from tests.support.world import World


@cache
def recorded() -> tuple[str, ...]:
    """Each event once, in the order of the scenarios. One with `dataref` is there with its data, too."""
    found: dict[str, None] = {}
    for scenario in SCENARIOS:
        world = World()
        world.enqueue(scenario.name, context={"price": ["$"]})
        world.run()
        for message in world.outcomes.messages:
            found[jsontext.decode(base64.b64decode(message.text))] = None
    found.update((make(), None) for make, _ in EXAMPLES.values())
    return tuple(found)
