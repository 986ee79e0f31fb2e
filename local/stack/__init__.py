"""The local stack: storage (Azurite), Partner Center (the simulator), and a host that runs the function app.

It is fast because of the app's settings (short retries, an early end of them) and the simulator's scale. The program
that runs is the one that is deployed.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from local.azurite import Azurite
from local.host.local_host import DRAIN_SECONDS
from local.process import ManagedProcess, child_environment
from local.simulator.server import Simulator
from local.stack.ports import DEFAULT, FREE, Ports
from local.storage import create_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "local.settings.example.json"
SCALE = 0.02
"""A minute of the real service takes 1.2 seconds."""


class Stack:
    """The local stack, as a context manager.

    Once entered, `environment` holds all app settings, and `carts`, `poison`, `outcomes` and `records` are clients of
    the queues and the container that a deployment would create.

    Args:
        settings: App settings that differ from local.settings.example.json.
        scale: The simulator's factor for all delays.
        latency: Seconds added to every checkout, unscaled.
        ports: Where the servers listen.
        azurite: A running Azurite, not stopped here. `None` starts one.
        location: The folder for the storage's data. `None` stores it in memory.
        host: Whether to run the function app. Without it, `func start` can.
        on_line: Called with each line that the host prints.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        scale: float = SCALE,
        latency: float = 0.0,
        ports: Ports = FREE,
        azurite: Azurite | None = None,
        location: Path | None = None,
        host: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        values: dict[str, str] = json.loads(EXAMPLE.read_text(encoding="utf-8"))["Values"]
        self.environment = values | dict(settings or {})
        self._scale, self._latency = scale, latency
        self._ports, self._azurite, self._location = ports, azurite, location
        self._with_host, self._on_line = host, on_line
        self._host: ManagedProcess | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start everything, and return when it is ready.

        Raises:
            PortTaken, AzuriteUnavailable, ProcessFailed: It cannot run. What was started is stopped.
        """
        with ExitStack() as stack:  # stopped in reverse order: the host first, the storage last
            self._ports.check()
            self._start_storage(stack)
            self._start_simulator(stack)
            clients = create_storage(stack, self.connection_string, self.environment)
            self.carts, self.poison, self.outcomes, self.records = clients
            if self._with_host:
                self._start_host(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def connection_string(self) -> str:
        """The storage account's connection string."""
        return self.azurite.connection_string

    @property
    def simulator_url(self) -> str:
        """The URL of the simulated Partner Center."""
        return self.simulator.url

    @property
    def host_pid(self) -> int | None:
        """The process id of the host, or `None`."""
        return self._host.pid if self._host else None

    def books(self) -> dict[str, Any]:
        """Return the simulator's report of who bought what: `{"totals": …, "carts": […]}`."""
        return self.simulator.snapshot()

    def check(self) -> None:
        """Check that the host is running.

        Raises:
            ProcessFailed: It ended by itself. The text quotes its last output.
        """
        if self._host is not None:
            self._host.check()

    def _start_storage(self, stack: ExitStack) -> None:
        if self._azurite is None:
            wanted = Azurite(self._location, queue_port=self._ports.queue, blob_port=self._ports.blob)
            self._azurite = stack.enter_context(wanted)
        self.azurite = self._azurite
        if self._ports != DEFAULT:  # else the example's `UseDevelopmentStorage=true` is right
            self.environment |= dict.fromkeys(("AzureWebJobsStorage", "CheckoutStorage"), self.connection_string)

    def _start_simulator(self, stack: ExitStack) -> None:
        tenant = self.environment["PARTNER_CENTER_TENANT_ID"]
        self.simulator = Simulator(
            tenant_id=tenant, scale=self._scale, latency=self._latency, port=self._ports.simulator
        )
        self.simulator.identity.header = self.environment["IDENTITY_HEADER"]  # the one of the example settings
        stack.enter_context(self.simulator)
        self.environment |= self.simulator.environment()

    def _start_host(self, stack: ExitStack) -> None:
        command = ("local.host", "--app-dir", str(ROOT))
        environ = child_environment() | self.environment
        self._host = ManagedProcess.of_module(*command, environ=environ, cwd=ROOT, on_line=self._on_line)
        stack.callback(self._host.terminate, DRAIN_SECONDS + 5)
        self._host.wait_until_ready("started$")
