"""The storage account that the app works on, reached by the app's own settings.

Only what concerns storage is asked for: who enqueues a cart needs no tenant and no identity to pay with.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.core.jsontext import printable
from shared.core.messages import guid_or_none
from shared.ports import StorageError
from shared.settings import STORAGE, Settings, SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

NAMES = ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER")
_TENANT = "PARTNER_CENTER_TENANT_ID"
_QUERY = re.compile(r"\?\S+")

# What the SDKs warn of, and would print for want of a handler, is told by the verbs in their own words.
logging.getLogger("azure").addHandler(logging.NullHandler())


class StorageFailed(click.ClickException):
    """The storage account did not do what it was asked for; the text says why. Exit code 3."""

    exit_code = 3

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"The storage account did not answer as hoped: {said(error)}\n"
            "`cart-checkout doctor` tries every queue, the container and each right."
        )


def said(error: Exception) -> str:
    """What an SDK says of a failure: its first line, without the query of an address, where a signature stands."""
    return printable(_QUERY.sub("?…", str(error).partition("\n")[0]), 300)


@contextmanager
def storage_failures() -> Iterator[None]:
    """Let every failure of the storage account end the verb with the text and the exit code of `StorageFailed`."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  a help text must not wait for an SDK

    try:
        yield
    except (AzureError, StorageError) as error:
        raise StorageFailed(error) from error


class Connection:
    """Clients of the app's queues and container. They are context managers, and nothing is created."""

    def __init__(self, settings: Settings, retries: int = 2) -> None:
        self.settings = settings
        self._retries = retries

    def carts(self) -> "QueueClient":
        """The queue that carts are sent to."""
        return self._queue(self.settings.carts_queue)

    def poison(self) -> "QueueClient":
        """The queue that the host puts those into which failed too often."""
        return self._queue(self.settings.poison_queue)

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
        options: dict[str, Any] = {
            "retry_total": self._retries,
            # a second and a half between two tries: the SDK's own policy would keep an operator waiting for 14
            "initial_backoff": 0.5,
            "increment_base": 1,
            "random_jitter_range": 0.25,
            "connection_timeout": 5,
            "read_timeout": 30,
        }
        where = self.settings.storage_connection_string or self.settings.storage_queue_uri or ""
        if "http://" in where:  # the settings allow that on this machine only, where no proxy leads to
            options["use_env_settings"] = False
        return options


def for_storage(values: Mapping[str, str], retries: int = 2) -> Connection:
    """A connection by the storage settings among these; the others may be wrong or missing.

    Raises:
        SettingsError: one of those is; it lists every mistake.
    """
    found = {name: value for name, value in values.items() if name in NAMES or name.startswith(STORAGE)}
    if tenant := guid_or_none(values.get(_TENANT, "").strip()):  # told to Microsoft support, where it is known
        found[_TENANT] = tenant
    # A loopback address stands for the service, which is not called: so none of its settings is required.
    return Connection(Settings.from_env(found | {"PARTNER_CENTER_URL": "http://localhost"}), retries)


def connect(ctx: click.Context, parameter: click.Parameter, file: Path | None) -> Connection:
    """The value of `--settings`: a connection by this file, or by the environment.

    Raises:
        click.UsageError: the settings are missing or wrong; it lists every mistake.
    """
    del parameter
    where = f"in {file}" if file else "in the environment"
    try:
        return for_storage(values_of(file))
    except SettingsError as error:
        listed = "\n".join(f"  - {mistake}" for mistake in error.mistakes)
        hint = "" if file else "\nSet them as the app has them, or name a file: --settings local.settings.json"
        raise click.UsageError(f"These settings {where} must be corrected:\n{listed}{hint}", ctx) from error


SETTINGS_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HELP = "A local.settings.json whose Values are the app's settings. Without it: the environment."

settings_option = click.option(
    "--settings", "connection", type=SETTINGS_FILE, callback=connect, metavar="FILE", help=_HELP
)
file_option = click.option("--settings", "file", type=SETTINGS_FILE, metavar="FILE", help=_HELP)


def values_of(file: Path | None) -> Mapping[str, str]:
    """The settings as they stand in a file, or else in the environment.

    Raises:
        click.UsageError: the file is no local.settings.json.
    """
    if file is None:
        return os.environ
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        values = document["Values"]
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{file} is no local.settings.json: it has no Values.") from error
    if document.get("IsEncrypted") or not isinstance(values, dict):
        raise click.UsageError(f"{file} is encrypted, or its Values are no object: `func settings decrypt` helps.")
    return {str(name): str(value) for name, value in values.items()}
