"""What is known of one cart: its record, its note, its messages in the queues, and what to tell Microsoft support."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from msgspec.structs import replace

from cli import table
from cli.cart_history import Cart, CartHistory, Entry
from cli.connection import Connection
from cli.records_reader import RecordsReader, named
from cli.times import format_age, format_utc
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import timestamp

PEEKED = 32


def show_cart(connection: Connection, shelf: RecordsReader, ids: Sequence[str], most: int, *, as_json: bool) -> bool:
    """Print what is known of the cart; False where nothing is."""
    carts = named(shelf, ids, most)
    if not carts:
        click.echo(f"No record and no note of a cart {printable(ids[-1], 60)}: nothing was decided for it.", err=True)
        return False
    found = False
    for cart in carts:  # one, unless two customers have a cart of the same id
        file = shelf.open(cart)
        queued = _queued(connection, cart)
        if not (file.record.etag or file.kept or file.note or queued or file.trouble):
            click.echo(
                f"Nothing is known of the cart {cart.cart_id}: no outcome was decided, no note was left, and it is not "
                f"among the first {PEEKED} visible messages. It may be further back, wait without a note, or was never "
                "sent.",
                err=True,
            )
            continue
        found = True
        if as_json:
            print(_json(file, queued, connection))
        else:
            _show(file, queued, connection)
    return found


def _queued(connection: Connection, cart: Cart) -> list[dict[str, Any]]:
    """The cart's messages among those that the queues show."""
    found = []
    for role, queue in (("carts", connection.carts()), ("poison", connection.poison())):
        with queue:
            for message in queue.peek_messages(PEEKED):
                at = message.inserted_on or datetime.now(UTC)
                read = decode(str(message.content).encode(), Delivery(message.id, 1, at))
                if (read.customer_id, read.cart_id) == (cart.customer_id, cart.cart_id):
                    request_id = read.request_id if isinstance(read, CheckoutRequest) else None
                    found.append(
                        {
                            "queue": role,
                            "requestId": request_id,
                            "insertedAt": timestamp(at),
                            "dequeueCount": message.dequeue_count,
                        }
                    )
    return found


def support(file: CartHistory, tenant_id: str | None = None) -> dict[str, Any]:
    """What Microsoft support asks for, of the last call that is known; without what is not known."""
    cart, entry, note = file.cart, _asked(file), file.waiting
    found: dict[str, Any] = {
        "partnerTenantId": tenant_id,
        "customerId": cart.customer_id,
        "cartId": cart.cart_id,
        "call": f"POST /v1/customers/{cart.customer_id}/carts/{cart.cart_id}/checkout",
    }
    if note:
        found |= {"msRequestId": note.said.get("msRequestId"), "msCorrelationId": note.said.get("msCorrelationId")}
        found["waitsFor"] = note.reason
    elif entry:
        # where nothing was answered, the key that was sent first: it changes only after a coded fault of the service
        sent = replace(cart.request(entry.request_id), correlation=entry.attributes.get("correlationid"))
        answered = entry.response
        found |= {
            "msRequestId": answered.get("requestId") or sent.ms_request_id,
            "msCorrelationId": answered.get("correlationId") or sent.correlation_id,
            "msCv": answered.get("cv"),
            "at": entry.attributes.get("time"),
            "httpStatus": answered.get("status"),
            "code": entry.error.get("code"),
            "description": entry.error.get("description"),
            "orders": entry.orders or None,
        }
    return {name: value for name, value in found.items() if value is not None}


def _asked(file: CartHistory) -> Entry | None:
    """The last entry that the service was asked for: not one that only repeats another request's."""
    return next((entry for entry in reversed(file.kept) if "answeredBy" not in entry.data), file.last)


def _json(file: CartHistory, queued: list[dict[str, Any]], connection: Connection) -> str:
    """By hand, so that the events stay the text that was kept: a 36.480 stays 36.480."""
    told = {
        "customerId": json.dumps(file.cart.customer_id),
        "cartId": json.dumps(file.cart.cart_id),
        "entries": "[" + ",".join(entry.line for entry in file.kept) + "]",
        "waiting": json.dumps(file.waiting.said if file.waiting else None),
        "inQueue": json.dumps(queued),
        "support": json.dumps(support(file, connection.settings.tenant_id)),
        "trouble": json.dumps(file.trouble or None),
    }
    return "{" + ",".join(f'"{name}":{raw}' for name, raw in told.items()) + "}"


def _show(file: CartHistory, queued: list[dict[str, Any]], connection: Connection) -> None:
    now = datetime.now(UTC)
    click.secho(f"Cart {file.cart.cart_id} of customer {file.cart.customer_id}", bold=True)
    if file.trouble:
        click.echo(
            f"Its record could not be read: {printable(file.trouble, 300)}. It is not bought until that is mended."
        )
    _entries(file)
    if note := file.waiting:
        _section(f"Waits: {note.reason}")
        waited = f" for {format_age(note.since, now)}" if note.since else ""
        click.echo(
            f"  request {printable(note.request_id, 256)}, {note.said.get('attempt')} attempt(s){waited}, next at "
            f"{format_utc(note.next_at)} UTC ({format_age(note.next_at, now)})"
        )
        if note.said.get("doubt"):
            click.echo(f"  in doubt: a POST of {note.said['doubt']} may still be at work")
    elif file.note:
        click.echo("\nA note of waiting lies there too, but its request is answered: nothing waits.")
    if queued:
        _section("In the queues, among the first 32 visible")
        table.show(
            ("QUEUE", "REQUEST", "SINCE", "DELIVERIES"),
            [(m["queue"], m["requestId"], m["insertedAt"], m["dequeueCount"]) for m in queued],
        )
    _section("What to do")
    click.echo(f"  {_advice(file)}")
    _section("What to tell Microsoft support")
    for name, value in support(file, connection.settings.tenant_id).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"  {name:<16} {printable(text, 300)}")


def _entries(file: CartHistory) -> None:
    if not file.kept:
        click.echo("No outcome was decided yet.")
        return
    rows = [
        (format_utc(e.decided_at), e.event.outcome, e.kind, e.data.get("attempts"), e.request_id, e.event.id, e.says)
        for e in file.kept
    ]
    table.show(("DECIDED (UTC)", "OUTCOME", "CLASS CODE", "ATTEMPTS", "REQUEST", "EVENT", "SAYS"), rows)


def _advice(file: CartHistory) -> str:
    if bought := file.record.bought():
        advice = next((e.error.get("advice") for e in file.kept if e.event.id == bought.id), None)
        return printable(str(advice or "Nothing: it is bought."), 400)
    if file.waiting:
        return "Nothing, unless it waits too long: it is tried again by itself."
    if file.last is None:
        return "Nothing yet: it is on its way."
    advice = printable(str((file.ordered or file.last).error.get("advice", "")), 400)
    if file.ordered:
        return advice
    looked = " --checked-in-partner-center" if file.unsure else ""
    again = f"cart-checkout redrive {file.cart.customer_id} {file.cart.cart_id}{looked}"
    return f"{advice}\n  Only when that is done: {again}"


def _section(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)
