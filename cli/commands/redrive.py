"""`cart-checkout redrive`: retry failed requests according to their records, or renew stuck poison messages."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli import batch, output
from cli.batch import Selection, SendOptions
from cli.connection import StorageConnection, settings_option, storage_failures
from cli.left_out import CHANGED, LeftOut, left_out
from cli.times import FiniteFloat
from shared.core.jsontext import printable
from shared.core.retry import Deferral

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.cart_history import CartHistory
    from cli.records_reader import RecordsReader
    from cli.redrive_plan import RedrivePlan, RedriveRules

_CART_LIFE = timedelta(days=7)


@click.command(name="redrive", short_help="Retry failed requests, or renew stuck poison messages.")
@batch.selection_options(" Default: 7d.")
@click.option("--upn", help="The customer's user to assign the licences to. Records do not contain it.")
@click.option("--poison", is_flag=True, help="Instead, renew the messages that are stuck in the poison queue.")
@click.option(
    "--stuck-for",
    type=FiniteFloat(min=0),
    default=30.0,
    show_default=True,
    metavar="MINUTES",
    help="With --poison: treat messages older than MINUTES as stuck.",
)
@batch.send_options
@settings_option
def command(
    selection: Selection,
    sending: SendOptions,
    *,
    upn: str | None,
    poison: bool,
    stuck_for: float,
    connection: StorageConnection,
) -> None:
    """Retry failed requests after the cause of the failure is corrected.

    It lists what it would send, and asks. Each cart whose last outcome matches the filters is sent once, under a new
    requestId: order-4711 becomes order-4711~1, then ~2. Correlation id and context stay the same. The number is
    derived from the record: a second run before the first is answered sends the same request, which gets the same
    outcome.

    Not sent: a cart that is bought, even in part, and one with a request that waits already, which another one would
    only wait for.

    `unknown` carts may be sent again: the new request repeats the same call under the same idempotency key, so a cart
    that was bought is told as bought, and is not bought again. To end an `unknown` by what you have found yourself:
    `cart-checkout resolve`.

    \b
    Examples:
      cart-checkout redrive --class authentication --since 12h --dry-run
      cart-checkout redrive --class configuration --class throttled --since 3h --yes --rate 30
      cart-checkout redrive 2e5a3c6e-... 00000001-...
      cart-checkout redrive --class unanswered --since 1d
      cart-checkout redrive --poison

    \b
    With --json, one object a line: customerId, cartId, requestId (the new one), redrives (the old one), eventId,
    outcome, class, code, decidedAt, and status: listed, sent or skipped (with reason).
    With --poison: messageId, customerId, cartId, requestId, dequeueCount, insertedAt, status.

    \b
    Exit codes: 0 sent, or nothing to send, or a dry run; 1 declined, or something was left out (a record that cannot
    be read or has changed, a list that was cut, messages that cannot be seen: it says so); 2 wrong usage or settings;
    3 the storage account failed, those printed as sent were sent.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if poison:
        if not selection.is_empty or upn:
            raise click.UsageError("--poison goes with --stuck-for, --rate, --dry-run, --yes and --json only.")
        from cli.poison_renewal import renew_stuck  # noqa: PLC0415  --help must not import an SDK

        with storage_failures(), left_out() as left:
            renew_stuck(connection, timedelta(minutes=stuck_for), sending, left)
        return
    if not selection.ids and not selection.classes:
        raise click.UsageError("Say which: --class CLASS, or a cart's ids. `cart-checkout status` shows what failed.")
    if upn and not (selection.ids or selection.customer):
        raise click.UsageError("--upn is one customer's user: name a cart, or --customer.")
    if not selection.ids and not selection.since:
        selection = dataclasses.replace(selection, since=datetime.now(UTC) - _CART_LIFE)
    from cli.redrive_plan import RedriveRules  # noqa: PLC0415  --help must not import an SDK

    with storage_failures(), left_out() as left:
        _redrive(connection, selection, sending, RedriveRules(upn), left)


def _redrive(
    connection: StorageConnection, selection: Selection, sending: SendOptions, rules: "RedriveRules", left: LeftOut
) -> None:
    with connection.reader() as reader:
        plans = [rules.plan(each) for each in selection.load(reader, left) if _is_selected(each, selection)]
        ready = sorted((plan for plan in plans if plan.request), key=lambda plan: plan.decided_at)
        skipped = [plan for plan in plans if not plan.request]
        _list(ready, skipped, sending)
        _count_left_out(skipped, left)
        if not ready:
            if not skipped:
                output.echo("Nothing to redrive: no cart's last outcome matches the filters.", err=True)
            return
        sending.confirm(f"Send {len(ready)} request(s) again, {sending.rate:g} a minute")
        done = _send(connection, reader, rules, ready, sending)
        output.echo(f"{sum(plan.request is not None for plan in done)} of {len(ready)} sent.", err=True)
        _count_left_out(done, left)


def _is_selected(history: "CartHistory", selection: Selection) -> bool:
    """Whether the last outcome matches. A cart that cannot be redriven is selected too, to be listed as skipped."""
    if history.trouble or (selection.ids and not history.entries):
        return True
    return any(entry is history.last for entry in selection.select([history]))


def _list(ready: "Sequence[RedrivePlan]", skipped: "Sequence[RedrivePlan]", sending: SendOptions) -> None:
    for plan in skipped:
        if sending.as_json:
            output.echo(json.dumps(plan.as_json("skipped")))
        else:
            output.echo(f"skipped  cart {plan.cart.cart_id}: {printable(plan.reason, 400)}", err=True)
    rows = [(*p.last.decided_cells, p.last.class_and_code, *p.cart, p.new_id) for p in ready if p.last]
    headings = ("DECIDED (UTC)", "OUTCOME", "CLASS CODE", "CUSTOMER", "CART", "NEW REQUEST")
    sending.show(headings, rows, [plan.as_json("listed") for plan in ready])


def _send(
    connection: StorageConnection,
    reader: "RecordsReader",
    rules: "RedriveRules",
    ready: "Sequence[RedrivePlan]",
    sending: SendOptions,
) -> "list[RedrivePlan]":
    """Send them one after another, each planned again by its current record: it may have been decided meanwhile."""
    plans: list[RedrivePlan] = []
    with connection.publisher() as publisher:
        for listed in batch.rate_limited(ready, sending.rate, "Sending"):
            plan = rules.plan(reader.load(listed.cart))
            if plan.request and plan.new_id != listed.new_id:
                plan = plan.withdraw("its record has changed since it was listed: look again", CHANGED)
            if plan.request:
                publisher.send_deferred(plan.request, Deferral(0.0, plan.request.retry))
            plans.append(plan)
            status = "sent" if plan.request else "skipped"
            line = f"{status}  cart {plan.cart.cart_id}  {plan.reason or f'requestId {plan.new_id}'}"
            sending.report(plan.as_json(status), line)
    return plans


def _count_left_out(plans: "Sequence[RedrivePlan]", left: LeftOut) -> None:
    for plan in plans:
        if plan.left_out:
            left.add(plan.left_out)
