"""`cart-checkout status`: show what waits and why, and what was decided recently, or everything about one cart."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cli import options, table
from cli.batch import Selection
from cli.cart_history import CartHistory, CartPost, Entry, ListedRecord
from cli.connection import MAX_PEEKED, StorageConnection, settings_option, storage_failures
from cli.left_out import DAMAGED, UNLISTED, LeftOut, left_out
from cli.times import format_age, format_utc, parse_rfc3339, parse_when
from shared.core.outcomes import RECORDED, Outcome, timestamp

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

    from cli.records_reader import RecordsReader

SHOWN = 20
"""Rows of a list. The counts include everything."""
NOT_FOUND = 1


@click.command(name="status", short_help="Show queues, waiting carts and recent outcomes, or one cart.")
@click.argument("ids", nargs=-1, metavar="[[CUSTOMER_ID] CART_ID]")
@click.option(
    "--since",
    callback=parse_when,
    metavar="TIME",
    help="Count outcomes decided since: 30m, 12h, or a time. Default: 1h.",
)
@options.customer
@options.most
@options.as_json
@settings_option
def command(
    ids: tuple[str, ...],
    since: datetime | None,
    customer: str | None,
    most: int,
    *,
    as_json: bool,
    connection: StorageConnection,
) -> None:
    """Show the queues, the carts that wait and why, and the outcomes of the last hour, or one cart.

    With a cart's ids: every outcome that was decided for it, its attempts and ids, what it waits for, what is known
    of its POSTs (key, latest POST, doubt), and what to tell Microsoft support. Without CUSTOMER_ID the cart is
    searched for, which is slow if there are many.

    The queue service counts approximately, invisible messages included, and shows the first 32 visible messages
    only: ages are those of these. A cart waits where its record has a POST without an outcome; `at_work` means that
    its answer is not noted. A message that was not posted yet, because it waits for storage, for a token, for another
    request or because its customer is throttled, is only counted.

    \b
    Examples:
      cart-checkout status
      cart-checkout status --since 12h --json | jq .recent.byOutcome
      cart-checkout status 00000001-...
      cart-checkout status 2e5a3c6e-... 00000001-... --json | jq .support

    \b
    With --json, one object: queues (carts, poison, outcomes: name, count, seen, oldestAt), waiting (count,
    byReason, carts), recent (since, count, byOutcome, byClass, last: up to 20 that are not completed), damaged (names
    of records that cannot be read), truncated. Of a cart: customerId, cartId, entries (the events as recorded),
    state (key, post, doubt, spent, lost, inDoubtSince), waiting, inQueue, support, trouble (why its record cannot be
    read). A waiting cart has customerId, cartId, by (the event id of its request), at, heard, delivery, reason, and,
    once an answer is noted, attempt, since, nextAt, msRequestId, msCorrelationId.

    \b
    Exit codes: 0 shown; 1 nothing is known of this cart, or something was left out (a record that cannot be read, a
    list that was cut: it says so); 2 wrong usage or settings; 3 the storage account failed.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    with storage_failures(), left_out() as left, connection.reader() as reader:
        if ids:
            if customer or since or len(ids) > 2:  # noqa: PLR2004  customer and cart
                raise click.UsageError("Name one cart, as CART_ID or as CUSTOMER_ID CART_ID, without other filters.")
            from cli.cart_report import show_cart  # noqa: PLC0415  --help must not import an SDK

            if not show_cart(connection, reader, ids, most, left, as_json=as_json):
                sys.exit(NOT_FOUND)
            return
        now = datetime.now(UTC)
        overview = _queues(connection) | _carts(reader, since or now - timedelta(hours=1), customer, most)
        if as_json:
            print(json.dumps(overview))
        else:
            _show(overview, now)
        _tell_left_out(overview, left)


def _queues(connection: StorageConnection) -> dict[str, Any]:
    queues = {"carts": connection.carts(), "poison": connection.poison(), "outcomes": connection.outcomes()}
    return {"queues": {role: _queue(queue) for role, queue in queues.items()}}


def _queue(queue: "QueueClient") -> dict[str, Any]:
    with queue:
        count = queue.get_queue_properties().approximate_message_count or 0
        inserted = [message.inserted_on for message in queue.peek_messages(MAX_PEEKED)]
    oldest = min((at for at in inserted if at), default=None)
    return {
        "name": queue.queue_name,
        "count": count,
        "seen": len(inserted),
        "oldestAt": timestamp(oldest) if oldest else None,
    }


def _carts(reader: "RecordsReader", since: datetime, customer: str | None, most: int) -> dict[str, Any]:
    listed, truncated = reader.list_records(most, customer)
    histories = reader.load_all(record.cart for record in listed if record.modified >= since)
    return {
        "waiting": _waiting(_posts(listed, histories)),
        "recent": _recent(histories, since),
        "damaged": [f"{each.cart.customer_id}/{each.cart.cart_id}.json" for each in histories if each.trouble],
        "truncated": truncated,
    }


def _posts(listed: Iterable[ListedRecord], histories: Iterable[CartHistory]) -> list[CartPost]:
    """The POSTs that wait, without those that an outcome answers, as far as the record was read."""
    now = datetime.now(UTC)
    answered = {history.cart for history in histories if not history.trouble and not history.waiting}
    posts = [record.known.post for record in listed if record.cart not in answered]
    return [post for post in posts if post and post.is_alive(now)]


def _waiting(posts: Iterable[CartPost]) -> dict[str, Any]:
    posts = sorted(posts, key=lambda post: post.next_at or datetime.max.replace(tzinfo=UTC))
    return {
        "count": len(posts),
        "byReason": dict(Counter(post.reason for post in posts).most_common()),
        "carts": [post.as_json() for post in posts],
    }


def _recent(histories: Iterable[CartHistory], since: datetime) -> dict[str, Any]:
    entries = sorted(Selection(since=since).select(histories), key=lambda entry: str(entry.attributes.get("time")))
    not_completed = [entry for entry in entries if entry.event.outcome is not Outcome.COMPLETED]
    return {
        "since": timestamp(since),
        "count": len(entries),
        "byOutcome": {str(outcome): sum(e.event.outcome is outcome for e in entries) for outcome in RECORDED},
        "byClass": dict(Counter(entry.error_class for entry in entries if entry.error_class).most_common()),
        "last": [_brief(entry) for entry in not_completed[-SHOWN:][::-1]],
    }


def _brief(entry: Entry) -> dict[str, Any]:
    return {
        "time": entry.attributes.get("time"),
        "outcome": entry.event.outcome,
        "class": entry.error_class or None,
        "code": entry.error.get("code"),
        **entry.cart.as_json(),
        "requestId": entry.request_id,
    }


def _show(overview: dict[str, Any], now: datetime) -> None:
    _show_queues(overview["queues"], now)
    _show_waiting(overview["waiting"], now)
    _show_recent(overview["recent"])


def _tell_left_out(overview: dict[str, Any], left: LeftOut) -> None:
    for name in overview["damaged"]:
        left.add(DAMAGED, f"Damaged, its cart is not bought until it is restored: {name}")
    if overview["truncated"]:
        left.add(UNLISTED, "The container holds more blobs than were listed, so the counts are too low: raise --most.")


def _show_queues(queues: dict[str, Any], now: datetime) -> None:
    click.secho("Queues", bold=True)
    rows = [
        (role, q["name"], q["count"], q["seen"], format_age(parse_rfc3339(q["oldestAt"]), now))
        for role, q in queues.items()
    ]
    table.show(("QUEUE", "NAME", "MESSAGES, ABOUT", "VISIBLE, OF 32", "OLDEST VISIBLE"), rows)
    if queues["poison"]["count"]:
        click.echo("The poison queue holds messages. If they stay for minutes: docs/operations.md, Stuck in poison.")


def _show_waiting(waiting: dict[str, Any], now: datetime) -> None:
    _heading(f"Waiting: {waiting['count']} cart(s)", waiting["byReason"])
    rows = [
        (
            n.get("reason"),
            n["customerId"],
            n["cartId"],
            n.get("attempt"),
            format_age(parse_rfc3339(n.get("at")), now),
            format_age(parse_rfc3339(n.get("since")), now),
            format_age(parse_rfc3339(n.get("nextAt")), now),
        )
        for n in waiting["carts"][:SHOWN]
    ]
    table.show(("REASON", "CUSTOMER", "CART", "ATTEMPTS", "LAST POST", "FOR", "NEXT"), rows)
    if waiting["count"] > SHOWN:
        click.echo(f"... and {waiting['count'] - SHOWN} more: --json shows all.")


def _show_recent(recent: dict[str, Any]) -> None:
    outcomes = {name: count for name, count in recent["byOutcome"].items() if count}
    since = format_utc(parse_rfc3339(recent["since"]))
    _heading(f"Decided since {since} UTC: {recent['count']} outcome(s)", outcomes)
    if recent["byClass"]:
        click.echo(f"  by class: {_counts(recent['byClass'])}")
    if recent["last"]:
        click.echo(f"  not completed, newest first, at most {SHOWN}:")
    names = ("outcome", "class", "code", "customerId", "cartId", "requestId")
    rows = [(str(e["time"])[:19].replace("T", " "), *(e[name] for name in names)) for e in recent["last"]]
    table.show(("TIME (UTC)", "OUTCOME", "CLASS", "CODE", "CUSTOMER", "CART", "REQUEST"), rows)


def _heading(text: str, counts: dict[str, int]) -> None:
    click.echo()
    click.secho(text, bold=True, nl=not counts)
    if counts:
        click.echo(f" ({_counts(counts)})")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
