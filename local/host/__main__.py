"""The local host as a command.

python -m local.host [--app-dir .] [--settings local.settings.json]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from local.host.functions import IndexingError
from local.host.local_host import DRAIN_SECONDS, LocalHost
from local.host.protocol import WorkerFailed
from local.host.worker import LOG_FORMAT, LOG_TIMES
from local.host.worker_process import WorkerProcess
from local.process import stop_signal
from shared.host_json import queue_options
from shared.json_files import local_settings

_log = logging.getLogger("local.host")


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        0 after a stop; 1 when the app cannot be run, for the reason printed.
    """
    parser = argparse.ArgumentParser(prog="python -m local.host", description="A substitute for `func start`.")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="the folder of function_app.py and host.json")
    parser.add_argument("--settings", type=Path, help="a local.settings.json (the environment takes precedence)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, datefmt=LOG_TIMES)
    logging.getLogger("azure").setLevel(logging.WARNING)
    wait_for_stop = stop_signal()

    _log.info("this is local.host: it stands in for `func start`, it is not the Functions host")
    worker = WorkerProcess(options.app_dir)
    try:
        host = _index(worker, options.app_dir, options.settings)
    except (WorkerFailed, IndexingError, OSError, ValueError) as error:
        worker.stop()
        text = str(error) if isinstance(error, WorkerFailed) else f"{type(error).__name__}: {error}"
        print(f"no function is indexed, so messages wait: {text}", file=sys.stderr)
        return 1
    host.start()
    _log.info("started")
    wait_for_stop()
    _log.info("stopping: waiting up to %.0f s for what runs", DRAIN_SECONDS)
    if left := host.stop():
        _log.warning("%d deliveries were still running; their messages come back", left)
        logging.shutdown()
        os._exit(0)  # a normal exit would wait for the pool's threads; the worker ends with its pipe
    _log.info("stopped")
    return 0


def _index(worker: WorkerProcess, app_dir: Path, settings: Path | None) -> LocalHost:
    if settings:
        values = local_settings(settings)
        os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    options = queue_options(app_dir / "host.json")
    worker.start()
    return LocalHost(worker, options)


if __name__ == "__main__":
    sys.exit(main())
