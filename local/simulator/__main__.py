"""See `local.simulator.server`."""

from local.simulator.server import main

main()
