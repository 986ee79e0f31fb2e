"""The whole program in memory under a virtual clock: queues, records, service, and a host.

`World.run` delivers until every queue is empty, and time jumps to the next message. It follows the host's rules: a
message that raised is visible again after `visibilityTimeout`, and goes to the poison queue after five deliveries.
"""

import base64
import itertools
import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from local.simulator import scenarios
from local.simulator.carts import Idempotency
from local.simulator.service import SimulatedService
from shared.bootstrap import bootstrap
from shared.checkout import Checkout
from shared.core.cart_state import CartState
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.retry import Uniform
from shared.core.state_metadata import from_metadata
from shared.ports import StoredBlob
from shared.settings import Settings
from tests.support.history import Failure, Journal, Killed, TappedService, TappedStorage, violations
from tests.support.memory import MemoryBlobs, MemoryPartnerCenter, MemoryQueue, QueuedMessage, VirtualClock

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
SETTINGS = Settings("carts", "checkout-outcomes", "checkout-records", storage_connection_string="unused")
MAX_DEQUEUE_COUNT = 5
VISIBILITY_TIMEOUT = timedelta(seconds=30)


class World:
    """One storage account, one service, one clock. `worker()` makes another process that shares them."""

    def __init__(self, settings: Settings = SETTINGS, *, idempotency: Idempotency = "strict", seed: int = 1) -> None:
        self.settings = settings
        self.clock = VirtualClock()
        self.carts_began = self.clock.now
        self.random = random.Random(seed)
        self.service = SimulatedService(idempotency=idempotency)
        self.partner_center: Any = MemoryPartnerCenter(self.service, self.clock, settings.checkout_timeout)
        numbers = itertools.count(1)
        self.carts = MemoryQueue(self.clock, numbers)
        self.poison = MemoryQueue(self.clock, numbers)
        self.outcomes = MemoryQueue(self.clock, numbers)
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

    def tap(self, plan: dict[int, Failure] | None = None) -> "World":
        """Record every I/O step in the journal, and fail those of `plan` (by number)."""
        self.journal = Journal(plan or {})
        self.partner_center = TappedService(self.partner_center, self.journal)
        self.blobs = TappedStorage("records", self.blobs, self.journal)
        self.queues = {name: TappedStorage(name, queue, self.journal) for name, queue in self.queues.items()}
        self.checkout = self.worker()
        return self

    def violations(self) -> list[str]:
        """Return the invariants that do not hold in the final state."""
        return violations(
            accepted=list(self.accepted.values()),
            published=self.published(),
            blobs=self.container,
            journal=self.journal,
            page_of=self.page,
        )

    def purchases(self, cart: str) -> int:
        """Return how often the service recorded a purchase of the cart."""
        return int(self.page(cart).get("purchases", 0))

    def page(self, cart: str) -> dict[str, Any]:
        """Return a cart's page in the service's books, or an empty one."""
        pages = self.service.snapshot()["carts"]
        return next((page for page in pages if page["cartId"] == cart), {})

    def serve(self, partner_center: Any) -> None:
        """Replace the service, for the next worker too."""
        self.partner_center = partner_center
        self.checkout = self.worker()

    def state(self, cart: str) -> CartState:
        """Return the working state that a cart's record carries."""
        found = self.container.read(f"{CUSTOMER}/{cart}.json")
        return from_metadata(found.metadata, found.last_modified) if isinstance(found, StoredBlob) else CartState()

    def worker(self, uniform: Uniform | None = None) -> Checkout:
        """Make another process of the same deployment."""
        return bootstrap(
            self.settings,
            partner_center=self.partner_center,
            queue=self.queues.__getitem__,
            blobs=self.blobs,
            clock=self.clock,
            monotonic=self.clock.epoch,
            uniform=uniform or self.random.uniform,
        )

    def enqueue(self, scenario: str, request_id: str | None = "order-1", **more: object) -> str:
        """Send a cart that plays this scenario, and return its id."""
        cart = scenarios.cart_id(scenario, f"{scenario} {more.pop('seed', '')}")
        body = {"customerId": CUSTOMER, "cartId": cart, **more}
        if request_id is not None:
            body["requestId"] = request_id
        self.carts.send(json.dumps(body))
        return cart

    def deliver(self, message: QueuedMessage, *, from_poison: bool = False, checkout: Checkout | None = None) -> bool:
        """Deliver one received message. True: it was handled and deleted."""
        queue = self.poison if from_poison else self.carts
        delivery = Delivery(message.id, message.dequeue_count, message.inserted_at, from_poison)
        if message.dequeue_count > MAX_DEQUEUE_COUNT:
            return self._move_to_poison(message, from_poison=from_poison)
        request = decode(message.text.encode(), delivery)
        if isinstance(request, CheckoutRequest):
            self.accepted.setdefault(request.event_id, request)
        try:
            with self.journal.delivery():
                (checkout or self.checkout).handle(message.text.encode(), delivery)
                self.journal.take("host.return", lambda: None, lambda: None)
        except Killed:
            return False  # not settled: it is visible again when its lease ends
        except Exception:  # noqa: BLE001  the host catches everything too
            if from_poison:
                return False  # the host does not release it: it is visible again when its lease ends
            if message.dequeue_count >= MAX_DEQUEUE_COUNT:
                return self._move_to_poison(message, from_poison=from_poison)
            message.visible_at = self.clock.now + VISIBILITY_TIMEOUT
            return False
        queue.delete(message)
        return True

    def _move_to_poison(self, message: QueuedMessage, *, from_poison: bool) -> bool:
        """Move a message that failed too often to the poison queue, as the host does. There it is skipped."""
        if not from_poison:
            request = decode(message.text.encode(), Delivery(message.id, 1, message.inserted_at))
            if isinstance(request, CheckoutRequest) and request.request_id == message.id:
                self.accepted.pop(request.event_id, None)  # without a request id it is told under the copy's id
            self.poison.send(message.text)
            self.carts.delete(message)
        return False

    def run(self, *, until: Callable[[], bool] | None = None, most: int = 20_000) -> int:
        """Deliver until both queues are empty (or `until` says so), and return the number of deliveries."""
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
        """Return the retry state of the one copy in the carts queue."""
        (message,) = self.carts.messages
        return dict(json.loads(base64.b64decode(message.text))["retry"])

    def published(self) -> list[dict[str, Any]]:
        """Return every outcome on the outcomes queue in order, with repeats."""
        return [json.loads(base64.b64decode(message.text)) for message in self.outcomes.messages]

    def outcome(self) -> dict[str, Any]:
        """Return the one outcome that was published. Repeats must be equal."""
        published = self.published()
        assert published, "nothing was published"
        assert all(event == published[0] for event in published), "two different outcomes were published"
        return published[0]

    def record(self, cart: str) -> list[dict[str, Any]]:
        """Return the entries of a cart's record."""
        found = self.blobs.read(f"{CUSTOMER}/{cart}.json")
        return json.loads(found.content) if isinstance(found, StoredBlob) else []

    def data(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return an event's data, from the event or from its blob."""
        if "data" in event:
            return dict(event["data"])
        found = self.blobs.read(event["dataref"].removeprefix("memory://records/"))
        assert isinstance(found, StoredBlob)
        return dict(json.loads(found.content))
