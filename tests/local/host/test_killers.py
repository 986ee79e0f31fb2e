"""Messages that kill their worker before any POST, and their innocent neighbours, in any host.

The real host is tested where the variable HOST_COMMAND says how to run one: a command that finds the app in its working
directory and in APP_DIR, and the app's settings in its environment, such as `func start`.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from local.chaos.workers import clean_environment
from local.demo.run import QUICK
from local.outcomes import OutcomeCollector, message_counts
from local.process import ManagedProcess
from local.simulator.scenarios import cart_id
from local.stack import ROOT, Stack
from tests.end_to_end.conftest import unique_names

if TYPE_CHECKING:
    from pathlib import Path

    from local.azurite import Azurite

PATIENCE = 240.0
HOST_COMMAND = os.environ.get("HOST_COMMAND")
HOSTS = [
    pytest.param([sys.executable, "-m", "local.host", "--app-dir"], marks=pytest.mark.chaos, id="the local host"),
    pytest.param(
        shlex.split(HOST_COMMAND or ""),
        marks=pytest.mark.skipif(not HOST_COMMAND, reason="no HOST_COMMAND: the real host is not tested"),
        id="the real host",
    ),
]
# Dies as with a segmentation fault, which no handler sees. `function_app.py` itself is the project's.
APP = f"""
import os, sys
sys.path.insert(1, {str(ROOT)!r})
from importlib.util import module_from_spec, spec_from_file_location
from shared.adapters.partner_center import PartnerCenter
from shared.records import Records

def deadly(method, carts):
    def call(self, request, *arguments, **named):
        if request.cart_id in carts:
            os._exit(139)
        return method(self, request, *arguments, **named)
    return call

Records.enter = deadly(Records.enter, os.environ["KILL_BEFORE_ENTRY"])
PartnerCenter.checkout = deadly(PartnerCenter.checkout, os.environ["KILL_BEFORE_POST"])
spec = spec_from_file_location("the_app", {str(ROOT / "function_app.py")!r})
the_app = module_from_spec(spec)
spec.loader.exec_module(the_app)
app = the_app.app
"""


@pytest.mark.parametrize("command", HOSTS)
def test_who_kills_before_any_post_is_told_failed_and_the_innocent_are_bought(
    command: list[str], azurite: Azurite, tmp_path: Path
) -> None:
    before_entry, before_post = (cart_id("created", f"{uuid.uuid4()}") for _ in range(2))
    innocent = [cart_id("slow" if number % 2 else "created", f"{uuid.uuid4()}") for number in range(10)]
    host: dict[str, Any] = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    host["extensions"]["queues"] |= {"visibilityTimeout": "00:00:02", "maxPollingInterval": "00:00:01"}
    (tmp_path / "host.json").write_text(json.dumps(host))
    (tmp_path / "function_app.py").write_text(APP)
    if "local.host" in command:
        command = [*command, str(tmp_path)]

    with ExitStack() as opened:
        stack = opened.enter_context(Stack(azurite=azurite, settings=QUICK | unique_names(), host=False))
        for cart in (before_entry, *innocent[:5], before_post, *innocent[5:]):
            stack.carts.send_message(json.dumps({"customerId": cart, "cartId": cart, "requestId": "order-1"}))
        killers = {"KILL_BEFORE_ENTRY": before_entry, "KILL_BEFORE_POST": before_post}
        places = {"APP_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        tools = {name: value for name, value in os.environ.items() if name == "WORKER_COMMAND"}
        # where both die at once in the poison queue, they are silent for a lease: the local host's may be shorter
        lease = {"LOCAL_HOST_LEASE_SECONDS": "20"}
        environ = clean_environment() | stack.environment | killers | places | tools | lease
        process = ManagedProcess(command, environ=environ, cwd=tmp_path)
        opened.callback(process.terminate, 40.0)
        told = _told(stack, process, 12)

    assert {before_entry: ("failed", "internal"), before_post: ("failed", "internal")} == {
        cart: (told[cart]["outcome"], told[cart]["error"]["class"]) for cart in (before_entry, before_post)
    }
    assert {"completed"} == {told[cart]["outcome"] for cart in innocent}
    pages = {page["cartId"]: page for page in stack.books()["carts"]}
    assert [1] * 10 == [pages[cart]["purchases"] for cart in innocent]
    assert [] == [cart for cart in (before_entry, before_post) if pages.get(cart, {}).get("posts")]


def _told(stack: Stack, process: ManagedProcess, carts: int) -> dict[str, dict[str, Any]]:
    """Wait until so many carts are told and the queues are empty. Returns the data of each cart's event."""
    outcomes = OutcomeCollector(stack.outcomes)
    told: dict[str, dict[str, Any]] = {}
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while len(told) < carts or any(message_counts(stack.carts, stack.poison).values()):
        assert time.monotonic() < deadline, f"{len(told)} carts are told:\n{process.output}"
        process.check()
        told |= {event["data"]["cartId"]: event["data"] for event in outcomes.receive()}
        pause.wait(0.2)
    return told
