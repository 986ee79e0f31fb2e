"""function_app.py in Microsoft's own worker library: indexed, invoked, on real storage and a real socket."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.simulator import scenarios
from local.simulator.server import Simulator
from tests.conftest import Storage

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
TENANT = "7e4a9700-1111-4222-8333-444444444444"
INVOKE = Path(__file__).parent / "invoke.py"

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="azure-functions-runtime is made for Python 3.13 and newer"
)


def invoke(function: str, body: bytes, environ: dict[str, str], *options: str) -> dict[str, Any]:
    """Deliver one message in a worker of its own."""
    done = subprocess.run(  # noqa: S603  this interpreter, our own file
        [sys.executable, INVOKE, function, *options],
        input=body,
        capture_output=True,
        env={**os.environ, **environ, "PYTHON_THREADPOOL_THREAD_COUNT": "32"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def published(storage: Storage) -> dict[str, Any]:
    """The one outcome in the queue."""
    (message,) = storage.outcomes.receive_messages()
    event: dict[str, Any] = json.loads(base64.b64decode(message.content))
    return event


def test_the_worker_indexes_both_functions_with_bytes_as_their_message(storage: Storage) -> None:
    with Simulator(tenant_id=TENANT) as simulator:
        result = invoke("checkout_cart", b"nonsense", {**simulator.environment(), **storage.environ})

    assert ["checkout_cart", "report_poison"] == list(result["bindings"])
    for (binding,) in result["bindings"].values():
        assert ("queueTrigger", "message", "BINARY") == (binding["type"], binding["name"], binding["dataType"])
    assert ["%CARTS_QUEUE%", "%CARTS_QUEUE%-poison"] == [
        binding["queueName"] for (binding,) in result["bindings"].values()
    ]


@pytest.mark.parametrize("function", ["checkout_cart", "report_poison"])
def test_the_outcome_of_an_invalid_message_delivered_by_the_worker_is_published(
    storage: Storage, function: str
) -> None:
    body = b'{"dequeueCount": "x", "id": "spoofed"}'
    with Simulator(tenant_id=TENANT) as simulator:
        result = invoke(function, body, {**simulator.environment(), **storage.environ})

    assert (True, None) == (result["ok"], result["error"])
    assert "invalid_message" == published(storage)["data"]["error"]["class"]


def test_the_worker_delivers_a_cart_and_it_is_bought(storage: Storage) -> None:
    cart = scenarios.cart_id("created", "worker")
    body = json.dumps({"customerId": CUSTOMER, "cartId": cart}).encode()
    with Simulator(tenant_id=TENANT) as simulator:
        result = invoke("checkout_cart", body, {**simulator.environment(), **storage.environ})
        page = simulator.service.page(CUSTOMER, cart)

    assert (True, None) == (result["ok"], result["error"])
    event = published(storage)
    assert ("completed", "message-1") == (event["data"]["outcome"], event["data"]["requestId"])
    assert 1 == page["purchases"]
    assert 1 == simulator.identity.requests
