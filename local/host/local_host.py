"""A small Functions host: a substitute for `func start` where Core Tools cannot be installed.

It indexes `function_app.py` through the decorators' API, reads host.json and the app settings, and runs the queue
triggers with the real host's delivery semantics (`local.host.listener`) on the worker's thread model: one pool of
`PYTHON_THREADPOOL_THREAD_COUNT` threads for all functions.

Not supported: other triggers, output bindings, `functionTimeout`, scaling, message decoding (`messageEncoding` must be
`none`). A body is always passed as bytes, as with `data_type=BINARY`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import azure.functions as func
from azure.core.pipeline.transport import RequestsTransport
from azure.functions.decorators.queue import QueueTrigger
from azure.functions.meta import Datum
from azure.functions.queue import QueueMessageInConverter
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.storage.queue import ExponentialRetry, QueueServiceClient

from local.azurite import connection_string
from local.host.listener import LEASE_SECONDS, Listener
from shared.adapters.http_session import Adapter, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from azure.functions.decorators.function_app import Function
    from azure.storage.queue import QueueMessage

    from local.host.host_json import QueueOptions

DRAIN_SECONDS = 30.0

_log = logging.getLogger("local.host")


class IndexingError(Exception):
    """A function cannot be run. The text says which and why."""


class LocalHost:
    """Runs a function app's queue triggers, as a context manager or by `start` and `stop`.

    Args:
        app: The function app.
        options: host.json's queue options.
        environ: The app settings. `None` takes the process's environment.

    Raises:
        IndexingError: A function cannot be indexed.
    """

    def __init__(self, app: func.FunctionApp, options: QueueOptions, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        # the worker's default, which is that of ThreadPoolExecutor
        threads = int(environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or min(32, (os.cpu_count() or 1) + 4))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="function")
        # a connection for each thread, and for those that fetch and renew leases
        self._session: Any = Session(Adapter(pool_maxsize=threads + 8))
        with _quiet_indexing():
            functions = app.get_functions()
        self._listeners = [self._listener(function, options, environ) for function in functions]
        _log.info("%d threads, %s", threads, options)

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
        """Stop fetching, and wait for the calls in progress.

        Returns:
            The number of calls that still run after `timeout` seconds. Their messages are delivered again when
            their leases end.
        """
        deadline = time.monotonic() + timeout
        for listener in self._listeners:
            listener.stop()
        left = sum(listener.drain(max(0.0, deadline - time.monotonic())) for listener in self._listeners)
        self._pool.shutdown(wait=not left, cancel_futures=True)
        if not left:
            self._session.close()
        return left

    def _listener(self, function: Function, options: QueueOptions, environ: Mapping[str, str]) -> Listener:
        name = str(function.get_function_name())
        trigger, handler = function.get_trigger(), function.get_user_function()
        if not isinstance(trigger, QueueTrigger):
            raise IndexingError(f"{name}: the local host knows only queue triggers")
        if inspect.iscoroutinefunction(handler) or [*inspect.signature(handler).parameters] != [trigger.name]:
            raise IndexingError(f"{name}: must be a plain def with one parameter, {trigger.name}")
        queue_name = resolve(trigger.queue_name, environ).lower()
        service = self._service(trigger.connection, environ)
        poison = None if queue_name.endswith("-poison") else service.get_queue_client(f"{queue_name}-poison")
        _log.info("%s: listens on %s", name, queue_name)
        return Listener(
            name=name,
            queue=service.get_queue_client(queue_name),
            poison=poison,
            call=_caller(handler, trigger.name),
            pool=self._pool,
            options=options,
            lease_seconds=float(environ.get("LOCAL_HOST_LEASE_SECONDS") or LEASE_SECONDS),
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


def load(app_dir: Path) -> func.FunctionApp:
    """Import `function_app.py` and return the function app it defines.

    Raises:
        IndexingError: It defines none, or several.
        Exception: The import failed.
    """
    sys.path.insert(0, str(app_dir.resolve()))
    module = importlib.import_module("function_app")
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len(apps) != 1:
        raise IndexingError(f"function_app.py defines {len(apps)} function apps instead of one")
    return apps[0]


def _caller(handler: Callable[..., Any], parameter: str) -> Callable[[QueueMessage], None]:
    """Return a call of the function with a message converted by azure-functions itself."""

    def call(message: QueueMessage) -> None:
        body = Datum(message.content.encode(), "bytes")
        handler(**{parameter: QueueMessageInConverter.decode(body, trigger_metadata=_metadata(message))})

    return call


def _metadata(message: QueueMessage) -> dict[str, Datum]:
    """Return the trigger metadata as the host sends them: strings as they are, all else as JSON."""
    times = {
        "InsertionTime": message.inserted_on,
        "ExpirationTime": message.expires_on,
        "NextVisibleTime": message.next_visible_on,
    }
    return {
        "Id": Datum(message.id, "string"),
        "PopReceipt": Datum(message.pop_receipt, "string"),
        "DequeueCount": Datum(json.dumps(message.dequeue_count), "json"),
        **{name: Datum(json.dumps(at.isoformat()), "json") for name, at in times.items() if at is not None},
    }


@contextmanager
def _quiet_indexing() -> Iterator[None]:
    """Keep `get_functions` from warning about HTTP auth levels and from adding a handler to the root logger."""
    root, silent = logging.getLogger(), logging.NullHandler()

    def relevant(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Auth level is not applied")

    root.addHandler(silent)
    root.addFilter(relevant)
    try:
        yield
    finally:
        root.removeFilter(relevant)
        root.removeHandler(silent)
