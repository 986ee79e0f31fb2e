"""The steps of every path of a message: load, enter, record, publish, defer. Each is timed in the log line."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from shared.context import Answer, DeliveryContext, Loaded
from shared.core import jsontext
from shared.core.cart_state import CartState, after_deferral
from shared.core.errors import HELD_FOR_OPERATOR, ErrorClass, error
from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.outcomes import Decision, Event, Outcome, copied, decided, invalid, timestamp
from shared.core.recorded import differing_members, told_error
from shared.core.retry import (
    Deferral,
    Destination,
    RetryPolicy,
    RetryState,
    Uniform,
    after_unrecorded_response,
    without_call,
)
from shared.core.rules import CopyOf, Replay, Undecided, apply_rules
from shared.core.state_metadata import changed_metadata, from_metadata, to_metadata
from shared.core.verdict import Bought, order_ids
from shared.ports import Conflict, StorageUnavailable
from shared.publisher import Publisher
from shared.records import Records
from shared.telemetry import LogLine, current_traceparent, one_word

MAX_ROUNDS = 5
"""How often the record is read again when other writers conflict."""


class Conclusion(msgspec.Struct, frozen=True):
    """A decision, and the working state of the cart that is written together with it."""

    decision: Decision
    state: CartState


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

    def answer(
        self, ctx: DeliveryContext, decide: Callable[[DeliveryContext], Conclusion | Deferral]
    ) -> Deferral | None:
        """Answer a request from the record, or by what `decide` makes of it. Publish the outcome.

        A write under an ETag that is lost starts over: the record is read again, the rules are applied to it, and
        `decide` has the answer to its POST still in hand.

            this one   load (none) ─ enter ─ POST ─ 201 ──────── append ✕ 412 ─ load ─ rules ─ publish the other's
            another      load ─ enter ────── POST ─ 201 ─ append ✓

        Returns:
            None once the outcome is recorded and published, or the deferral of a request that is not answered now.
        """
        try:
            event = self._record(ctx, decide)
        except StorageUnavailable as failure:
            if ctx.answer is None:
                return self.after_storage_failure(failure, ctx.line, ctx.request.retry)
            _log_storage_failure(ctx.line, failure)
            return after_unrecorded_response(ctx.request.retry, self._policy, self._uniform)
        if isinstance(event, Deferral):
            return event
        try:
            self.publish(event, ctx.line)
        except StorageUnavailable as failure:
            return self.after_storage_failure(failure, ctx.line, ctx.request.retry)
        _log_outcome(ctx.line, event)
        return None

    def load(self, ctx: DeliveryContext) -> None:
        """Read the cart's record and its working state.

        Raises:
            StorageUnavailable: it could not be read.
        """
        with ctx.line.step("recall"):
            record = self._records.load(ctx.request.customer_id, ctx.request.cart_id)
        wall = ctx.clocks.wall()
        ctx.record, ctx.loaded = record, Loaded(record.read_at or wall, wall, ctx.clocks.monotonic())
        modified = record.last_modified
        ctx.state = CartState() if modified is None else from_metadata(record.metadata, modified)

    def enter(self, ctx: DeliveryContext, state: CartState) -> None:
        """Write the entry of the next POST, `state.post`.

        A write whose response was lost conflicts with itself. Then the record shows the own entry. Where it shows
        another outcome too, the rules are asked again:

            this one   load ─ enter (✓, response lost) ─ sent again ✕ Conflict ─ load: its own ─ POST
            its twin     POST ───────────────── 201 ─ append ✓: then no POST

        Raises:
            Conflict: another writer was first.
            StorageUnavailable: it may be entered or not. No POST may be made.
        """
        entry, outcomes = state.post, len(ctx.record.entries)
        about = {"attempt": ctx.attempts + 1, **_ids(ctx, state.key)}
        try:
            with ctx.line.step("enter"):
                ctx.record = self._records.enter(ctx.request, ctx.record, to_metadata(state, about))
        except Conflict:
            self.load(ctx)
            if entry is None or not entry.is_same(ctx.state.post) or outcomes != len(ctx.record.entries):
                raise
        else:
            ctx.state = state

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
            deferral = self.after_storage_failure(failure, line, RetryState())
            line.add(result="deferred", reason=deferral.reason)
            self.send_copy(message, line, replace(deferral, queue=queue))
        else:
            _log_outcome(line, event)
            if message.deferred:  # whether its cart was bought is not known
                line.add(copy="unreadable")
                line.escalate(logging.WARNING)

    def publish(self, event: Event, line: LogLine) -> None:
        """Send an event to the outcomes queue.

        Raises:
            StorageUnavailable: it may be published or not.
        """
        with line.step("publish"):
            self._publisher.publish(event)

    def after_storage_failure(self, failure: StorageUnavailable, line: LogLine, retry: RetryState) -> Deferral:
        """Log the failure, and return the deferral of a message for which no POST was made."""
        _log_storage_failure(line, failure)
        return without_call(retry, self._uniform, "storage")

    def defer(self, ctx: DeliveryContext, deferral: Deferral) -> None:
        """Send a deferred copy. Only then may the message be deleted.

        copy sent ─ return ─ deleted                  one message
        copy sent ─ ✕ killed ─ redelivered            two messages of one request: one record, one event id

        Raises:
            StorageUnavailable: the copy may be sent or not. The message must be delivered again.
        """
        if ctx.request.not_after is not None:  # its outcome is due then, however long the wait is
            left = (ctx.request.not_after - self._clock()).total_seconds()
            deferral = replace(deferral, delay=min(deferral.delay, left + 1.0) if left > 0 else deferral.delay)
        ctx.line.add(result="deferred", reason=deferral.reason, delay=round(deferral.delay, 1))
        if deferral.reason in HELD_FOR_OPERATOR:
            ctx.line.escalate(logging.ERROR)
        self.send_copy(ctx.request, ctx.line, replace(deferral, queue=deferral.queue or ctx.queue))
        if deferral.marks and ctx.answer is not None:
            self._mark(ctx, ctx.answer, deferral)

    def send_copy(self, message: CheckoutRequest | InvalidMessage, line: LogLine, deferral: Deferral) -> None:
        """Send the copy only. See `defer`."""
        with line.step("defer", to_poison=deferral.queue is Destination.POISON):
            self._publisher.send_deferred(message, deferral)

    def _record(
        self, ctx: DeliveryContext, decide: Callable[[DeliveryContext], Conclusion | Deferral]
    ) -> Event | Deferral:
        """Append the outcome unless the record holds one. Returns the event to publish. See `answer`."""
        limits = ctx.budget.limits
        for _ in range(MAX_ROUNDS):
            self.load(ctx)
            ruling = apply_rules(ctx.record, ctx.request, ctx.in_hand)
            if isinstance(ruling, Replay):
                _note_differences(ctx, ruling.event)
                if ruling.event.bought and ruling.event.data is not None:
                    _other_orders(ctx, jsontext.members(ruling.event.data).get("result", ""))
                return ruling.event
            try:
                concluded = self._copied(ctx, ruling) if isinstance(ruling, CopyOf) else decide(ctx)
                if isinstance(concluded, Deferral):
                    return concluded
                with ctx.line.step("keep"):
                    return self._append(ctx, concluded, ruling)
            except Conflict:
                if not ctx.budget.allows(limits.read):
                    break
        raise StorageUnavailable("lost the race for the record too often")

    def _append(self, ctx: DeliveryContext, concluded: Conclusion, ruling: CopyOf | Undecided) -> Event:
        event = decided(
            ctx.request,
            concluded.decision,
            self._clock(),
            revision=len(ctx.record.entries) + 1,
            traceparent=current_traceparent(),
            corrects=ruling.corrects,
        )
        changed = changed_metadata(concluded.state, ctx.state if ctx.record.etag else None)
        recorded = self._records.append(ctx.request, ctx.record, event, changed)
        return replace(recorded, data=event.data)  # at hand, though they may lie in a blob

    def _copied(self, ctx: DeliveryContext, ruling: CopyOf) -> Conclusion:
        """The outcome of another request's entry. The working state stays as it is."""
        limits, from_poison = ctx.budget.limits, ctx.delivery.from_poison
        if not ctx.budget.allows(limits.read * (ruling.entry.dataref is not None) + limits.write * from_poison):
            raise StorageUnavailable("no time is left to copy the outcome")
        if from_poison:
            self.publish(ruling.entry, ctx.line)  # it may be recorded and not published yet
        decision = copied(ruling.entry, self._records.data_of(ctx.request, ruling.entry), ctx.attempts)
        if others := _other_orders(ctx, decision.result or ""):
            twice = error(ErrorClass.ALREADY_ORDERED, _BOUGHT_TWICE, data=tuple(sorted(others)))
            decision = replace(decision, error=twice)
        return Conclusion(decision, ctx.state)

    def _mark(self, ctx: DeliveryContext, answer: Answer, deferral: Deferral) -> None:
        """Write what the answer left, and what operators look at. Best effort: else it counts as unanswered."""
        if not answer.post.is_same(ctx.state.post):
            return  # another entry has replaced it, and says itself what it waits for
        state = after_deferral(ctx.state, answer.post, answer.key, answer.left)
        retry = deferral.retry
        about = {
            "attempt": retry.attempt,
            **({"since": timestamp(retry.since)} if retry.since else {}),
            "nextAt": timestamp(ctx.now() + timedelta(seconds=deferral.delay)),
            "reason": deferral.reason,
            **_ids(ctx, answer.key),
        }
        try:
            with ctx.line.step("mark"):
                self._records.mark(ctx.request, ctx.record, to_metadata(state, about))
        except (Conflict, StorageUnavailable):
            ctx.line.add(mark="lost")


_BOUGHT_TWICE = "The service confirmed these orders, but other ones are recorded: the cart may be bought twice"


def _other_orders(ctx: DeliveryContext, recorded: str) -> frozenset[str]:
    """The ids of the orders in hand that are not those recorded: a second purchase, and an ERROR in the log.

    recorded: The recorded CartCheckoutResult, as JSON text.
    """
    verdict = ctx.answer.verdict if ctx.answer else None
    others = order_ids(verdict.result) - order_ids(recorded) if isinstance(verdict, Bought) else frozenset()
    if others:
        ctx.line.add(otherOrders=" ".join(sorted(others)))
        ctx.line.escalate(logging.ERROR)
    return others


def _note_differences(ctx: DeliveryContext, answered: Event) -> None:
    """Warn where the request is not the one that this event has answered under the same id. It is published anyway."""
    if names := differing_members(answered, ctx.request):
        ctx.line.add(differs=" ".join(names))
        ctx.line.escalate(logging.WARNING)


def _ids(ctx: DeliveryContext, key: int | None) -> dict[str, Any]:
    return {"msRequestId": ctx.ms_request_id(key), "msCorrelationId": ctx.request.correlation_id}


def _log_storage_failure(line: LogLine, failure: StorageUnavailable) -> None:
    """Add a storage failure to the log line."""
    line.add(exception=type(failure).__name__, detail=str(failure))
    line.escalate(logging.WARNING)


def _log_outcome(line: LogLine, event: Event) -> None:
    """Say what was published, which need not be what this delivery has judged.

    this one   load ─ POST ─ 403 ─ append ✕ Conflict ─ load: `completed` ─ publish: `completed`, without a class
    another      load ─ POST ─ 201 ─ append ✓
    """
    error_class, code = told_error(event)
    line.add(result="told", outcome=event.outcome, toldEventId=event.id)
    line.add(**{"class": one_word(error_class), "code": one_word(code)})
    if event.outcome is Outcome.UNKNOWN:
        line.escalate(logging.WARNING)
    if error_class in HELD_FOR_OPERATOR:
        line.escalate(logging.ERROR)
