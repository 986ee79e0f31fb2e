"""`cart-checkout status`: what waits and why, what was decided lately; or everything about one cart."""

import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cli import batch, table
from cli.cart_history import select
from cli.connection import Connection, settings_option, storage_failures
from cli.times import format_age, format_utc, parse_when
from shared.core.outcomes import Outcome, timestamp

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

    from cli.cart_history import Entry
    from cli.records_reader import RecordsReader


PEEKED = 32
"""How many messages the service shows to who only looks."""
SHOWN = 20
"""Rows of a list; the counts go over all."""
NOT_FOUND = 1


@click.command(name="status")
@click.argument("ids", nargs=-1, metavar="[[CUSTOMER_ID] CART_ID]")
@click.option(
    "--since",
    callback=parse_when,
    metavar="TIME",
    help="Count outcomes decided since: 30m, 12h, or a time. Default: 1h.",
)
@batch.customer_option
@batch.most_option
@batch.json_option
@settings_option
def command(
    ids: tuple[str, ...],
    since: datetime | None,
    customer: str | None,
    most: int,
    *,
    as_json: bool,
    connection: Connection,
) -> None:
    """Show the queues, the carts that wait and why, and the outcomes of the last hour; or one cart.

    With a cart's ids: every outcome that was decided for it, its attempts and ids, what it waits for, and what to
    tell Microsoft support. Without CUSTOMER_ID the cart is searched for, which is slow where there are many.

    The queue service counts approximately, waiting messages included, and shows the first 32 visible ones only:
    ages are of these. A cart has a note of what it waits for only after a call was made: one that waits for
    storage, a token or a throttled customer's turn may have none, and is only counted.

    \b
    Examples:
      cart-checkout status
      cart-checkout status --since 12h --json | jq .recent.byOutcome
      cart-checkout status 00000001-...
      cart-checkout status 2e5a3c6e-... 00000001-... --json | jq .support

    \b
    With --json, one object: queues (carts, poison, outcomes: name, count, seen, oldestAt), waiting (count,
    byReason, carts), recent (since, count, byOutcome, byClass, last: up to 20 that are not completed), damaged (names
    of records that cannot be read), truncated. Of a cart: customerId, cartId, entries (the events as they were kept),
    waiting, inQueue, support, trouble (why its record cannot be read).

    \b
    Exit codes: 0 shown; 1 nothing is known of this cart; 2 wrong usage or settings; 3 the storage account failed.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    from cli.records_reader import RecordsReader  # noqa: PLC0415  a help text must not wait for an SDK

    with storage_failures(), connection.records() as container:
        shelf = RecordsReader(container)
        if ids:
            if customer or since or len(ids) > 2:  # noqa: PLR2004  customer and cart
                raise click.UsageError("Name one cart, as CART_ID or as CUSTOMER_ID CART_ID, without other filters.")
            from cli.cart import show_cart  # noqa: PLC0415  as above

            if not show_cart(connection, shelf, ids, most, as_json=as_json):
                sys.exit(NOT_FOUND)
            return
        now = datetime.now(UTC)
        found = {
            "queues": _queues(connection),
            **_carts(shelf, since or now - timedelta(hours=1), customer, most),
        }
    if as_json:
        print(json.dumps(found))
    else:
        _show(found, now)


def _queues(connection: Connection) -> dict[str, dict[str, Any]]:
    queues = {"carts": connection.carts(), "poison": connection.poison(), "outcomes": connection.outcomes()}
    return {role: _queue(queue) for role, queue in queues.items()}


def _queue(queue: "QueueClient") -> dict[str, Any]:
    with queue:
        count = queue.get_queue_properties().approximate_message_count or 0
        inserted = [message.inserted_on for message in queue.peek_messages(PEEKED)]
    oldest = min((at for at in inserted if at), default=None)
    return {
        "name": queue.queue_name,
        "count": count,
        "seen": len(inserted),
        "oldestAt": timestamp(oldest) if oldest else None,
    }


def _carts(shelf: "RecordsReader", since: datetime, customer: str | None, most: int) -> dict[str, Any]:
    from cli.records_reader import at_once  # noqa: PLC0415  a help text must not wait for an SDK

    listed, cut = shelf.listed(most, customer)
    notes = [note for note in at_once(shelf.note, [item.cart for item in listed if item.waits]) if note]
    files = shelf.open_all(item.cart for item in listed if not item.waits and item.modified >= since)
    answered = {file.cart for file in files if file.note and not file.waiting}
    notes = sorted(
        (note for note in notes if note.cart not in answered),
        key=lambda n: n.next_at or datetime.max.replace(tzinfo=UTC),
    )
    recent = sorted((entry for _, entry in select(files, since=since)), key=lambda e: str(e.attributes.get("time")))
    return {
        "waiting": {
            "count": len(notes),
            "byReason": dict(Counter(note.reason for note in notes).most_common()),
            "carts": [{"customerId": n.cart.customer_id, "cartId": n.cart.cart_id, **n.said} for n in notes],
        },
        "recent": {
            "since": timestamp(since),
            "count": len(recent),
            "byOutcome": {str(o): sum(e.event.outcome is o for e in recent) for o in Outcome},
            "byClass": dict(Counter(entry.error_class for entry in recent if entry.error_class).most_common()),
            "last": [_brief(entry) for entry in recent if not _fine(entry)][-SHOWN:][::-1],
        },
        "damaged": [f"{file.cart.customer_id}/{file.cart.cart_id}.json" for file in files if file.trouble],
        "truncated": cut,
    }


def _fine(entry: "Entry") -> bool:
    return entry.event.outcome is Outcome.COMPLETED


def _brief(entry: "Entry") -> dict[str, Any]:
    return {
        "time": entry.attributes.get("time"),
        "outcome": entry.event.outcome,
        "class": entry.error_class or None,
        "code": entry.error.get("code"),
        "customerId": entry.cart.customer_id,
        "cartId": entry.cart.cart_id,
        "requestId": entry.request_id,
    }


def _show(found: dict[str, Any], now: datetime) -> None:
    from cli.times import parse  # noqa: PLC0415  beside the others

    click.secho("Queues", bold=True)
    rows = [
        (role, q["name"], q["count"], q["seen"], format_age(parse(q["oldestAt"]), now))
        for role, q in found["queues"].items()
    ]
    table.show(("QUEUE", "NAME", "MESSAGES, ABOUT", "VISIBLE, OF 32", "OLDEST VISIBLE"), rows)
    if found["queues"]["poison"]["count"]:
        click.echo("The poison queue holds messages. If they stay for minutes: docs/operations.md, Stuck in poison.")
    waiting = found["waiting"]
    _heading(f"Waiting: {waiting['count']} cart(s) with a note", waiting["byReason"])
    waits = [
        (
            n.get("reason"),
            n["customerId"],
            n["cartId"],
            n.get("requestId"),
            n.get("attempt"),
            format_age(parse(n.get("since")), now),
            format_age(parse(n.get("nextAt")), now),
        )
        for n in waiting["carts"][:SHOWN]
    ]
    table.show(("REASON", "CUSTOMER", "CART", "REQUEST", "ATTEMPTS", "FOR", "NEXT"), waits)
    _more(len(waiting["carts"]))
    recent = found["recent"]
    outcomes = {name: count for name, count in recent["byOutcome"].items() if count}
    _heading(f"Decided since {format_utc(parse(recent['since']))} UTC: {recent['count']} outcome(s)", outcomes)
    if recent["byClass"]:
        click.echo("  by class: " + ", ".join(f"{count} {name}" for name, count in recent["byClass"].items()))
    if recent["last"]:
        click.echo(f"  not completed, newest first, at most {SHOWN}:")
    last = [
        (
            str(e["time"])[:19].replace("T", " "),
            e["outcome"],
            e["class"],
            e["code"],
            e["customerId"],
            e["cartId"],
            e["requestId"],
        )
        for e in recent["last"]
    ]
    table.show(("TIME (UTC)", "OUTCOME", "CLASS", "CODE", "CUSTOMER", "CART", "REQUEST"), last)
    for name in found["damaged"]:
        click.echo(f"Damaged, its cart is not bought until it is mended: {name}", err=True)
    if found["truncated"]:
        click.echo(
            "The container holds more blobs than were listed, so the counts are too small: raise --most.", err=True
        )


def _heading(text: str, counts: dict[str, int]) -> None:
    click.echo()
    click.secho(text, bold=True, nl=not counts)
    if counts:
        click.echo(" (" + ", ".join(f"{count} {name}" for name, count in counts.items()) + ")")


def _more(count: int) -> None:
    if count > SHOWN:
        click.echo(f"... and {count - SHOWN} more: --json shows all.")
