"""`cart-checkout republish`: publish recorded outcomes again, byte for byte, for a consumer that lost them."""

from collections.abc import Iterable, Iterator
from typing import Any

import click

from cli import batch, options
from cli.batch import Selection, SendOptions
from cli.cart_history import CartHistory, Entry
from cli.connection import StorageConnection, settings_option, storage_failures
from cli.left_out import DAMAGED, LeftOut, left_out

NONE_FOUND = 1


@click.command(name="republish", short_help="Publish recorded outcomes again.")
@batch.selection_options()
@click.option("--event", "events", multiple=True, metavar="ID", help="Only the event with this id. May be repeated.")
@click.option("--request", "requests", multiple=True, metavar="ID", help="Only this requestId's. May be repeated.")
@options.recorded_outcomes
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
    An outcome that was corrected is followed by its correction, whatever the filters say: without it, a consumer
    would be left with what is no longer true.
    The outcome of an invalid message is not recorded: send that message again instead.

    \b
    Examples:
      cart-checkout republish 2e5a3c6e-... 00000001-...
      cart-checkout republish --since 2026-11-22T10:00Z --until 2026-11-22T11:30Z --dry-run
      cart-checkout republish --customer 2e5a3c6e-... --outcome completed --since 7d --yes
      cart-checkout republish --event ed8ff621-8ba8-5cbd-a755-741a39d35c34

    \b
    With --json, one object a line: eventId, customerId, cartId, requestId, outcome, corrects (the event that it
    replaces), decidedAt, and status: listed or sent.

    \b
    Exit codes: 0 published, or a dry run; 1 declined, no such outcome is recorded, or something was left out (a
    record that cannot be read, a list that was cut: it says so); 2 wrong usage or settings; 3 the storage account
    failed, those printed as sent were sent.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if not (selection.ids or events or requests or selection.since or selection.customer):
        raise click.UsageError("Say which: a cart's ids, --event, --request, --customer or --since.")

    def is_wanted(entry: Entry) -> bool:
        return (not events or entry.event.id in events) and (not requests or entry.request_id in requests)

    with storage_failures(), left_out() as left:
        histories = _load(connection, selection, left)
        found = in_order(histories, {e.event.id for e in selection.select(histories, outcomes) if is_wanted(e)})
        _list(found, sending)
        if not found:
            click.echo("No such outcome is recorded.", err=True)
            raise SystemExit(NONE_FOUND)
        sending.confirm(f"Publish {len(found)} outcome(s) again, {sending.rate:g} a minute")
        _publish(connection, found, sending)


def _load(connection: StorageConnection, selection: Selection, left: LeftOut) -> list[CartHistory]:
    with connection.reader() as reader:
        histories = selection.load(reader, left)
    for history in histories:
        if history.trouble:
            left.add(DAMAGED, f"skipped  cart {history.cart.cart_id}: {history.trouble}")
    return histories


def in_order(histories: Iterable[CartHistory], wanted: set[str]) -> list[Entry]:
    """The entries with these event ids, each followed by what corrects it.

    They are ordered by time, but those of one cart as in its record: they were decided by different clocks.

        record     failed 10:00:02 ─ completed, its correction 10:00:01
        published  failed ────────── completed
    """
    dated = [found for history in histories for found in _dated(_with_corrections(history, wanted))]
    return [entry for _, entry in sorted(dated, key=lambda found: found[0])]


def _with_corrections(history: CartHistory, wanted: set[str]) -> Iterator[Entry]:
    """Those of the record that are wanted or correct one that is, in its order: a correction stands further down."""
    told: set[object] = set()
    for entry in history.entries:
        if entry.event.id in wanted or entry.data.get("corrects") in told:
            told.add(entry.event.id)
            yield entry


def _dated(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    """Each with the latest time so far."""
    latest = ""
    for entry in entries:
        latest = max(latest, str(entry.attributes.get("time")))
        yield latest, entry


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
        **({"corrects": entry.data["corrects"]} if "corrects" in entry.data else {}),
        "decidedAt": entry.attributes.get("time"),
        "status": status,
    }
