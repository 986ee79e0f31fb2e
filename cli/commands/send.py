"""`cart-checkout send`: send carts to the queue, each validated first and under an idempotency key.

The app's own decoder validates them: what it would answer with `invalid_message` is refused here.
"""

import base64
import json
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from cli import batch, options
from cli.connection import StorageConnection, settings_option, storage_failures
from cli.times import FiniteFloat
from shared.core import envelope, jsontext
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode

SOME_REFUSED = 1
_NO_ID = "a requestId is still to be given"


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that is not a valid request: the path of the mistake, and what is expected there."""

    line: int
    path: str
    expected: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path}: {self.expected}"


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A valid request, and its text for the queue."""

    request: CheckoutRequest
    text: bytes


@click.command(name="send", short_help="Send carts to be checked out.")
@click.argument("customer_id", required=False)
@click.argument("cart_id", required=False)
@click.option("--request-id", help="The idempotency key: requests with the same key get the same outcome.")
@click.option("--correlation-id", help="A GUID that Partner Center logs, to find the call by.")
@click.option("--context", metavar="JSON", help="Any JSON; it is returned with the outcome.")
@click.option("--upn", help="The customer's user to assign the licences to.")
@click.option("--from", "source", type=click.File("rb"), metavar="FILE", help="One request a line; - is stdin.")
@click.option("--keep-going", is_flag=True, help="Send the valid lines of a file even if others are refused.")
@click.option("--wait", is_flag=True, help="Wait for the outcomes, and print them.")
@click.option(
    "--timeout",
    type=FiniteFloat(min=0),
    default=300.0,
    show_default=True,
    metavar="S",
    help="With --wait: for at most S seconds.",
)
@options.as_json
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
    connection: StorageConnection,
    **more: str | None,
) -> None:
    """Send carts to be checked out: one by its ids, or many from a file.

    A request without a requestId is given one, which is printed. If it is sent again under the same id, the cart
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
    or what else the app accepts: the same as the data of a CloudEvent, and either of them in base64.

    \b
    With --json, one object a line: requestId, customerId, cartId, eventId of each that was sent. With --wait
    then each outcome as the recorded event (it has specversion), or, if there is none yet, those four
    with outcome null and waiting: its latest POST, and what it waits for.

    \b
    Exit codes: 0 all were sent; 1 some were refused (and, without --keep-going, nothing of the file was
    sent); 2 wrong usage or settings; 3 the storage account failed, those printed were sent.
    With --wait, the highest that applies: 0 completed; 11 action_required; 12 partial; 13 failed; 14 unknown;
    15 no outcome within --timeout (the cart is still on its way: see `cart-checkout status`).
    """  # noqa: D301  \b is click's mark for lines to leave alone
    if source is None:
        if customer_id is None or cart_id is None:
            raise click.UsageError("Give CUSTOMER_ID and CART_ID, or a file with --from.")
        checked, refused = _check_lines([_request_json(customer_id, cart_id, more)])
    elif customer_id is not None or any(more.values()):
        raise click.UsageError("With --from, the requests are described by the file alone.")
    else:
        checked, refused = _check_lines(source)
    for each in refused:
        click.echo(f"Refused, {each}" if source else f"Refused: {each.path}: {each.expected}", err=True)
    if refused and not keep_going:
        if source:
            total = len(checked) + len(refused)
            click.echo(f"Nothing was sent: {len(refused)} of {total} lines are refused.", err=True)
        sys.exit(SOME_REFUSED)
    exit_code = SOME_REFUSED if refused else 0
    with storage_failures():
        _send(connection, checked, as_json=as_json)
        if wait and checked:
            from cli.wait import wait_for  # noqa: PLC0415  --help must not import an SDK

            requests = [item.request for item in checked]
            exit_code = max(exit_code, wait_for(connection, requests, timeout, as_json=as_json))
    sys.exit(exit_code)


def _check_lines(lines: Iterable[bytes]) -> tuple[list[CheckedRequest], list[RefusedLine]]:
    checked, refused = [], []
    for number, raw in enumerate(lines, 1):
        # a file may start with a byte order mark
        if text := (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip():
            found = check_line(number, text)
            checked.append(found) if isinstance(found, CheckedRequest) else refused.append(found)
    return checked, refused


def check_line(line: int, text: bytes) -> CheckedRequest | RefusedLine:
    """Decode a request as the app will: plain, in base64, or in a CloudEvent. One without an id gets one (uuid4)."""
    request = _decode(text)
    if isinstance(request, CheckoutRequest) and request.request_id == _NO_ID:
        # of the members' own texts, so numbers in `context` stay as they are
        request_id = json.dumps(str(uuid.uuid4()))
        text = jsontext.build({**request.raw_fields, "requestId": request_id}).encode()
        request = _decode(text)
    if isinstance(request, InvalidMessage):
        return RefusedLine(line, request.path, request.expected)
    if request.deferred:
        return RefusedLine(line, "$", "no `retry`: only the app's own copies have one")
    return CheckedRequest(request, envelope.json_text(text))


def _decode(text: bytes) -> CheckoutRequest | InvalidMessage:
    # A request without an id would get that of its message. Here it shows that there is none.
    return decode(text, Delivery(_NO_ID, 1, datetime.now(UTC)))


def _request_json(customer_id: str, cart_id: str, more: dict[str, str | None]) -> bytes:
    """The request that the arguments and options describe.

    Raises:
        click.BadParameter: the context is not JSON.
    """
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
            raise click.BadParameter(f"not JSON: {error}", param_hint="--context") from error
        text = f'{text[:-1]},"context":{context}}}'  # as it was typed, and so it is returned
    return text.encode(errors="surrogateescape")


def _send(connection: StorageConnection, checked: list[CheckedRequest], *, as_json: bool) -> None:
    from azure.core.exceptions import AzureError  # noqa: PLC0415  --help must not import an SDK

    sent = 0
    try:
        with connection.carts() as queue:
            for each in batch.with_progress(checked, len(checked), "Sending"):
                # in base64, because control characters would break the queue's XML
                queue.send_message(base64.b64encode(each.text).decode(), time_to_live=-1)
                sent += 1
                print(_receipt(each.request, as_json=as_json), flush=True)  # click.echo would write into the bar
    except AzureError:
        click.echo(f"{sent} of {len(checked)} were sent, those above.", err=True)
        raise


def _receipt(request: CheckoutRequest, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(batch.ids_of(request))
    return f"sent  cart {request.cart_id}  requestId {printable(request.request_id, 256)}"
