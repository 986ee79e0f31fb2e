"""Runs a function app on the local host, called in the host's own process, and serves the metrics of the process.

python -m bench.host_runner APP_DIR [--batch-size N --new-batch-threshold N]
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
from pathlib import Path

import msgspec

from bench import process_metrics
from local.host.functions import load, thread_count
from local.host.in_process_worker import InProcessWorker
from local.host.local_host import LocalHost
from shared.host_json import queue_options


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app_dir", type=Path)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--new-batch-threshold", type=int)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
    options = queue_options(args.app_dir / "host.json")
    if args.batch_size is not None:
        options = msgspec.structs.replace(
            options, batch_size=args.batch_size, new_batch_threshold=args.new_batch_threshold
        )
    LocalHost(InProcessWorker(load(args.app_dir), thread_count(os.environ)), options).start()
    process_metrics.serve()
    threading.Event().wait()


if __name__ == "__main__":
    main()
