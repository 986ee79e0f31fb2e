"""The storage account that the app works on, reached by the app's own settings.

Only what concerns storage is asked for: who enqueues a cart needs no tenant and no identity to pay with.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.settings import STORAGE, Settings, SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

NAMES = ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER")


class StorageFailed(click.ClickException):
    """The storage account did not do what it was asked for; the text says why. Exit code 3."""

    exit_code = 3

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The storage account did not answer as hoped: {str(error).partition(chr(10))[0]}")


class Connection:
    """Clients of the app's queues and container. They are context managers, and nothing is created."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def carts(self) -> "QueueClient":
        """The queue that carts are sent to."""
        return self._queue(self.settings.carts_queue)

    def outcomes(self) -> "QueueClient":
        """The queue that outcomes are told on."""
        return self._queue(self.settings.outcomes_queue)

    def records(self) -> "ContainerClient":
        """The container of the records."""
        from azure.storage.blob import ContainerClient  # noqa: PLC0415  a help text must not wait for an SDK

        name, options = self.settings.records_container, self._options()
        if self.settings.storage_connection_string:
            return ContainerClient.from_connection_string(self.settings.storage_connection_string, name, **options)
        return ContainerClient(self.settings.storage_blob_uri or "", name, self._credential(), **options)

    def _queue(self, name: str) -> "QueueClient":
        from azure.storage.queue import QueueClient  # noqa: PLC0415  as above

        options = self._options()
        if self.settings.storage_connection_string:
            return QueueClient.from_connection_string(self.settings.storage_connection_string, name, **options)
        return QueueClient(self.settings.storage_queue_uri or "", name, self._credential(), **options)

    def _credential(self) -> "TokenCredential":
        """As the app signs in: `managedidentity`, or whatever this machine offers (`az login`, for one)."""
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415  as above

        if self.settings.storage_credential is not None:
            return ManagedIdentityCredential(client_id=self.settings.storage_client_id)
        return DefaultAzureCredential(managed_identity_client_id=self.settings.storage_client_id)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "connection_timeout": 5, "read_timeout": 30}
        where = self.settings.storage_connection_string or self.settings.storage_queue_uri or ""
        if "http://" in where:  # the settings allow that on this machine only, where no proxy leads to
            options["use_env_settings"] = False
        return options


def connect(ctx: click.Context, parameter: click.Parameter, file: Path | None) -> Connection:
    """The value of `--settings`: a connection by this file, or by the environment.

    Raises:
        click.UsageError: the settings are missing or wrong; it lists every mistake.
    """
    del parameter
    where = f"in {file}" if file else "in the environment"
    values = _values(file) if file else os.environ
    found = {name: value for name, value in values.items() if name in NAMES or name.startswith(STORAGE)}
    try:
        # A loopback address stands for the service, which is not called: so none of its settings is required.
        return Connection(Settings.from_env(found | {"PARTNER_CENTER_URL": "http://localhost"}))
    except SettingsError as error:
        listed = "\n".join(f"  - {mistake}" for mistake in error.mistakes)
        hint = "" if file else "\nSet them as the app has them, or name a file: --settings local.settings.json"
        raise click.UsageError(f"These settings {where} must be corrected:\n{listed}{hint}", ctx) from error


settings_option = click.option(
    "--settings",
    "connection",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=connect,
    metavar="FILE",
    help="A local.settings.json whose Values are the app's settings. Without it: the environment.",
)


def _values(file: Path) -> Mapping[str, str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        values = document["Values"]
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{file} is no local.settings.json: it has no Values.") from error
    if document.get("IsEncrypted") or not isinstance(values, dict):
        raise click.UsageError(f"{file} is encrypted, or its Values are no object: `func settings decrypt` helps.")
    return {str(name): str(value) for name, value in values.items()}
