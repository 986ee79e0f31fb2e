"""The whole program in memory under a clock that the test turns: queues, records, service, and a host.

`World.run` delivers until every queue is empty, letting time jump to the next message, as the host would:
what raises comes back after `visibilityTimeout`, and after five deliveries goes to the poison queue.
"""

import base64
import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from local.simulator import scenarios
from local.simulator.service import SimulatedService
from shared.bootstrap import bootstrap
from shared.checkout import Checkout
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.ports import StoredBlob
from shared.settings import Settings
from tests.support.history import How, Journal, Killed, TappedService, TappedStorage, violations
from tests.support.memory import MemoryBlobs, MemoryPartnerCenter, MemoryQueue, QueuedMessage, VirtualClock

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
SETTINGS = Settings("carts", "checkout-outcomes", "checkout-records", storage_connection_string="unused")
MAX_DEQUEUE_COUNT = 5
VISIBILITY_TIMEOUT = timedelta(seconds=30)


class World:
    """One storage account, one service, one clock; `worker()` makes another process that shares them."""

    def __init__(self, settings: Settings = SETTINGS, *, strict: bool = True, seed: int = 1) -> None:
        self.settings = settings
        self.clock = VirtualClock()
        self.carts_began = self.clock.now
        self.random = random.Random(seed)
        self.books = SimulatedService(strict=strict)
        self.service: Any = MemoryPartnerCenter(self.books, self.clock, settings.checkout_timeout)
        self.carts = MemoryQueue(self.clock)
        self.poison = MemoryQueue(self.clock)
        self.outcomes = MemoryQueue(self.clock)
        self.container = MemoryBlobs(self.clock)
        self.blobs: Any = self.container
        self.queues: dict[str, Any] = {
            settings.carts_queue: self.carts,
            settings.poison_queue: self.poison,
            settings.outcomes_queue: self.outcomes,
        }
        self.journal = Journal()
        self.accepted: dict[str, CheckoutRequest] = {}
        self.checkout = self.worker()

    def tap(self, plan: dict[int, How] | None = None) -> "World":
        """Write every I/O step into the journal, and let those of `plan` (by number) go wrong."""
        self.journal = Journal(plan or {})
        self.service = TappedService(self.service, self.journal)
        self.blobs = TappedStorage("records", self.blobs, self.journal)
        self.queues = {name: TappedStorage(name, queue, self.journal) for name, queue in self.queues.items()}
        self.checkout = self.worker()
        return self

    def violations(self, *, alone: bool = True) -> list[str]:
        """Which invariants do not hold, now that all is quiet."""
        return violations(
            accepted=list(self.accepted.values()),
            told=self.told(),
            blobs=self.container,
            journal=self.journal,
            purchases=lambda request: self.purchases(request.cart_id),
            alone=alone,
        )

    def purchases(self, cart: str) -> int:
        """How often the books say that the cart was bought."""
        pages = self.books.snapshot()["carts"]
        return next((int(page["purchases"]) for page in pages if page["cartId"] == cart), 0)

    def worker(self) -> Checkout:
        """Another process of the same deployment."""
        return bootstrap(
            self.settings,
            partner_center=self.service,
            queue=self.queues.__getitem__,
            blobs=self.blobs,
            clock=self.clock,
            uniform=self.random.uniform,
        )

    def enqueue(self, scenario: str, request_id: str | None = "order-1", **more: object) -> str:
        """Put a cart that plays this scenario into the queue; returns its id."""
        cart = scenarios.cart_id(scenario, f"{scenario} {more.pop('seed', '')}")
        body = {"customerId": CUSTOMER, "cartId": cart, **more}
        if request_id is not None:
            body["requestId"] = request_id
        self.carts.send(json.dumps(body))
        return cart

    def deliver(self, message: QueuedMessage, *, from_poison: bool = False, checkout: Checkout | None = None) -> bool:
        """Deliver one message that was received; True: it was answered and is gone."""
        queue = self.poison if from_poison else self.carts
        delivery = Delivery(message.id, message.dequeue_count, message.inserted_at, from_poison)
        if message.dequeue_count > MAX_DEQUEUE_COUNT:
            return self._bury(message, from_poison=from_poison)
        request = decode(message.text.encode(), delivery)
        if isinstance(request, CheckoutRequest):
            self.accepted.setdefault(request.event_id, request)
        try:
            with self.journal.visit():
                (checkout or self.checkout).handle(message.text.encode(), delivery)
                self.journal.take("host.return", lambda: None, lambda: None)
        except Killed:
            return False  # nobody settles the message: it comes back when its lease ends
        except Exception:  # noqa: BLE001  the host catches everything too
            if from_poison:
                return False  # the host does not release it either: it comes back when its lease ends
            if message.dequeue_count >= MAX_DEQUEUE_COUNT:
                return self._bury(message, from_poison=from_poison)
            message.visible_at = self.clock.now + VISIBILITY_TIMEOUT
            return False
        queue.delete(message)
        return True

    def _bury(self, message: QueuedMessage, *, from_poison: bool) -> bool:
        """What the host does with a message that failed too often; from the poison queue it is skipped."""
        if not from_poison:
            self.poison.send(message.text)
            self.carts.delete(message)
        return False

    def run(self, *, until: Callable[[], bool] | None = None, most: int = 20_000) -> int:
        """Deliver until both queues are empty (or `until` says so); returns the number of deliveries."""
        count = 0
        while count < most and not (until is not None and until()):
            message, from_poison = self.carts.receive(), False
            if message is None:
                message, from_poison = self.poison.receive(), True
            if message is not None:
                self.deliver(message, from_poison=from_poison)
                count += 1
                continue
            following = [at for queue in (self.carts, self.poison) if (at := queue.next_visible()) is not None]
            if not following:
                return count
            self.clock.now = max(self.clock.now, min(following))
        assert count < most, f"not quiet after {most} deliveries"
        return count

    def waiting(self) -> dict[str, Any]:
        """What the one copy in the carts queue remembers."""
        (message,) = self.carts.messages
        return dict(json.loads(base64.b64decode(message.text))["retry"])

    def told(self) -> list[dict[str, Any]]:
        """Every outcome on the outcomes queue, in order, repeats included."""
        return [json.loads(base64.b64decode(message.text)) for message in self.outcomes.messages]

    def outcome(self) -> dict[str, Any]:
        """The one outcome that was told; a repeat must say the same."""
        told = self.told()
        assert told, "nothing was told"
        assert all(event == told[0] for event in told), "two different outcomes were told"
        return told[0]

    def record(self, cart: str) -> list[dict[str, Any]]:
        """The entries of a cart's record."""
        found = self.blobs.read(f"{CUSTOMER}/{cart}.json")
        return json.loads(found.content) if isinstance(found, StoredBlob) else []

    def data(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event's data, wherever it lies."""
        if "data" in event:
            return dict(event["data"])
        found = self.blobs.read(event["dataref"].removeprefix("memory://records/"))
        assert isinstance(found, StoredBlob)
        return dict(json.loads(found.content))
