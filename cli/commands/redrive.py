"""`cart-checkout redrive`: send failed requests anew, by what the records say; and take up what is stuck in poison."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli import batch, table
from cli.cart_history import select
from cli.connection import Connection, settings_option, storage_failures
from cli.times import Finite, format_utc, parse_when
from shared.core.jsontext import printable

if TYPE_CHECKING:
    from cli.cart_history import CartHistory
    from cli.records_reader import RecordsReader
    from cli.redrive_plan import CopySender, RedrivePlan

_CART_LIFE = timedelta(days=7)
UNSURE = "--checked-in-partner-center"


@click.command(name="redrive")
@click.argument("ids", nargs=-1, metavar="[[CUSTOMER_ID] CART_ID]")
@batch.classes_option
@batch.customer_option
@click.option(
    "--since", callback=parse_when, metavar="TIME", help="Only what was decided since: 12h, or a time. Default: 7d."
)
@batch.until_option
@click.option(
    UNSURE,
    "unsure",
    is_flag=True,
    help="Redrive `unknown` carts too: you have seen each of them there, Active and without an order.",
)
@click.option("--upn", help="The customer's user to assign the licences to: no record keeps the first one.")
@click.option("--poison", is_flag=True, help="Instead: renew the messages that are stuck in the poison queue.")
@click.option(
    "--stuck-for",
    type=Finite(min=0),
    default=30.0,
    show_default=True,
    metavar="MIN",
    help="With --poison: what has lain there for so many minutes is stuck.",
)
@batch.dry_run_option
@batch.yes_option
@batch.rate_option
@batch.most_option
@batch.json_option
@settings_option
def command(  # noqa: PLR0913  what an operator may say
    ids: tuple[str, ...],
    *,
    classes: tuple[str, ...],
    customer: str | None,
    since: datetime | None,
    until: datetime | None,
    upn: str | None,
    stuck_for: float,
    rate: float,
    most: int,
    unsure: bool,
    poison: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Send failed requests anew, when what made them fail is mended.

    It lists what it would send, and asks. Each cart whose last outcome has the class and the age asked for is
    sent once, under a new requestId: order-4711 becomes order-4711~1, then ~2. Correlation id and context stay.
    The number follows from the record: a second run before the first is answered sends the same request, which
    is answered by the same outcome.

    Never sent: a cart that is bought, even in part; one that Partner Center calls ordered; one with a note of waiting.

    `unknown` carts, whatever failed for them later, may have been bought, and a new request may buy them AGAIN.
    Look at each in Partner Center first: the cart must be Active, and 15 minutes after its last attempt the customer
    must have no such order.

    \b
    Examples:
      cart-checkout redrive --class authentication --since 12h --dry-run
      cart-checkout redrive --class configuration --class throttled --since 3h --yes --rate 30
      cart-checkout redrive 2e5a3c6e-... 00000001-...
      cart-checkout redrive --class unanswered --checked-in-partner-center
      cart-checkout redrive --poison

    \b
    With --json, one object a line: customerId, cartId, requestId (the new one), redrives (the old one), eventId,
    outcome, class, code, decidedAt, and status: listed, sent or skipped (with reason).
    With --poison: messageId, customerId, cartId, requestId, dequeueCount, insertedAt, status.

    \b
    Exit codes: 0 sent, or nothing to send, or a dry run; 1 you said no, or of --poison some cannot be seen;
    2 wrong usage or settings; 3 the storage account failed, those printed as sent were sent.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    from cli.records_reader import RecordsReader  # noqa: PLC0415  as above
    from cli.redrive_plan import CopySender, RedrivePlan  # noqa: PLC0415  a help text must not wait for an SDK

    if poison:
        if ids or classes or customer or since or until or unsure or upn:
            raise click.UsageError("--poison goes with --stuck-for, --rate, --dry-run, --yes and --json only.")
        from cli.poison import renew_stuck  # noqa: PLC0415  as above

        with storage_failures():
            renew_stuck(connection, timedelta(minutes=stuck_for), rate, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if not ids and not classes:
        raise click.UsageError("Say which: --class CLASS, or a cart's ids. `cart-checkout status` shows what failed.")
    if upn and not (ids or customer):
        raise click.UsageError("--upn is one customer's user: name a cart, or --customer.")
    since = since or (None if ids else datetime.now(UTC) - _CART_LIFE)
    with storage_failures(), connection.records() as container:
        shelf = RecordsReader(container)
        files = batch.files_of(shelf, ids, customer=customer, since=since, most=most)
        planned = [
            RedrivePlan.of(file, unsure=unsure, upn=upn, now=datetime.now(UTC))
            for file in files
            if (ids and not file.kept) or _is_asked_for(file, classes, since, until)
        ]
        ready = sorted((plan for plan in planned if not plan.reason), key=lambda plan: plan.decided_at)
        skipped = [plan for plan in planned if plan.reason]
        _list(ready, skipped, as_json=as_json, dry_run=dry_run)
        if not ready:
            if not skipped:
                click.echo("Nothing to redrive: no cart's last outcome is of that kind and age.", err=True)
            return
        batch.confirm(f"Send {len(ready)} request(s) anew, {rate:g} a minute", yes=yes, dry_run=dry_run)
        with CopySender(connection) as publisher:
            sent = _send(shelf, publisher, ready, rate, unsure=unsure, upn=upn, as_json=as_json)
        click.echo(f"{sent} of {len(ready)} sent.", err=True)


def _is_asked_for(file: "CartHistory", classes: Sequence[str], since: datetime | None, until: datetime | None) -> bool:
    found = select([file], classes=classes, since=since, until=until)
    return bool(file.trouble) or any(entry is file.last for _, entry in found)


def _list(ready: "list[RedrivePlan]", skipped: "list[RedrivePlan]", *, as_json: bool, dry_run: bool) -> None:
    for plan in skipped:
        if as_json:
            print(json.dumps(plan.told("skipped")))
        else:
            click.echo(f"skipped  cart {plan.cart.cart_id}: {printable(plan.reason, 400)}", err=True)
    if as_json and dry_run:
        for plan in ready:
            print(json.dumps(plan.told("listed")))
        return
    rows = [
        (format_utc(p.decided_at), p.last.event.outcome, p.last.kind, p.cart.customer_id, p.cart.cart_id, p.new_id)
        for p in ready
        if p.last
    ]
    headings = ("DECIDED (UTC)", "OUTCOME", "CLASS CODE", "CUSTOMER", "CART", "NEW REQUEST")
    table.show(headings, rows, err=as_json)


def _send(
    shelf: "RecordsReader",
    publisher: "CopySender",
    ready: "list[RedrivePlan]",
    rate: float,
    *,
    unsure: bool,
    upn: str | None,
    as_json: bool,
) -> int:
    """Send them one after another, each by its record as it is now: while this runs, carts may be decided."""
    from cli.redrive_plan import RedrivePlan  # noqa: PLC0415  as above

    sent = 0
    for listed in batch.rate_limited(ready, rate, "Sending"):
        plan = RedrivePlan.of(shelf.open(listed.cart), unsure=unsure, upn=upn, now=datetime.now(UTC))
        if not plan.reason and plan.new_id != listed.new_id:
            plan = plan.withdrawn("its record has changed since it was listed: look again")
        if plan.reason:
            print(json.dumps(plan.told("skipped")) if as_json else _line("skipped", plan), flush=True)
            continue
        publisher.send(plan)
        sent += 1
        print(json.dumps(plan.told("sent")) if as_json else _line("sent", plan), flush=True)
    return sent


def _line(status: str, plan: "RedrivePlan") -> str:
    what = plan.reason or f"requestId {plan.new_id}"
    return f"{status}  cart {plan.cart.cart_id}  {printable(what, 400)}"
