"""The programs under test: how each is started, and the message it understands."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.backend import ROOT, Backend, Stuck
from bench.service import CUSTOMER

if TYPE_CHECKING:
    from collections.abc import Mapping

THREADS = 32
_APPS = ROOT / "bench" / "apps"
_TAKEN = re.compile(r"succeeded in ([0-9.]+) s")
_CART = json.dumps({"customerId": CUSTOMER, "cartId": "{cart}", "requestId": "order-{cart}"})
_OURS_ALONE = ("CheckoutStorage", "AzureWebJobs", "PARTNER_CENTER_", "IDENTITY_", "MSI_", "RETRY_", "CHECKOUT_")


@dataclass(frozen=True, slots=True)
class Competitor:
    """One program. ``message`` is what its queue holds for one cart, ``{cart}`` standing for the cart's id."""

    name: str
    command: tuple[str, ...]
    message: str = _CART
    settings: Mapping[str, str] = field(default_factory=dict)
    threads: int = THREADS


def default_threads() -> int:
    """How many the worker has where nobody sets PYTHON_THREADPOOL_THREAD_COUNT."""
    return min(32, (os.cpu_count() or 1) + 4)


def _celery_message() -> str:
    """A task's message as Celery's protocol 2 has it on this transport, as sent by `apply_async`."""
    headers: dict[str, object] = {
        "lang": "py", "task": "checkout", "id": "{cart}", "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": "{cart}", "parent_id": None,
        "argsrepr": f"('{CUSTOMER}',)", "kwargsrepr": "{}", "origin": "bench", "ignore_result": True,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    properties = {
        "correlation_id": "{cart}", "reply_to": CUSTOMER, "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "carts"}, "body_encoding": "base64", "delivery_tag": "{cart}",
    }  # fmt: skip
    arguments = [[CUSTOMER], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


def _hosted(app: str) -> tuple[str, ...]:
    return ("-m", "bench.hosted", app)


_ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # as the deployment sets it; the tutorial sets nothing
_DEPLOYED = {**_ONE_ARENA, "PYTHON_THREADPOOL_THREAD_COUNT": str(THREADS)}
LIMIT = Competitor("limit", _hosted(str(_APPS / "limit")), settings=_DEPLOYED)
OURS = Competitor("ours", _hosted(str(ROOT)), settings=_DEPLOYED)
TUTORIAL = Competitor("tutorial", _hosted(str(_APPS / "tutorial")), threads=default_threads())
CELERY = Competitor("celery", ("-m", "bench.apps.celery.checkout_task"), _celery_message(), _ONE_ARENA)
# With 32 messages in hand its transport sleeps for a second, its default. Once all 32 are done in less, it does so
# after every 32: at 0.2 s, 28 carts per second. This one is spared that.
CELERY_AWAKE = replace(
    CELERY, name="celery_awake", settings={**_ONE_ARENA, "BENCH_CELERY_TRANSPORT": '{"polling_interval": 0.05}'}
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process says of itself: CPU seconds, bytes of memory, when, in seconds; and `bench.meter`'s `live`."""

    cpu: float
    rss: int
    peak: int
    at: float
    live: int


class Running:
    """A competitor's process, as a context manager."""

    def __init__(self, competitor: Competitor, backend: Backend, *more: str) -> None:
        """Nothing is started yet; ``more`` goes behind its command."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_OURS_ALONE)}
        for name in _DEPLOYED:
            environ.pop(name, None)
        environ |= backend.environment() | dict(competitor.settings)
        environ["NO_PROXY"] = environ["no_proxy"] = "127.0.0.1,localhost"
        environ["BENCH_QUEUE_ENDPOINT"] = backend.queue_endpoint
        self._name = competitor.name
        self._environ = environ
        self._command = [sys.executable, *competitor.command, *more]
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start it, and return when it takes messages."""
        with ExitStack() as stack:
            self._log = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".log"))
            self._process = stack.enter_context(
                subprocess.Popen(  # noqa: S603  our own command line
                    self._command,
                    cwd=ROOT,
                    env=self._environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._log,
                    text=True,
                )
            )
            self._read()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()  # its standard input ends, and so does it

    def usage(self, *, live: bool = False) -> Usage:
        """What it has used until now; `live`: its live objects are counted, too."""
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        self._process.stdin.write("live\n" if live else "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Usage:
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise Stuck(f"{self._name} ended:\n{self._said()[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return Usage(**found)

    def durations(self) -> list[float]:
        """Seconds that each call of the function took, in the order of their ends; by the host's log."""
        return [float(found) for found in _TAKEN.findall(self._said())]

    def _said(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")
