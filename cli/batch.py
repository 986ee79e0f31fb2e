"""Shared by the commands that publish many messages: which carts, whether to proceed, and at which rate."""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli import options, output, table
from cli.left_out import UNLISTED, LeftOut
from cli.times import FiniteFloat, parse_when
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest

if TYPE_CHECKING:
    from cli.cart_history import CartHistory, Entry
    from cli.records_reader import RecordsReader

T = TypeVar("T")
DECLINED = 1
_CLOCK_TOLERANCE = timedelta(minutes=5)
"""The time of a decision and that of its blob come from different clocks."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The carts that an operator chose: one by its ids, or those whose outcomes match all the filters."""

    ids: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    most: int = options.MAX_BLOBS

    @property
    def is_empty(self) -> bool:
        """Whether nothing was chosen."""
        return self == Selection(most=self.most)

    def load(self, reader: "RecordsReader", left: LeftOut) -> "list[CartHistory]":
        """The history of the cart, or of every cart whose record was changed in the period.

        A record that cannot be read is among them, with its `trouble`. The blobs that were not listed are told
        to `left`.

        Raises:
            click.UsageError: there are more than two ids, or one that is not a GUID.
        """
        if self.ids:
            if self.customer or len(self.ids) > 2:  # noqa: PLR2004  customer and cart
                raise click.UsageError("Name one cart, as CART_ID or as CUSTOMER_ID CART_ID, or none.")
            return reader.load_all(reader.find(self.ids, self.most, left))
        listed, truncated = reader.list_records(self.most, self.customer)
        if truncated:
            more = f"The container holds more than {self.most} blobs"
            left.add(UNLISTED, f"{more}, and the rest was not read: raise --most, or name a customer.")
        oldest = self.since and self.since - _CLOCK_TOLERANCE
        return reader.load_all(record.cart for record in listed if oldest is None or record.modified >= oldest)

    def select(self, histories: "Iterable[CartHistory]", outcomes: Sequence[str] = ()) -> "Iterator[Entry]":
        """Each entry that has one of the outcomes, one of the classes, and was decided in the period."""
        for entry in itertools.chain.from_iterable(history.entries for history in histories):
            at = entry.decided_at
            if (
                (not outcomes or entry.event.outcome in outcomes)
                and (not self.classes or entry.error_class in self.classes)
                and (self.since is None or (at is not None and at >= self.since))
                and (self.until is None or (at is not None and at <= self.until))
            ):
                yield entry


def selection_options(default_since: str = "") -> options.Decorator:
    """Add the options that choose carts. The command receives them as `selection`."""
    since = f"Only what was decided since: 12h, or a time.{default_since}"
    return options.collected(
        "selection",
        Selection,
        click.argument("ids", nargs=-1, metavar="[[CUSTOMER_ID] CART_ID]"),
        options.classes,
        options.customer,
        click.option("--since", callback=parse_when, metavar="TIME", help=since),
        click.option("--until", callback=parse_when, metavar="TIME", help="Only what was decided before this."),
        options.most,
    )


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How messages are sent: asking first or not, at which rate, and printed as what."""

    dry_run: bool
    yes: bool
    as_json: bool
    rate: float = 60.0

    def show(
        self, headings: Sequence[str], rows: Sequence[Sequence[object]], objects: Iterable[dict[str, Any]]
    ) -> None:
        """List what is to be sent: as a table, or as JSON in a dry run."""
        if self.as_json and self.dry_run:
            for each in objects:
                output.echo(json.dumps(each))
        else:
            table.show(headings, rows, err=self.as_json, echo=output.tell)

    def report(self, item: dict[str, Any], line: str) -> None:
        """Print one item that was processed."""
        output.tell(json.dumps(item) if self.as_json else printable(line, 400))

    def confirm(self, action: str) -> None:
        """Return if the action may be done. Otherwise end the command, with 0 after a dry run and 1 if declined.

        Raises:
            click.UsageError: --yes is missing, and there is no terminal to ask on.
        """
        if self.dry_run:
            output.echo(f"Dry run: nothing was sent. Without --dry-run: {action}.", err=True)
            sys.exit(0)
        if self.yes:
            return
        if not _is_interactive():
            raise click.UsageError(f"Nothing was sent: there is no terminal to ask on. To do it ({action}), say --yes.")
        if not click.confirm(f"{action}?", err=True):
            output.echo("Nothing was sent.", err=True)
            sys.exit(DECLINED)


_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
_yes = click.option("--yes", is_flag=True, help="Send without asking. Required in scripts.")
send_one_options = options.collected("sending", SendOptions, _dry_run, _yes, options.as_json)
"""Adds the options of `SendOptions` for one message. The command receives them as `sending`."""
send_options = options.collected(
    "sending",
    SendOptions,
    _dry_run,
    _yes,
    click.option(
        "--rate",
        type=FiniteFloat(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="N",
        help="Send at most N a minute.",
    ),
    options.as_json,
)
"""Adds the options of `SendOptions`. The command receives them as `sending`."""


def ids_of(request: CheckoutRequest) -> dict[str, str]:
    """The JSON members that name a request."""
    ids = {"requestId": request.request_id, "customerId": request.customer_id, "cartId": request.cart_id}
    return ids | {"eventId": request.event_id}


def _is_interactive() -> bool:
    return sys.stdin.isatty()


def rate_limited(
    items: Sequence[T], per_minute: float, label: str, wait: Callable[[float], Any] = time.sleep
) -> Iterator[T]:
    """Yield the items at a limited rate, with a progress bar on a terminal."""
    pause = 60.0 / per_minute

    def paused() -> Iterator[T]:
        for number, item in enumerate(items):
            if number:
                wait(pause)
            yield item

    yield from with_progress(paused(), len(items), label)


def with_progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield the items. On a terminal, show a progress bar below what is printed meanwhile."""
    if total == 1 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # noqa: PLC0415  --help must not import it
    from rich.progress import MofNCompleteColumn, Progress  # noqa: PLC0415  as above

    # The bar is drawn on stderr. Where stdout is a pipe, its lines must not be drawn on the terminal as well.
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(items, total=total, description=label)
