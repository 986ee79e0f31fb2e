"""Sends the requests of the demo, each when it is due, and assigns the outcomes to them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from local.demo.requests import build_requests
from local.outcomes import OutcomeCollector, data_of, message_counts
from shared.core.messages import CheckoutRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.demo.requests import DemoRequest
    from local.demo.rows import DemoRow, InvalidRow
    from local.outcomes import Event
    from local.stack import Stack

QUICK = {
    "CHECKOUT_TIMEOUT_SECONDS": "3",
    "SETTLE_SECONDS": "3",
    "RETRY_BASE_SECONDS": "1",
    "RETRY_CAP_SECONDS": "2",
    "RETRY_MAX_AGE_SECONDS": "6",
}
"""Settings that shorten to seconds what takes minutes in a deployment."""

_BOOKS_INTERVAL = 0.5


class DemoRun:
    """The requests of a demo on a running stack; call `step` until `done`."""

    def __init__(self, stack: Stack, rows: Iterable[DemoRow], invalid_rows: Iterable[InvalidRow], seed: str) -> None:
        self.requests = build_requests(rows, invalid_rows, seed)
        self.outcomes = OutcomeCollector(stack.outcomes)
        self.books: dict[str, Any] = {}
        self._stack = stack
        self._by_name = {request.name: request for request in self.requests}
        self._by_event: dict[str, DemoRequest] = {}
        for request in self.requests:
            self._by_event[request.event_id] = request
            if isinstance(request.message, CheckoutRequest):
                self._by_event |= {request.message.correction_id(number + 1): request for number in range(3)}
        self._books_read_at = 0.0

    @property
    def answered(self) -> int:
        """How many requests have an outcome."""
        return sum(bool(request.events) for request in self.requests)

    @property
    def done(self) -> bool:
        """Whether every message was answered and the queues are empty."""
        return all(request.settled for request in self.requests) and not any(self.waiting().values())

    def step(self) -> bool:
        """Send what is due and receive outcomes; True if any arrived."""
        for request in self.requests:
            if request.sent_at is None and (request.after is None or self._by_name[request.after].events):
                request.sent_at = time.monotonic()
                for _ in range(request.copies):
                    self._stack.carts.send_message(request.text)
        if time.monotonic() - self._books_read_at > _BOOKS_INTERVAL:
            self.read_books()
        arrived = self.outcomes.receive()
        for event in arrived:
            self._assign(event)
        return bool(arrived)

    def read_books(self) -> None:
        """Read the simulator's books and update `posts` of each request."""
        self.books = self._stack.books()
        posts = {(page["customerId"], page["cartId"]): page["posts"] for page in self.books["carts"]}
        for request in self.requests:
            request.posts = posts.get(request.cart, 0) if request.cart else 0
        self._books_read_at = time.monotonic()

    def waiting(self) -> dict[str, int]:
        """How many messages are in the carts and the poison queue, those in work or invisible included."""
        return message_counts(self._stack.carts, self._stack.poison)

    def _assign(self, event: Event) -> None:
        request = self._by_event.get(event["id"])
        if request is None:
            return
        if request.answered_at is None:
            request.answered_at = time.monotonic()
        request.events.append(event)
        if event["id"] != request.event_id or not request.data:  # a correction replaces what it corrects
            request.data = data_of(event, self._stack.records)
