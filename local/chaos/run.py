"""Runs a chaos plan on real parts and collects the evidence.

Azurite (queue and blob in a process each), the local hosts, the sockets and SIGKILL are real. Partner Center is the
simulator, in a process of its own. Only settings differ from those of a deployment: short retries, and leases of
seconds.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from azure.storage.queue import LinearRetry

from local.azurite import HOST, Azurite
from local.chaos.crash_injector import CrashInjector
from local.chaos.evidence import Evidence, WorkerLog
from local.chaos.fault_table import InjectedFaults
from local.chaos.plan import Action, ChaosPlan, Death, Kill, LineFault, PlannedMessage, ServiceFault
from local.chaos.workers import Workers, clean_environment
from local.outcomes import OutcomeCollector, data_of, message_counts
from local.process import ManagedProcess
from local.stack import EXAMPLE, ROOT
from local.storage import create_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.storage.queue import QueueMessage

    from local.chaos.plan import Line, PlannedEvent
    from local.outcomes import Event

SCALE, LATENCY = 0.02, 0.05
SENDERS, READERS = 2, 4
MAX_WAITING = 400
"""With more messages Azurite slows down: it sorts all of them at each read of a queue."""
QUIET_SECONDS = 15.0
"""How long the queues are empty before a run ends without the second requests of carts that have no outcome."""

# With the values of host.json a run of a minute would take a quarter of an hour. What failed in the poison queue comes
# back when its lease ends, what failed in the carts queue after visibilityTimeout: as on Azure the first takes twenty
# times as long. Otherwise a poison message meets each of a killer's five deliveries, and is over maxDequeueCount.
_QUICKER = {"visibilityTimeout": "00:00:01", "maxPollingInterval": "00:00:01", "newBatchThreshold": 12}
_SETTINGS = {"CHECKOUT_TIMEOUT_SECONDS": "3", "RETRY_BASE_SECONDS": "1"}


class ChaosRun:
    """One run of a plan, as a context manager.

    Args:
        plan: What happens.
        workers: How many hosts.
        show: Called with a line of progress now and then.
    """

    def __init__(self, plan: ChaosPlan, workers: int, show: Callable[[str], None]) -> None:
        self._plan, self._count, self._show = plan, workers, show
        self._messages = deque(event for event in plan.events if isinstance(event[1], PlannedMessage))
        self._faults = deque(event for event in plan.events if not isinstance(event[1], PlannedMessage))
        self._endings: list[tuple[float, LineFault]] = []
        self._log = WorkerLog()
        self._later: list[PlannedMessage] = []
        self._seen = 0
        self._told: set[str] = set()
        self._kills: Counter[Death] = Counter()
        self._service_faults: Counter[ServiceFault] = Counter()
        self._sent_at: dict[str, float] = {}
        self._sending: list[tuple[str, Future[QueueMessage]]] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            AzuriteUnavailable, ProcessFailed: It cannot run; what was started is ended.
        """
        with ExitStack() as stack:
            self._azurite = stack.enter_context(Azurite(separate=True))
            simulator = self._start_simulator(stack)
            settings: dict[str, str] = json.loads(EXAMPLE.read_text(encoding="utf-8"))["Values"]
            settings |= _SETTINGS | self._plan.intensity.settings | simulator
            settings["LOCAL_HOST_LEASE_SECONDS"] = str(self._plan.intensity.lease)
            self._simulator_url = settings["PARTNER_CENTER_URL"]
            # The default policy of the SDK sleeps for 15 seconds and more.
            retries = LinearRetry(backoff=1, retry_total=20, random_jitter_range=0)
            clients = create_storage(stack, self._azurite.connection_string, settings, retry_policy=retries)
            self._carts, self._poison, outcomes_queue, self._records = clients
            self._crash_injector = CrashInjector(self._plan.crashes, settings)
            ports: dict[Line, int] = {
                "queue": _port(self._azurite.queue_endpoint),
                "blob": _port(self._azurite.blob_endpoint),
                "service": _port(self._simulator_url),
            }
            self._workers = stack.enter_context(
                Workers(
                    self._count,
                    ports=ports,
                    settings=settings,
                    app=_quicker_app(stack),
                    crash_injector=self._crash_injector,
                    random_source=lambda name: random.Random(f"{self._plan.seed} {name}"),
                    on_line=self._log.add,
                )
            )
            self._senders = stack.enter_context(ThreadPoolExecutor(SENDERS))
            self._outcomes = OutcomeCollector(outcomes_queue)
            self._outcomes.start()
            stack.callback(self._outcomes.stop)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def run(self, seconds: float) -> Evidence:
        """Run the plan, wait until the queues are empty or the time is over, and collect the evidence."""
        started = time.monotonic()
        self._play(started, started + seconds)
        left = self._waiting()
        duration = time.monotonic() - started
        state = f"time is over, the queues hold {left}" if any(left.values()) else "the queues are empty"
        self._show(f"{duration:4.0f} s  {state}; reading records and books")
        self._workers.end()
        self._outcomes.stop()
        books = self._control("/_simulator/books")
        published = self._outcomes.events
        message_ids: defaultdict[str, list[str]] = defaultdict(list)
        for name, sent in self._sending:
            message_ids[name].append(sent.result().id)
        return Evidence(
            plan=self._plan,
            published=published,
            sent_at=self._sent_at,
            first_seen=self._outcomes.first_seen,
            message_ids=message_ids,
            records=self._read_records(),
            data={event["id"]: data_of(event, self._records) for event in published if "data" not in event},
            books=books,
            log=self._log,
            crashed=self._workers.crashed,
            left=left,
            deliveries=self._workers.deliveries,
            injected=InjectedFaults(
                kills=self._kills,
                crashes=self._crash_injector.counts,
                lines=self._workers.faults,
                service=self._service_faults | {ServiceFault.THROTTLING: books["totals"]["throttled"]},
            ),
            duration=duration,
        )

    def _play(self, started: float, deadline: float) -> None:
        """Do what is due and restart what was killed, until all is sent, no line fails, and no message is left."""
        next_look = next_line = started
        full, quiet_since = False, started
        pause = threading.Event()
        while (now := time.monotonic()) < deadline:
            self._do_what_is_due(now, now - started, full=full)
            self._workers.revive()
            if now >= next_line:
                next_line = now + 10.0
                outcomes = len(self._outcomes.first_seen)
                self._show(f"{now - started:4.0f} s  {outcomes} outcomes, {self._workers.killed} kills")
            if now >= next_look:
                next_look = now + 0.5
                ended = not self._messages and not self._endings and all(sent.done() for _, sent in self._sending)
                waiting = sum(self._waiting().values())
                full = waiting > MAX_WAITING
                quiet_since = quiet_since if ended and not waiting else now
                # a second request whose first one was lost is never sent: the run must end all the same
                if ended and not waiting and (not self._later or now - quiet_since > QUIET_SECONDS):
                    break
            pause.wait(0.05)

    def _do_what_is_due(self, now: float, at: float, *, full: bool) -> None:
        """Send unless the queue is full, begin faults and end them. Once all is sent, no fault begins any more."""
        self._send_second_requests()
        while self._messages and not full and self._messages[0][0] <= at:
            self._do(self._messages.popleft()[1])
        while self._faults and self._faults[0][0] <= at:
            event = self._faults.popleft()[1]
            if self._messages or (isinstance(event, Action) and event.fault is None):
                self._do(event)
                if isinstance(event, LineFault):
                    self._endings.append((now + event.seconds, event))
        for ending in [ending for ending in self._endings if ending[0] <= now]:
            self._endings.remove(ending)
            self._workers.finish(ending[1])

    def _send_second_requests(self) -> None:
        """Send those whose cart has an outcome by now."""
        events = self._outcomes.events
        while self._seen < len(events):
            self._told.add(events[self._seen].get("subject", "").rpartition("/")[2])
            self._seen += 1
        due = [message for message in self._later if message.after in self._told]
        for message in due:
            self._later.remove(message)
            self._send(message)

    def _send(self, message: PlannedMessage) -> None:
        self._sent_at.setdefault(message.name, time.monotonic())
        queue = self._poison if message.poison else self._carts
        self._sending.append((message.name, self._senders.submit(queue.send_message, message.text)))

    def _do(self, event: PlannedEvent) -> None:
        match event:
            case PlannedMessage():
                if event.after is None:
                    self._send(event)
                else:
                    self._later.append(event)
            case Kill():
                self._kills[event.death] += self._workers.kill(event.worker, event.death)
            case LineFault():
                self._workers.begin(event)
            case Action():
                self._control(event.path, event.body)
                if event.fault is not None:
                    self._service_faults[event.fault] += 1

    def _waiting(self) -> dict[str, int]:
        return message_counts(self._carts, self._poison)

    def _start_simulator(self, stack: ExitStack) -> dict[str, str]:
        """Start the simulator, and return the settings with its address."""
        command = ["local.simulator", "--port", "0", "--scale", str(SCALE), "--latency", str(LATENCY)]
        command += ["--idempotency", self._plan.idempotency]
        process = ManagedProcess.of_module(*command, environ=clean_environment(), cwd=ROOT)
        stack.callback(process.terminate, 5.0)
        return dict(json.loads(process.wait_until_ready("^{.*}$")[0]))

    def _read_records(self) -> dict[str, list[Event]]:
        """The entries of the records by `{customerId}/{cartId}`."""
        records = [name for name in self._records.list_blob_names() if not name.endswith(".data.json")]

        def read(name: str) -> list[Event]:
            return list(json.loads(self._records.download_blob(name).readall()))

        with ThreadPoolExecutor(READERS) as pool:
            entries = pool.map(read, records)
            return dict(zip((name.removesuffix(".json") for name in records), entries, strict=True))

    def _control(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a GET to a control path of the simulator, or a POST where there is a body."""
        connection = http.client.HTTPConnection(HOST, _port(self._simulator_url), timeout=30)
        try:
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _quicker_app(stack: ExitStack) -> Path:
    """A folder with the function app and a host.json with shorter waits."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
    shutil.copy(ROOT / "function_app.py", folder)
    host: dict[str, Any] = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    host["extensions"]["queues"] |= _QUICKER
    (folder / "host.json").write_text(json.dumps(host), encoding="utf-8")
    return folder
