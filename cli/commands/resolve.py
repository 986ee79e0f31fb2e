"""`cart-checkout resolve`: end an `unknown` by what an operator has found in Partner Center."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import click

from cli import batch, options, output
from cli.batch import SendOptions
from cli.connection import connect_or_fail, settings_file_option, storage_failures
from cli.left_out import LeftOut
from cli.resolution_plan import Finding, Refused, ResolutionPlan
from shared.core.jsontext import printable

REFUSED = 1
LONGEST_NOTE = 1000


def _parse_note(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if len(value) > LONGEST_NOTE:
        raise click.BadParameter(f"at most {LONGEST_NOTE} characters", param=parameter)
    return printable(value, LONGEST_NOTE)


@click.command(name="resolve", short_help="End an unknown outcome by what you have found.")
@click.argument("ids", nargs=-1, required=True, metavar="[CUSTOMER_ID] CART_ID")
@options.collected(
    "found",
    Finding,
    click.option(
        "--bought", "orders", multiple=True, metavar="ORDER_ID", help="It is bought, as this order. Repeatable."
    ),
    click.option("--not-bought", "not_bought", is_flag=True, help="It is not bought."),
    click.option("--request-id", metavar="ID", help="The request to resolve, where several are unknown."),
    click.option("--note", default="", callback=_parse_note, metavar="TEXT", help="Why; told in error.description."),
)
@options.most
@batch.send_one_options
@settings_file_option
def command(
    ids: tuple[str, ...],
    found: Finding,
    most: int,
    *,
    sending: SendOptions,
    values: Mapping[str, str],
    file: Path | None,
) -> None:
    """End an `unknown` outcome: say whether the cart is bought, so that every consumer learns it.

    A correction is appended to the cart's record and published: an outcome that names the `unknown` in
    data.corrects and replaces it. It shows what it will tell, and asks.

    --bought ORDER_ID: the orders are fetched from Partner Center, and told as the result as they were received. The
    outcome is `completed`, or what the orders' status means (`action_required`, `partial`). Whether an order is this
    cart's, only you can know: an order does not name its cart.

    --not-bought: the outcome is `failed` of class `unanswered`, and a new request may buy the cart. Only where that
    is certain: no POST can be at work any more, and Partner Center says now that the cart is Active; or 8 days after
    the last POST without a certain answer, when the cart cannot be bought any more.

    Where another request of the cart is recorded as bought, the correction tells that purchase instead. --note is
    told as error.description with --not-bought. A purchase has no error: there the note is only printed.

    It calls Partner Center as the app does, with its identity and settings: run it where `doctor` passes.

    \b
    Examples:
      cart-checkout resolve 2e5a3c6e-... 00000001-... --bought 15bcf4ec-7404-4dc1-ae0b-38e5d02c2a8e
      cart-checkout resolve 00000001-... --not-bought --note 'No order by 10:40 UTC, Kim'

    \b
    With --json, one object: eventId, corrects, customerId, cartId, requestId, outcome, orders, answeredBy, note, and
    status: listed or told.

    \b
    Exit codes: 0 told, or a dry run; 1 refused (it says why), or declined; 2 wrong usage or settings; 3 the storage
    account failed: it may be recorded, see `cart-checkout status`.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if bool(found.orders) == found.not_bought:
        raise click.UsageError("Say what you have found: --bought ORDER_ID, or --not-bought.")
    if len(ids) > 2:  # noqa: PLR2004  customer and cart
        raise click.UsageError("Name one cart, as CART_ID or as CUSTOMER_ID CART_ID.")
    from cli.resolver import Resolver, partner_center  # noqa: PLC0415  --help must not import an SDK

    connection = connect_or_fail(values, file)
    service, settle = partner_center(values, file)
    with storage_failures(), connection.reader() as reader:
        left = LeftOut()
        carts = reader.find(ids, most, left)
        if left:  # another customer may have a cart of this id
            _refuse(f"cart {ids[-1]}: it was not searched for among all records")
        if len(carts) != 1:
            why = "several customers have a cart of this id: give CUSTOMER_ID too" if carts else "it has no record"
            _refuse(f"cart {ids[-1]}: {why}")
        try:
            resolver = Resolver(connection, reader, service, settle)
            plan = resolver.resolve(carts[0], found, lambda plan: _confirm(plan, found, sending))
        except Refused as refused:
            _refuse(f"cart {carts[0].cart_id}: {refused}")
    _show(plan, found, "told", sending)


def _refuse(reason: str) -> NoReturn:
    output.echo(f"Refused, {printable(reason, 600)}.", err=True)
    sys.exit(REFUSED)


def _confirm(plan: ResolutionPlan, found: Finding, sending: SendOptions) -> None:
    """Show what will be told, and return if it may be."""
    for line in plan.warnings:
        output.echo(printable(line, 400), err=True)
    if sending.as_json and sending.dry_run:
        _show(plan, found, "listed", sending)
    else:
        for line in plan.lines(found.note):
            output.echo(printable(line, 400), err=sending.as_json)
    sending.confirm(f"Tell `{plan.outcome}` for the request {printable(plan.request.request_id, 256)}")


def _show(plan: ResolutionPlan, found: Finding, status: str, sending: SendOptions) -> None:
    item = plan.as_json(status) | ({"note": found.note} if found.note else {})
    what = f"requestId {plan.request.request_id}  event {plan.event.id}"
    output.tell(json.dumps(item) if sending.as_json else printable(f"{status}  {plan.outcome}  {what}", 600))
