"""What `status` shows of one cart: its record and its state, its queued messages, the ids for Microsoft support."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from msgspec.structs import replace

from cli import output, table
from cli.cart_history import CartHistory, CartKey, CartPost, Entry
from cli.connection import MAX_PEEKED, StorageConnection
from cli.left_out import DAMAGED, LeftOut
from cli.records_reader import RecordsReader
from cli.times import format_age, format_utc
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import Outcome, timestamp


def show_cart(
    connection: StorageConnection, reader: RecordsReader, ids: Sequence[str], most: int, left: LeftOut, *, as_json: bool
) -> bool:
    """Print what is known of the cart, or False if nothing is."""
    carts = reader.find(ids, most, left)
    if not carts:
        output.echo(
            f"No record of a cart {printable(ids[-1], 60)}: it was never posted, and nothing was decided for it.",
            err=True,
        )
        return False
    found = False
    for cart in carts:  # one, unless two customers have a cart of the same id
        history = reader.load(cart)
        queued = _queued(connection, cart)
        if not (history.record.etag or queued or history.trouble):
            output.echo(
                f"Nothing is known of the cart {cart.cart_id}: it has no record, and is not among the first "
                f"{MAX_PEEKED} visible messages. It may be further back in the queue, or wait unseen before its first "
                "POST, or it was never sent.",
                err=True,
            )
            continue
        found = True
        if history.trouble:
            left.add(DAMAGED)
        if as_json:
            output.echo(_as_json(history, queued, connection.settings.tenant_id))
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
                            "eventId": request.event_id,
                            "insertedAt": timestamp(at),
                            "dequeueCount": message.dequeue_count,
                        }
                    )
    return messages


def _support(history: CartHistory, tenant_id: str | None) -> dict[str, Any]:
    """What Microsoft support asks for, about the last known call. Unknown values are left out."""
    cart, post = history.cart, history.waiting
    facts: dict[str, Any] = {
        "partnerTenantId": tenant_id,
        **cart.as_json(),
        "call": f"POST /v1/customers/{cart.customer_id}/carts/{cart.cart_id}/checkout",
    }
    if post:
        facts |= {"msRequestId": post.fields.get("msRequestId"), "msCorrelationId": post.fields.get("msCorrelationId")}
        facts |= {"at": timestamp(post.post.at), "waitsFor": post.reason}
    elif entry := _last_called(history):
        facts |= _support_of(history, entry)
    return {name: value for name, value in facts.items() if value is not None}


def _support_of(history: CartHistory, entry: Entry) -> dict[str, Any]:
    sent = replace(history.cart.request(entry.request_id), correlation=entry.attributes.get("correlationid"))
    response = entry.response
    return {
        # without a response no refusal stood, so the key is still the one that was sent
        "msRequestId": response.get("requestId") or history.known.ms_request_id(history.cart),
        "msCorrelationId": response.get("correlationId") or sent.correlation_id,
        "msCv": response.get("cv"),
        "at": entry.attributes.get("time"),
        "httpStatus": response.get("status"),
        "code": entry.error.get("code"),
        "description": entry.error.get("description"),
        "orders": entry.orders or None,
    }


def _last_called(history: CartHistory) -> Entry | None:
    """The last entry with a call of its own: not another request's outcome, and not what an operator has told."""
    return next((entry for entry in reversed(history.entries) if not _is_told_by_others(entry)), history.last)


def _is_told_by_others(entry: Entry) -> bool:
    # a correction by the function has a response, since only an answer corrects; `resolve` has none
    return "answeredBy" in entry.data or ("corrects" in entry.data and not entry.response)


def _as_json(history: CartHistory, queued: list[dict[str, Any]], tenant_id: str | None) -> str:
    """The report, joined as text to keep the events as they were recorded: parsing would turn 36.480 into 36.48."""
    members = {
        "customerId": json.dumps(history.cart.customer_id),
        "cartId": json.dumps(history.cart.cart_id),
        "entries": "[" + ",".join(entry.line for entry in history.entries) + "]",
        "state": json.dumps(None if history.trouble else history.known.as_json()),
        "waiting": json.dumps(history.waiting.as_json() if history.waiting else None),
        "inQueue": json.dumps(queued),
        "support": json.dumps(_support(history, tenant_id)),
        "trouble": json.dumps(history.trouble or None),
    }
    return "{" + ",".join(f'"{name}":{raw}' for name, raw in members.items()) + "}"


def _show(history: CartHistory, queued: list[dict[str, Any]], tenant_id: str | None) -> None:
    output.echo(click.style(f"Cart {history.cart.cart_id} of customer {history.cart.customer_id}", bold=True))
    if history.trouble:
        reason = printable(history.trouble, 300)
        output.echo(f"Its record could not be read: {reason}. The cart is not bought until it is restored.")
    _show_entries(history)
    if history.record.etag:
        _show_state(history)
    if queued:
        _section(f"In the queues, among the first {MAX_PEEKED} visible")
        rows = [(m["queue"], m["requestId"], m["insertedAt"], m["dequeueCount"]) for m in queued]
        table.show(("QUEUE", "REQUEST", "SINCE", "DELIVERIES"), rows)
    _section("What to do")
    output.echo(f"  {_advice(history)}")
    _section("What to tell Microsoft support")
    for name, value in _support(history, tenant_id).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        output.echo(f"  {name:<16} {printable(text, 300)}")


def _show_entries(history: CartHistory) -> None:
    if not history.entries:
        output.echo("No outcome was decided yet.")
        return
    rows = [
        (*e.decided_cells, e.class_and_code, e.data.get("attempts"), e.request_id, e.event.id, e.summary)
        for e in history.entries
    ]
    table.show(("DECIDED (UTC)", "OUTCOME", "CLASS CODE", "ATTEMPTS", "REQUEST", "EVENT", "SAYS"), rows)


def _show_state(history: CartHistory) -> None:
    """What is known of the cart's POSTs: it decides what the function does with its next request."""
    known, now = history.known, datetime.now(UTC)
    _section("What is known of its POSTs")
    if known.is_lost:
        output.echo(
            "  The state was lost: the record was restored, copied or edited. Until it is known to be Active, any POST "
            "before its last change is in doubt."
        )
    else:
        spent = ", spent: the next POST on a closed cart takes a new one" if known.state.spent else ""
        output.echo(f"  key        {known.state.key}, MS-RequestId {known.ms_request_id(history.cart)}{spent}")
    if known.post:
        _show_post(known.post, now, waits=history.waiting is not None)
    if doubt := known.state.doubt:
        output.echo(
            f"  doubt      a POST of {format_utc(doubt)} UTC got no certain answer ({format_age(doubt, now)} ago)"
        )
    elif not known.post:
        output.echo("  doubt      none")


def _show_post(post: CartPost, now: datetime, *, waits: bool) -> None:
    heard = "answered, nothing is at work" if post.post.heard else "without a certain answer"
    at = post.post.at
    output.echo(f"  post       of {format_utc(at)} UTC ({format_age(at, now)} ago), {heard}, by event {post.post.by}")
    if not waits:
        return
    waited = f" for {format_age(post.since, now)}" if post.since else ""
    following = f", next at {format_utc(post.next_at)} UTC ({format_age(post.next_at, now)})" if post.next_at else ""
    output.echo(f"  waits      {post.reason}, {post.fields.get('attempt', 0)} attempt(s){waited}{following}")


def _advice(history: CartHistory) -> str:
    if bought := history.record.bought():
        advice = next((e.error.get("advice") for e in history.entries if e.event.id == bought.id), None)
        return printable(str(advice or "Nothing: it is bought."), 400)
    if history.waiting:
        return "Nothing, unless it waits too long: it is tried again automatically."
    if history.last is None:
        return "Nothing yet: it is on its way."
    cart = f"{history.cart.customer_id} {history.cart.cart_id}"
    advice = printable(str(history.last.error.get("advice", "")), 400)
    if history.last.event.outcome is Outcome.UNKNOWN:
        return (
            f"{advice}\n  Ask the service again, which does not buy twice: cart-checkout redrive {cart}"
            f"\n  Or say what you have found: cart-checkout resolve {cart} --bought ORDER_ID, or --not-bought"
        )
    return f"{advice}\n  Only when that is done: cart-checkout redrive {cart}"


def _section(text: str) -> None:
    output.echo()
    output.echo(click.style(text, bold=True))
