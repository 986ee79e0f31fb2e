"""The doctor's check of storage: whose permissions, which there are, and whether queues and container exist."""

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, HttpResponseError

from cli.checks import Finding
from cli.checks.permissions import IMMUTABLE, Target, check_permissions, container_permissions, queue_permissions
from cli.connection import StorageConnection, connect
from cli.failures import describe
from shared.adapters.identity import claims
from shared.core.jsontext import printable
from shared.settings import SettingsError
from shared.storage_connection import STORAGE

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

SCOPE = "https://storage.azure.com/.default"
_NO_IDENTITY = (
    f"No identity for storage. On Azure: is {STORAGE}__clientId assigned to the app? On a laptop: `az login`, and "
    f"settings without {STORAGE}__credential."
)
_OF_THE_APP = (
    "The app's rights may be others. To try them, run this with the app's own settings where its identity is: "
    "docs/operations.md, First. `az role assignment list --assignee` its client id lists them."
)


def check_storage(values: Mapping[str, str]) -> Iterator[Finding]:
    """Check the three queues and the container."""
    try:
        connection = connect(values, retries=0)  # a failure is reported at once
    except SettingsError:
        yield Finding("storage", "skipped", "not checked", "Correct the storage settings first.")
        return
    if not (yield from _check_caller(connection)):
        return
    yield from _check_queues(connection)
    with connection.records() as container:
        name, role = str(container.container_name), "Storage Blob Data Contributor"
        target = Target("container", name, "RECORDS_CONTAINER", role, "rwdlc", frozenset({"list"}))
        yield from check_permissions(target, container_permissions(container))
        yield from check_changeable(container)


def check_changeable(container: "ContainerClient") -> Iterator[Finding]:
    """Check that nothing forbids to change a record that is there.

    No call that takes no effect would show it: what is protected is a blob that exists.
    """
    try:
        found = container.get_container_properties()
    except HttpResponseError as error:
        if error.status_code == 403 and getattr(error, "error_code", None):  # noqa: PLR2004  the account's own 403
            yield Finding("storage.immutable", "skipped", "not checked: no right to read the container's properties")
        return  # whatever else it is, the permissions have shown it
    except AzureError:
        return
    if found.has_immutability_policy or found.has_legal_hold:
        kind = "a legal hold" if found.has_legal_hold else "an immutability policy"
        told = f"{container.container_name}: {kind} forbids to change records: carts are bought, and none is told"
        yield Finding("storage.immutable", "failed", told, IMMUTABLE)


def _check_caller(connection: StorageConnection) -> Generator[Finding, None, bool]:
    """Whose rights are checked. False if it is nobody who can sign in."""
    settings = connection.settings
    if settings.storage_connection_string:
        yield Finding("storage", "ok", "checked with the connection string's key or signature, as the app uses it")
        return True
    try:
        found = claims(connection.credential.get_token(SCOPE).token)
    except Exception as error:  # noqa: BLE001  a response that is no token ends in AttributeError, TypeError, …
        yield Finding("storage", "failed", f"no token for storage: {describe(error)}", _NO_IDENTITY)
        return False
    who = next((str(found[name]) for name in ("upn", "unique_name", "appid", "oid") if found.get(name)), "unknown")
    who = printable(who, 80)
    if settings.storage_credential:
        yield Finding("storage", "ok", f"checked as the managed identity {who}")
    else:
        told = f"checked with the rights of {who}, signed in on this machine, and not with the app's"
        yield Finding("storage", "warning", told, _OF_THE_APP)
    return True


def _check_queues(connection: StorageConnection) -> Iterator[Finding]:
    for client in (connection.carts(), connection.poison()):
        with client as queue:
            target = Target("queue", str(queue.queue_name), "CARTS_QUEUE", "Storage Queue Data Contributor", "raup")
            yield from check_permissions(target, queue_permissions(queue))
    with connection.outcomes() as queue:
        name, role = str(queue.queue_name), "Storage Queue Data Message Sender"
        target = Target("queue", name, "OUTCOMES_QUEUE", role, "a", frozenset({"count", "peek"}))
        needed = ("count", "peek", "send")
        yield from check_permissions(target, [each for each in queue_permissions(queue) if each.name in needed])
