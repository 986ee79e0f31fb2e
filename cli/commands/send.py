"""`cart-checkout send`: put carts into the queue, each checked before, each under an idempotency key.

What would be answered with `invalid_message` is refused here: the same decoder reads it.
"""

import base64
import json
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli import batch
from cli.connection import Connection, StorageFailed, settings_option, storage_failures
from cli.times import Finite
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode

if TYPE_CHECKING:
    from collections.abc import Iterable

SOME_REFUSED = 1
_UNNAMED = "a requestId is still to be given"


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is no request: where it goes wrong, and what should stand there."""

    line: int
    path: str
    expected: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path}: {self.expected}"


@dataclass(frozen=True, slots=True)
class Ready:
    """A checked request, and its text as it goes into the queue."""

    request: CheckoutRequest
    text: bytes


def check(line: int, text: bytes) -> Ready | Refused:
    """Read one JSON text as the function will; a request without an id of its own is given one (uuid4)."""
    if not text.startswith(b"{"):
        return Refused(line, "$", "a JSON object on one line")
    request = _decode(text)
    if isinstance(request, CheckoutRequest) and request.request_id == _UNNAMED:
        # Put in as text: nothing else of the line is written anew, so numbers in `context` stay as they are.
        text = b'{"requestId":"%s",%s' % (str(uuid.uuid4()).encode(), text[1:].lstrip())
        request = _decode(text)
    if isinstance(request, InvalidMessage):
        return Refused(line, request.path, request.expected)
    if request.deferred:
        return Refused(line, "$", "no `retry`: that is what the function's own copies remember")
    return Ready(request, text)


def _decode(text: bytes) -> CheckoutRequest | InvalidMessage:
    # The message id would be the request's id: it shows which request has none.
    return decode(text, Delivery(_UNNAMED, 1, datetime.now(UTC)))


@click.command(name="send")
@click.argument("customer_id", required=False)
@click.argument("cart_id", required=False)
@click.option("--request-id", help="The idempotency key: the same key is answered by the same outcome.")
@click.option("--correlation-id", help="A GUID that Partner Center logs, to find the call again.")
@click.option("--context", metavar="JSON", help="Any JSON; it comes back with the outcome.")
@click.option("--upn", help="The customer's user to assign the licences to.")
@click.option("--from", "source", type=click.File("rb"), metavar="FILE", help="One request a line; - is stdin.")
@click.option("--keep-going", is_flag=True, help="Send the good lines of a file, whatever the others are.")
@click.option("--wait", is_flag=True, help="Wait for the outcomes, and print them.")
@click.option(
    "--timeout",
    type=Finite(min=0),
    default=300.0,
    show_default=True,
    metavar="S",
    help="With --wait: for at most S seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each request sent.")
@settings_option
def command(
    customer_id: str | None,
    cart_id: str | None,
    source: Any,  # noqa: ANN401  click's lazy file
    *,
    keep_going: bool,
    wait: bool,
    timeout: float,
    as_json: bool,
    connection: Connection,
    **more: str | None,
) -> None:
    """Send carts to be checked out: one by its ids, or many from a file.

    A request without a requestId is given one, which is printed: send again with the same id and the cart
    is not bought again. --wait reads the outcomes from the records and takes nothing from the outcomes queue.

    \b
    Examples:
      cart-checkout send 2e5a3c6e-... 00000001-... --request-id order-4711
      cart-checkout send 2e5a3c6e-... 00000001-... --context '{"order": 4711}'
      cart-checkout send 2e5a3c6e-... 00000001-... --wait --timeout 60
      cart-checkout send --from carts.jsonl
      jq -c '.carts[]' shop.json | cart-checkout send --from -

    \b
    A line of a file:
      {"customerId": "<GUID>", "cartId": "<GUID>", "requestId": "order-4711"}

    \b
    With --json, one object a line: requestId, customerId, cartId, eventId of each that was sent. With --wait
    then each outcome as the event that was kept (it has specversion), or, where there is none yet, those four
    with outcome null and waiting, the note of what it waits for.

    \b
    Exit codes: 0 all were sent; 1 some were refused (and, without --keep-going, nothing of the file was
    sent); 2 wrong usage or settings; 3 the storage account failed, those printed were sent.
    With --wait, the highest that applies: 0 completed; 11 action_required; 12 partial; 13 failed; 14 unknown;
    15 no outcome within --timeout (the cart is still on its way: see `cart-checkout status`).
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if source is None:
        if customer_id is None or cart_id is None:
            raise click.UsageError("Give CUSTOMER_ID and CART_ID, or a file with --from.")
        lines: Iterable[bytes] = [_one(customer_id, cart_id, more)]
    elif customer_id is not None or any(more.values()):
        raise click.UsageError("With --from, everything stands in the file.")
    else:
        lines = source
    checked = [check(number, text) for number, raw in enumerate(lines, 1) if (text := _trimmed(raw, first=number == 1))]
    ready = [item for item in checked if isinstance(item, Ready)]
    refused = [item for item in checked if isinstance(item, Refused)]
    for item in refused:
        click.echo(f"Refused, {item}" if source else f"Refused: {item.path}: {item.expected}", err=True)
    if refused and not keep_going:
        if source:
            click.echo(f"Nothing was sent: {len(refused)} of {len(checked)} lines are refused.", err=True)
        sys.exit(SOME_REFUSED)
    _send(connection, ready, as_json=as_json)
    code = SOME_REFUSED if refused else 0
    if wait and ready:
        from cli.wait import wait_for  # noqa: PLC0415  a help text must not wait for an SDK

        with storage_failures():
            code = max(code, wait_for(connection, [item.request for item in ready], timeout, as_json=as_json))
    if code:
        sys.exit(code)


def _one(customer_id: str, cart_id: str, more: dict[str, str | None]) -> bytes:
    """The request that the arguments and options describe."""
    fields = {
        "customerId": customer_id,
        "cartId": cart_id,
        "requestId": more["request_id"],
        "correlationId": more["correlation_id"],
        "customerUserUpn": more["upn"],
    }
    text = json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False)
    if (context := more["context"]) is not None:
        try:
            json.loads(context)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"no JSON: {error}", param_hint="--context") from error
        text = f'{text[:-1]},"context":{context}}}'  # as it was typed: it comes back as it was typed
    return text.encode(errors="surrogateescape")


def _trimmed(raw: bytes, *, first: bool) -> bytes:
    """A line without the space around it, and without the byte order mark that may open a file."""
    return (raw.removeprefix(b"\xef\xbb\xbf") if first else raw).strip()


def _send(connection: Connection, ready: list[Ready], *, as_json: bool) -> None:
    from azure.core.exceptions import AzureError  # noqa: PLC0415  a help text must not wait for an SDK

    sent = 0
    try:
        with connection.carts() as queue:
            for item in batch.with_progress(ready, len(ready), "Sending"):
                # base64, because control characters would break the queue's XML
                queue.send_message(base64.b64encode(item.text).decode(), time_to_live=-1)
                sent += 1
                print(_receipt(item.request, as_json=as_json), flush=True)  # click's echo would draw into the bar
    except AzureError as error:
        click.echo(f"{sent} of {len(ready)} were sent, those above.", err=True)
        raise StorageFailed(error) from error


def _receipt(request: CheckoutRequest, *, as_json: bool) -> str:
    if as_json:
        ids = {"requestId": request.request_id, "customerId": request.customer_id, "cartId": request.cart_id}
        return json.dumps(ids | {"eventId": request.event_id})
    return f"sent  cart {request.cart_id}  requestId {printable(request.request_id, 256)}"
