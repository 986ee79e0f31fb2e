"""The stub on real sockets, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

import pytest

from bench.stub.server import Stub
from local.azurite import HOST, connection_string

if TYPE_CHECKING:
    from collections.abc import Iterator


class RunningStub:
    """A stub that serves, with its addresses."""

    def __init__(self) -> None:
        self.stub = Stub()
        self.ports: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def _run(self) -> None:
        self.ports = self._loop.run_until_complete(self.stub.serve())
        self._ready.set()
        self._loop.run_forever()
        for server in self.stub.servers:
            server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    @property
    def connection_string(self) -> str:
        return connection_string(self.ports["queue"], self.ports["blob"])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports['service']}"


@pytest.fixture(scope="session")
def running_stub() -> Iterator[RunningStub]:
    with RunningStub() as running:
        yield running
