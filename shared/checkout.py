"""The path of one message, from delivery to outcome. It begins in `handle`.

    decode ─ load ─ attempt (enter, POST, verdict) ─ record ─ publish ─ return; the host deletes the message
      │        │       │
      │        │       └─ not now: defer, a copy waits in the queue
      │        └─ the record answers: publish
      └─ no request: publish

No expected failure raises. An exception is a bug, or a copy that could not be sent: the host delivers the message
again and finally moves it to the poison queue, which `handle` answers too.
"""

from shared.attempt import CheckoutAttempt
from shared.context import Clocks, DeliveryContext
from shared.core.messages import Delivery, InvalidMessage, decode
from shared.core.retry import MAX_COUNT, Destination, Uniform
from shared.poison import Isolation, PoisonHandler, is_unreadable, spread, unread
from shared.steps import Steps
from shared.telemetry import Telemetry
from shared.time_budget import TimeBudget, TimeLimits


class Checkout:
    """Answers every message with an outcome. Thread-safe."""

    def __init__(
        self,
        *,
        attempt: CheckoutAttempt,
        steps: Steps,
        telemetry: Telemetry,
        clocks: Clocks,
        limits: TimeLimits,
        uniform: Uniform,
    ) -> None:
        self._attempt = attempt
        self._steps = steps
        self._telemetry = telemetry
        self._clocks = clocks
        self._limits = limits
        self._uniform = uniform
        self._poison = PoisonHandler(attempt, steps, uniform)
        self._isolation = Isolation()

    def handle(self, body: bytes, delivery: Delivery) -> None:
        """Answer one delivery of a message. Returns when the message may be deleted.

        Raises:
            StorageUnavailable: not even a copy of the message could be sent. The host must deliver it again.
        """
        budget = TimeBudget(self._limits, self._clocks.monotonic)
        message = unread(body) if is_unreadable(delivery) else decode(body, delivery)
        with self._telemetry.message(delivery, message) as line:
            if isinstance(message, InvalidMessage):
                if delivery.from_poison:
                    self._poison.handle_invalid(message, delivery, line)
                else:
                    self._steps.answer_invalid(message, line, Destination.CARTS)
            else:
                ctx = DeliveryContext(message, delivery, line, budget, self._clocks)
                if delivery.from_poison:
                    self._poison.handle(ctx)
                else:
                    self._answer(ctx)

    def _answer(self, ctx: DeliveryContext) -> None:
        """Answer a request, or send a copy of it that waits."""
        deaths = ctx.request.retry.deaths + ctx.delivery.dequeue_count - 1
        ctx.update_retry(deaths=min(deaths, MAX_COUNT))
        retry = ctx.request.retry
        with self._isolation.admit(retry) as admitted:
            deferral = self._steps.answer(ctx, self._attempt.run) if admitted else spread(retry, self._uniform)
        if deferral is not None:
            self._steps.defer(ctx, deferral)
