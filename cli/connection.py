"""Connections to the app's storage account, made from the app's own settings.

Only the storage settings are required: sending a cart needs neither a Partner Center tenant nor an identity.
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
from shared.core.request_fields import guid_or_none
from shared.ports import StorageError
from shared.settings import STORAGE, Settings, SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

    from cli.records_reader import RecordsReader
    from shared.publisher import Publisher

MAX_PEEKED = 32
"""The queue service lets a caller peek at no more than this many messages."""

_STORAGE_NAMES = ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER")
_TENANT = "PARTNER_CENTER_TENANT_ID"
_QUERY = re.compile(r"\?\S+")

# Without a handler the SDKs' warnings would be printed. The commands report failures in their own words.
logging.getLogger("azure").addHandler(logging.NullHandler())


class StorageFailed(click.ClickException):
    """A storage request failed, and the text says why. Exit code 3."""

    exit_code = 3

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"The storage request failed: {describe(error)}\n"
            "`cart-checkout doctor` checks every queue, the container and each permission."
        )


def describe(error: Exception) -> str:
    """The first line of an SDK's error, without query strings, which may hold a signature."""
    return printable(_QUERY.sub("?…", str(error).partition("\n")[0]), 300)


@contextmanager
def storage_failures() -> Iterator[None]:
    """Turn every storage error into `StorageFailed`, which ends the command.

    Raises:
        StorageFailed: a storage request failed.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  --help must not import an SDK

    try:
        yield
    except (AzureError, StorageError) as error:
        raise StorageFailed(error) from error


class StorageConnection:
    """Creates clients of the app's queues and container. The clients are context managers."""

    def __init__(self, settings: Settings, retries: int = 2) -> None:
        self.settings = settings
        self._retries = retries

    def carts(self) -> "QueueClient":
        """The queue that producers send carts to."""
        return self._queue(self.settings.carts_queue)

    def poison(self) -> "QueueClient":
        """The queue that the host moves messages to after five failed deliveries."""
        return self._queue(self.settings.poison_queue)

    def outcomes(self) -> "QueueClient":
        """The queue that outcomes are published to."""
        return self._queue(self.settings.outcomes_queue)

    @contextmanager
    def publisher(self) -> "Iterator[Publisher]":
        """The app's own publisher, connected to the three queues."""
        from shared.adapters.storage import AzureQueue  # noqa: PLC0415  --help must not import an SDK
        from shared.publisher import Publisher  # noqa: PLC0415  as above

        with self.outcomes() as outcomes, self.carts() as carts, self.poison() as poison:
            yield Publisher(AzureQueue(outcomes), AzureQueue(carts), AzureQueue(poison))

    @contextmanager
    def reader(self) -> "Iterator[RecordsReader]":
        """A reader of the records."""
        from cli.records_reader import RecordsReader  # noqa: PLC0415  as above

        with self.records() as container:
            yield RecordsReader(container)

    def records(self) -> "ContainerClient":
        """The container of the records."""
        from azure.storage.blob import ContainerClient  # noqa: PLC0415  as above

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
        """As the app signs in: `managedidentity`, or what this machine offers, for example `az login`."""
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415  as above

        if self.settings.storage_credential is not None:
            return ManagedIdentityCredential(client_id=self.settings.storage_client_id)
        return DefaultAzureCredential(managed_identity_client_id=self.settings.storage_client_id)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "retry_total": self._retries,
            # 1.5 seconds between two tries. The SDK's own policy would make an operator wait for 14 seconds.
            "initial_backoff": 0.5,
            "increment_base": 1,
            "random_jitter_range": 0.25,
            "connection_timeout": 5,
            "read_timeout": 30,
        }
        where = self.settings.storage_connection_string or self.settings.storage_queue_uri or ""
        if "http://" in where:  # the settings allow http on this machine only, so no proxy applies
            options["use_env_settings"] = False
        return options


def connect(values: Mapping[str, str], retries: int = 2) -> StorageConnection:
    """Connect with the storage settings among `values`. The other settings may be wrong or missing.

    Raises:
        SettingsError: the storage settings are wrong. It lists every mistake.
    """
    found = {name: value for name, value in values.items() if name in _STORAGE_NAMES or name.startswith(STORAGE)}
    if tenant := guid_or_none(values.get(_TENANT, "").strip()):  # Microsoft support asks for it
        found[_TENANT] = tenant
    # With a loopback URL, none of the Partner Center settings is required.
    return StorageConnection(Settings.from_env(found | {"PARTNER_CENTER_URL": "http://localhost"}), retries)


def connect_or_fail(values: Mapping[str, str], file: Path | None) -> StorageConnection:
    """Connect with the settings of this file, or with those of the environment.

    Raises:
        click.UsageError: the settings are missing or wrong. It lists every mistake.
    """
    try:
        return connect(values)
    except SettingsError as error:
        raise settings_failure(error, file) from error


def settings_failure(error: SettingsError, file: Path | None) -> click.UsageError:
    """The error that ends a command whose settings are missing or wrong."""
    where = f"in {file}" if file else "in the environment"
    listed = "\n".join(f"  - {mistake}" for mistake in error.mistakes)
    hint = "" if file else "\nSet them as the app has them, or name a file: --settings local.settings.json"
    return click.UsageError(f"These settings {where} must be corrected:\n{listed}{hint}")


def _connect_option(ctx: click.Context, parameter: click.Parameter, file: Path | None) -> StorageConnection:
    """The value of `--settings`: a connection, from this file or from the environment."""
    del ctx, parameter
    return connect_or_fail(read_settings(file), file)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HELP = "A local.settings.json whose Values are the app's settings. Default: the environment."

settings_option = click.option(
    "--settings", "connection", type=_FILE, callback=_connect_option, metavar="FILE", help=_HELP
)
settings_file_option = click.option("--settings", "file", type=_FILE, metavar="FILE", help=_HELP)


def read_settings(file: Path | None) -> Mapping[str, str]:
    """The unchecked settings, from a file or from the environment.

    Raises:
        click.UsageError: the file is not a local.settings.json.
    """
    if file is None:
        return os.environ
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        values = document["Values"]
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{file} is not a local.settings.json: it has no Values.") from error
    if document.get("IsEncrypted") or not isinstance(values, dict):
        raise click.UsageError(
            f"{file} is encrypted, or its Values are not an object. `func settings decrypt` decrypts it."
        )
    return {str(name): str(value) for name, value in values.items()}
