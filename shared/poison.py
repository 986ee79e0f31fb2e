"""Handles the messages of the poison queue, where the host puts a message after five failed deliveries.

    record answers          ──► published, as everywhere
    first time              ──► back to the carts queue, spread out: a message that crashes its worker also fails
                                the valid messages that the worker handles at the same time
    poisoned a second time  ──► not posted again: GET cart, and the outcome is published
    storage is unavailable  ──► a copy into the poison queue

The poison queue has no poison queue of its own. So nothing raises here while a copy can be sent, and the fourth
delivery replaces the message by a fresh copy.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from msgspec.structs import replace

from shared.attempt import CheckoutAttempt
from shared.context import DeliveryContext
from shared.core.errors import ErrorClass, error
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage
from shared.core.retry import POISONED, Deferral, Destination, RetryState, Uniform
from shared.core.rules import CopyOf, Undecided, apply_rules
from shared.ports import StorageUnavailable
from shared.steps import Steps
from shared.telemetry import LogLine

POISON_SPREAD_SECONDS = 20.0
"""Seconds over which messages that were poisoned together come back to the carts queue."""
LAST_POISON_DELIVERY = 4
"""The delivery by the poison queue that sends a fresh copy: after the fifth the host never delivers it again."""


class PoisonHandler:
    """Handles the deliveries by the poison queue. Thread-safe."""

    def __init__(self, attempt: CheckoutAttempt, steps: Steps, clock: Callable[[], datetime], uniform: Uniform) -> None:
        self._attempt = attempt
        self._steps = steps
        self._clock = clock
        self._uniform = uniform

    def handle(self, message: CheckoutRequest | InvalidMessage, delivery: Delivery, line: LogLine) -> None:
        """Answer a poison message, or send a copy of it.

        Raises:
            StorageUnavailable: not even a copy could be sent.
        """
        if delivery.dequeue_count >= LAST_POISON_DELIVERY:
            self._renew(message, line, 0.0)
            return
        try:
            if isinstance(message, InvalidMessage):
                self._steps.answer_invalid(message, line, Destination.POISON)
            else:
                self._answer(DeliveryContext(message, delivery, line))
        except Exception as failure:  # noqa: BLE001  not even a bug may raise while a copy can be sent
            line.add(exception=type(failure).__name__)
            line.escalate(logging.ERROR)
            self._renew(message, line, self._uniform(30.0, 60.0))

    def _answer(self, ctx: DeliveryContext) -> None:
        ctx.update_retry(doubt=self._clock())  # a delivery was interrupted, perhaps during its POST
        try:
            deferral = self._decide(ctx)
        except StorageUnavailable as failure:
            retry = ctx.request.retry
            deferral = self._steps.after_storage_failure(failure, ctx.line, retry, Destination.POISON)
        if deferral is not None:
            self._steps.defer(ctx, deferral)

    def _decide(self, ctx: DeliveryContext) -> Deferral | None:
        record = self._steps.load(ctx)
        ruling = apply_rules(record, ctx.request)
        if isinstance(ruling, CopyOf):
            self._steps.publish(ruling.entry, ctx.line)  # it may be recorded but not published yet
        if not isinstance(ruling, Undecided):
            return self._steps.answer(ctx, record, None)
        ctx.line.escalate(logging.WARNING)
        if not ctx.request.retry.poisoned:
            return spread(ctx.request.retry, self._uniform)
        poisoned_twice = error(ErrorClass.UNANSWERED, "the message was poisoned twice")
        return self._steps.answer(ctx, record, self._attempt.give_up(ctx, poisoned_twice))

    def _renew(self, message: CheckoutRequest | InvalidMessage, line: LogLine, delay: float) -> None:
        """Send a fresh copy to the poison queue, whose deliveries are counted from the beginning."""
        retry = message.retry if isinstance(message, CheckoutRequest) else RetryState()
        deferral = Deferral(delay, replace(retry, doubt=self._clock()), queue=Destination.POISON)
        self._steps.send_copy(message, line, deferral)
        line.add(result="renewed")
        line.escalate(logging.WARNING)


class Isolation:
    """Admits one message at a time, per process, of those that came back from the poison queue.

    One of them may crash its worker again, and leases that ended together end together again:

        crashing   POST ─ ✕ ───────── lease ends ─ POST ─ ✕ ─ …  five times: poisoned again, and given up
        valid        not admitted ─ copy ······ POST ─ 201
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def admit(self, ctx: DeliveryContext) -> Iterator[bool]:
        """Hold the isolation for this delivery if it needs it. Yields False where another delivery holds it."""
        if ctx.request.retry.reason != POISONED:
            yield True
            return
        admitted = self._lock.acquire(blocking=False)
        try:
            yield admitted
        finally:
            if admitted:
                self._lock.release()


def spread(retry: RetryState, uniform: Uniform) -> Deferral:
    """Defer to the carts queue by a random delay: messages poisoned together would be fetched together."""
    return Deferral(uniform(0.0, POISON_SPREAD_SECONDS), replace(retry, poisoned=True, reason=POISONED))
