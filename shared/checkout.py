"""The story of one message, from delivery to outcome. Read `handle` from top to bottom.

    decode ─ recall ─ ask (gate, POST, verdict) ─ keep ─ publish ─ return; the host deletes the message
      │        │       │
      │        │       └─ not now: defer, a copy waits in the queue
      │        └─ the record answers: publish
      └─ no request: publish

Nothing foreseen raises. What raises is a bug, or a copy that could not be sent: then the host delivers the
message again, and at last to the poison queue, which `handle` reads too.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from shared.attempt import OPERATORS_TURN, CheckoutAttempt, DeliveryContext
from shared.core import retry as again
from shared.core.errors import ErrorClass, error
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.outcomes import BOUGHT, Decision, Event, Outcome, copied, decided, invalid
from shared.core.retry import Deferral, RetryPolicy, Uniform
from shared.core.rules import Record, apply_rules
from shared.ports import Conflict, StorageUnavailable
from shared.publisher import Publisher
from shared.records import Records
from shared.telemetry import LogLine, Telemetry, current_traceparent

MAX_WRITE_CONFLICTS = 5
"""How often a lost race for the record is run again."""
LONGEST_RACE = 20.0
"""Seconds after which no further round begins: one message's I/O must end well before functionTimeout."""
POISON_SPREAD_SECONDS = 20.0
"""Seconds over which messages that were poisoned together come back to the carts queue."""
POISONED = "poisoned"
"""Why a message waits that comes back from the poison queue."""
LAST_POISON_DELIVERY = 4
"""The delivery from the poison queue that makes a fresh copy: nothing stands behind that queue."""


class Checkout:
    """Answers every message with an outcome. Thread-safe: all but one lock belongs to one visit."""

    def __init__(
        self,
        *,
        inquiry: CheckoutAttempt,
        records: Records,
        publisher: Publisher,
        policy: RetryPolicy,
        telemetry: Telemetry,
        clock: Callable[[], datetime],
        uniform: Uniform,
    ) -> None:
        self._inquiry = inquiry
        self._records = records
        self._publisher = publisher
        self._policy = policy
        self._telemetry = telemetry
        self._clock = clock
        self._uniform = uniform
        self._one_poisoned = threading.Lock()

    def handle(self, body: bytes, delivery: Delivery) -> None:
        """Answer one delivery of a message; `delivery.last`: it comes from the poison queue.

        Returns when the message may be deleted.

        Raises:
            StorageUnavailable: not even a copy of the message could be sent; deliver it again.
        """
        message = decode(body, delivery)
        with self._telemetry.message(delivery, message) as line:
            if delivery.last and delivery.dequeue_count >= LAST_POISON_DELIVERY:
                self._renew(message, line, 0.0)
                return
            try:
                if isinstance(message, InvalidMessage):
                    self._tell_invalid(message, delivery, line)
                else:
                    self._answer(DeliveryContext(message, delivery, line))
            except Exception as trouble:
                if not delivery.last:
                    raise
                # behind the poison queue stands nobody: not even a bug may raise while a copy can be sent
                line.add(exception=type(trouble).__name__)
                line.escalate(logging.ERROR)
                self._renew(message, line, self._uniform(30.0, 60.0))

    def _answer(self, visit: DeliveryContext) -> None:
        """Answer a request, or send a copy of it to wait."""
        if visit.delivery.dequeue_count > 1 or visit.delivery.last:
            # an earlier delivery died, maybe inside its POST:
            #   delivery 1   recall ─ POST ─ ✕ worker killed     the service may still be ordering
            #   delivery 2             ······ lease ends ······ POST ─ 400: no proof that nothing was ordered
            visit.remember(doubt=self._clock())
        with self._apart(visit) as free:
            try:
                deferral = self._decide(visit) if free else self._spread(visit)
            except StorageUnavailable as trouble:
                _note_trouble(visit.line, trouble)
                deferral = again.without_call(visit.request.retry, self._uniform, "storage")
        if deferral is not None:
            self._defer(visit, deferral)

    @contextmanager
    def _apart(self, visit: DeliveryContext) -> Iterator[bool]:
        """Of the messages that came back from poison, a process handles one at a time; False: not this one, not now.

        One of them may be the killer, and leases that ended together end together again:

            killer     POST ─ ✕ ───────── lease ends ─ POST ─ ✕ ─ …  five times: poisoned again, and given up
            innocent     met ─ copy that waits a while ···· POST ─ 201

        It stays so until it has been posted: what has waited for another reason since then killed nobody.
        """
        if visit.delivery.last or visit.request.retry.reason != POISONED:
            yield True
            return
        free = self._one_poisoned.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._one_poisoned.release()

    def _decide(self, visit: DeliveryContext) -> Deferral | None:
        """Answer by the record, else by the service; None: the outcome is kept and told."""
        request, line = visit.request, visit.line
        with line.step("recall"):
            record = self._records.load(request.customer_id, request.cart_id)
        ruling = apply_rules(record, request)
        if ruling.borrow is not None and visit.delivery.last:
            self._publish(ruling.borrow, line)  # whoever kept it may have died before telling it
        decision: Decision | None = None
        if ruling.tell is None and ruling.borrow is None:
            asked = self._take_up(visit) if visit.delivery.last else self._inquiry.ask(visit)
            if isinstance(asked, Deferral):
                return asked
            decision = asked
        try:
            with line.step("keep"):
                event = self._keep(visit, record, decision)
        except StorageUnavailable as trouble:
            if visit.sent is None:
                raise
            _note_trouble(line, trouble)
            return again.after_unrecorded_response(visit.request.retry, self._policy, self._uniform, self._clock())
        self._publish(event, line)
        _note_outcome(line, event)
        if request.deferred:
            self._note_waiting(visit, None)
        return None

    def _keep(self, visit: DeliveryContext, record: Record, decision: Decision | None) -> Event:
        """Write the decision down, or find that the record answers already. Returns what must be told.

        Two deliveries write under ETags; the loser asks the record again, its answer in hand:

            this one   recall (none) ─ POST ─ 201 ──────── append ✕ 412 ─ recall ─ rules ─ tell the rival's
            a rival      recall (none) ─ POST ─ 201 ─ append ✓
        """
        request, began = visit.request, self._clock()
        in_hand = decision is not None and decision.outcome in BOUGHT
        for _ in range(MAX_WRITE_CONFLICTS):
            ruling = apply_rules(record, request, bought_in_hand=in_hand)
            if ruling.tell is not None:
                return ruling.tell
            chosen = decision
            if ruling.borrow is not None:
                chosen = copied(ruling.borrow, self._records.data_of(request, ruling.borrow), visit.attempts)
            if chosen is None:
                raise StorageUnavailable("the entry that answered this request is gone from the record")
            event = decided(request, chosen, self._clock(), traceparent=current_traceparent(), corrects=ruling.corrects)
            try:
                return self._records.append(request, record, event)
            except Conflict:
                if (self._clock() - began).total_seconds() > LONGEST_RACE:
                    break
                record = self._records.load(request.customer_id, request.cart_id)
        raise StorageUnavailable("lost the race for the record too often")

    def _publish(self, event: Event, line: LogLine) -> None:
        with line.step("publish"):
            self._publisher.publish(event)

    def _defer(self, visit: DeliveryContext, deferral: Deferral) -> None:
        """Send a copy that waits, and only then let the message go.

        copy sent ─ return ─ deleted                  one message
        copy sent ─ ✕ killed ─ redelivered            two messages of one request: one record, one event id
        """
        visit.line.add(result="deferred", reason=deferral.reason, delay=round(deferral.delay, 1))
        retry = deferral.retry
        if visit.sent is None and visit.request.retry.reason == POISONED:
            # storage, the token or the gate sent it away before its POST, and it may still be the killer
            retry = msgspec.structs.replace(retry, reason=POISONED)
        back_to_carts = retry.poisoned and not visit.request.retry.poisoned
        to_poison = visit.delivery.last and not back_to_carts
        with visit.line.step("defer", to_poison=to_poison):
            self._publisher.send_deferred(visit.request, retry, deferral.delay, poison=to_poison)
        if deferral.called:
            self._note_waiting(visit, deferral)

    def _note_waiting(self, visit: DeliveryContext, deferral: Deferral | None) -> None:
        """Leave a note for operators beside the record, or take it away. Nothing depends on it."""
        try:
            with visit.line.step("note"):
                self._records.note_waiting(visit.request, deferral, self._clock(), visit.sent)
        except StorageUnavailable:
            visit.line.add(note="lost")

    # --- messages that are no request, and messages from the poison queue -----------------------------------

    def _tell_invalid(self, message: InvalidMessage, delivery: Delivery, line: LogLine) -> None:
        """Nothing to keep: the outcome is made of the message's bytes, so a repeat is told the same."""
        event = invalid(message)
        try:
            self._publish(event, line)
        except StorageUnavailable as trouble:
            _note_trouble(line, trouble)
            line.add(result="deferred", reason="storage")
            with line.step("defer", to_poison=delivery.last):
                self._publisher.requeue_unparsed(message, self._uniform(30.0, 60.0), poison=delivery.last)
        else:
            line.add(**{"class": ErrorClass.INVALID_MESSAGE})
            _note_outcome(line, event)

    def _take_up(self, visit: DeliveryContext) -> Decision | Deferral:
        """A request from the poison queue that no record answers: once more, and then it is asked about."""
        visit.line.escalate(logging.WARNING)
        if visit.request.retry.poisoned:
            return self._inquiry.give_up(visit, error(ErrorClass.UNANSWERED, "the message was poisoned twice"))
        # one message that kills its worker takes the innocent ones beside it along; this may be one of those
        return self._spread(visit)

    def _spread(self, visit: DeliveryContext) -> Deferral:
        """Back to the carts queue, apart from the others: what was poisoned together would be fetched together."""
        again_once = msgspec.structs.replace(visit.request.retry, poisoned=True, reason=POISONED)
        return Deferral(self._uniform(0.0, POISON_SPREAD_SECONDS), again_once)

    def _renew(self, message: CheckoutRequest | InvalidMessage, line: LogLine, delay: float) -> None:
        """A fresh copy in the poison queue, with all its deliveries before it."""
        with line.step("defer", to_poison=True):
            if isinstance(message, InvalidMessage):
                self._publisher.requeue_unparsed(message, delay, poison=True)
            else:
                doubted = msgspec.structs.replace(message.retry, doubt=self._clock())
                self._publisher.send_deferred(message, doubted, delay, poison=True)
        line.add(result="renewed")
        line.escalate(logging.WARNING)


def _note_trouble(line: LogLine, trouble: StorageUnavailable) -> None:
    line.add(exception=type(trouble).__name__, detail=str(trouble))
    line.escalate(logging.WARNING)


def _note_outcome(line: LogLine, event: Event) -> None:
    line.add(result="told", outcome=event.outcome, toldEventId=event.id)
    if event.outcome is Outcome.UNKNOWN:
        line.escalate(logging.WARNING)
    if line.facts.get("class") in OPERATORS_TURN:
        line.escalate(logging.ERROR)
