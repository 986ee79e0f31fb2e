"""The doctor's check of storage: whether the queues and the container exist, and which permissions there are.

Each permission is checked with a call that requires it and cannot take effect. The status shows whether it was
refused for a missing permission (403) or because it could not take effect.

    permission   call                                               status, if permitted
    ----------   ------------------------------------------------   --------------------
    send         a message that expires before it becomes visible   400
    receive      delete a message that does not exist               404, 400
    update       hide a message that does not exist                 404, 400
    write        overwrite a blob that does not exist, if-match     412
    set metadata of a blob that does not exist, if-match            404, 412
    delete       delete a blob that does not exist                  404

Observed on Azurite with shared access signatures. It is not verified that Azure checks permissions first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from cli.checks import Finding
from cli.connection import StorageConnection, connect, describe
from shared.settings import Settings, SettingsError
from shared.storage_connection import STORAGE

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

NO_MESSAGE = "00000000-0000-0000-0000-000000000000"
NO_RECEIPT = "AgAAAAMAAAAAAAAA"
NO_BLOB = "doctor/never-written"

_MISSING = "the deployment creates queues and container, the app does not. Until then the carts wait."
_NOT_ADMITTED = {
    "AuthenticationFailed": "The key or the signature is wrong or has expired: put the current one into the settings.",
    "AuthorizationFailure": "The signature has expired, or the account's firewall or its ban of keys forbids it.",
    "AuthorizationSourceIPMismatch": "The signature is for other addresses: create one for this caller's.",
}

Permission = tuple[str, Callable[[], Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """A queue or the container: what it is, its name and setting, and what grants the permissions on it.

    `optional`: permissions that only `cart-checkout` needs, and the app does not.
    """

    kind: str
    name: str
    setting: str
    role: str
    sas_letters: str
    optional: frozenset[str] = frozenset()


def check_storage(values: Mapping[str, str]) -> Iterator[Finding]:
    """Check the three queues and the container."""
    try:
        connection = connect(values, retries=0)  # a failure is reported at once
    except SettingsError:
        yield Finding("storage", "skipped", "not checked", "Correct the storage settings first.")
        return
    yield Finding("storage", "ok", f"checked as {_caller(connection.settings)}")
    yield from _check_queues(connection)
    with connection.records() as container:
        name, role = str(container.container_name), "Storage Blob Data Contributor"
        target = Target("container", name, "RECORDS_CONTAINER", role, "rwdlc", frozenset({"list"}))
        yield from _check(target, _container_permissions(container))
        yield from check_changeable(container)


def check_changeable(container: "ContainerClient") -> Iterator[Finding]:
    """Check that nothing forbids to change a record that is there.

    No call that takes no effect would show it: what is protected is a blob that exists.
    """
    try:
        found = container.get_container_properties()
    except HttpResponseError as error:
        if error.status_code == 403:  # noqa: PLR2004  the status
            yield Finding("storage.immutable", "skipped", "not checked: no right to read the container's properties")
        return  # whatever else it is, the permissions have shown it
    except AzureError:
        return
    if found.has_immutability_policy or found.has_legal_hold:
        kind = "a legal hold" if found.has_legal_hold else "an immutability policy"
        told = f"{container.container_name}: {kind} forbids to change records: carts are bought, and none is told"
        yield Finding("storage.immutable", "failed", told, "Remove it: docs/deployment.md, Records.")


def _caller(settings: Settings) -> str:
    if settings.storage_connection_string:
        return "the connection string's key or signature"
    return "the managed identity" if settings.storage_credential else "whoever is signed in on this machine"


def _check_queues(connection: StorageConnection) -> Iterator[Finding]:
    for client in (connection.carts(), connection.poison()):
        with client as queue:
            target = Target("queue", str(queue.queue_name), "CARTS_QUEUE", "Storage Queue Data Contributor", "raup")
            yield from _check(target, _queue_permissions(queue))
    with connection.outcomes() as queue:
        name, role = str(queue.queue_name), "Storage Queue Data Message Sender"
        target = Target("queue", name, "OUTCOMES_QUEUE", role, "a", frozenset({"count", "peek"}))
        needed = ("count", "peek", "send")
        yield from _check(target, [each for each in _queue_permissions(queue) if each[0] in needed])


def _queue_permissions(queue: "QueueClient") -> list[Permission]:
    def send() -> None:
        # Refused, because it would expire while it is still invisible. If it is not refused, exactly that happens.
        message = queue.send_message("cart-checkout doctor", visibility_timeout=60, time_to_live=1)
        with suppress(AzureError):
            queue.delete_message(message)

    return [
        ("count", queue.get_queue_properties),
        ("peek", partial(queue.peek_messages, 1)),
        ("send", send),
        ("receive", partial(queue.delete_message, NO_MESSAGE, NO_RECEIPT)),
        ("update", partial(queue.update_message, NO_MESSAGE, NO_RECEIPT, visibility_timeout=0)),
    ]


def _container_permissions(container: "ContainerClient") -> list[Permission]:
    never: dict[str, Any] = {"etag": '"0x0"', "match_condition": MatchConditions.IfNotModified}
    write = partial(container.upload_blob, overwrite=True, **never)

    def set_metadata() -> None:
        # every POST is entered in the metadata of its cart's record first
        with container.get_blob_client(NO_BLOB) as blob:
            blob.set_blob_metadata({"doctor": "never"}, **never)

    return [
        ("read", lambda: container.download_blob(NO_BLOB).readall()),
        ("write", partial(write, NO_BLOB, b"")),
        ("set metadata", set_metadata),
        ("delete", lambda: container.delete_blob(NO_BLOB)),
        ("list", lambda: next(container.list_blobs(results_per_page=1).by_page(), None)),
    ]


def _check(target: Target, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """One finding if all is well; otherwise one for each problem."""
    check = f"storage.{target.kind}"
    allowed, forbidden, reason = [], [], ""
    for permission, call in permissions:
        error = _error_of(call)
        code = _code(error)
        if code in ("QueueNotFound", "ContainerNotFound"):
            todo = f"Create it, or correct {target.setting}: {_MISSING}"
            yield Finding(check, "failed", f"the {target.kind} {target.name} does not exist", todo)
            return
        if error is None or (isinstance(error, HttpResponseError) and error.status_code in (400, 404, 412)):
            allowed.append(permission)
        elif isinstance(error, HttpResponseError) and error.status_code == 403:  # noqa: PLR2004  the status
            forbidden.append(permission)
            reason = code
        else:
            found = f"{target.name}: {permission} could not be tried: {describe(error)}"
            yield Finding(check, "failed", found, _advise(error))
            return
    if reason in _NOT_ADMITTED:
        yield Finding(check, "failed", f"{target.name}: not admitted at all ({reason})", _NOT_ADMITTED[reason])
    elif forbidden:
        yield from _report_forbidden(target, forbidden, reason)
    else:
        yield Finding(check, "ok", f"{target.name}: exists; may {', '.join(allowed)}")


def _report_forbidden(target: Target, forbidden: Sequence[str], reason: str) -> Iterator[Finding]:
    check = f"storage.{target.kind}"
    if needed := [permission for permission in forbidden if permission not in target.optional]:
        yield Finding(
            check,
            "failed",
            f"{target.name}: missing right to {', '.join(needed)} ({reason})",
            f"Give the app's identity {target.role} on it; a signature needs the permissions {target.sas_letters}.",
        )
    if unneeded := [permission for permission in forbidden if permission in target.optional]:
        found = f"{target.name}: no right to {', '.join(unneeded)}, which the app does not need"
        yield Finding(check, "warning", found, "An operator needs it for `status`, `watch` and `redrive`.")


def _error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  a malformed response raises ValueError, TypeError, ...
        return error
    return None


def _code(error: Exception | None) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or getattr(error, "status_code", None) or "")


def _advise(error: Exception) -> str:
    if isinstance(error, ClientAuthenticationError):
        return (
            f"No identity for storage. On Azure: is {STORAGE}__clientId assigned to the app? On a laptop: `az login`, "
            f"and settings without {STORAGE}__credential."
        )
    if isinstance(error, HttpResponseError) and error.status_code:
        return "The storage account failed: try again, and look at its health."
    return f"Is the address in {STORAGE} right, does the account exist, is its firewall open to this machine?"
