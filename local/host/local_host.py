"""A small Functions host: a substitute for `func start` where Core Tools cannot be installed.

It reads host.json and the app settings, and runs the queue triggers that its worker has indexed with the real host's
delivery semantics (`local.host.listener`). The functions run in the worker, a process of its own as on Azure
(`local.host.worker_process`).

Not supported: other triggers, output bindings, `functionTimeout`, scaling, message decoding (`messageEncoding` must be
`none`). A body is always passed as bytes, as with `data_type=BINARY`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from azure.core.pipeline.transport import RequestsTransport
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.storage.queue import ExponentialRetry, QueueServiceClient

from local.azurite import connection_string
from local.host.functions import IndexingError
from local.host.listener import LEASE_SECONDS, Listener
from shared.adapters.http_session import Adapter, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.queue import QueueMessage

    from local.host.protocol import QueueFunction, Worker
    from shared.host_json import QueueOptions

DRAIN_SECONDS = 30.0
QUEUES_EXTENSION = "5.3.7"
"""The version of the queues extension that is followed: that of extension bundle 4.38."""

_log = logging.getLogger("local.host")


class LocalHost:
    """Runs a function app's queue triggers, as a context manager or by `start` and `stop`.

    Args:
        worker: Runs the functions. It is started, and is ended by `stop`.
        options: host.json's queue options.
        environ: The app settings. `None` takes the process's environment.

    Raises:
        IndexingError: A setting that a function names is missing.
        ValueError: An option is not supported.
    """

    def __init__(self, worker: Worker, options: QueueOptions, environ: Mapping[str, str] | None = None) -> None:
        if options.message_encoding != "none":
            raise ValueError(f'messageEncoding is {options.message_encoding}; the local host knows only "none"')
        if options.dynamic_concurrency:
            raise ValueError("dynamicConcurrencyEnabled is true; the local host knows only a fixed concurrency")
        self._worker, self._options = worker, options
        environ = os.environ if environ is None else environ
        # one for each message that the listeners hold: how many functions run at once is the worker's affair
        threads = options.in_flight * max(1, len(worker.functions))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="message")
        # a connection for each thread, and for those that fetch and renew leases
        self._session: Any = Session(Adapter(pool_maxsize=threads + 8))
        self._listeners = [self._listener(function, environ) for function in worker.functions]
        _log.info("%s", options)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start fetching from every queue."""
        for listener in self._listeners:
            listener.start()

    def stop(self, timeout: float = DRAIN_SECONDS) -> int:
        """Stop fetching, wait for the calls in progress, and end the worker.

        Returns:
            The number of calls that still run after `timeout` seconds. Their worker is not ended, but dies with this
            process: then their messages are delivered again when their leases end.
        """
        deadline = time.monotonic() + timeout
        for listener in self._listeners:
            listener.stop()
        self._worker.retire()
        left = sum(listener.drain(max(0.0, deadline - time.monotonic())) for listener in self._listeners)
        self._pool.shutdown(wait=not left, cancel_futures=True)
        if not left:
            self._worker.stop()
            self._session.close()
        return left

    def _listener(self, function: QueueFunction, environ: Mapping[str, str]) -> Listener:
        queue_name = resolve(function.queue_name, environ).lower()
        service = self._service(function.connection, environ)
        poison = None if queue_name.endswith("-poison") else service.get_queue_client(f"{queue_name}-poison")
        _log.info("%s: listens on %s", function.name, queue_name)

        def call(message: QueueMessage) -> None:
            self._worker.invoke(function.name, message.content.encode(), _metadata(message))

        return Listener(
            name=function.name,
            queue=service.get_queue_client(queue_name),
            poison=poison,
            call=call,
            pool=self._pool,
            options=self._options,
            lease_seconds=float(environ.get("LOCAL_HOST_LEASE_SECONDS") or LEASE_SECONDS),
            skips_over_limit=_skips_over_limit(environ.get("LOCAL_HOST_QUEUES_EXTENSION") or QUEUES_EXTENSION),
        )

    def _service(self, connection: str, environ: Mapping[str, str]) -> QueueServiceClient:
        """Return a client for a trigger's `connection`: a connection string, or identity-based."""
        name = connection or "AzureWebJobsStorage"
        common: dict[str, Any] = {
            "transport": RequestsTransport(session=self._session, session_owner=False),
            "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=2, random_jitter_range=1),
            "connection_timeout": 5,
            "read_timeout": 30,
        }
        if text := environ.get(name):
            if text.replace(" ", "").rstrip(";").lower() == "usedevelopmentstorage=true":
                text = connection_string()
            return QueueServiceClient.from_connection_string(text, **common)
        if uri := environ.get(f"{name}__queueServiceUri"):
            client_id = environ.get(f"{name}__clientId")
            managed = environ.get(f"{name}__credential", "").lower() == "managedidentity"
            credential = ManagedIdentityCredential(client_id=client_id) if managed else DefaultAzureCredential()
            return QueueServiceClient(uri, credential=credential, **common)
        raise IndexingError(f"the connection {name} is set neither as {name} nor as {name}__queueServiceUri")


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `%NAME%` by that setting's value.

    Raises:
        IndexingError: There is no such setting.
    """

    def setting(match: re.Match[str]) -> str:
        if value := environ.get(match[1]):
            return value
        raise IndexingError(f"{text}: the setting {match[1]} is missing")

    return re.sub(r"%([^%]+)%", setting, text)


def _skips_over_limit(version: str) -> bool:
    """Whether that version of the queues extension never calls the function again. 5.3.8 mended it."""
    return [int(part) for part in version.split(".")] < [5, 3, 8]


def _metadata(message: QueueMessage) -> dict[str, tuple[str, str]]:
    """Return the trigger metadata as the host sends them: strings as they are, all else as JSON."""
    times = {
        "InsertionTime": message.inserted_on,
        "ExpirationTime": message.expires_on,
        "NextVisibleTime": message.next_visible_on,
    }
    return {
        "Id": (str(message.id), "string"),
        "PopReceipt": (str(message.pop_receipt), "string"),
        "DequeueCount": (json.dumps(message.dequeue_count), "json"),
        **{name: (json.dumps(at.isoformat()), "json") for name, at in times.items() if at is not None},
    }
