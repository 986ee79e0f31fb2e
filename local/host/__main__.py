"""The local host as a command.

python -m local.host [--app-dir .] [--settings local.settings.json]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from pathlib import Path

from local.host.host_json import QueueOptions
from local.host.local_host import DRAIN_SECONDS, LocalHost, load
from local.process import stop_signal

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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("azure").setLevel(logging.WARNING)
    wait_for_stop = stop_signal()

    _log.info("this is local.host: it stands in for `func start`, it is not the Functions host")
    try:
        if options.settings:
            values = json.loads(options.settings.read_text(encoding="utf-8"))["Values"]
            os.environ.update({name: value for name, value in values.items() if name not in os.environ})
        host = LocalHost(load(options.app_dir), QueueOptions.from_file(options.app_dir / "host.json"))
    except Exception as error:  # noqa: BLE001 - the import of the app may raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"no function is indexed, so messages wait: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"  at {where.filename}:{where.lineno}", file=sys.stderr)
        return 1
    host.start()
    _log.info("started")
    wait_for_stop()
    _log.info("stopping: waiting up to %.0f s for what runs", DRAIN_SECONDS)
    if left := host.stop():
        _log.warning("%d deliveries were still running; their messages come back", left)
        logging.shutdown()
        os._exit(0)  # a normal exit would wait for the pool's threads
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
