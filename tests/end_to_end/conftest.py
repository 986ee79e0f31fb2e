"""One running stack for all end-to-end tests, and a client that collects its outcomes."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from local.demo.run import QUICK
from local.message_text import decode_text
from local.outcomes import OutcomeCollector
from local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite

TIMEOUT = 60.0


class Shop:
    """Sends message texts, and collects the published events by their ids."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._outcomes = OutcomeCollector(stack.outcomes)
        self.events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def send(self, text: str) -> str:
        """Send a text as it is, and return the id of the event that must answer it."""
        self.stack.carts.send_message(text)
        return decode_text(text).event_id

    def published(self, event_id: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until this event was published so often."""
        deadline = time.monotonic() + TIMEOUT
        while len(self.events[event_id]) < times:
            assert time.monotonic() < deadline, f"{event_id} was published {len(self.events[event_id])} times"
            self.stack.check()
            for event in self._outcomes.receive():
                self.events[event["id"]].append(event)
        return self.events[event_id]

    def page(self, cart: str) -> dict[str, Any]:
        """The page of this cart in the simulator's books."""
        (page,) = (page for page in self.stack.books()["carts"] if page["cartId"] == cart)
        return dict(page)


def unique_names() -> dict[str, str]:
    """Settings with unique names of queues and container: Azurite is shared by all tests."""
    unique = uuid.uuid4().hex[:12]
    return {
        "CARTS_QUEUE": f"carts-{unique}",
        "OUTCOMES_QUEUE": f"outcomes-{unique}",
        "RECORDS_CONTAINER": f"records-{unique}",
    }


@pytest.fixture(scope="session")
def stack(azurite: Azurite) -> Iterator[Stack]:
    with Stack(azurite=azurite, settings=QUICK | unique_names()) as running:
        yield running


@pytest.fixture(scope="session")
def shop(stack: Stack) -> Shop:
    return Shop(stack)
