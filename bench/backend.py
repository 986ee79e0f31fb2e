"""What the programs talk to: the stub alone, or Azurite for storage and the stub for all else."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from bench import certificate
from bench.service import HEADER, TENANT
from local.azurite import Azurite, connection_string

if TYPE_CHECKING:
    from bench.competitor import Competitor

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
PATIENCE = 300.0
"""Seconds after which a program that does not get on has failed."""


class Stuck(Exception):
    """The program under test did not do what it was given to do."""


@dataclass(frozen=True, slots=True)
class State:
    """What the stub has seen since the last reset; ``cpu`` and ``at`` are seconds of its own clocks."""

    answered: int
    waited: float
    carts: int
    told: dict[str, int]
    tokens: int
    cpu: float
    at: float


class Backend:
    """A running back end, as a context manager.

    Args:
        azurite: Storage is Azurite, in memory; else the stub.
        tls: The stub speaks TLS, as Azure does; not with Azurite.
    """

    def __init__(self, *, azurite: bool = False, tls: bool = False) -> None:
        """Nothing is started yet."""
        self._azurite = Azurite() if azurite else None
        self._tls = tls
        self._bundle: Path | None = None
        self._ports: dict[str, int] = {}
        self._names = _names(0)
        self._runs = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start it."""
        with ExitStack() as stack:
            command = [sys.executable, "-m", "bench.stub"]
            if self._tls:
                own, self._bundle = certificate.make(Path(stack.enter_context(tempfile.TemporaryDirectory())))
                command += ["--certificate", str(own)]
            stub = stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
            )
            assert stub.stdout is not None  # noqa: S101  it is a pipe
            self._ports = json.loads(stub.stdout.readline())
            if self._azurite is not None:
                stack.enter_context(self._azurite)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def connection_string(self) -> str:
        """Of the storage account."""
        if self._azurite is not None:
            return self._azurite.connection_string
        return connection_string(self._ports["queue"], self._ports["blob"], "https" if self._tls else "http")

    @property
    def queue_endpoint(self) -> str:
        """Of the queue service."""
        pairs = dict(part.split("=", 1) for part in self.connection_string.rstrip(";").split(";"))
        return pairs["QueueEndpoint"]

    @property
    def service_port(self) -> int:
        """Where Partner Center listens."""
        return self._ports["service"]

    def environment(self) -> dict[str, str]:
        """The app settings that lead here."""
        scheme = "https" if self._tls else "http"
        settings = {
            "CheckoutStorage": self.connection_string,
            "PARTNER_CENTER_URL": f"{scheme}://{HOST}:{self.service_port}",
            "PARTNER_CENTER_TENANT_ID": TENANT,
            "IDENTITY_ENDPOINT": f"http://{HOST}:{self._ports['control']}/msi/token",
            "IDENTITY_HEADER": HEADER,
            **self._names,
        }
        return settings if self._bundle is None else {**settings, "REQUESTS_CA_BUNDLE": str(self._bundle)}

    def prepare(self, latency: float, sigma: float = 0.0, storage: float = 0.0) -> None:
        """Empty queues and an empty container; the latency, in seconds, of the service and of the stub's storage."""
        self._runs += 1
        self._names = _names(self._runs)
        self._control("reset")
        self._control("latency", mean=latency, sigma=sigma, storage=storage)
        if self._azurite is not None:  # or it would bear a quarter after five rounds, for all that they left
            self._azurite.stop()
            self._azurite.start()
        verify = str(self._bundle) if self._bundle else True
        with QueueServiceClient.from_connection_string(self.connection_string, connection_verify=verify) as queues:
            for name in (self._names["CARTS_QUEUE"], f"{self._names['CARTS_QUEUE']}-poison"):
                queues.create_queue(name)
            queues.create_queue(self._names["OUTCOMES_QUEUE"])
        with BlobServiceClient.from_connection_string(self.connection_string, connection_verify=verify) as blobs:
            blobs.create_container(self._names["RECORDS_CONTAINER"])

    def feed(self, competitor: Competitor, depth: int) -> None:
        """The stub keeps ``depth`` messages ready from now on; into Azurite so many are put, once."""
        queue, text = self._names["CARTS_QUEUE"], competitor.message
        if self._azurite is None:
            self._control("feed", queue=queue, text=text, depth=depth)
            return
        with (
            QueueServiceClient.from_connection_string(self.connection_string) as queues,
            ThreadPoolExecutor(8) as pool,
        ):
            client = queues.get_queue_client(queue)
            carts = (f"{number:08x}-0000-4000-8000-{self._runs:012x}" for number in range(depth))
            for done in pool.map(lambda cart: client.send_message(text.replace("{cart}", cart)), carts):
                assert done.id  # noqa: S101  it was taken

    def starve(self) -> None:
        """No more messages."""
        if self._azurite is None:
            self._control("feed", queue=self._names["CARTS_QUEUE"], text="", depth=0)

    def wait(self, answered: int) -> State:
        """Return as soon as the service has answered so many checkouts.

        Raises:
            Stuck: it has not, in five minutes.
        """
        return self._state("GET", f"wait?answered={answered}")

    def _control(self, command: str, **arguments: object) -> State:
        return self._state("POST", command, json.dumps(arguments))

    def _state(self, method: str, command: str, body: str | None = None) -> State:
        connection = http.client.HTTPConnection(HOST, self._ports["control"], timeout=PATIENCE)
        try:
            connection.request(method, f"/_stub/{command}", body)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        except TimeoutError as error:
            raise Stuck(f"nothing came of {command} in {PATIENCE:.0f} s") from error
        finally:
            connection.close()
        return State(**found)


def _names(run: int) -> dict[str, str]:
    return {
        "CARTS_QUEUE": f"carts-{run}",
        "OUTCOMES_QUEUE": f"checkout-outcomes-{run}",
        "RECORDS_CONTAINER": f"checkout-records-{run}",
    }
