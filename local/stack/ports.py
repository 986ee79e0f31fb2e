"""The ports of the local stack: those of the example settings, or free ones."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from local.azurite import BLOB_PORT, HOST, QUEUE_PORT


class PortTaken(Exception):
    """Another program listens on the port. The text names it, and what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen. 0 is a free port."""

    blob: int = 0
    queue: int = 0
    simulator: int = 0

    def check(self) -> None:
        """Check that each port is free.

        Raises:
            PortTaken: One is taken.
        """
        for name, port in (("blob storage", self.blob), ("queue storage", self.queue), ("simulator", self.simulator)):
            with socket.socket() as probe:
                # As the servers do: a connection that was just closed does not block the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise PortTaken(
                        f"Port {port} ({name}) is taken. Does another stack run, or Azurite by itself? "
                        "End it, or take other ports with --free-ports."
                    ) from error


FREE = Ports()
DEFAULT = Ports(BLOB_PORT, QUEUE_PORT, 10080)
"""The ports of local.settings.example.json."""
