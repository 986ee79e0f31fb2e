"""One running stack for all integration tests, and somebody who listens to its outcomes queue."""

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

PATIENCE = 60.0


class Shop:
    """Sends message texts, and remembers every event that was told, by its id."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._outcomes = OutcomeCollector(stack.outcomes)
        self.events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def send(self, text: str) -> str:
        """Send a text as it is; returns the event id that it must be told under."""
        self.stack.carts.send_message(text)
        return decode_text(text).event_id

    def told(self, event_id: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until this event was told so often."""
        deadline = time.monotonic() + PATIENCE
        while len(self.events[event_id]) < times:
            assert time.monotonic() < deadline, f"{event_id} was told {len(self.events[event_id])} times"
            self.stack.check()
            for event in self._outcomes.receive():
                self.events[event["id"]].append(event)
        return self.events[event_id]

    def page(self, cart: str) -> dict[str, Any]:
        """The simulator's books on this cart."""
        (page,) = (page for page in self.stack.books()["carts"] if page["cartId"] == cart)
        return dict(page)


def unique_names() -> dict[str, str]:
    """Settings that name queues and a container which nobody else uses: Azurite is shared by all tests."""
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
