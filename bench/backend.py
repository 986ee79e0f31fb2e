"""The services that the competitors use: the stub alone, or Azurite for storage and the stub for the rest."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from bench import ROOT
from bench.stub import certificate
from bench.stub.service import IDENTITY_HEADER, TENANT
from local.azurite import HOST, Azurite, connection_string
from local.process import ManagedProcess

WAIT_SECONDS = 300.0
"""How long a competitor may take for the next step of its work."""
_STOP_SECONDS = 5.0


class MeasurementFailed(Exception):
    """The competitor did not complete its workload, so there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class StubState:
    """The counters of the stub since the last reset.

    Attributes:
        answered: Checkouts that were answered.
        waited: The sum of their latencies in seconds.
        carts: Different carts that were checked out.
        transactions: Requests to the stub's storage. Azurite's are not counted.
        cpu: CPU seconds of the stub's process.
        at: Seconds of the stub's clock.
    """

    answered: int
    waited: float
    carts: int
    transactions: int
    cpu: float
    at: float


class Backend:
    """A running back end, as a context manager.

    Args:
        azurite: Storage is Azurite, in memory; else the stub.
        tls: The stub speaks TLS, as Azure does; not with Azurite.
    """

    def __init__(self, *, azurite: bool = False, tls: bool = False) -> None:
        self._azurite = Azurite() if azurite else None
        self._tls = tls
        self._bundle: Path | None = None
        self._ports: dict[str, int] = {}
        self._runs = 0
        self._names = _names(0)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start it."""
        with ExitStack() as stack:
            module = ["bench.stub"]
            if self._tls:
                own, self._bundle = certificate.make(Path(stack.enter_context(tempfile.TemporaryDirectory())))
                module += ["--certificate", str(own)]
            stub = ManagedProcess.of_module(*module, environ=os.environ, cwd=ROOT)
            stack.callback(stub.terminate, _STOP_SECONDS)
            self._ports = json.loads(stub.wait_until_ready(r"^\{.*\}$")[0])
            if self._azurite is not None:
                stack.enter_context(self._azurite)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def connection_string(self) -> str:
        """The connection string of the storage account."""
        if self._azurite is not None:
            return self._azurite.connection_string
        return connection_string(self._ports["queue"], self._ports["blob"], "https" if self._tls else "http")

    @property
    def queue_endpoint(self) -> str:
        """The address of the queue service."""
        return self._endpoint("Queue")

    @property
    def blob_endpoint(self) -> str:
        """The address of the blob service."""
        return self._endpoint("Blob")

    @property
    def service_port(self) -> int:
        """The port of Partner Center."""
        return self._ports["service"]

    def _endpoint(self, service: str) -> str:
        parts = dict(part.split("=", 1) for part in self.connection_string.rstrip(";").split(";"))
        return parts[f"{service}Endpoint"]

    def environment(self) -> dict[str, str]:
        """The app settings with which a program uses this back end."""
        scheme = "https" if self._tls else "http"
        settings = {
            "CheckoutStorage": self.connection_string,
            "PARTNER_CENTER_URL": f"{scheme}://{HOST}:{self.service_port}",
            "PARTNER_CENTER_TENANT_ID": TENANT,
            "IDENTITY_ENDPOINT": f"http://{HOST}:{self._ports['control']}/msi/token",
            "IDENTITY_HEADER": IDENTITY_HEADER,
            **self._names,
        }
        return settings if self._bundle is None else {**settings, "REQUESTS_CA_BUNDLE": str(self._bundle)}

    def prepare(self, latency: float, sigma: float = 0.0, storage: float = 0.0) -> None:
        """Make new empty queues and a new container, and set the latencies.

        Args:
            latency: Seconds that a checkout takes, on average.
            sigma: Above 0, checkouts take lognormal times.
            storage: Seconds that each request to the stub's storage takes.
        """
        self._runs += 1
        self._names = _names(self._runs)
        self._control("reset")
        self._control("latency", mean=latency, sigma=sigma, storage=storage)
        if self._azurite is not None:  # Azurite slows down with every message, to a quarter within five rounds
            self._azurite.stop()
            self._azurite.start()
        verify = str(self._bundle) if self._bundle else True
        with QueueServiceClient.from_connection_string(self.connection_string, connection_verify=verify) as queues:
            for name in (self._names["CARTS_QUEUE"], f"{self._names['CARTS_QUEUE']}-poison"):
                queues.create_queue(name)
            queues.create_queue(self._names["OUTCOMES_QUEUE"])
        with BlobServiceClient.from_connection_string(self.connection_string, connection_verify=verify) as blobs:
            blobs.create_container(self._names["RECORDS_CONTAINER"])

    def feed(self, message: str, depth: int) -> None:
        """Keep `depth` messages ready in the stub's queue; into Azurite's, put so many once.

        Args:
            message: The text, in which `{cart}` is replaced by the id of a new cart.
            depth: The number of messages.
        """
        queue = self._names["CARTS_QUEUE"]
        if self._azurite is None:
            self._control("feed", queue=queue, text=message, depth=depth)
            return
        with (
            QueueServiceClient.from_connection_string(self.connection_string) as queues,
            ThreadPoolExecutor(8) as pool,
        ):
            client = queues.get_queue_client(queue)
            carts = (f"{number:08x}-0000-4000-8000-{self._runs:012x}" for number in range(depth))
            for sent in pool.map(lambda cart: client.send_message(message.replace("{cart}", cart)), carts):
                assert sent.id  # noqa: S101  raises what failed in a thread

    def stop_feeding(self) -> None:
        """Put no more messages into the stub's queue, and empty it."""
        if self._azurite is None:
            self._control("feed", queue=self._names["CARTS_QUEUE"], text="", depth=0)

    def wait(self, answered: int) -> StubState:
        """Return as soon as the service has answered so many checkouts.

        Raises:
            MeasurementFailed: it has not within `WAIT_SECONDS`.
        """
        return self._state("GET", f"wait?answered={answered}")

    def _control(self, command: str, **arguments: object) -> StubState:
        return self._state("POST", command, json.dumps(arguments))

    def _state(self, method: str, command: str, body: str | None = None) -> StubState:
        connection = http.client.HTTPConnection(HOST, self._ports["control"], timeout=WAIT_SECONDS)
        try:
            connection.request(method, f"/_stub/{command}", body)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        except TimeoutError as error:
            raise MeasurementFailed(f"{command} was not reached in {WAIT_SECONDS:.0f} s") from error
        finally:
            connection.close()
        return StubState(**found)


def _names(run: int) -> dict[str, str]:
    return {
        "CARTS_QUEUE": f"carts-{run}",
        "OUTCOMES_QUEUE": f"checkout-outcomes-{run}",
        "RECORDS_CONTAINER": f"checkout-records-{run}",
    }
