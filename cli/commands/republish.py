"""`cart-checkout republish`: tell kept outcomes again, byte for byte, for a consumer that lost them."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

import click

from cli import batch, table
from cli.cart_history import select
from cli.connection import Connection, settings_option, storage_failures
from cli.times import format_utc, parse_when
from shared.core.jsontext import printable
from shared.core.outcomes import Outcome

if TYPE_CHECKING:
    from cli.cart_history import Entry

NONE_FOUND = 1


@click.command(name="republish")
@click.argument("ids", nargs=-1, metavar="[[CUSTOMER_ID] CART_ID]")
@click.option("--event", "events", multiple=True, metavar="ID", help="Only the event with this id. May be repeated.")
@click.option("--request", "requests", multiple=True, metavar="ID", help="Only this requestId's. May be repeated.")
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice([str(each) for each in Outcome]),
    multiple=True,
    help="Only these outcomes. May be repeated.",
)
@batch.classes_option
@batch.customer_option
@click.option("--since", callback=parse_when, metavar="TIME", help="Only what was decided since: 12h, or a time.")
@batch.until_option
@batch.dry_run_option
@batch.yes_option
@batch.rate_option
@batch.most_option
@batch.json_option
@settings_option
def command(  # noqa: PLR0913  what an operator may say
    ids: tuple[str, ...],
    *,
    events: tuple[str, ...],
    requests: tuple[str, ...],
    outcomes: tuple[str, ...],
    classes: tuple[str, ...],
    customer: str | None,
    since: datetime | None,
    until: datetime | None,
    rate: float,
    most: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Put outcomes into the outcomes queue again, from their records.

    It lists them first, and asks. Each is the event that was kept, unchanged, under the same id: a consumer that
    de-duplicates and has it already drops it. Every consumer of the queue gets it, not only the one that asked.
    The outcome of a message that was no request is in no record: send that message again instead.

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
    Exit codes: 0 told, or a dry run; 1 you said no, or no such outcome is kept; 2 wrong usage or settings;
    3 the storage account failed, those printed as sent were sent.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    from cli.records_reader import RecordsReader  # noqa: PLC0415  as above
    from cli.redrive_plan import CopySender  # noqa: PLC0415  a help text must not wait for an SDK

    if not (ids or events or requests or since or customer):
        raise click.UsageError("Say which: a cart's ids, --event, --request, --customer or --since.")
    with storage_failures(), connection.records() as container:
        files = batch.files_of(RecordsReader(container), ids, customer=customer, since=since, most=most)
        for file in files:
            if file.trouble:
                click.echo(f"skipped  cart {file.cart.cart_id}: {file.trouble}", err=True)
        found = [
            entry
            for _, entry in select(files, outcomes=outcomes, classes=classes, since=since, until=until)
            if (not events or entry.event.id in events) and (not requests or entry.request_id in requests)
        ]
        found.sort(key=lambda entry: str(entry.attributes.get("time")))
        if as_json and dry_run:
            for entry in found:
                print(_told(entry, "listed"))
        else:
            rows = [
                (
                    format_utc(e.decided_at),
                    e.event.outcome,
                    e.cart.customer_id,
                    e.cart.cart_id,
                    e.request_id,
                    e.event.id,
                )
                for e in found
            ]
            table.show(("DECIDED (UTC)", "OUTCOME", "CUSTOMER", "CART", "REQUEST", "EVENT"), rows, err=as_json)
        if not found:
            click.echo("No such outcome is kept.", err=True)
            raise SystemExit(NONE_FOUND)
        batch.confirm(f"Tell {len(found)} outcome(s) again, {rate:g} a minute", yes=yes, dry_run=dry_run)
        with CopySender(connection) as publisher:
            for entry in batch.rate_limited(found, rate, "Telling"):
                publisher.program.publish(entry.event)
                line = f"sent  event {entry.event.id}  cart {entry.cart.cart_id}"
                print(_told(entry, "sent") if as_json else printable(line, 400), flush=True)
        click.echo(f"{len(found)} told again.", err=True)


def _told(entry: "Entry", status: str) -> str:
    return json.dumps(
        {
            "eventId": entry.event.id,
            "customerId": entry.cart.customer_id,
            "cartId": entry.cart.cart_id,
            "requestId": entry.request_id,
            "outcome": entry.event.outcome,
            "decidedAt": entry.attributes.get("time"),
            "status": status,
        }
    )
