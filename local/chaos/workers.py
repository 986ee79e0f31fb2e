"""The instances of a chaos run: hosts, each with its worker process, behind proxies of their own. Both die.

    an instance dies    host and worker are killed. Leases end, and messages come back. `revive` starts it again
    a worker dies       its host starts another. All its invocations have failed together

Each instance has a proxy for each line. So a request names its sender, and a message that is to kill its worker kills
the one that handles it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from local.azurite import connection_string
from local.chaos.fault_proxy import Exchange, ExchangeStage, Proxies, Proxy
from local.chaos.plan import LINES, Death
from local.chaos.worker_pids import WorkerPids
from local.host.local_host import DRAIN_SECONDS
from local.process import ManagedProcess, ProcessFailed
from local.stack import ROOT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from local.chaos.crash_injector import CrashInjector
    from local.chaos.fault_proxy import Watch
    from local.chaos.plan import Line, LineFault

_DELIVERED = b"<PopReceipt>"


class Workers:
    """A context manager that runs the instances.

    `killed`: how many deaths there were. `deliveries`: how many messages were received.

    Args:
        count: How many.
        ports: Of the services behind the lines.
        settings: The app settings, without those that the proxies determine.
        app: The folder of function_app.py and host.json.
        crash_injector: Asked at each exchange whether it kills the worker.
        random_source: Returns the random source of the proxy with this name.
        on_line: Called with each line that a host prints.
    """

    def __init__(
        self,
        count: int,
        *,
        ports: Mapping[Line, int],
        settings: Mapping[str, str],
        app: Path,
        crash_injector: CrashInjector,
        random_source: Callable[[str], random.Random],
        on_line: Callable[[str], None],
    ) -> None:
        self.killed = 0
        self.deliveries = 0
        self._crashed: list[str] = []
        self._count, self._ports, self._settings, self._app = count, ports, settings, app
        self._crash_injector, self._random_source, self._on_line = crash_injector, random_source, on_line
        self._proxies: list[dict[Line, Proxy]] = []
        self._processes: list[ManagedProcess] = []
        self._dead: set[int] = set()
        self._lock = threading.Lock()
        # With a lock of its own: `revive` holds `_lock` while it waits for the threads that read the hosts' lines.
        self._pids = WorkerPids()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start the hosts.

        Raises:
            ProcessFailed: One does not start.
        """
        with ExitStack() as stack:
            proxies = stack.enter_context(Proxies())
            for worker in range(self._count):
                self._proxies.append({line: self._proxy(proxies, worker, line) for line in LINES})
            stack.callback(self.end)
            for worker in range(self._count):
                self._processes.append(self._start(worker))
            for process in self._processes:
                process.wait_until_ready("started$")
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def crashed(self) -> list[str]:
        """What hosts and workers said that ended by themselves."""
        return [*self._crashed, *self._pids.crashed]

    @property
    def faults(self) -> dict[Line, dict[str, int]]:
        """How many requests each fault affected, by line."""
        return {line: dict(sum((proxies[line].counts for proxies in self._proxies), Counter())) for line in LINES}

    def kill(self, worker: int, death: Death, pid: int | None = None) -> bool:
        """Kill an instance, or its worker process. Returns False if it has no worker, which is dead or not started.

        Args:
            worker: The number of the instance.
            death: What is killed.
            pid: Of the worker process that is meant; any, by default.
        """
        with self._lock:
            if worker in self._dead or not self._processes:
                return False
            process = self._pids.take(worker, pid)
            if process is None:
                return False
            if death is Death.INSTANCE:
                self._dead.add(worker)
                self._processes[worker].kill()
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            self.killed += 1
            return True

    def revive(self) -> None:
        """Restart the hosts that were killed, and those that ended by themselves, which `crashed` lists."""
        with self._lock:
            for worker, process in enumerate(self._processes):
                if worker not in self._dead:
                    try:
                        process.check()
                    except ProcessFailed as failed:
                        self._crashed.append(str(failed))
                        self._dead.add(worker)
            for worker in self._dead:
                self._processes[worker].terminate(0.0)
                self._pids.forget(worker)
                self._processes[worker] = self._start(worker)
            self._dead.clear()

    def end(self) -> None:
        """End all faults, let the workers finish their messages, and end them."""
        for proxies in self._proxies:
            for proxy in proxies.values():
                proxy.set()
        with self._lock:
            grace = (DRAIN_SECONDS + 5,)
            threads = [threading.Thread(target=process.terminate, args=grace) for process in self._processes]
            self._processes = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def begin(self, line_fault: LineFault) -> None:
        """Let a line fail."""
        for proxy in self._affected(line_fault):
            proxy.set(line_fault.fault)

    def finish(self, line_fault: LineFault) -> None:
        """End a line's fault."""
        for proxy in self._affected(line_fault):
            proxy.set()

    def _affected(self, line_fault: LineFault) -> list[Proxy]:
        affected = self._proxies if line_fault.worker is None else [self._proxies[line_fault.worker]]
        return [proxies[line_fault.line] for proxies in affected]

    def _start(self, worker: int) -> ManagedProcess:
        def on_line(line: str) -> None:
            self._pids.read(worker, line)
            self._on_line(line)

        proxies = self._proxies[worker]
        addresses = {
            "CheckoutStorage": connection_string(proxies["queue"].port, proxies["blob"].port),
            "PARTNER_CENTER_URL": proxies["service"].url,
            "IDENTITY_ENDPOINT": f"{proxies['service'].url}/msi/token",
        }
        return ManagedProcess.of_module(
            "local.host",
            "--app-dir",
            str(self._app),
            environ=clean_environment() | dict(self._settings) | addresses | {"PYTHONFAULTHANDLER": "1"},
            cwd=ROOT,
            on_line=on_line,
        )

    def _proxy(self, proxies: Proxies, worker: int, line: Line) -> Proxy:
        return proxies.add(
            self._ports[line],
            random_source=self._random_source(f"{line} {worker}"),
            watch=self._watch(worker, line),
            # A failed request for a token only defers a message by a minute.
            affects=(lambda exchange: exchange.target.startswith("/v1/")) if line == "service" else None,
        )

    def _watch(self, worker: int, line: Line) -> Watch:
        def watch(exchange: Exchange, stage: ExchangeStage) -> bool:
            if stage is ExchangeStage.DONE:
                if line == "queue" and exchange.method == "GET":
                    self.deliveries += exchange.response.count(_DELIVERED)
                return False
            if stage is ExchangeStage.REQUESTED:
                exchange.sender = self._pids.of(worker)
            sender = exchange.sender
            if not isinstance(sender, int):
                return False  # it is dead
            return self._crash_injector.crash_if_planned(
                line, exchange, stage, lambda: self.kill(worker, Death.WORKER, sender)
            )

        return watch


def clean_environment() -> dict[str, str]:
    """The variables that a process needs, without those that name accounts."""
    needed = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in needed if name in os.environ} | {"NO_PROXY": "*", "no_proxy": "*"}
