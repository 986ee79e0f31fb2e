"""Waiting for outcomes by the records: taking them from the outcomes queue would rob its consumers."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from cli.cart_history import Cart, Entry
from cli.connection import Connection
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
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def wait_for(
    connection: Connection,
    requests: Sequence[CheckoutRequest],
    timeout: float,
    *,
    as_json: bool,
    wait: Callable[[float], Any] = _wait,
) -> int:
    """Print each request's outcome when its record has it; returns the exit code of the worst.

    A record that cannot be read is asked for again: the function waits for it, too.
    """
    deadline = time.monotonic() + timeout
    pause, worst, trouble = FIRST_PAUSE, 0, ""
    open_ones = {request.event_id: request for request in requests}
    with connection.records() as container:
        shelf = RecordsReader(container)
        while True:
            for event_id, request in list(open_ones.items()):
                cart = Cart(request.customer_id, request.cart_id)
                try:
                    entry = _answer(shelf, cart, request)
                except StorageUnavailable as error:
                    trouble = str(error)
                    continue
                if entry:
                    del open_ones[event_id]
                    worst = max(worst, EXIT_CODES[entry.event.outcome])
                    _show(entry, as_json=as_json)
            left = deadline - time.monotonic()
            if not open_ones or left <= 0:
                break
            wait(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)
        for request in open_ones.values():
            worst = NOT_ANSWERED
            _show_open(shelf, request, as_json=as_json)
    if open_ones and trouble:
        click.echo(f"Records could not be read: {printable(trouble, 300)}", err=True)
    return worst


def _answer(shelf: RecordsReader, cart: Cart, request: CheckoutRequest) -> Entry | None:
    if shelf.load(cart).own(request) is None:
        return None
    file = shelf.open(cart)
    if file.trouble:
        raise StorageUnavailable(file.trouble)
    event = file.record.own(request)
    return next((entry for entry in file.kept if entry.event is event), None)


def _show(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        print(entry.line, flush=True)
        return
    outcome = entry.event.outcome
    kind = f"{entry.kind}  " if entry.kind else ""
    what = (
        f"cart {entry.cart.cart_id}  requestId {printable(entry.request_id, 256)}  {kind}{printable(entry.says, 200)}"
    )
    click.secho(f"{outcome}  {what}".rstrip(), fg=COLOURS[outcome])
    if advice := entry.error.get("advice"):
        click.echo(f"  -> {printable(str(advice), 400)}")


def _show_open(shelf: RecordsReader, request: CheckoutRequest, *, as_json: bool) -> None:
    """What is known of a request that was not answered in time."""
    try:
        note = shelf.note(Cart(request.customer_id, request.cart_id))
    except StorageUnavailable:
        note = None
    if note and note.request_id != request.request_id:
        note = None
    if as_json:
        ids = {"requestId": request.request_id, "customerId": request.customer_id, "cartId": request.cart_id}
        print(
            json.dumps(ids | {"eventId": request.event_id, "outcome": None, "waiting": note and note.said}), flush=True
        )
        return
    why = f"it waits ({note.reason}) until {format_utc(note.next_at)} UTC" if note else "no note says why"
    what = f"cart {request.cart_id}  requestId {printable(request.request_id, 256)}"
    click.echo(f"no outcome yet  {what}: {printable(why, 200)}", err=True)
