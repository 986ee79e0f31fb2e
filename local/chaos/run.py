"""Chaos on real parts: thousands of carts while workers are killed, lines break and the service fails.

    make chaos                                   5,000 carts; the exit code is 0 only if everything holds
    make chaos ARGS="--carts 1000 --seed storm"  another run; the seed fixes what happens when
    make chaos ARGS=--json                       the report for machines

Real: Azurite (queue and blob, a process each), the local host (three processes), sockets, SIGKILL. Played: Partner
Center, by the simulator in a process of its own. All that a laptop does otherwise than a deployment is settings:
short retries, leases of seconds. What must hold is in `local.invariants`, what happens in `local.chaos.plan`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from azure.storage.blob import ContainerClient
from azure.storage.queue import LinearRetry, QueueClient
from rich.console import Console
from rich.table import Table

from local.azurite import HOST, Azurite, AzuriteUnavailable
from local.chaos.plan import Action, Kill, LineFault, Plan, Sending
from local.chaos.report import Aftermath, Log
from local.chaos.workers import CrashInjector, Workers, clean_environment, plain
from local.outcomes import OutcomeCollector
from local.process import ManagedProcess, ProcessFailed
from local.stack import EXAMPLE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.chaos.plan import Event, Line

CARTS, PROCESSES, MINUTES = 5000, 3, 15.0
SCALE, LATENCY = 0.02, 0.05
SENDERS, READERS = 2, 4
MOST_SHOWN = 20
MOST_WAITING = 400
"""More messages than this slow Azurite down for everybody: it sorts all of them at each read of a queue."""

# host.json's own values would make a quarter of an hour of a minute
_QUICKER = {"visibilityTimeout": "00:00:02", "maxPollingInterval": "00:00:01", "newBatchThreshold": 12}
_SETTINGS = {"CHECKOUT_TIMEOUT_SECONDS": "3", "RETRY_BASE_SECONDS": "1"}


class Chaos:
    """One run of a plan, as a context manager.

    Args:
        plan: What happens.
        workers: How many hosts.
        show: Called with a sentence now and then.
    """

    def __init__(self, plan: Plan, workers: int, show: Callable[[str], None]) -> None:
        """Nothing is started yet."""
        self._plan, self._count, self._show = plan, workers, show
        self._sendings = deque(event for event in plan.events if isinstance(event[1], Sending))
        self._agenda = deque(event for event in plan.events if not isinstance(event[1], Sending))
        self._endings: list[tuple[float, LineFault]] = []
        self._log = Log()
        self._done: Counter[str] = Counter()
        self._sent_at: dict[str, float] = {}
        self._sending: list[Future[None]] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            AzuriteUnavailable, ChildFailed: It cannot run; what was started is ended.
        """
        with ExitStack() as stack:
            self._azurite = stack.enter_context(Azurite(separate=True))
            simulator = self._start_simulator(stack)
            settings: dict[str, str] = json.loads(EXAMPLE.read_text(encoding="utf-8"))["Values"]
            settings |= _SETTINGS | self._plan.scale.settings | simulator
            settings["LOCAL_HOST_LEASE_SECONDS"] = str(self._plan.scale.lease)
            self._simulator = _port(settings["PARTNER_CENTER_URL"])
            self._create(stack, settings)
            self._deaths = CrashInjector(self._plan.deaths, settings)
            ports: dict[Line, int] = {
                "queue": _port(self._azurite.queue_endpoint),
                "blob": _port(self._azurite.blob_endpoint),
                "service": self._simulator,
            }
            self._workers = stack.enter_context(
                Workers(
                    self._count,
                    ports=ports,
                    settings=settings,
                    app=_quicker_app(stack),
                    deaths=self._deaths,
                    dice=lambda name: random.Random(f"{self._plan.seed} {name}"),
                    on_line=self._log.add,
                )
            )
            self._senders = stack.enter_context(ThreadPoolExecutor(SENDERS))
            self._outcomes = OutcomeCollector(self._told)
            self._outcomes.start()
            stack.callback(self._outcomes.stop)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def run(self, seconds: float) -> Aftermath:
        """Play the plan, wait until the queues are empty, and gather what is left."""
        began = time.monotonic()
        self._play(began, began + seconds)
        left = self._waiting()
        duration = time.monotonic() - began
        quiet = f"time is over; the queues hold {left}" if any(left.values()) else "all is quiet"
        self._show(f"{duration:4.0f} s  {quiet}; reading records and books")
        self._workers.end()
        self._outcomes.stop()
        records, data, notes = self._read_records()
        first = self._outcomes.first
        return Aftermath(
            plan=self._plan,
            told=self._outcomes.told,
            seconds={id_: first[id_] - at for id_, at in self._sent_at.items() if id_ in first},
            records=records,
            data=data,
            notes=notes,
            books=self._ask("GET", "/_simulator/books"),
            log=self._log,
            crashed=self._workers.crashed,
            left=left,
            deliveries=self._workers.deliveries,
            injected={
                "killed": self._workers.killed,
                "killed by a message": plain(self._deaths.counts),
                "lines": self._workers.faults,
                "service": dict(self._done),
            },
            duration=duration,
        )

    def _play(self, began: float, deadline: float) -> None:
        """Do what is due, start again what was killed; until all is sent, all is mended, and nothing waits."""
        look = spoke = began
        full = False
        pause = threading.Event()
        while (now := time.monotonic()) < deadline:
            self._do_what_is_due(now, now - began, full=full)
            self._workers.revive()
            if now >= spoke:
                spoke = now + 10.0
                self._show(f"{now - began:4.0f} s  {len(self._outcomes.first)} told, {self._workers.killed} kills")
            if now >= look:
                look = now + 0.5
                ended = not self._sendings and not self._endings and all(sent.done() for sent in self._sending)
                waiting = sum(self._waiting().values())
                full = waiting > MOST_WAITING
                if ended and not waiting:
                    break
            pause.wait(0.05)
        for sent in self._sending:
            if sent.done():
                sent.result()

    def _do_what_is_due(self, now: float, at: float, *, full: bool) -> None:
        """Send, unless too much waits already; break and mend. Once all is sent, nothing new is broken."""
        while self._sendings and not full and self._sendings[0][0] <= at:
            self._do(self._sendings.popleft()[1])
        while self._agenda and self._agenda[0][0] <= at:
            event = self._agenda.popleft()[1]
            if self._sendings or (isinstance(event, Action) and not event.kind):
                self._do(event)
                if isinstance(event, LineFault):
                    self._endings.append((now + event.seconds, event))
        for ending in [ending for ending in self._endings if ending[0] <= now]:
            self._endings.remove(ending)
            self._workers.finish(ending[1])

    def _do(self, event: Event) -> None:
        match event:
            case Sending():
                self._sent_at.setdefault(event.event_id, time.monotonic())
                self._sending.append(self._senders.submit(self._send, event))
            case Kill():
                self._done["killed at a time"] += self._workers.kill(event.worker)
            case LineFault():
                self._workers.begin(event)
            case Action():
                self._ask("POST", event.path, event.tree)
                if event.kind:
                    self._done[event.kind] += 1

    def _send(self, sending: Sending) -> None:
        queue = self._poison if sending.poison else self._carts
        queue.send_message(sending.text)

    def _waiting(self) -> dict[str, int]:
        queues = (self._carts, self._poison)
        return {queue.queue_name: queue.get_queue_properties().approximate_message_count or 0 for queue in queues}

    def _start_simulator(self, stack: ExitStack) -> dict[str, str]:
        """Start it, and return the settings that lead to it."""
        said: list[str] = []
        command = ["local.chaos.plan", "--port", "0", "--scale", str(SCALE), "--latency", str(LATENCY)]
        child = ManagedProcess.of_module(*command, environ=clean_environment(), cwd=ROOT, on_line=said.append)
        stack.callback(child.terminate, 5.0)
        child.wait_until_ready("}$")
        return dict(json.loads(said[0]))

    def _create(self, stack: ExitStack, settings: dict[str, str]) -> None:
        """Make what a deployment would make; what the run itself does there takes no line that breaks."""
        connection = self._azurite.connection_string
        # the SDK's own policy sleeps for 15 seconds and more
        patient: dict[str, Any] = {
            "use_env_settings": False,
            "retry_policy": LinearRetry(backoff=1, retry_total=20, random_jitter_range=0),
        }

        def queue(name: str) -> QueueClient:
            found = stack.enter_context(QueueClient.from_connection_string(connection, name, **patient))
            found.create_queue()
            return found

        self._carts = queue(settings["CARTS_QUEUE"])
        self._poison = queue(f"{settings['CARTS_QUEUE']}-poison")
        self._told = queue(settings["OUTCOMES_QUEUE"])
        self._records = stack.enter_context(
            ContainerClient.from_connection_string(connection, settings["RECORDS_CONTAINER"], **patient)
        )
        self._records.create_container()

    def _read_records(self) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]], int]:
        """The records by cart, the data that lies in blobs by event id, and how many notes were left."""
        names = list(self._records.list_blob_names())
        notes = [name for name in names if name.endswith(".waiting.json")]
        data = [name for name in names if name.endswith(".data.json")]
        records = sorted({*names} - {*notes} - {*data})

        def read(name: str) -> Any:  # noqa: ANN401  as JSON is
            return json.loads(self._records.download_blob(name).readall())

        with ThreadPoolExecutor(READERS) as pool:
            entries = dict(zip((name.removesuffix(".json") for name in records), pool.map(read, records), strict=True))
            by_event = {name.split("/")[2].partition(".")[0]: read(name) for name in data}
        return entries, by_event, len(notes)

    def _ask(self, method: str, path: str, tree: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self._simulator, timeout=30)
        try:
            connection.request(method, path, json.dumps(tree) if tree is not None else None)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _quicker_app(stack: ExitStack) -> Path:
    """A folder with the function app and a host.json that waits less."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
    shutil.copy(ROOT / "function_app.py", folder)
    host: dict[str, Any] = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    host["extensions"]["queues"] |= _QUICKER
    (folder / "host.json").write_text(json.dumps(host), encoding="utf-8")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Run it.

    Returns:
        0: everything held; 1: it did not, time was over, or it cannot run; 130: interrupted.
    """
    parser = argparse.ArgumentParser(prog="make chaos", description="Chaos on real parts.")
    parser.add_argument("--carts", type=int, default=CARTS, help="how many (%(default)s)")
    parser.add_argument("--seed", default="chaos", help="fixes carts, scenarios, faults and kill times")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="how many workers (%(default)s)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="what is not told by then is lost (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the report")
    options = parser.parse_args(arguments)
    if options.carts < 50 or options.processes < 1:  # noqa: PLR2004
        parser.error("at least 50 carts and one process")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: by unwinding
    console = Console(width=None if sys.stdout.isatty() else 120, quiet=options.json, highlight=False)
    plan = Plan.of(options.seed, options.carts, options.processes)
    try:
        console.print("Starting storage (Azurite), Partner Center (a simulator) and the workers ...")
        with Chaos(plan, options.processes, console.print) as chaos:
            aftermath = chaos.run(options.minutes * 60)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (AzuriteUnavailable, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1
    report = aftermath.report()
    if options.json:
        print(json.dumps(report | {"journals": aftermath.journals()}, indent=2))
    else:
        _show(report, console)
    return 0 if report["passed"] else 1


def _show(report: dict[str, Any], console: Console) -> None:
    """The report for people: a table of figures, and what does not hold."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in report.items():
        if name in ("passed", "survived", "violations", "residual", "corrections", "differing"):
            continue
        text = ", ".join(f"{key}: {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name, text)
    console.print("[bold]Survived", *(f"{count:6}  {fault}" for fault, count in report["survived"].items()), sep="\n")
    console.print()
    console.print(table)
    for name in ("corrections", "residual", "differing", "violations"):
        found = report[name]
        console.print(f"{name}: {len(found)}")
        for line in found[:MOST_SHOWN]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print()
    if report["passed"]:
        console.print(f"PASS {report['requests']} requests in {report['seconds']} s", style="bold green")
    else:
        console.print(f"FAIL {len(report['violations'])} violations", style="bold red")


if __name__ == "__main__":
    sys.exit(main())
