"""The path of one message, from delivery to outcome. It begins in `handle`.

    decode ─ load ─ attempt (gate, POST, verdict) ─ record ─ publish ─ return; the host deletes the message
      │        │       │
      │        │       └─ not now: defer, a copy waits in the queue
      │        └─ the record answers: publish
      └─ no request: publish

No expected failure raises. An exception is a bug, or a copy that could not be sent: the host delivers the message
again and finally moves it to the poison queue, which `handle` answers too.
"""

from collections.abc import Callable
from datetime import datetime

from shared.attempt import CheckoutAttempt
from shared.context import DeliveryContext
from shared.core.messages import Delivery, InvalidMessage, decode
from shared.core.retry import Deferral, Destination, Uniform
from shared.core.rules import Undecided, apply_rules
from shared.poison import Isolation, PoisonHandler, spread
from shared.ports import StorageUnavailable
from shared.steps import Steps
from shared.telemetry import Telemetry


class Checkout:
    """Answers every message with an outcome. Thread-safe."""

    def __init__(
        self,
        *,
        attempt: CheckoutAttempt,
        steps: Steps,
        telemetry: Telemetry,
        clock: Callable[[], datetime],
        uniform: Uniform,
    ) -> None:
        self._attempt = attempt
        self._steps = steps
        self._telemetry = telemetry
        self._clock = clock
        self._uniform = uniform
        self._poison = PoisonHandler(attempt, steps, clock, uniform)
        self._isolation = Isolation()

    def handle(self, body: bytes, delivery: Delivery) -> None:
        """Answer one delivery of a message. Returns when the message may be deleted.

        Raises:
            StorageUnavailable: not even a copy of the message could be sent. The host must deliver it again.
        """
        message = decode(body, delivery)
        with self._telemetry.message(delivery, message) as line:
            if delivery.from_poison:
                self._poison.handle(message, delivery, line)
            elif isinstance(message, InvalidMessage):
                self._steps.answer_invalid(message, line, Destination.CARTS)
            else:
                self._answer(DeliveryContext(message, delivery, line))

    def _answer(self, ctx: DeliveryContext) -> None:
        """Answer a request, or send a copy of it that waits."""
        if ctx.delivery.dequeue_count > 1:
            # an earlier delivery was interrupted, perhaps during its POST:
            #   delivery 1   load ─ POST ─ ✕ worker killed       the service may still be ordering
            #   delivery 2          ······ lease ends ······ POST ─ 400: no proof that nothing was ordered
            ctx.update_retry(doubt=self._clock())
        with self._isolation.admit(ctx) as admitted:
            try:
                deferral = self._decide(ctx) if admitted else spread(ctx.request.retry, self._uniform)
            except StorageUnavailable as failure:
                retry = ctx.request.retry
                deferral = self._steps.after_storage_failure(failure, ctx.line, retry, Destination.CARTS)
        if deferral is not None:
            self._steps.defer(ctx, deferral)

    def _decide(self, ctx: DeliveryContext) -> Deferral | None:
        """Answer from the record or by the service. Returns None once the outcome is recorded and published."""
        record = self._steps.load(ctx)
        if not isinstance(apply_rules(record, ctx.request), Undecided):
            return self._steps.answer(ctx, record, None)
        result = self._attempt.run(ctx)
        return result if isinstance(result, Deferral) else self._steps.answer(ctx, record, result)
