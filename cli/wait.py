"""Waits for outcomes by reading the records: receiving them from the outcomes queue would take them from consumers."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from cli import batch, output
from cli.cart_history import CartKey, Entry
from cli.connection import StorageConnection
from cli.records_reader import RecordsReader
from cli.table import COLOURS
from cli.times import format_utc
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Outcome
from shared.ports import StorageUnavailable

EXIT_CODES = {
    Outcome.COMPLETED: 0,
    Outcome.ACTION_REQUIRED: 11,
    Outcome.PARTIAL: 12,
    Outcome.FAILED: 13,
    Outcome.UNKNOWN: 14,
}
NOT_ANSWERED = 15
FIRST_PAUSE, MAX_PAUSE = 0.5, 5.0


def wait_for(
    connection: StorageConnection,
    requests: Sequence[CheckoutRequest],
    timeout: float,
    *,
    as_json: bool,
    wait: Callable[[float], Any] = time.sleep,
) -> int:
    """Print each request's outcome as soon as it is recorded, and return the highest exit code of all.

    A record that cannot be read is read again, because the function retries it as well.
    """
    deadline = time.monotonic() + timeout
    pause, exit_code, trouble = FIRST_PAUSE, 0, ""
    pending = {request.event_id: request for request in requests}
    with connection.reader() as reader:
        while True:
            for result in _poll(reader, pending):
                if isinstance(result, StorageUnavailable):
                    trouble = str(result)
                    continue
                exit_code = max(exit_code, EXIT_CODES[result.event.outcome or Outcome.UNKNOWN])
                _show(result, as_json=as_json)
            left = deadline - time.monotonic()
            if not pending or left <= 0:
                break
            wait(min(pause, left))
            pause = min(pause * 1.5, MAX_PAUSE)
        for request in pending.values():
            exit_code = NOT_ANSWERED
            _show_pending(reader, request, as_json=as_json)
    if pending and trouble:
        output.echo(f"Records could not be read: {printable(trouble, 300)}", err=True)
    return exit_code


def _poll(reader: RecordsReader, pending: dict[str, CheckoutRequest]) -> Iterator[Entry | StorageUnavailable]:
    """Yield the outcomes that are recorded, whose requests are no longer pending, and each error."""
    for event_id, request in [*pending.items()]:
        try:
            entry = _find_entry(reader, request)
        except StorageUnavailable as error:
            yield error
            continue
        if entry:
            del pending[event_id]
            yield entry


def _find_entry(reader: RecordsReader, request: CheckoutRequest) -> Entry | None:
    """The latest outcome of the request: a correction, where there is one."""
    cart = CartKey(request.customer_id, request.cart_id)
    if not reader.load_record(cart).own(request):
        return None
    history = reader.load(cart)
    if history.trouble:
        raise StorageUnavailable(history.trouble)
    own = history.record.own(request)
    return next((entry for entry in history.entries if own and entry.event is own[-1]), None)


def _show(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        output.tell(entry.line)
        return
    outcome = entry.event.outcome or Outcome.UNKNOWN
    kind = f"{entry.class_and_code}  " if entry.class_and_code else ""
    request_id, summary = printable(entry.request_id, 256), printable(entry.summary, 200)
    text = f"{outcome}  cart {entry.cart.cart_id}  requestId {request_id}  {kind}{summary}"
    output.tell(click.style(text.rstrip(), fg=COLOURS[outcome]))
    if advice := entry.error.get("advice"):
        output.tell(f"  -> {printable(str(advice), 400)}")


def _show_pending(reader: RecordsReader, request: CheckoutRequest, *, as_json: bool) -> None:
    """Print what is known of a request that was not answered in time."""
    post = reader.load(CartKey(request.customer_id, request.cart_id)).waiting
    own = post if post and post.post.by == request.event_id else None
    if as_json:
        output.tell(json.dumps(batch.ids_of(request) | {"outcome": None, "waiting": own and own.as_json()}))
        return
    if own and own.next_at:
        reason = f"it waits ({own.reason}) until {format_utc(own.next_at)} UTC"
    elif own:
        reason = "its POST is at work, or the worker died in it"
    else:
        reason = "another request of this cart comes first" if post else "nothing is known of it yet"
    what = f"cart {request.cart_id}  requestId {printable(request.request_id, 256)}"
    output.echo(f"no outcome yet  {what}: {printable(reason, 200)}", err=True)
