"""Renews messages that are stuck in the poison queue, so that the handler answers them.

The host delivers a message of that queue to `report_poison` five times and then always skips it, because the poison
queue has no poison queue of its own. It still takes the message each time its lease ends, so that the message is
visible for seconds only. To see it here, the handler must have been stopped for that long.

A fresh copy has five deliveries again. It goes back to the poison queue and not to the carts queue, because only the
poison handler applies the rules for poisoned messages: the record, one more try by the carts queue, and the second
time no POST any more: on a closed cart it is told `failed`, else GET cart is asked.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError

from cli import batch, output
from cli.batch import SendOptions
from cli.connection import MAX_PEEKED, StorageConnection
from cli.left_out import UNSEEN, LeftOut
from cli.times import format_age
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.outcomes import timestamp
from shared.core.retry import DEATHS_BEFORE_POISON, Deferral, Destination, RetryState
from shared.publisher import Publisher

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueMessage

LEASE_SECONDS = 300


def renew_stuck(connection: StorageConnection, stuck_for: timedelta, sending: SendOptions, left: LeftOut) -> None:
    """List the stuck messages, ask, and renew them."""
    now = datetime.now(UTC)
    with connection.poison() as queue:
        seen: list[QueueMessage] = queue.peek_messages(MAX_PEEKED)
        count = queue.get_queue_properties().approximate_message_count or 0
        hidden = max(0, count - len(seen))
        stuck = [m for m in seen if _deliveries(m) >= DEATHS_BEFORE_POISON or now - (m.inserted_on or now) >= stuck_for]
        _list(stuck, sending, now)
        if hidden:
            left.add(UNSEEN, _of_unseen(len(seen), hidden), hidden)
        if stuck:
            sending.confirm(f"Renew {len(stuck)} message(s) in {queue.queue_name}")
            with connection.publisher() as publisher:
                renewed = _renew(queue, publisher, {message.id: message for message in stuck}, sending)
            others = "" if renewed == len(stuck) else "; the others were not there any more: taken, or answered"
            output.echo(f"{renewed} of {len(stuck)} renewed{others}.", err=True)
        elif not hidden:
            output.echo(f"Nothing is stuck: {len(seen)} message(s) seen in {queue.queue_name}.", err=True)


def _list(stuck: "list[QueueMessage]", sending: SendOptions, now: datetime) -> None:
    found = [_as_json(message, "listed") for message in stuck]
    ages = [format_age(message.inserted_on, now) for message in stuck]
    rows = [
        (age, each["dequeueCount"], each.get("cartId"), each.get("requestId", "no request"))
        for age, each in zip(ages, found, strict=True)
    ]
    sending.show(("IN POISON FOR", "DELIVERIES", "CART", "REQUEST"), rows, found)


def _of_unseen(seen: int, hidden: int) -> str:
    if seen == MAX_PEEKED:
        return f"Only the first {MAX_PEEKED} messages can be seen: run it again for the others."
    return (
        f"{hidden} message(s) cannot be seen: the host is processing them or, if it has given one up, takes it "
        "again every ten minutes. Stop report_poison, wait that long, and run this again: docs/operations.md, "
        "Stuck in poison."
    )


def _renew(queue: "QueueClient", publisher: Publisher, wanted: "dict[str, QueueMessage]", sending: SendOptions) -> int:
    """Receive the listed messages one at a time. Send a fresh copy of each, and only then delete it.

    receive ─ copy sent ─ deleted              one message
    receive ─ copy sent ─ ✕ killed             two of one request: one record, one event id

    Other messages received on the way are held until the end, because each receive costs them a delivery.
    """
    renewed = 0
    others: list[QueueMessage] = []
    try:
        for _ in batch.rate_limited(range(len(wanted)), sending.rate, "Renewing"):
            while (message := queue.receive_message(visibility_timeout=LEASE_SECONDS)) is not None:
                if message.id in wanted:
                    _send_copy(publisher, message)
                    queue.delete_message(message)
                    renewed += 1
                    found = _as_json(wanted[message.id], "renewed")
                    sending.report(found, f"renewed  {message.id}  {found.get('cartId', 'no request')}")
                    break
                others.append(message)
            else:
                break
    finally:
        for message in others:
            with suppress(HttpResponseError):  # its lease has ended, and another consumer has it
                queue.update_message(message, visibility_timeout=0)
    return renewed


def _send_copy(publisher: Publisher, message: "QueueMessage") -> None:
    decoded = _decode(message)
    retry = decoded.retry if isinstance(decoded, CheckoutRequest) else RetryState()
    publisher.send_deferred(decoded, Deferral(0.0, retry, queue=Destination.POISON))


def _decode(message: "QueueMessage") -> CheckoutRequest | InvalidMessage:
    inserted_at = message.inserted_on or datetime.now(UTC)
    return decode(str(message.content).encode(), Delivery(message.id, 1, inserted_at, from_poison=True))


def _deliveries(message: "QueueMessage") -> int:
    return message.dequeue_count or 0


def _as_json(message: "QueueMessage", status: str) -> dict[str, Any]:
    decoded = _decode(message)
    members = {
        "messageId": message.id,
        "customerId": decoded.customer_id,
        "cartId": decoded.cart_id,
        "requestId": decoded.request_id if isinstance(decoded, CheckoutRequest) else None,
        "dequeueCount": _deliveries(message),
        "insertedAt": timestamp(message.inserted_on) if message.inserted_on else None,
        "status": status,
    }
    return {name: value for name, value in members.items() if value is not None}
