"""What the verbs that send many things share: which carts, whether to go on, and how fast."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.times import Finite, parse_when
from shared.core.errors import ErrorClass
from shared.core.messages import guid_or_none

if TYPE_CHECKING:
    from cli.cart_history import CartHistory
    from cli.records_reader import RecordsReader

T = TypeVar("T")
MOST = 50_000
DECLINED = 1
_CLOCKS = timedelta(minutes=5)  # by which a decision's time and its blob's may differ


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def guid(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A GUID in lower case, of an option that may be absent."""
    if value is None or (found := guid_or_none(value)):
        return value and found
    raise click.BadParameter(f"{value!r} is no GUID.", param=parameter)


customer_option = click.option("--customer", metavar="GUID", callback=guid, help="Only this customer's carts.")
classes_option = click.option(
    "--class",
    "classes",
    type=click.Choice([str(each) for each in ErrorClass]),
    multiple=True,
    metavar="CLASS",
    help=f"Only this error class: {', '.join(ErrorClass)}. May be repeated.",
)
until_option = click.option("--until", callback=parse_when, metavar="TIME", help="Only what was decided before this.")
most_option = click.option(
    "--most",
    type=click.IntRange(min=1),
    default=MOST,
    show_default=True,
    metavar="N",
    help="List at most N blobs of the container.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: one object a line.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask. A script must say so; a person is asked.")
rate_option = click.option(
    "--rate",
    type=Finite(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="N",
    help="Send at most N a minute.",
)


def files_of(
    shelf: "RecordsReader", ids: Sequence[str], *, customer: str | None, since: datetime | None, most: int
) -> "list[CartHistory]":
    """What lies in the container of the carts named, or else of all that were written to in this time.

    Raises:
        click.UsageError: more than two ids, or one that is no GUID.
    """
    from cli.records_reader import named, warn_of_cut  # noqa: PLC0415  a help text must not wait for an SDK

    if ids:
        if customer or len(ids) > 2:  # noqa: PLR2004  customer and cart
            raise click.UsageError("Name one cart, as CART_ID or as CUSTOMER_ID CART_ID, or none.")
        return shelf.open_all(named(shelf, ids, most))
    listed, cut = shelf.listed(most, customer)
    if cut:
        warn_of_cut(most)
    recent = [item for item in listed if since is None or item.modified >= since - _CLOCKS]
    return shelf.open_all(item.cart for item in recent if not item.waits)


def confirm(what: str, *, yes: bool, dry_run: bool) -> None:
    """Return if it may be done; else end the verb: with 0 after a dry run, 1 where a person says no.

    Raises:
        click.UsageError: nobody said --yes, and nobody is here to be asked.
    """
    if dry_run:
        click.echo(f"Dry run: nothing was sent. Without --dry-run: {what}.", err=True)
        sys.exit(0)
    if yes:
        return
    if not _somebody_is_here():
        raise click.UsageError(f"Nothing was sent, as nobody is here to be asked. To do it ({what}), say --yes.")
    if not click.confirm(f"{what}?", err=True):
        click.echo("Nothing was sent.", err=True)
        sys.exit(DECLINED)


def _somebody_is_here() -> bool:
    return sys.stdin.isatty()


def rate_limited(
    items: Sequence[T],
    per_minute: float,
    what: str,
    wait: Callable[[float], Any] = _wait,
) -> Iterator[T]:
    """The same items, at most so many a minute, with a bar on a terminal where it takes a while."""
    pause = 60.0 / per_minute

    def apart() -> Iterator[T]:
        for number, item in enumerate(items):
            if number:
                wait(pause)
            yield item

    yield from with_progress(apart(), len(items), what)


def with_progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The same items; on a terminal, where there are many, with a bar that what is printed stands above."""
    if total == 1 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # noqa: PLC0415  a help text must not wait for it
    from rich.progress import MofNCompleteColumn, Progress  # noqa: PLC0415  as above

    # The bar is drawn on stderr; stdout may be a pipe, whose lines must not be drawn there too.
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(items, total=total, description=what)
