"""What is stuck in the poison queue, renewed there: the handler answers it, as soon as it is handed it.

The host hands a message of that queue to `report_poison` five times and then skips it for ever, since a poison
queue has none behind it. It takes it all the same each time its lease ends, so that it is visible for seconds only:
to be seen here, the handler must have been stopped for as long.

A fresh copy has all its deliveries before it. It goes back to where it was and not to the carts queue, because only
the handler goes by the rules for what has been poisoned: the record, once more in doubt, then ask and tell.
"""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import msgspec
from azure.core.exceptions import HttpResponseError

from cli import batch, table
from cli.connection import Connection
from cli.redrive_plan import CopySender
from cli.times import format_age
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import timestamp
from shared.core.retry import Deferral, Destination, RetryState

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueMessage

PEEKED = 32
"""How many messages the service shows to who only looks."""
GIVEN_UP = 5
"""The host's maxDequeueCount: a message that was delivered so often is handed over no more."""
LEASE_SECONDS = 300
UNSEEN = 1
"""Exit code: some messages cannot be seen, and may be stuck."""


def renew_stuck(
    connection: Connection, stuck_for: timedelta, rate: float, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """List what is stuck, ask, and renew it."""
    now = datetime.now(UTC)
    with connection.poison() as queue:
        seen: list[QueueMessage] = queue.peek_messages(PEEKED)
        count = queue.get_queue_properties().approximate_message_count or 0
        hidden = 0 if len(seen) == PEEKED else max(0, count - len(seen))
        stuck = [m for m in seen if _deliveries(m) >= GIVEN_UP or now - (m.inserted_on or now) >= stuck_for]
        if as_json and dry_run:
            for message in stuck:
                print(json.dumps(_told(message, "listed")))
        else:
            rows = [_row(message, now) for message in stuck]
            table.show(("IN POISON FOR", "DELIVERIES", "CART", "REQUEST"), rows, err=as_json)
        if len(seen) == PEEKED:
            click.echo(f"Only the first {PEEKED} messages can be seen: run it again for those behind.", err=True)
        if hidden:
            click.echo(
                f"{hidden} message(s) cannot be seen: the host has them in work or, when it has given one up, takes it "
                "again every ten minutes. Stop report_poison, wait so long, and run this again: docs/operations.md, "
                "Stuck in poison.",
                err=True,
            )
        if stuck:
            batch.confirm(f"Renew {len(stuck)} message(s) in {queue.queue_name}", yes=yes, dry_run=dry_run)
            with CopySender(connection) as publisher:
                renewed = _renew(queue, publisher, {message.id: message for message in stuck}, rate, as_json=as_json)
            others = "" if renewed == len(stuck) else "; the others were not there any more: taken, or answered"
            click.echo(f"{renewed} of {len(stuck)} renewed{others}.", err=True)
        elif not hidden:
            click.echo(f"Nothing is stuck: {len(seen)} message(s) seen in {queue.queue_name}.", err=True)
    if hidden:
        sys.exit(UNSEEN)


def _renew(
    queue: "QueueClient", publisher: CopySender, wanted: "dict[str, QueueMessage]", rate: float, *, as_json: bool
) -> int:
    """Receive those that were listed, one at a time; send a fresh copy of each, and only then delete it.

    receive ─ copy sent ─ deleted              one message
    receive ─ copy sent ─ ✕ killed             two of one request: one record, one event id

    What else is received on the way is held until the end: each time costs it one of its deliveries.
    """
    renewed = 0
    others: list[QueueMessage] = []
    try:
        for _ in batch.rate_limited(range(len(wanted)), rate, "Renewing"):
            while (message := queue.receive_message(visibility_timeout=LEASE_SECONDS)) is not None:
                if message.id in wanted:
                    _copy(publisher, message)
                    queue.delete_message(message)
                    renewed += 1
                    told = _told(wanted[message.id], "renewed")
                    line = f"renewed  {message.id}  {told.get('cartId', 'no request')}"
                    print(json.dumps(told) if as_json else line, flush=True)
                    break
                others.append(message)
            else:
                break
    finally:
        for message in others:
            with suppress(HttpResponseError):  # its lease has ended, and somebody else has it
                queue.update_message(message, visibility_timeout=0)
    return renewed


def _copy(publisher: CopySender, message: "QueueMessage") -> None:
    read = _read(message)
    retry = read.retry if isinstance(read, CheckoutRequest) else RetryState()
    # an earlier delivery died, maybe inside its POST
    doubted = msgspec.structs.replace(retry, doubt=datetime.now(UTC))
    publisher.program.send_deferred(read, Deferral(0.0, doubted, queue=Destination.POISON))


def _read(message: "QueueMessage") -> Any:  # noqa: ANN401  what decode returns
    inserted_at = message.inserted_on or datetime.now(UTC)
    return decode(str(message.content).encode(), Delivery(message.id, 1, inserted_at, from_poison=True))


def _deliveries(message: "QueueMessage") -> int:
    return message.dequeue_count or 0


def _row(message: "QueueMessage", now: datetime) -> tuple[object, ...]:
    told = _told(message, "")
    return (
        format_age(message.inserted_on, now),
        _deliveries(message),
        told.get("cartId"),
        told.get("requestId", "no request"),
    )


def _told(message: "QueueMessage", status: str) -> dict[str, Any]:
    read = _read(message)
    found = {
        "messageId": message.id,
        "customerId": read.customer_id,
        "cartId": read.cart_id,
        "requestId": read.request_id if isinstance(read, CheckoutRequest) else None,
        "dequeueCount": _deliveries(message),
        "insertedAt": timestamp(message.inserted_on) if message.inserted_on else None,
        "status": status,
    }
    return {name: value for name, value in found.items() if value is not None}
