"""The local stack as a command.

python -m local.stack [--free-ports] [--no-host] [--scale FACTOR] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from local.azurite import AzuriteUnavailable
from local.process import ProcessFailed
from local.stack import EXAMPLE, SCALE, Stack, guide
from local.stack.ports import DEFAULT, FREE, PortTaken


def main(arguments: list[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM.

    Returns:
        0 after a stop; 1 when the stack cannot run, for the reason printed.
    """
    parser = argparse.ArgumentParser(prog="make run", description="Run the local stack until Ctrl-C.")
    parser.add_argument("--free-ports", action="store_true", help="use free ports instead of 10000, 10001 and 10080")
    parser.add_argument("--no-host", action="store_true", help="storage and simulator only, for `func start`")
    parser.add_argument(
        "--scale", type=float, default=SCALE, help="the simulator's factor for all delays (%(default)s)"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="store the storage's data there, over restarts")
    options = parser.parse_args(arguments)
    # SIGTERM unwinds like Ctrl-C, so that everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    guided = threading.Event()

    def show(line: str) -> None:
        if guided.is_set():  # the guide comes first; if the host does not start, the error quotes its output
            print(line, end="", flush=True)

    stack = Stack(
        scale=options.scale,
        ports=FREE if options.free_ports else DEFAULT,
        location=options.keep,
        host=not options.no_host,
        on_line=show,
    )
    try:
        with stack:
            settings = guide.settings_file(stack.environment, EXAMPLE, default_ports=not options.free_ports)
            guided.set()
            print(guide.text(stack.environment, settings, host=not options.no_host), flush=True)
            _wait(stack)
    except KeyboardInterrupt:
        print("Stopped.")
    except (PortTaken, AzuriteUnavailable, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _wait(stack: Stack) -> None:
    """Wait until a signal interrupts, or the host ends by itself (`check` raises)."""
    while True:
        stack.check()
        threading.Event().wait(1.0)


if __name__ == "__main__":
    sys.exit(main())
