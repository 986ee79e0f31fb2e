"""Connections to the app's storage account, made from the app's own settings.

Only the storage settings are required: sending a cart needs neither a Partner Center tenant nor an identity.
"""

import functools
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import Command
from shared.core.jsontext import printable
from shared.core.request_fields import guid_or_none
from shared.json_files import local_settings
from shared.ports import StorageError
from shared.settings import Settings, SettingsError
from shared.storage_connection import is_connection_setting

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

    from cli.records_reader import RecordsReader
    from shared.publisher import Publisher

MAX_PEEKED = 32
"""The queue service lets a caller peek at no more than this many messages."""
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0

_STORAGE_NAMES = ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER")
_TENANT = "PARTNER_CENTER_TENANT_ID"
_IDENTITY = ("IDENTITY_", "MSI_")
"""The names of a platform's identity begin so. The shell's is not the app's of a file."""

# Without a handler the SDKs' warnings would be printed. The commands report failures in their own words.
logging.getLogger("azure").addHandler(logging.NullHandler())


class StorageFailed(click.ClickException):
    """A storage request failed, and the text says why. Exit code 3."""

    exit_code = 3

    def __init__(self, error: Exception) -> None:
        from cli.failures import describe  # noqa: PLC0415  --help must not import an SDK

        super().__init__(
            f"The storage request failed: {describe(error)}\n"
            "`cart-checkout doctor` checks every queue, the container and each permission."
        )


@contextmanager
def storage_failures() -> Iterator[None]:
    """Turn every storage error into `StorageFailed`, which ends the command.

    Raises:
        StorageFailed: a storage request failed.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  as above

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
        return ContainerClient(self.settings.storage_blob_uri or "", name, self.credential, **options)

    def _queue(self, name: str) -> "QueueClient":
        from azure.storage.queue import QueueClient  # noqa: PLC0415  as above

        options = self._options()
        if self.settings.storage_connection_string:
            return QueueClient.from_connection_string(self.settings.storage_connection_string, name, **options)
        return QueueClient(self.settings.storage_queue_uri or "", name, self.credential, **options)

    @functools.cached_property
    def credential(self) -> "TokenCredential":
        """As the app signs in: `managedidentity`, or what this machine offers, for example `az login`."""
        from shared.adapters.storage import storage_credential  # noqa: PLC0415  as above

        return storage_credential(self.settings)

    @functools.cached_property
    def _transport(self) -> "RequestsTransport":
        from shared.adapters.sdk_transport import sdk_transport  # noqa: PLC0415  as above

        return sdk_transport(CONNECT_TIMEOUT, READ_TIMEOUT)

    def _options(self) -> dict[str, Any]:
        return {
            "transport": self._transport,
            "retry_total": self._retries,
            # 1.5 seconds between two tries. The SDK's own policy would make an operator wait for 14 seconds.
            "initial_backoff": 0.5,
            "increment_base": 1,
            "random_jitter_range": 0.25,
            "connection_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
        }


def connect(values: Mapping[str, str], retries: int = 2) -> StorageConnection:
    """Connect with the storage settings among `values`. The other settings may be wrong or missing.

    Raises:
        SettingsError: the storage settings are wrong. It lists every mistake.
    """
    found = {name: value for name, value in values.items() if name in _STORAGE_NAMES or is_connection_setting(name)}
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


_file_option = click.option(
    "--settings",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A local.settings.json whose Values are the app's settings. Default: the environment.",
)


def settings_option(command: Command) -> Command:
    """Add `--settings`. The command receives a connection, as `connection`."""

    @functools.wraps(command)
    def connected(*, values: Mapping[str, str], file: Path | None, **more: Any) -> None:  # noqa: ANN401  any option
        command(connection=connect_or_fail(values, file), **more)

    return settings_file_option(connected)


def settings_file_option(command: Command) -> Command:
    """Add `--settings`. The command receives the file and the unchecked settings, as `file` and `values`."""

    @functools.wraps(command)
    def configured(*, file: Path | None, **more: Any) -> None:  # noqa: ANN401  any option
        values = read_settings(file)
        with exported(values) if file else nullcontext():
            command(values=values, file=file, **more)

    return _file_option(configured)


@contextmanager
def exported(values: Mapping[str, str]) -> Iterator[None]:
    """Export a file's settings to the environment, as `func start` does for the app.

    The SDKs look for the identity, the sign-in, proxies and authorities there alone. A platform's identity that the
    shell has is removed: it is another app's.
    """
    before = dict(os.environ)
    try:
        for name in before:
            if name.startswith(_IDENTITY):
                del os.environ[name]
        for name, value in values.items():
            with suppress(ValueError, OSError):  # what no environment can hold, not the app's either
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def read_settings(file: Path | None) -> Mapping[str, str]:
    """The unchecked settings, from a file or from the environment.

    Raises:
        click.UsageError: the file is not a local.settings.json.
    """
    if file is None:
        return os.environ
    try:
        return local_settings(file)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise click.UsageError(f"{file} is not a local.settings.json: {printable(str(reason), 200)}.") from error
