"""Handles the messages of the poison queue, where the host puts a message after five failed deliveries.

    record answers          ──► published, as everywhere
    first time              ──► back to the carts queue, spread out: a message that crashes its worker also fails
                                the valid messages that the worker handles at the same time
    poisoned a second time  ──► not posted again: `failed` on a closed cart, else GET cart decides
    not answered now        ──► a copy into the poison queue

The poison queue has no poison queue of its own, and what fails in it is silent for a lease of ten minutes. So nothing
raises here while a copy can be sent, and a second delivery sends a fresh copy before anything else: the worker died on
this message, or on one beside it, and the copies come apart.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from shared.attempt import CheckoutAttempt
from shared.context import DeliveryContext
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage
from shared.core.retry import MAX_COUNT, Deferral, Destination, RetryState, Uniform
from shared.ports import StorageUnavailable
from shared.steps import Conclusion, Steps
from shared.telemetry import LogLine

POISON_SPREAD_SECONDS = 20.0
"""Seconds over which messages that were poisoned together come back to the carts queue."""
RENEWAL_SPREADS = (60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0)
"""Seconds over which fresh copies come back to the poison queue: the first ones, the second ones, and so on."""
INVALID_RENEWAL_SPREAD = 900.0
"""The same for an invalid message, which carries no count."""
PAUSE_AFTER_A_BUG = 30.0
"""Seconds that are added where the handler itself failed."""
FIRST_UNREAD_DELIVERY = 3
"""The delivery by the poison queue from which on the message goes back before it is even decoded."""


class PoisonHandler:
    """Handles the deliveries by the poison queue. Thread-safe."""

    def __init__(self, attempt: CheckoutAttempt, steps: Steps, uniform: Uniform) -> None:
        self._attempt = attempt
        self._steps = steps
        self._uniform = uniform

    def handle(self, ctx: DeliveryContext) -> None:
        """Answer a request, or send a copy of it.

        Raises:
            StorageUnavailable: not even a copy could be sent.
        """
        if ctx.delivery.dequeue_count > 1:
            self._renew(ctx, 0.0)
            return
        try:
            deferral = self._steps.answer(ctx, self._decide)
            if deferral is not None:
                self._steps.defer(ctx, deferral)
        except Exception as failure:  # noqa: BLE001  not even a bug may raise while a copy can be sent
            ctx.line.add(exception=type(failure).__name__)
            self._renew(ctx, PAUSE_AFTER_A_BUG)

    def handle_invalid(self, message: InvalidMessage, delivery: Delivery, line: LogLine) -> None:
        """Answer an invalid message, or send it again.

        Raises:
            StorageUnavailable: not even a copy could be sent.
        """
        if delivery.dequeue_count > 1:
            self._send(message, line, self._uniform(0.0, INVALID_RENEWAL_SPREAD), RetryState())
            return
        try:
            self._steps.answer_invalid(message, line, Destination.POISON)
        except Exception as failure:  # noqa: BLE001  as above
            line.add(exception=type(failure).__name__)
            delay = PAUSE_AFTER_A_BUG + self._uniform(0.0, INVALID_RENEWAL_SPREAD)
            self._send(message, line, delay, RetryState())

    def _decide(self, ctx: DeliveryContext) -> Conclusion | Deferral:
        ctx.line.escalate(logging.WARNING)
        if ctx.request.retry.poisoned:
            return self._attempt.run(ctx)
        if ctx.request.request_id == ctx.delivery.message_id:
            # without an id of its own it was another request in the carts queue, which may be answered there:
            #   carts    recorded ─ ✕ five times before it is published
            #   poison   the copy has another message id, so no entry is its own
            for entry in ctx.record.entries:
                if not ctx.budget.allows(ctx.budget.limits.write):
                    raise StorageUnavailable("no time is left to publish what is recorded")
                self._steps.publish(entry, ctx.line)
        return spread(replace(ctx.request.retry, poisoned=True, deaths=0), self._uniform)

    def _renew(self, ctx: DeliveryContext, pause: float) -> None:
        """Send a fresh copy to the poison queue, which comes back later the more often that was done.

        killer       handled ─ ✕ ── lease ends ── copy ······ handled ─ ✕ …
        its neighbour        ✕ ── lease ends ── copy ·· handled, alone: published
        """
        retry = ctx.request.retry
        longest = RENEWAL_SPREADS[min(retry.renewals, len(RENEWAL_SPREADS) - 1)]
        renewed = replace(retry, renewals=min(retry.renewals + 1, MAX_COUNT))
        self._send(ctx.request, ctx.line, pause + self._uniform(0.0, longest), renewed)

    def _send(self, message: CheckoutRequest | InvalidMessage, line: LogLine, delay: float, retry: RetryState) -> None:
        self._steps.send_copy(message, line, Deferral(delay, retry, queue=Destination.POISON))
        line.add(result="renewed")
        line.escalate(logging.ERROR)


def is_unreadable(delivery: Delivery) -> bool:
    """Whether a message goes back to the poison queue before it is even decoded: that may be what kills the worker."""
    return delivery.from_poison and delivery.dequeue_count >= FIRST_UNREAD_DELIVERY


def unread(body: bytes) -> InvalidMessage:
    """Such a message. It is sent again as it came."""
    return InvalidMessage(body, "$", "not read")


class Isolation:
    """Admits few messages at a time, per process, of those that came back from the poison queue.

    One of them may crash its worker again, and leases that ended together end together again. So a process begins with
    one, and takes one more for each that ended well:

        crashing   POST ─ ✕ ───────── back ─ POST ─ ✕ ─ …   the new process begins with one again
        valid      not admitted ─ copy ······ POST ─ 201
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._limit = 1

    @contextmanager
    def admit(self, retry: RetryState) -> Iterator[bool]:
        """Hold a place for this delivery if it needs one. Yields False where none is free."""
        if not retry.poisoned:
            yield True
            return
        with self._lock:
            admitted = self._running < self._limit
            self._running += admitted
        ended_well = False
        try:
            yield admitted
            ended_well = admitted
        finally:
            with self._lock:
                self._running -= admitted
                self._limit += ended_well


def spread(retry: RetryState, uniform: Uniform) -> Deferral:
    """Defer to the carts queue by a random delay: messages poisoned together would be fetched together."""
    delay = uniform(0.0, POISON_SPREAD_SECONDS)
    return Deferral(delay, replace(retry, reason="poisoned"), queue=Destination.CARTS)
