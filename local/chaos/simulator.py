"""The simulator of a chaos run, with scenarios for the carts that two requests ask for.

    python -m local.chaos.simulator --port 0 --scale 0.02

Carts with one request are simulated strictly: a second MS-RequestId buys them again, and the books show it. With two
requests, the function relies on the service's promise of idempotency by cart (docs/failures.md). So these carts play
scenarios that keep this promise, which are numbered 1000 higher.
"""

from __future__ import annotations

from dataclasses import replace

from local.simulator.__main__ import main as run_simulator
from local.simulator.scenarios import BY_NAME, BY_NUMBER

_OFFSET = 1000
_FOR_TWO_REQUESTS = ("created", "dropped-before", "dropped-after", "plain-503", "partial", "fault-403-900323", "slow")
DOCUMENTED = {
    name: replace(BY_NAME[name], number=BY_NAME[name].number + _OFFSET, documented=True) for name in _FOR_TWO_REQUESTS
}
"""The scenarios of carts with two requests, by name."""


def main() -> None:
    """Run the simulator with these scenarios added."""
    BY_NUMBER.update({scenario.number: scenario for scenario in DOCUMENTED.values()})
    run_simulator()


if __name__ == "__main__":
    main()
