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
from shared.core.errors import ErrorClass, error
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.core.outcomes import Decision, Event, Outcome, decided
from shared.core.retry import Deferral, RetryState
from shared.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Storage

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
CART = "00000001-1111-4222-8333-444444444444"
OTHER_CART = "00000002-1111-4222-8333-444444444444"
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
    """Writes what the function writes to the container: outcomes in records, and waiting notes."""

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
        return self.records.append(asked, record, decided(asked, Decision(outcome, 1, **made), at))

    def note(self, asked: CheckoutRequest, reason: str = "throttled", *, seconds: float = 60.0) -> None:
        """Write the note of a request that waits for so long."""
        now = datetime.now(UTC)
        deferral = Deferral(seconds, RetryState(attempt=2, since=now, doubt=now, reason=reason))
        self.records.note_waiting(asked, deferral, now, "ms-of-the-last-call")


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
