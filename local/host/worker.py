"""The worker: loads the function app and runs its functions for the host at the other end of a pipe.

`local.host.worker_process` starts it as `python -m local.host.worker FD APP_DIR`.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from local.host.functions import index, load, thread_count
from local.host.protocol import InvocationResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.host.functions import Call
    from local.host.protocol import Invocation, QueueFunction

LOG_FORMAT, LOG_TIMES = "%(asctime)s %(message)s", "%H:%M:%S"


def main() -> int:
    """Run until the host ends this worker.

    Returns:
        0 when the host asked for it; 1 when the app cannot be loaded, which the host is told.
    """
    faulthandler.enable()  # a crash in native code says where, and the host only that it happened
    number, app_dir = sys.argv[1:]
    connection = Connection(int(number))
    os.set_inheritable(connection.fileno(), False)  # else a child of the app would keep the pipe open
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, datefmt=LOG_TIMES)
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        functions = index(load(Path(app_dir)))
    except Exception as error:  # noqa: BLE001 - the import of the app may raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        connection.send(f"{type(error).__name__}: {error}\n  at {where.filename}:{where.lineno}")
        return 1
    serve(connection, functions, thread_count(os.environ))
    return 0


def serve(connection: Connection, functions: Mapping[QueueFunction, Call], threads: int) -> None:
    """Tell the host the functions, and run them until it asks to stop.

    Args:
        connection: To the host.
        functions: Each function and how it is called.
        threads: How many functions run at once. More invocations wait, as in the Functions worker.
    """
    calls = {function.name: call for function, call in functions.items()}
    sending = threading.Lock()

    def run(invocation: Invocation) -> None:
        error = None
        try:
            calls[invocation.function](invocation)
        except (SystemExit, KeyboardInterrupt):
            os._exit(1)  # the Functions worker ends too: they end its event loop
        except BaseException:  # noqa: BLE001 - whatever it is, the host must be told
            error = traceback.format_exc()
        with sending, suppress(OSError):  # without a host, the loop below ends the process
            connection.send(InvocationResult(invocation.id, error))

    with sending:
        connection.send(tuple(functions))
    with ThreadPoolExecutor(threads, thread_name_prefix="function") as pool:
        while True:
            try:
                invocation = connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the host is dead. What runs must not go on: the instance is gone
            if invocation is None:
                return
            pool.submit(run, invocation)


if __name__ == "__main__":
    sys.exit(main())
