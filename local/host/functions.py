"""The functions of an app: imported, indexed through the decorators' API, and called as the Functions worker does."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import azure.functions as func
from azure.functions.decorators.queue import QueueTrigger
from azure.functions.meta import Datum
from azure.functions.queue import QueueMessageInConverter

from local.host.protocol import QueueFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from azure.functions.decorators.function_app import Function

    from local.host.protocol import Invocation

    Call = Callable[[Invocation], None]


class IndexingError(Exception):
    """A function cannot be run. The text says which and why."""


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


def index(app: func.FunctionApp) -> dict[QueueFunction, Call]:
    """Return the app's functions, and how each is called.

    Raises:
        IndexingError: The real worker or host would refuse one, or the local host does not support it.
    """
    with _quiet_indexing():
        return dict(_indexed(function) for function in app.get_functions())


def thread_count(environ: Mapping[str, str]) -> int:
    """Return the number of threads that functions run in: the setting, or the default of ThreadPoolExecutor."""
    return int(environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or min(32, (os.cpu_count() or 1) + 4))


def _indexed(function: Function) -> tuple[QueueFunction, Call]:
    name = str(function.get_function_name())
    trigger, handler = function.get_trigger(), function.get_user_function()
    if not isinstance(trigger, QueueTrigger):
        raise IndexingError(f"{name}: the local host knows only queue triggers")
    if inspect.iscoroutinefunction(handler) or [*inspect.signature(handler).parameters] != [trigger.name]:
        raise IndexingError(f"{name}: must be a plain def with one parameter, {trigger.name}")
    return QueueFunction(name, trigger.queue_name, trigger.connection or ""), _caller(handler, trigger.name)


def _caller(handler: Callable[..., Any], parameter: str) -> Call:
    """Return a call of the function with a message converted by azure-functions itself."""

    def call(invocation: Invocation) -> None:
        metadata = {name: Datum(value, kind) for name, (value, kind) in invocation.metadata.items()}
        body = Datum(invocation.body, "bytes")
        handler(**{parameter: QueueMessageInConverter.decode(body, trigger_metadata=metadata)})

    return call


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
