"""`cart-checkout watch`: outcomes as they come. By default it takes nothing away from the real consumers."""

import base64
import json
import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.connection import Connection, StorageFailed, settings_option
from cli.filters import Filter, filter_options
from cli.table import COLOURS
from cli.times import Finite
from shared.core.jsontext import printable
from shared.core.outcomes import TYPE

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient, QueueMessage

TOO_FEW = 1
PEEKED = 32
"""How many messages the service shows to who only looks."""
POLL_SECONDS = 1.0
LEASE_SECONDS = 60
"""How long a taken message is hidden; should we die before it is printed, it is back after that."""

_LINE_BREAKS = str.maketrans("\r\n", "  ")


@dataclass(frozen=True, slots=True)
class Seen:
    """One message of the outcomes queue: its text, decoded, and what it says; without `event` it is no event."""

    text: str
    event: dict[str, Any]
    data: dict[str, Any]

    @property
    def outcome(self) -> str:
        """`completed`, ...; empty where it is no outcome."""
        kind = self.event.get("type")
        return kind.removeprefix(TYPE) if isinstance(kind, str) else ""

    @property
    def error(self) -> dict[str, Any]:
        """What went wrong, or must be done; empty where nothing is."""
        found = self.data.get("error")
        return found if isinstance(found, dict) else {}

    @property
    def line(self) -> str:
        """The event as it was told, on one line: parsing and writing it anew would make 36.48 of a 36.480."""
        # Between JSON's tokens a line break is a space; inside its strings there is none.
        return self.text.translate(_LINE_BREAKS) if self.event else json.dumps({"unreadable": self.text})

    @property
    def cells(self) -> list[str]:
        """What the table shows of it; foreign text is made printable."""
        if not self.event:
            return ["", "no outcome", "", "", "", printable(self.text, 60)]
        error = self.error
        note = error.get("description") or _bought(self.data.get("result"))
        for name in ("answeredBy", "corrects"):
            if name in self.data:
                note = f"{name} {self.data[name]}"
        kind = " ".join(str(error[name]) for name in ("class", "code") if name in error)
        facts = (
            str(self.event.get("time", ""))[5:19].replace("T", " "),
            self.outcome,
            str(self.data.get("cartId", "")),
            kind,
            str(self.data.get("requestId", "")),
            note,
        )
        return [printable(str(fact), 80) for fact in facts]


def _bought(result: object) -> str:
    orders = result.get("orders") if isinstance(result, dict) else None
    if not isinstance(orders, list):
        return ""
    return f"{len(orders)} order(s): " + ", ".join(str(o.get("id")) for o in orders if isinstance(o, dict))


@click.command(name="watch")
@filter_options
@click.option("--take", is_flag=True, help="Receive and delete: what is shown here, no other consumer will get.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N outcomes.")
@click.option("--timeout", type=Finite(min=0), metavar="S", help="End after S seconds.")
@settings_option
def command(
    *,
    take: bool,
    as_json: bool,
    count: int | None,
    timeout: float | None,
    connection: Connection,
    **filters: tuple[str, ...],
) -> None:
    """Show outcomes as they come, until Ctrl-C.

    It only looks: the messages stay for their real consumers. But the queue service shows no more than the
    first 32 to who only looks, and an outcome that a consumer has taken meanwhile is not seen. With --take
    the messages are received and deleted.

    Filters of different kinds must all match; of the same kind, one. They do not go with --take, which would
    delete what it does not show.

    \b
    Examples:
      cart-checkout watch
      cart-checkout watch --outcome failed --outcome unknown
      cart-checkout watch --customer 2e5a3c6e-... --class partner
      cart-checkout watch --json --timeout 0 | jq .data.outcome
      cart-checkout watch --take --count 1 --timeout 60

    \b
    With --json, one event a line, as it was told; what is no event as {"unreadable": the text}.

    \b
    Exit codes: 0 ended by --count, --timeout or Ctrl-C; 1 --timeout came before --count outcomes;
    2 wrong usage or settings; 3 the storage account failed.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    from azure.core.exceptions import AzureError  # noqa: PLC0415  a help text must not wait for an SDK

    wanted = Filter(**filters)
    if take and wanted:
        raise click.UsageError("--take deletes what it receives, so it goes without filters: watch without --take.")
    shown = 0
    try:
        with ExitStack() as stack:
            show = _lines() if as_json else _table()
            queue = stack.enter_context(connection.outcomes())
            records = stack.enter_context(connection.records())
            deadline = math.inf if timeout is None else time.monotonic() + timeout
            source = ReceiveSource(queue, deadline) if take else PeekSource(queue)
            while True:
                for message in source.fetch():
                    seen = read(message.content, records)
                    if not wanted.admits(seen.outcome, seen.error.get("class"), seen.data):
                        continue
                    show(seen)
                    source.done(message)
                    shown += 1
                    if shown == count:
                        return
                left = min(POLL_SECONDS, deadline - time.monotonic())
                if left <= 0:
                    break
                threading.Event().wait(left)
    except KeyboardInterrupt:
        return
    except AzureError as error:
        raise StorageFailed(error) from error
    if count is not None:
        sys.exit(TOO_FEW)


class PeekSource:
    """Peeks: sees the first 32 messages of the queue, and takes none away."""

    def __init__(self, queue: "QueueClient") -> None:
        self._queue = queue
        self._known: set[str] = set()
        self._warned = False

    def fetch(self) -> "Iterator[QueueMessage]":
        """Those at the front that were not seen before."""
        front: list[QueueMessage] = self._queue.peek_messages(PEEKED)
        if len(front) == PEEKED and not self._warned:
            length = self._queue.get_queue_properties().approximate_message_count or 0
            if length > PEEKED:
                self._warned = True
                click.echo(f"The queue holds {length}; only the first {PEEKED} can be seen. --take sees all.", err=True)
        new = [message for message in front if message.id not in self._known]
        self._known = {message.id for message in front}  # what has left the front does not come back
        yield from new

    def done(self, message: "QueueMessage") -> None:
        """It stays where it is."""


class ReceiveSource:
    """Receives, one at a time: whoever is interrupted has hidden one message for a minute, and not 32."""

    def __init__(self, queue: "QueueClient", deadline: float) -> None:
        self._queue = queue
        self._deadline = deadline

    def fetch(self) -> "Iterator[QueueMessage]":
        """All that are visible; outcomes that come in all the time keep it no longer than the deadline."""
        for message in self._queue.receive_messages(messages_per_page=1, visibility_timeout=LEASE_SECONDS):
            yield message
            if time.monotonic() >= self._deadline:
                return

    def done(self, message: "QueueMessage") -> None:
        """It was shown: delete it."""
        self._queue.delete_message(message)


def read(text: str, records: "ContainerClient") -> Seen:
    """What a message of the outcomes queue says; its data are loaded where they lie in a blob of ours."""
    try:
        told = base64.b64decode(text, validate=True).decode()
        event = json.loads(told)
    except (ValueError, RecursionError):
        return Seen(text, {}, {})
    if not isinstance(event, dict):
        return Seen(text, {}, {})
    data = event.get("data")
    if data is None:
        data = _referred(event.get("dataref"), records)
    return Seen(told, event, data if isinstance(data, dict) else {})


def _referred(dataref: object, records: "ContainerClient") -> Any:  # noqa: ANN401  any JSON
    """The data in the blob of this URL; None where it is not ours or cannot be read: the event is shown anyway."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  as above

    ours = f"{records.url.partition('?')[0]}/"
    if not isinstance(dataref, str) or not dataref.startswith(ours):
        return None  # our key or token goes to our own container, whatever an event names
    try:
        return json.loads(records.download_blob(dataref.removeprefix(ours)).readall())
    except (AzureError, ValueError, RecursionError):
        return None


def _lines() -> Callable[[Seen], None]:
    return lambda seen: click.echo(seen.line)


def _table() -> Callable[[Seen], None]:
    """Rows under a heading, one at a time: it grows for as long as one watches."""
    widths = (14, 15, 36, 22, 20)
    headings = ("TIME (UTC)", "OUTCOME", "CART", "CLASS CODE", "REQUEST", "ORDERS OR DESCRIPTION")
    # A pipe gets it all; on a terminal, a row that runs over would spoil the columns.
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    fresh = True

    def line(cells: list[str]) -> str:
        padded = [f"{printable(cell, width):<{width}}" for cell, width in zip(cells, widths, strict=False)]
        return printable(" ".join([*padded, *cells[len(widths) :]]).rstrip(), room)

    def show(seen: Seen) -> None:
        nonlocal fresh
        if fresh:
            click.secho(line(list(headings)), bold=True)
            fresh = False
        click.secho(line(seen.cells), fg=COLOURS.get(seen.outcome))

    return show
