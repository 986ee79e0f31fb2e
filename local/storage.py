"""Creates the queues and the container that a deployment would create."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from azure.storage.queue import LinearRetry


class StorageClients(NamedTuple):
    """Clients of the app's queues and of its container of records."""

    carts: QueueClient
    poison: QueueClient
    outcomes: QueueClient
    records: ContainerClient


def create_storage(
    stack: ExitStack, connection_string: str, settings: Mapping[str, str], retry_policy: LinearRetry | None = None
) -> StorageClients:
    """Create the queues and the container that `settings` name, where they are missing.

    Args:
        stack: Closes the clients.
        connection_string: Of the storage account.
        settings: The app settings.
        retry_policy: Of each client. `None` is the default of the SDK.
    """
    options: dict[str, Any] = {"use_env_settings": False}  # a proxy of the shell does not reach this machine
    if retry_policy is not None:
        options["retry_policy"] = retry_policy

    def queue(name: str) -> QueueClient:
        client = stack.enter_context(QueueClient.from_connection_string(connection_string, name, **options))
        with suppress(ResourceExistsError):
            client.create_queue()
        return client

    carts = settings["CARTS_QUEUE"]
    container = settings["RECORDS_CONTAINER"]
    records = stack.enter_context(ContainerClient.from_connection_string(connection_string, container, **options))
    with suppress(ResourceExistsError):
        records.create_container()
    return StorageClients(queue(carts), queue(f"{carts}-poison"), queue(settings["OUTCOMES_QUEUE"]), records)
