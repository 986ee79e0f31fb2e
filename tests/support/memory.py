"""The program's ports in memory: queues, blobs, the service, and a virtual clock."""

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from local.simulator.service import SimulatedService
from local.simulator.state import SimulatedResponse
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.ports import Conflict, MissingBlob, StoredBlob, checked_metadata

LONGEST_TEXT = 64 * 1024
_CUSTOMER = re.compile(rb'"referenceCustomerId": "([^"]+)"')


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

    def __init__(self, clock: Callable[[], datetime], numbers: Iterator[int] | None = None) -> None:
        """`numbers`: shared by all queues of an account, in which no two messages have one id."""
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = numbers or itertools.count(1)
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


class MemoryBlob(NamedTuple):
    """A blob as it lies in a container."""

    content: bytes
    etag: str
    modified: datetime
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = {}


class MemoryBlobs:
    """A container of blobs with ETags, like Azure's. `clock`: storage's, by which the program measures ages."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._versions = itertools.count(1)
        self.blobs: dict[str, MemoryBlob] = {}

    def read(self, name: str) -> StoredBlob | MissingBlob:
        """See `shared.ports.Blobs.read`."""
        with self._lock:
            there = self.blobs.get(name)
            if there is None:
                return MissingBlob(self._now())
            return StoredBlob(there.content, there.etag, dict(there.metadata), there.modified, self._now())

    def write(
        self, name: str, content: bytes, *, content_type: str, metadata: Mapping[str, str], match: str | None = None
    ) -> str:
        """See `shared.ports.Blobs.write`."""
        checked = checked_metadata(metadata)
        with self._lock:
            there = self.blobs.get(name)
            if (there and there.etag) != match:
                raise Conflict
            return self._put(name, content, content_type, checked)

    def set_metadata(self, name: str, metadata: Mapping[str, str], *, match: str) -> str:
        """See `shared.ports.Blobs.set_metadata`."""
        checked = checked_metadata(metadata)
        with self._lock:
            there = self.blobs.get(name)
            if there is None or there.etag != match:
                raise Conflict
            return self._put(name, there.content, there.content_type, checked)

    def overwrite(self, name: str, content: bytes | None) -> None:
        """See `shared.ports.Blobs.overwrite`."""
        with self._lock:
            if content is None:
                self.blobs.pop(name, None)
            else:
                self._put(name, content, "application/octet-stream", {})

    def _put(self, name: str, content: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        etag = f'"{next(self._versions)}"'
        self.blobs[name] = MemoryBlob(content, etag, self._now(), content_type, metadata)
        return etag

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)  # HTTP tells whole seconds

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
        self._tokens = 1

    def token(self) -> str:
        """See `PartnerCenterApi.token`."""
        return f"token-{self._tokens}"

    def renew_token(self, refused: str) -> str | None:
        """See `PartnerCenterApi.renew_token`."""
        self._tokens += refused == self.token()
        return self.token()

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`."""
        assert token, "a POST without a token"
        if not may_begin():
            return ServiceResponse(None, failure="not sent: the entry is too old", sent=False)
        response = self._service.checkout(request.customer_id, request.cart_id, ms_request_id, self._clock.epoch())
        return self._deliver(response, request.customer_id, ms_request_id, request.correlation_id)

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.get_cart`."""
        response = self._service.get_cart(request.customer_id, request.cart_id, self._clock.epoch())
        return self._deliver(response, request.customer_id)

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.list_orders`."""
        response = self._service.list_orders(request.customer_id, self._clock.epoch())
        return self._deliver(response, request.customer_id)

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        """See `PartnerCenterApi.get_order`."""
        response = self._service.get_order(customer_id, order_id, self._clock.epoch())
        return self._deliver(response, customer_id)

    def _deliver(
        self,
        response: SimulatedResponse,
        customer_id: str,
        ms_request_id: str = "of-a-get",
        correlation_id: str = "of-a-get",
    ) -> ServiceResponse:
        """Deliver a response, with the ids that the service puts on every answer, to a GET too.

        Like the client over HTTP, it reads past interim answers, and an answer to another customer's call is none.
        """
        if response.drop != "none":
            self._clock.advance(min(response.delay, self._timeout))
            return ServiceResponse(None, failure="no answer: ConnectionError")
        if response.seconds > self._timeout:
            self._clock.advance(self._timeout)
            return ServiceResponse(None, failure="no answer: ReadTimeout")
        self._clock.advance(response.seconds)
        if any(named.decode().lower() != customer_id for named in _CUSTOMER.findall(response.body)):
            return ServiceResponse(None, failure="no answer: another call's")
        echoed = response.echo(ms_request_id, correlation_id).headers
        headers = {name.lower(): value for name, value in echoed.items()}
        return ServiceResponse(
            response.status,
            response.body,
            retry_after=headers.get("retry-after"),
            request_id=headers.get("ms-requestid"),
            correlation_id=headers.get("ms-correlationid"),
            cv=headers.get("ms-cv"),
        )


ACTIVE = ServiceResponse(200, b'{"status": "Active"}')
NO_ORDERS = ServiceResponse(200, b'{"items": []}')


class Responses:
    """`shared.ports.PartnerCenterApi` with given responses: to the POSTs in turn (the last repeats), and to each GET.

    `posts` collects the MS-RequestIds. A callable response is called with nothing, to say something else later.
    """

    def __init__(
        self,
        *checkouts: ServiceResponse | Callable[[], ServiceResponse],
        cart: ServiceResponse | Callable[[], ServiceResponse] = ACTIVE,
        orders: ServiceResponse = NO_ORDERS,
    ) -> None:
        self._checkouts = list(checkouts)
        self._cart, self._orders = cart, orders
        self.posts: list[str] = []
        self.gets = 0

    def token(self) -> str:
        """See `PartnerCenterApi.token`."""
        return "token"

    def renew_token(self, refused: str) -> str | None:
        """See `PartnerCenterApi.renew_token`."""
        del refused
        return None

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`."""
        assert request.cart_id
        assert token
        if not may_begin():
            return ServiceResponse(None, failure="not sent: the entry is too old", sent=False)
        self.posts.append(ms_request_id)
        found = self._checkouts.pop(0) if len(self._checkouts) > 1 else self._checkouts[0]
        return found() if callable(found) else found

    def get_cart(self, _: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.get_cart`."""
        self.gets += 1
        return self._cart() if callable(self._cart) else self._cart

    def list_orders(self, _: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.list_orders`."""
        return self._orders

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        """See `PartnerCenterApi.get_order`."""
        raise AssertionError(f"the order {order_id} of {customer_id} is not asked for")


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
