"""The program's ports in memory: queues, blobs, the service, and a virtual clock."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local.simulator.service import SimulatedService
from local.simulator.state import SimulatedResponse
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.ports import Conflict

LONGEST_TEXT = 64 * 1024
UNAUTHORIZED = 401


@dataclass(slots=True)
class QueuedMessage:
    """A message in a queue."""

    id: str
    text: str
    inserted_at: datetime
    visible_at: datetime
    dequeue_count: int = 0


class MemoryQueue:
    """A queue with visibility timeouts, like Azure's. `send` is the port, the rest is the receiving side."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.messages: list[QueuedMessage] = []

    def send(self, text: str, delay: float = 0.0) -> None:
        """See `shared.ports.Queue.send`."""
        if len(text.encode()) > LONGEST_TEXT:
            raise ValueError("a queue message holds at most 64 KiB")
        now = self._clock()
        visible_at = now + timedelta(seconds=-(-delay // 1))  # rounded up to whole seconds
        with self._lock:
            self.messages.append(QueuedMessage(f"message-{next(self._numbers)}", text, now, visible_at))

    def receive(self, lease: float = 600.0) -> QueuedMessage | None:
        """Return the oldest visible message, now invisible for `lease` seconds, or `None`."""
        now = self._clock()
        with self._lock:
            message = next((m for m in self.messages if m.visible_at <= now), None)
            if message is not None:
                message.dequeue_count += 1
                message.visible_at = now + timedelta(seconds=lease)
            return message

    def delete(self, message: QueuedMessage) -> None:
        """Delete a message, unless it is deleted already."""
        with self._lock:
            self.messages = [other for other in self.messages if other is not message]

    def next_visible(self) -> datetime | None:
        """Return when the next message is visible, or `None` where the queue is empty."""
        with self._lock:
            return min((m.visible_at for m in self.messages), default=None)


class MemoryBlobs:
    """A container of blobs with ETags, like Azure's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions = itertools.count(1)
        self.blobs: dict[str, tuple[bytes, str]] = {}

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See `shared.ports.Blobs.read`."""
        with self._lock:
            return self.blobs.get(name)

    def write(self, name: str, content: bytes, *, content_type: str, match: str | None = None) -> None:
        """See `shared.ports.Blobs.write`."""
        del content_type  # stored by the real one only
        with self._lock:
            existing = self.blobs.get(name)
            if (existing and existing[1]) != match:
                raise Conflict
            self.blobs[name] = content, f'"{next(self._versions)}"'

    def overwrite(self, name: str, content: bytes | None) -> None:
        """See `shared.ports.Blobs.overwrite`."""
        with self._lock:
            if content is None:
                self.blobs.pop(name, None)
            else:
                self.blobs[name] = content, f'"{next(self._versions)}"'

    def url(self, name: str) -> str:
        """See `shared.ports.Blobs.url`."""
        return f"memory://records/{name}"


class MemoryPartnerCenter:
    """`shared.ports.PartnerCenterApi` over the simulated service, without a socket.

    A call takes as long as its response's delivery, on the given clock. `timeout` is the client's.
    """

    def __init__(self, service: SimulatedService, clock: "VirtualClock", timeout: float = 180.0) -> None:
        self._service = service
        self._clock = clock
        self._timeout = timeout

    def checkout(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`. A 401 is tried once more, as with a new token."""
        answer = self._checkout(request)
        return self._checkout(request) if answer.status == UNAUTHORIZED else answer

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.get_cart`."""
        return self._deliver(self._service.get_cart(request.customer_id, request.cart_id, self._clock.epoch()))

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.list_orders`."""
        return self._deliver(self._service.list_orders(request.customer_id, self._clock.epoch()))

    def _checkout(self, request: CheckoutRequest) -> ServiceResponse:
        response = self._service.checkout(
            request.customer_id, request.cart_id, request.ms_request_id, self._clock.epoch()
        )
        return self._deliver(response.echo(request.ms_request_id, request.correlation_id))

    def _deliver(self, response: SimulatedResponse) -> ServiceResponse:
        if response.drop != "none":
            self._clock.advance(min(response.delay, self._timeout))
            return ServiceResponse(None, failure="no answer: ConnectionError")
        if response.seconds > self._timeout:
            self._clock.advance(self._timeout)
            return ServiceResponse(None, failure="no answer: ReadTimeout")
        self._clock.advance(response.seconds)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return ServiceResponse(
            response.status,
            response.body,
            retry_after=headers.get("retry-after"),
            request_id=headers.get("ms-requestid"),
            correlation_id=headers.get("ms-correlationid"),
            cv=headers.get("ms-cv"),
        )


class VirtualClock:
    """Time that passes only on request."""

    def __init__(self, start: datetime = datetime(2026, 11, 22, 10, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def epoch(self) -> float:
        """Return the time in epoch seconds."""
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        """Move the time forward."""
        self.now += timedelta(seconds=seconds)
