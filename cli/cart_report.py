"""What `status` shows of one cart: its record, its note, its queued messages, and the ids for Microsoft support."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from msgspec.structs import replace

from cli import table
from cli.cart_history import CartHistory, CartKey, Entry
from cli.connection import MAX_PEEKED, StorageConnection
from cli.records_reader import RecordsReader
from cli.times import format_age, format_utc
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import timestamp


def show_cart(
    connection: StorageConnection, reader: RecordsReader, ids: Sequence[str], most: int, *, as_json: bool
) -> bool:
    """Print what is known of the cart, or False if nothing is."""
    carts = reader.find(ids, most)
    if not carts:
        click.echo(f"No record and no note of a cart {printable(ids[-1], 60)}: nothing was decided for it.", err=True)
        return False
    found = False
    for cart in carts:  # one, unless two customers have a cart of the same id
        history = reader.load(cart)
        queued = _queued(connection, cart)
        if not (history.record.etag or history.note or queued or history.trouble):
            click.echo(
                f"Nothing is known of the cart {cart.cart_id}: it has no outcome and no note, and is not among the "
                f"first {MAX_PEEKED} visible messages. It may be further back in the queue, wait without a note, or "
                "it was never sent.",
                err=True,
            )
            continue
        found = True
        if as_json:
            print(_as_json(history, queued, connection.settings.tenant_id))
        else:
            _show(history, queued, connection.settings.tenant_id)
    return found


def _queued(connection: StorageConnection, cart: CartKey) -> list[dict[str, Any]]:
    """The cart's messages among those that can be peeked at."""
    messages = []
    for role, queue in (("carts", connection.carts()), ("poison", connection.poison())):
        with queue:
            for message in queue.peek_messages(MAX_PEEKED):
                at = message.inserted_on or datetime.now(UTC)
                request = decode(str(message.content).encode(), Delivery(message.id, 1, at))
                if (request.customer_id, request.cart_id) == cart:
                    messages.append(
                        {
                            "queue": role,
                            "requestId": request.request_id if isinstance(request, CheckoutRequest) else None,
                            "insertedAt": timestamp(at),
                            "dequeueCount": message.dequeue_count,
                        }
                    )
    return messages


def _support(history: CartHistory, tenant_id: str | None) -> dict[str, Any]:
    """What Microsoft support asks for, about the last known call. Unknown values are left out."""
    cart, note = history.cart, history.waiting
    facts: dict[str, Any] = {
        "partnerTenantId": tenant_id,
        **cart.as_json(),
        "call": f"POST /v1/customers/{cart.customer_id}/carts/{cart.cart_id}/checkout",
    }
    if note:
        facts |= {"msRequestId": note.fields.get("msRequestId"), "msCorrelationId": note.fields.get("msCorrelationId")}
        facts["waitsFor"] = note.reason
    elif entry := _last_called(history):
        facts |= _support_of(cart, entry)
    return {name: value for name, value in facts.items() if value is not None}


def _support_of(cart: CartKey, entry: Entry) -> dict[str, Any]:
    # Without a response, the key that was sent first: it changes only after a coded fault of the service.
    sent = replace(cart.request(entry.request_id), correlation=entry.attributes.get("correlationid"))
    response = entry.response
    return {
        "msRequestId": response.get("requestId") or sent.ms_request_id,
        "msCorrelationId": response.get("correlationId") or sent.correlation_id,
        "msCv": response.get("cv"),
        "at": entry.attributes.get("time"),
        "httpStatus": response.get("status"),
        "code": entry.error.get("code"),
        "description": entry.error.get("description"),
        "orders": entry.orders or None,
    }


def _last_called(history: CartHistory) -> Entry | None:
    """The last entry with a call of its own: not one that only repeats another request's outcome."""
    return next((entry for entry in reversed(history.entries) if "answeredBy" not in entry.data), history.last)


def _as_json(history: CartHistory, queued: list[dict[str, Any]], tenant_id: str | None) -> str:
    """The report, joined as text to keep the events as they were recorded: parsing would turn 36.480 into 36.48."""
    members = {
        "customerId": json.dumps(history.cart.customer_id),
        "cartId": json.dumps(history.cart.cart_id),
        "entries": "[" + ",".join(entry.line for entry in history.entries) + "]",
        "waiting": json.dumps(history.waiting.fields if history.waiting else None),
        "inQueue": json.dumps(queued),
        "support": json.dumps(_support(history, tenant_id)),
        "trouble": json.dumps(history.trouble or None),
    }
    return "{" + ",".join(f'"{name}":{raw}' for name, raw in members.items()) + "}"


def _show(history: CartHistory, queued: list[dict[str, Any]], tenant_id: str | None) -> None:
    click.secho(f"Cart {history.cart.cart_id} of customer {history.cart.customer_id}", bold=True)
    if history.trouble:
        reason = printable(history.trouble, 300)
        click.echo(f"Its record could not be read: {reason}. The cart is not bought until it is restored.")
    _show_entries(history)
    _show_waiting(history)
    if queued:
        _section(f"In the queues, among the first {MAX_PEEKED} visible")
        rows = [(m["queue"], m["requestId"], m["insertedAt"], m["dequeueCount"]) for m in queued]
        table.show(("QUEUE", "REQUEST", "SINCE", "DELIVERIES"), rows)
    _section("What to do")
    click.echo(f"  {_advice(history)}")
    _section("What to tell Microsoft support")
    for name, value in _support(history, tenant_id).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"  {name:<16} {printable(text, 300)}")


def _show_entries(history: CartHistory) -> None:
    if not history.entries:
        click.echo("No outcome was decided yet.")
        return
    rows = [
        (*e.decided_cells, e.class_and_code, e.data.get("attempts"), e.request_id, e.event.id, e.summary)
        for e in history.entries
    ]
    table.show(("DECIDED (UTC)", "OUTCOME", "CLASS CODE", "ATTEMPTS", "REQUEST", "EVENT", "SAYS"), rows)


def _show_waiting(history: CartHistory) -> None:
    note, now = history.waiting, datetime.now(UTC)
    if note is None:
        if history.note:
            click.echo("\nThere is a waiting note too, but its request is answered: nothing waits.")
        return
    _section(f"Waits: {note.reason}")
    waited = f" for {format_age(note.since, now)}" if note.since else ""
    click.echo(
        f"  request {printable(note.request_id, 256)}, {note.fields.get('attempt')} attempt(s){waited}, next at "
        f"{format_utc(note.next_at)} UTC ({format_age(note.next_at, now)})"
    )
    if note.fields.get("doubt"):
        click.echo(f"  in doubt: a POST of {note.fields['doubt']} may still be at work")


def _advice(history: CartHistory) -> str:
    if bought := history.record.bought():
        advice = next((e.error.get("advice") for e in history.entries if e.event.id == bought.id), None)
        return printable(str(advice or "Nothing: it is bought."), 400)
    if history.waiting:
        return "Nothing, unless it waits too long: it is tried again automatically."
    if history.last is None:
        return "Nothing yet: it is on its way."
    advice = printable(str((history.last_ordered or history.last).error.get("advice", "")), 400)
    if history.last_ordered:
        return advice
    checked = " --checked-in-partner-center" if history.last_unknown else ""
    command = f"cart-checkout redrive {history.cart.customer_id} {history.cart.cart_id}{checked}"
    return f"{advice}\n  Only when that is done: {command}"


def _section(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)
