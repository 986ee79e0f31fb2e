"""function_app.py as the host sees it: in a fresh process, with good settings and with bad ones."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.core.retry import DEATHS_BEFORE_POISON
from tests.environments.conftest import GOOD

ROOT = Path(__file__).parents[2]
SEES = """
import asyncio, json, sys
async def index():  # as the worker does: inside its event loop
    import function_app
    return function_app
app = asyncio.run(index())
functions = [
    {
        "name": function.get_function_name(),
        "trigger": function.get_trigger().get_dict_repr(),
        "bindings": len(function.get_bindings()),
    }
    for function in app.app.get_functions()
]
print(json.dumps({"functions": functions, "modules": sorted(sys.modules)}, default=lambda value: value.name))
"""
HANDLES = """
import json, sys
from datetime import datetime, timezone, timedelta
from types import SimpleNamespace
import function_app
heard = []
function_app.checkout = SimpleNamespace(handle=lambda body, delivery: heard.append((body, delivery)))
zone = timezone(timedelta(hours=1))
def message(id, dequeue_count, insertion_time, body):
    return SimpleNamespace(
        id=id, dequeue_count=dequeue_count, insertion_time=insertion_time, get_body=lambda: body
    )
full = message("m", 3, datetime(2026, 1, 1, 1, tzinfo=zone), b"1")
naive = message("n", 1, datetime(2026, 1, 1), b"2")
bare = message(None, None, None, b"3")
functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}
for delivered in (full, naive, bare):
    functions["checkout_cart"](delivered)
functions["report_poison"](full)
print(json.dumps([
    [body.decode(), d.message_id, d.dequeue_count, d.inserted_at.astimezone(timezone.utc).isoformat(), d.from_poison]
    for body, d in heard
]))
"""


def run(program: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    recorded = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-W", "error", "-c", program],
        env=recorded | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the host finds in a fresh process."""
    done = run(SEES, GOOD)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_there_are_two_functions_and_each_has_its_trigger_and_nothing_else(seen: dict[str, Any]) -> None:
    assert [(function["name"], function["bindings"]) for function in seen["functions"]] == [
        ("checkout_cart", 1),
        ("report_poison", 1),
    ]


@pytest.mark.parametrize(("index", "queue"), [(0, "%CARTS_QUEUE%"), (1, "%CARTS_QUEUE%-poison")])
def test_a_trigger_reads_bytes_from_its_queue_into_message(index: int, queue: str, seen: dict[str, Any]) -> None:
    trigger = seen["functions"][index]["trigger"]
    assert {name: str(trigger[name]) for name in ("type", "name", "queueName", "connection", "dataType")} == {
        "type": "queueTrigger",
        "name": "message",  # an underscore in it, and the host drops the function
        "queueName": queue,
        "connection": "CheckoutStorage",
        "dataType": "BINARY",
    }


@pytest.mark.parametrize(
    "module", ["aiohttp", "pydantic", "local", "tools", "tests", "pytest", "opentelemetry.sdk", "rich", "click"]
)
def test_what_a_cold_start_does_not_need_is_not_loaded(module: str, seen: dict[str, Any]) -> None:
    assert "shared" in seen["modules"]
    assert module not in seen["modules"]


def test_bad_settings_end_the_import_with_every_mistake_in_one_error() -> None:
    bad = {"CARTS_QUEUE": "Carts", "PARTNER_CENTER_URL": "https://example.org", "SETTLE_SECONDS": "soon"}
    done = run("import function_app", bad)
    assert done.returncode != 0
    assert "SettingsError" in done.stderr
    for name in (
        *bad,
        "OUTCOMES_QUEUE",
        "RECORDS_CONTAINER",
        "CheckoutStorage__queueServiceUri",
        "CheckoutStorage__blobServiceUri",
        "PARTNER_CENTER_TENANT_ID",
    ):
        assert f"  - {name} " in done.stderr


@pytest.mark.parametrize("missing", ["CheckoutStorage", "CARTS_QUEUE", "PARTNER_CENTER_TENANT_ID"])
def test_each_missing_setting_alone_keeps_the_app_from_starting(missing: str) -> None:
    done = run("import function_app", {name: value for name, value in GOOD.items() if name != missing})
    assert done.returncode != 0
    assert missing in done.stderr
    assert "c2VjcmV0" not in done.stderr


def test_too_few_threads_cause_a_warning_and_the_app_starts() -> None:
    done = run("import function_app", GOOD | {"PYTHON_THREADPOOL_THREAD_COUNT": "4"})
    assert done.returncode == 0
    assert "set PYTHON_THREADPOOL_THREAD_COUNT to 32" in done.stderr


def test_each_function_passes_on_the_body_and_the_delivery() -> None:
    done = run(HANDLES, GOOD)
    assert done.returncode == 0, done.stderr
    full, naive, bare, poison = json.loads(done.stdout)
    assert full == ["1", "m", 3, "2026-01-01T00:00:00+00:00", False]
    assert naive == ["2", "n", 1, "2026-01-01T00:00:00+00:00", False]
    assert [*bare[:3], bare[4]] == ["3", "", 1, False]
    assert poison == ["1", "m", 3, "2026-01-01T00:00:00+00:00", True]


def test_the_entry_point_is_short() -> None:
    assert len((ROOT / "function_app.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_host_json_says_what_the_program_relies_on() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    assert host["version"] == "2.0"
    assert host["functionTimeout"] == "00:10:00"
    assert host["extensionBundle"] == {
        "id": "Microsoft.Azure.Functions.ExtensionBundle",
        "version": "[4.*, 5.0.0)",
    }
    assert host["extensions"]["queues"] == {
        "batchSize": 4,
        "newBatchThreshold": 28,
        "maxDequeueCount": DEATHS_BEFORE_POISON,
        "visibilityTimeout": "00:00:30",
        "maxPollingInterval": "00:00:02",
        "messageEncoding": "none",
    }


@pytest.mark.parametrize("name", ["queue", "types", "azure", "logging", "json", "select", "token"])
def test_no_module_shadows_one_that_the_worker_needs(name: str) -> None:
    assert not (ROOT / f"{name}.py").exists()
    assert not (ROOT / name).exists()
