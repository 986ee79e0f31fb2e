"""The steps of every path of a message: load, record, publish, defer. Each is timed in the log line."""

import logging
from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from shared.context import DeliveryContext
from shared.core.errors import HELD_FOR_OPERATOR, ErrorClass
from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.outcomes import BOUGHT, Decision, Event, Outcome, copied, decided, invalid
from shared.core.retry import (
    POISONED,
    Deferral,
    Destination,
    RetryPolicy,
    RetryState,
    Uniform,
    after_unrecorded_response,
    without_call,
)
from shared.core.rules import CopyOf, Record, Replay, Undecided, apply_rules
from shared.ports import Conflict, StorageUnavailable
from shared.publisher import Publisher
from shared.records import Records
from shared.telemetry import LogLine, current_traceparent

MAX_WRITE_CONFLICTS = 5
"""How often a write of the record is tried when other writers conflict with it."""
LONGEST_RACE = 20.0
"""Seconds after which it is not tried again: the I/O of one message must end well before functionTimeout."""


class Steps:
    """The steps, over the records and the queues. Thread-safe: nothing here belongs to one delivery."""

    def __init__(
        self,
        records: Records,
        publisher: Publisher,
        policy: RetryPolicy,
        clock: Callable[[], datetime],
        uniform: Uniform,
    ) -> None:
        self._records = records
        self._publisher = publisher
        self._policy = policy
        self._clock = clock
        self._uniform = uniform

    def load(self, ctx: DeliveryContext) -> Record:
        """Read the cart's record.

        Raises:
            StorageUnavailable: it could not be read.
        """
        with ctx.line.step("recall"):
            return self._records.load(ctx.request.customer_id, ctx.request.cart_id)

    def answer(self, ctx: DeliveryContext, record: Record, decision: Decision | None) -> Deferral | None:
        """Record the outcome and publish it. `decision` is None where the record holds the answer.

        Returns:
            None, or the deferral of a request whose response could not be recorded.

        Raises:
            StorageUnavailable: nothing was recorded and no POST was made, or the publication failed.
        """
        try:
            with ctx.line.step("keep"):
                event = self._record(ctx, record, decision)
        except StorageUnavailable as failure:
            if ctx.sent_id is None:
                raise
            _log_storage_failure(ctx.line, failure)
            return after_unrecorded_response(ctx.request.retry, self._policy, self._uniform, self._clock())
        self.publish(event, ctx.line)
        _log_outcome(ctx.line, event)
        if ctx.request.deferred:
            self._note_waiting(ctx, None)
        return None

    def answer_invalid(self, message: InvalidMessage, line: LogLine, queue: Destination) -> None:
        """Publish the outcome of an invalid message, or defer the message to `queue`.

        There is no record: the outcome depends on the message's bytes alone, so a repeat publishes the same event.

        Raises:
            StorageUnavailable: neither the outcome nor a copy of the message could be sent.
        """
        event = invalid(message)
        try:
            self.publish(event, line)
        except StorageUnavailable as failure:
            deferral = self.after_storage_failure(failure, line, RetryState(), queue)
            line.add(result="deferred", reason=deferral.reason)
            self.send_copy(message, line, deferral)
        else:
            line.add(**{"class": ErrorClass.INVALID_MESSAGE})
            _log_outcome(line, event)

    def publish(self, event: Event, line: LogLine) -> None:
        """Send an event to the outcomes queue.

        Raises:
            StorageUnavailable: it may be published or not.
        """
        with line.step("publish"):
            self._publisher.publish(event)

    def after_storage_failure(
        self, failure: StorageUnavailable, line: LogLine, retry: RetryState, queue: Destination
    ) -> Deferral:
        """Log the failure, and return the deferral of a message for which no POST was made."""
        _log_storage_failure(line, failure)
        return without_call(retry, self._uniform, "storage", queue)

    def defer(self, ctx: DeliveryContext, deferral: Deferral) -> None:
        """Send a deferred copy. Only then may the message be deleted.

        copy sent ─ return ─ deleted                  one message
        copy sent ─ ✕ killed ─ redelivered            two messages of one request: one record, one event id

        Raises:
            StorageUnavailable: the copy may be sent or not. The message must be delivered again.
        """
        ctx.line.add(result="deferred", reason=deferral.reason, delay=round(deferral.delay, 1))
        self.send_copy(ctx.request, ctx.line, _still_isolated(ctx, deferral))
        if deferral.called:
            self._note_waiting(ctx, deferral)

    def send_copy(self, message: CheckoutRequest | InvalidMessage, line: LogLine, deferral: Deferral) -> None:
        """Send the copy only. See `defer`."""
        with line.step("defer", to_poison=deferral.queue is Destination.POISON):
            self._publisher.send_deferred(message, deferral)

    def _record(self, ctx: DeliveryContext, record: Record, decision: Decision | None) -> Event:
        """Append the outcome unless the record holds one. Returns the event to publish.

        Two deliveries write under ETags. The loser loads the record again and applies the rules to it:

            this one   load (none) ─ POST ─ 201 ──────── append ✕ 412 ─ load ─ rules ─ publish the other's
            another      load (none) ─ POST ─ 201 ─ append ✓
        """
        request, started = ctx.request, self._clock()
        purchase_confirmed = decision is not None and decision.outcome in BOUGHT
        for _ in range(MAX_WRITE_CONFLICTS):
            ruling = apply_rules(record, request, purchase_confirmed=purchase_confirmed)
            match ruling:
                case Replay(event):
                    return event
                case CopyOf(entry):
                    chosen = copied(entry, self._records.data_of(request, entry), ctx.attempts)
                case Undecided():
                    if decision is None:
                        raise StorageUnavailable("the entry that answered this request is missing from the record")
                    chosen = decision
            event = decided(request, chosen, self._clock(), traceparent=current_traceparent(), corrects=ruling.corrects)
            try:
                return self._records.append(request, record, event)
            except Conflict:
                if (self._clock() - started).total_seconds() > LONGEST_RACE:
                    break
                record = self._records.load(request.customer_id, request.cart_id)
        raise StorageUnavailable("lost the race for the record too often")

    def _note_waiting(self, ctx: DeliveryContext, deferral: Deferral | None) -> None:
        """Write the waiting note for operators beside the record, or delete it. Nothing depends on it."""
        try:
            with ctx.line.step("note"):
                self._records.note_waiting(ctx.request, deferral, self._clock(), ctx.sent_id)
        except StorageUnavailable:
            ctx.line.add(note="lost")


def _log_storage_failure(line: LogLine, failure: StorageUnavailable) -> None:
    """Add a storage failure to the log line."""
    line.add(exception=type(failure).__name__, detail=str(failure))
    line.escalate(logging.WARNING)


def _still_isolated(ctx: DeliveryContext, deferral: Deferral) -> Deferral:
    """Keep the reason POISONED of a message that came back from the poison queue and was not posted since.

    Storage, the token or the gate deferred it before its POST, and it may still be one that crashes its worker.
    """
    if ctx.sent_id is None and ctx.request.retry.reason == POISONED:
        return replace(deferral, retry=replace(deferral.retry, reason=POISONED))
    return deferral


def _log_outcome(line: LogLine, event: Event) -> None:
    line.add(result="told", outcome=event.outcome, toldEventId=event.id)
    if event.outcome is Outcome.UNKNOWN:
        line.escalate(logging.WARNING)
    if line.facts.get("class") in HELD_FOR_OPERATOR:
        line.escalate(logging.ERROR)
