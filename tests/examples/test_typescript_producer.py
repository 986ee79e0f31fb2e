"""The producer in TypeScript, as Node runs it, against a real queue."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Storage
from tests.examples.typescript_producer import ProducerUnavailable, run
from tests.support.builders import CART, CUSTOMER, accepted

FIXTURE = Path(__file__).parents[1] / "contract" / "fixtures" / "producers" / "typescript-queue-client.txt"
FIXTURE_CART = "00000001-0000-4000-8000-000000000001"


def node(folder: Path, *command: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it. Absent: skipped on a laptop, failed in CI."""
    try:
        return run(folder, *command, environ=environ)
    except ProducerUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def test_what_the_typescript_producer_sends_is_a_request_that_never_expires(storage: Storage, tmp_path: Path) -> None:
    sent = node(tmp_path, "producer.ts", CUSTOMER, CART, "order-4711", environ=storage.environ)

    assert (0, "") == (sent.returncode, sent.stdout), sent.stderr
    (message,) = storage.carts.receive_messages()
    request = accepted(message.content.encode())
    assert (CUSTOMER, CART, "order-4711") == (request.customer_id, request.cart_id, request.request_id)
    assert '{"sentBy":"producer.ts"}' == request.context
    assert message.expires_on is not None
    assert message.expires_on.year > 9000


def test_the_fixture_is_what_the_typescript_producer_puts_into_the_queue(storage: Storage, tmp_path: Path) -> None:
    customer = "c0ffee00-1111-4222-8333-444444444444"
    node(tmp_path, "producer.ts", customer, FIXTURE_CART, "order-1", environ=storage.environ)

    (message,) = storage.carts.receive_messages()
    assert FIXTURE.read_text(encoding="utf-8") == message.content


def test_the_typescript_producer_says_what_it_needs(tmp_path: Path) -> None:
    failed = node(tmp_path, "producer.ts", CUSTOMER)
    assert 1 == failed.returncode
    assert "CUSTOMER_ID CART_ID REQUEST_ID" in failed.stderr


def test_the_typescript_producer_passes_the_strict_compiler(tmp_path: Path) -> None:
    checked = node(tmp_path, "node_modules/typescript/bin/tsc", "-p", "tsconfig.json")
    assert (0, "") == (checked.returncode, checked.stdout)
