"""The simulated Partner Center as a command.

python -m local.simulator [--port 10080] [--tenant GUID] [--scale 0.01] [--latency SECONDS] [--idempotency strict]
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, get_args

from local.process import stop_signal
from local.simulator.carts import Idempotency
from local.simulator.server import TENANT, Simulator

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. The first line of output is the app settings that lead here, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description="A simulated Partner Center.")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 (the default) is a free one")
    parser.add_argument("--tenant", default=TENANT, help="the tenant whose tokens are accepted")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all delays (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds added to every checkout (%(default)s)")
    parser.add_argument(
        "--idempotency",
        choices=get_args(Idempotency),
        default="strict",
        help="what an MS-RequestId is worth: see local/simulator/carts.py (%(default)s)",
    )
    options = parser.parse_args(arguments)
    wait_for_stop = stop_signal()
    with Simulator(
        tenant_id=options.tenant,
        idempotency=options.idempotency,
        scale=options.scale,
        latency=options.latency,
        port=options.port,
    ) as simulator:
        print(json.dumps(simulator.environment()), flush=True)
        wait_for_stop()


if __name__ == "__main__":
    main()
