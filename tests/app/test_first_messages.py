"""A worker that has just started is handed many messages at once, each in a thread of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRESH_WORKER = """
import sys, threading
from datetime import UTC, datetime
from shared.core.messages import CheckoutRequest, Delivery, decode

sys.setswitchinterval(1e-6)  # threads take turns as often as they can
guid = "11111111-2222-3333-4444-555555555555"
body = f'{{"customerId":"{guid}","cartId":"{guid}","retry":{{"attempt":1}}}}'.encode()
together, found = threading.Barrier(16), []


def first_message():
    together.wait()
    found.append(decode(body, Delivery("m-1", 1, datetime.now(UTC))))


threads = [threading.Thread(target=first_message) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert [CheckoutRequest] * 16 == [type(each) for each in found], found
"""


@pytest.mark.parametrize("worker", range(12))
def test_a_fresh_worker_survives_its_first_messages(worker: int) -> None:
    # msgspec prepares a type at its first use; two threads at once brought two of three workers down here
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-X", "faulthandler", "-c", FRESH_WORKER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, f"worker {worker}: {done.stderr}"
