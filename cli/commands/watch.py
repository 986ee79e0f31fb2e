"""`cart-checkout watch`: show outcomes as they are published. By default the messages stay in the queue."""

import base64
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from cli import options, output
from cli.connection import MAX_PEEKED, StorageConnection, settings_option, storage_failures
from cli.left_out import UNSEEN, LeftOut, left_out
from cli.outcome_event import OutcomeEvent, as_object
from cli.outcome_filter import OutcomeFilter, filter_options
from cli.table import COLOURS
from cli.times import FiniteFloat
from shared.core.jsontext import printable

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient, QueueMessage

TOO_FEW = 1
UNREAD = "outcome(s) whose data cannot be read"
POLL_SECONDS = 1.0
LEASE_SECONDS = 60
"""How long a received message is hidden. If this process dies before it is printed, it reappears after that."""

_COLUMNS = (("TIME (UTC)", 14), ("OUTCOME", 15), ("CART", 36), ("CLASS CODE", 22), ("REQUEST", 20))
_LAST_COLUMN = "ORDERS OR DESCRIPTION"


@click.command(name="watch", short_help="Show outcomes as they are published.")
@filter_options
@click.option("--take", is_flag=True, help="Receive and delete the messages: no other consumer gets them.")
@options.as_json
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N outcomes.")
@click.option("--timeout", type=FiniteFloat(min=0), metavar="S", help="End after S seconds.")
@settings_option
def command(
    wanted: OutcomeFilter,
    *,
    take: bool,
    as_json: bool,
    count: int | None,
    timeout: float | None,
    connection: StorageConnection,
) -> None:
    """Show outcomes as they are published, until Ctrl-C.

    By default it only peeks, and the messages stay in the queue for their consumers. Peeking shows the first 32
    messages only, and it misses an outcome that a consumer takes in the meantime. With --take, messages are received
    and deleted.

    Filters of different kinds must all match. Of one kind, one must match. They cannot be combined with --take, which
    would delete outcomes without showing them.

    \b
    Examples:
      cart-checkout watch
      cart-checkout watch --outcome failed --outcome unknown
      cart-checkout watch --customer 2e5a3c6e-... --class partner
      cart-checkout watch --json --timeout 0 | jq .data.outcome
      cart-checkout watch --take --count 1 --timeout 60

    \b
    With --json, one event a line, as it was published. A message that is not an event is shown as
    {"unreadable": the text}.

    \b
    Exit codes: 0 ended by --count, --timeout or Ctrl-C; 1 --timeout came before --count outcomes, or something was
    left out (messages that cannot be seen, data that cannot be read: it says so); 2 wrong usage or settings; 3 the
    storage account failed.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if take and wanted:
        raise click.UsageError("--take cannot be combined with filters: it deletes what it receives.")
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    try:
        with storage_failures(), left_out() as left, ExitStack() as stack:
            queue = stack.enter_context(connection.outcomes())
            records = stack.enter_context(connection.records())
            # who asks for a number of outcomes does not ask for all
            source = ReceiveSource(queue, deadline) if take else PeekSource(queue, LeftOut() if count else left)
            show = _print_line if as_json else _print_rows()
            if not _watch(source, records, wanted, show, left, count=count, deadline=deadline):
                sys.exit(TOO_FEW)
    except KeyboardInterrupt:
        return


def _watch(
    source: "PeekSource | ReceiveSource",
    records: "ContainerClient",
    wanted: OutcomeFilter,
    show: Callable[[OutcomeEvent], None],
    left: LeftOut,
    *,
    count: int | None,
    deadline: float,
) -> bool:
    """Show outcomes until the deadline, or False if that came before `count` of them."""
    shown = 0
    while True:
        for message in source.fetch():
            event = read_message(message.content, records)
            if "dataref" in event.attributes and not event.data:
                left.add(UNREAD, f"The data of the event {event.attributes.get('id')} cannot be read.")
            if not wanted.admits(event):
                continue
            show(event)
            source.done(message)
            shown += 1
            if shown == count:
                return True
        pause = min(POLL_SECONDS, deadline - time.monotonic())
        if pause <= 0:
            return count is None
        time.sleep(pause)


class PeekSource:
    """Peeks: shows the first 32 messages of the queue and leaves them there."""

    def __init__(self, queue: "QueueClient", left: LeftOut) -> None:
        self._queue = queue
        self._left = left
        self._known: set[str] = set()
        self._warned = False

    def fetch(self) -> "Iterator[QueueMessage]":
        """Those among the first 32 messages that were not fetched before."""
        front: list[QueueMessage] = self._queue.peek_messages(MAX_PEEKED)
        if len(front) == MAX_PEEKED and not self._warned:
            length = self._queue.get_queue_properties().approximate_message_count or 0
            if length > MAX_PEEKED:
                self._warned = True
                seen = f"The queue holds {length}; only the first {MAX_PEEKED} can be seen. --take sees all."
                self._left.add(UNSEEN, seen, length - MAX_PEEKED)
        new = [message for message in front if message.id not in self._known]
        self._known = {message.id for message in front}  # a message that has left the front does not return
        yield from new

    def done(self, message: "QueueMessage") -> None:
        """Leave the message in the queue."""


class ReceiveSource:
    """Receives one message at a time, so that an interruption hides one message for a minute, and not 32."""

    def __init__(self, queue: "QueueClient", deadline: float) -> None:
        self._queue = queue
        self._deadline = deadline

    def fetch(self) -> "Iterator[QueueMessage]":
        """All visible messages. New ones do not extend this beyond the deadline."""
        for message in self._queue.receive_messages(messages_per_page=1, visibility_timeout=LEASE_SECONDS):
            yield message
            if time.monotonic() >= self._deadline:
                return

    def done(self, message: "QueueMessage") -> None:
        """Delete the message."""
        self._queue.delete_message(message)


def read_message(text: str, records: "ContainerClient") -> OutcomeEvent:
    """Parse a message of the outcomes queue, and load its data if they are stored in the records container.

    A text that is not an event becomes an event without attributes.
    """
    try:
        decoded = base64.b64decode(text, validate=True).decode()
        attributes = json.loads(decoded)
    except (ValueError, RecursionError):
        return OutcomeEvent(text, {}, {})
    if not isinstance(attributes, dict):
        return OutcomeEvent(text, {}, {})
    data = attributes.get("data")
    if data is None:
        data = _load_dataref(attributes.get("dataref"), records)
    return OutcomeEvent(decoded, attributes, as_object(data))


def _load_dataref(dataref: object, records: "ContainerClient") -> Any:  # noqa: ANN401  any JSON
    """The data at this URL, or None if it is not ours or cannot be read: the event is shown anyway."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  --help must not import an SDK

    ours = f"{records.url.partition('?')[0]}/"
    if not isinstance(dataref, str) or not dataref.startswith(ours):
        return None  # our key or token is sent to our own container only, whatever an event names
    try:
        return json.loads(records.download_blob(dataref.removeprefix(ours)).readall())
    except (AzureError, ValueError, RecursionError):
        return None


def _print_line(event: OutcomeEvent) -> None:
    output.echo(event.line if event.attributes else json.dumps({"unreadable": event.text}))


def _print_rows() -> Callable[[OutcomeEvent], None]:
    """Print one row at a time, the first under a heading."""
    # A pipe gets the whole row. On a terminal, a row that wraps would break the columns.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    fresh = True

    def line(cells: list[str]) -> str:
        padded = [f"{printable(cell, size):<{size}}" for cell, (_, size) in zip(cells, _COLUMNS, strict=False)]
        return printable(" ".join([*padded, *cells[len(_COLUMNS) :]]).rstrip(), width)

    def show(event: OutcomeEvent) -> None:
        nonlocal fresh
        if fresh:
            output.echo(click.style(line([*(heading for heading, _ in _COLUMNS), _LAST_COLUMN]), bold=True))
            fresh = False
        output.echo(click.style(line(cells_of(event)), fg=COLOURS.get(event.outcome)))

    return show


def cells_of(event: OutcomeEvent) -> list[str]:
    """The event's row in the table, made printable."""
    if not event.attributes:
        return ["", "no outcome", "", "", "", printable(event.text, 60)]
    facts = (
        str(event.attributes.get("time", ""))[5:19].replace("T", " "),
        event.outcome,
        str(event.data.get("cartId", "")),
        event.class_and_code,
        event.request_id,
        event.summary,
    )
    return [printable(fact, 80) for fact in facts]
