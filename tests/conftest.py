"""Fixtures of many tests: the real Azurite, and in it queues and a container of their own."""

from __future__ import annotations

import os
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from hypothesis import settings

from local.azurite import Azurite, AzuriteUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("unhurried", deadline=None)  # a busy machine is no defect
if not os.environ.get("CI"):  # there hypothesis chooses its own: no deadline either, and the same examples each time
    settings.load_profile("unhurried")


@dataclass(frozen=True, slots=True)
class Storage:
    """One test's queues and container, under names that no other test has."""

    connection_string: str
    carts: QueueClient
    poison: QueueClient
    outcomes: QueueClient
    records: ContainerClient

    @property
    def environ(self) -> dict[str, str]:
        """The app settings that name them."""
        return {
            "CheckoutStorage": self.connection_string,
            "CARTS_QUEUE": self.carts.queue_name,
            "OUTCOMES_QUEUE": self.outcomes.queue_name,
            "RECORDS_CONTAINER": self.records.container_name,
        }


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azurite in memory, for the whole session. Absent: skipped on a laptop, failed in CI."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(Azurite())
        except AzuriteUnavailable as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield running


@contextmanager
def new_storage(azurite: Azurite) -> Iterator[Storage]:
    """Three empty queues and an empty container."""
    carts = f"carts-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:

        def queue(name: str) -> QueueClient:
            client = stack.enter_context(QueueClient.from_connection_string(azurite.connection_string, name))
            client.create_queue()
            return client

        records = stack.enter_context(
            ContainerClient.from_connection_string(azurite.connection_string, f"{carts}-records")
        )
        records.create_container()
        yield Storage(
            azurite.connection_string,
            carts=queue(carts),
            poison=queue(f"{carts}-poison"),
            outcomes=queue(f"{carts}-outcomes"),
            records=records,
        )


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[Storage]:
    """Three empty queues and an empty container, made for this test alone."""
    with new_storage(azurite) as made:
        yield made
