"""`cart-checkout republish`: publish recorded outcomes again, byte for byte, for a consumer that lost them."""

from typing import Any

import click

from cli import batch, options
from cli.batch import Selection, SendOptions
from cli.cart_history import Entry
from cli.connection import StorageConnection, settings_option, storage_failures

NONE_FOUND = 1


@click.command(name="republish", short_help="Publish recorded outcomes again.")
@batch.selection_options()
@click.option("--event", "events", multiple=True, metavar="ID", help="Only the event with this id. May be repeated.")
@click.option("--request", "requests", multiple=True, metavar="ID", help="Only this requestId's. May be repeated.")
@options.outcomes
@batch.send_options
@settings_option
def command(
    selection: Selection,
    sending: SendOptions,
    *,
    events: tuple[str, ...],
    requests: tuple[str, ...],
    outcomes: tuple[str, ...],
    connection: StorageConnection,
) -> None:
    """Publish outcomes to the outcomes queue again, from their records.

    It lists them first, and asks. Each one is the recorded event, unchanged and with the same id: a consumer that
    de-duplicates drops those it already has. Every consumer of the queue receives them, not only the one that asked.
    The outcome of an invalid message is not recorded: send that message again instead.

    \b
    Examples:
      cart-checkout republish 2e5a3c6e-... 00000001-...
      cart-checkout republish --since 2026-11-22T10:00Z --until 2026-11-22T11:30Z --dry-run
      cart-checkout republish --customer 2e5a3c6e-... --outcome completed --since 7d --yes
      cart-checkout republish --event ed8ff621-8ba8-5cbd-a755-741a39d35c34

    \b
    With --json, one object a line: eventId, customerId, cartId, requestId, outcome, decidedAt, and status: listed
    or sent.

    \b
    Exit codes: 0 published, or a dry run; 1 declined, or no such outcome is recorded; 2 wrong usage or settings;
    3 the storage account failed, those printed as sent were sent.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if not (selection.ids or events or requests or selection.since or selection.customer):
        raise click.UsageError("Say which: a cart's ids, --event, --request, --customer or --since.")
    with storage_failures():
        found = [
            entry
            for entry in _load_entries(connection, selection, outcomes)
            if (not events or entry.event.id in events) and (not requests or entry.request_id in requests)
        ]
        _list(found, sending)
        if not found:
            click.echo("No such outcome is recorded.", err=True)
            raise SystemExit(NONE_FOUND)
        sending.confirm(f"Publish {len(found)} outcome(s) again, {sending.rate:g} a minute")
        _publish(connection, found, sending)


def _load_entries(connection: StorageConnection, selection: Selection, outcomes: tuple[str, ...]) -> list[Entry]:
    with connection.reader() as reader:
        histories = selection.load(reader)
    for history in histories:
        if history.trouble:
            click.echo(f"skipped  cart {history.cart.cart_id}: {history.trouble}", err=True)
    return sorted(selection.select(histories, outcomes), key=lambda entry: str(entry.attributes.get("time")))


def _list(entries: list[Entry], sending: SendOptions) -> None:
    rows = [(*entry.decided_cells, *entry.cart, entry.request_id, entry.event.id) for entry in entries]
    headings = ("DECIDED (UTC)", "OUTCOME", "CUSTOMER", "CART", "REQUEST", "EVENT")
    sending.show(headings, rows, [_as_json(entry, "listed") for entry in entries])


def _publish(connection: StorageConnection, entries: list[Entry], sending: SendOptions) -> None:
    with connection.publisher() as publisher:
        for entry in batch.rate_limited(entries, sending.rate, "Publishing"):
            publisher.publish(entry.event)
            sending.report(_as_json(entry, "sent"), f"sent  event {entry.event.id}  cart {entry.cart.cart_id}")
    click.echo(f"{len(entries)} published again.", err=True)


def _as_json(entry: Entry, status: str) -> dict[str, Any]:
    return {
        "eventId": entry.event.id,
        **entry.cart.as_json(),
        "requestId": entry.request_id,
        "outcome": entry.event.outcome,
        "decidedAt": entry.attributes.get("time"),
        "status": status,
    }
