"""The operator's command, run in this process against queues that only one test has."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from local.simulator.server import Simulator
from shared.adapters.storage import AzureBlobs
from shared.core.cart_state import CartState, enter
from shared.core.errors import ErrorClass, error
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import Decision, Event, Outcome, decided, timestamp
from shared.core.state_metadata import from_metadata, to_metadata
from shared.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shared.core.rules import Record
    from tests.conftest import Storage

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
CART = "00000001-1111-4222-8333-444444444444"
OTHER_CART = "00000002-1111-4222-8333-444444444444"
THIRD_CART = "00000003-1111-4222-8333-444444444444"
RESULT = '{"orders": [{"id": "4711",\n "totalPrice": 36.480}]}'
"""With a line break and a zero that parsing would lose."""


@pytest.fixture
def settings(storage: Storage, tmp_path: Path) -> Path:
    """A local.settings.json that names this test's queues."""
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": storage.environ}))
    return file


@pytest.fixture
def run(settings: Path) -> Callable[..., Result]:
    """Run `cart-checkout VERB --settings FILE ...`; `given` is its standard input."""

    def invoke(verb: str, *arguments: str, given: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, [verb, "--settings", str(settings), *arguments], input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Partner Center, and an identity for this process."""
    with Simulator(scale=0.01) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


class Function:
    """Writes what the function writes to the container: records with outcomes and a working state."""

    def __init__(self, storage: Storage) -> None:
        self.records = Records(AzureBlobs(storage.records))

    def record(
        self,
        asked: CheckoutRequest,
        outcome: Outcome = Outcome.COMPLETED,
        error_class: ErrorClass | None = None,
        *,
        hours_ago: float = 0.5,
        **more: Any,
    ) -> Event:
        """Decide a request so long ago, and record it."""
        found = error(error_class, "The service said no.", code="800089") if error_class else None
        ids: dict[str, str | int] = {"status": 201, "requestId": "ms-request", "correlationId": "ms-corr", "cv": "cv.0"}
        made = {"result": None if found else RESULT, "error": found, "response": ids} | more
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        record = self.records.load(asked.customer_id, asked.cart_id)
        state = {} if record.etag else to_metadata(CartState())
        event = decided(asked, Decision(outcome, 1, **made), at)
        return self.records.append(asked, record, event, state or None)

    def correct(self, asked: CheckoutRequest, *earlier: Event, outcome: Outcome = Outcome.COMPLETED) -> Event:
        """Append the correction that a later answer, or an operator, leads to."""
        record = self.records.load(asked.customer_id, asked.cart_id)
        found = Decision(outcome, 2, RESULT if outcome is Outcome.COMPLETED else None)
        return self.records.append(asked, record, decided(asked, found, datetime.now(UTC), corrects=earlier))

    def post(self, asked: CheckoutRequest, reason: str | None = None, *, hours_ago: float = 0.0, **more: Any) -> None:
        """Enter a POST so long ago; with a reason, note that its answer leads to a deferral."""
        now = datetime.now(UTC) - timedelta(hours=hours_ago)
        about: dict[str, Any] = {} if reason is None else {"reason": reason, "attempt": 2, **noted(now, **more)}
        record = self.records.load(asked.customer_id, asked.cart_id)
        state = enter(self.state(record), asked.event_id, now, delivery="message/1")
        self.records.enter(asked, record, to_metadata(state, about))

    def leave(self, asked: CheckoutRequest, state: CartState) -> None:
        """Write this state into the cart's record, which is there."""
        record = self.records.load(asked.customer_id, asked.cart_id)
        self.records.mark(asked, record, to_metadata(state))

    def state(self, record: Record) -> CartState:
        """The state that a record carries."""
        return from_metadata(record.metadata, record.last_modified) if record.last_modified else CartState()


def noted(now: datetime, *, seconds: float = 60.0) -> dict[str, str]:
    """What the function notes for operators beside a POST that it will make again so many seconds later."""
    ids = {"msRequestId": "ms-of-the-last-call", "msCorrelationId": "corr-of-the-last-call"}
    return {"since": timestamp(now), "nextAt": timestamp(now + timedelta(seconds=seconds)), **ids}


@pytest.fixture
def function(storage: Storage) -> Function:
    return Function(storage)


def asked(request_id: str = "order-4711", cart: str = CART, **more: Any) -> CheckoutRequest:
    """A request, as a producer sends it."""
    body = {"customerId": CUSTOMER, "cartId": cart, "requestId": request_id, **more}
    return understood(json.dumps(body))


def understood(text: str) -> CheckoutRequest:
    """A message as the function decodes it. Fails where it is not a valid request."""
    found = decode(text.encode(), Delivery("", 1, datetime.now(UTC)))
    assert isinstance(found, CheckoutRequest), found
    return found


def texts(queue: Any) -> list[str]:
    """The messages in a queue, decoded from base64."""
    return [base64.b64decode(message.content).decode() for message in queue.peek_messages(32)]


def lines(result: Result) -> list[dict[str, Any]]:
    """The JSON objects that were printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]
