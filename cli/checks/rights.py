"""The doctor's checks of storage: that the queues and the container are there, and each right that the app needs.

A right is tried by a call that needs it and cannot take effect. What matters is how it is refused: for want of
the right (403), or because there is nothing it could do (400, 404, 412).

    right     call                                            refused, when allowed
    -------   ----------------------------------------------  ----------------------
    send      a message that expires before it can be seen    400
    receive   delete a message that does not exist            404, 400
    update    hide a message that does not exist              404, 400
    write     a blob, if one that never was has not changed   412
    delete    a blob that never was                           404

Seen on Azurite with shared access signatures. That Azure checks rights before all else is not verified.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from cli.checks.configuration import Finding
from cli.connection import for_storage, said
from shared.settings import STORAGE, SettingsError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

NO_MESSAGE = "00000000-0000-0000-0000-000000000000"
NO_RECEIPT = "AgAAAAMAAAAAAAAA"
NO_BLOB = "doctor/never-written"

Right = tuple[str, Callable[[], Any]]
_BY_TOOLS = frozenset({"count", "peek", "list"})
"""Rights that the app can do without where only the tools look: on the outcomes queue, and to list the container."""


def of_storage(values: Mapping[str, str]) -> Iterator[Finding]:
    """The three queues and the container."""
    try:
        connection = for_storage(values, retries=0)  # what fails is told at once
    except SettingsError:
        yield Finding("storage", "skipped", "not tried", "Correct the storage settings first.")
        return
    settings = connection.settings
    if settings.storage_connection_string:
        who = "the connection string's key or signature"
    else:
        who = "the managed identity" if settings.storage_credential else "whoever is signed in on this machine"
    yield Finding("storage", "ok", f"tried as {who}")
    handled = ("count", "peek", "send", "receive", "update")
    contributor = "Storage Queue Data Contributor"
    queues = (
        ("CARTS_QUEUE", connection.carts(), handled, contributor, "raup"),
        ("CARTS_QUEUE", connection.poison(), handled, contributor, "raup"),
        ("OUTCOMES_QUEUE", connection.outcomes(), ("count", "peek", "send"), "Storage Queue Data Message Sender", "a"),
    )
    for setting, client, wanted, role, letters in queues:
        with client as queue:
            rights = [(name, call) for name, call in _of_queue(queue) if name in wanted]
            optional = _BY_TOOLS if "receive" not in wanted else frozenset()
            yield from _try(("queue", queue.queue_name, setting), rights, role, letters, optional)
    with connection.records() as container:
        what = ("container", container.container_name, "RECORDS_CONTAINER")
        rights = _of_container(container)
        yield from _try(what, rights, "Storage Blob Data Contributor", "rwdlc", frozenset({"list"}))


def _of_queue(queue: "QueueClient") -> list[Right]:
    def send() -> None:
        # Refused, as it would expire while it is still invisible. Where it is not refused, that is its fate.
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


def _of_container(container: "ContainerClient") -> list[Right]:
    write = partial(container.upload_blob, overwrite=True, etag='"0x0"', match_condition=MatchConditions.IfNotModified)
    return [
        ("read", lambda: container.download_blob(NO_BLOB).readall()),
        ("write", partial(write, NO_BLOB, b"")),
        ("delete", lambda: container.delete_blob(NO_BLOB)),
        ("list", lambda: next(container.list_blobs(results_per_page=1).by_page(), None)),
    ]


def _try(
    what: tuple[str, str, str], rights: Sequence[Right], role: str, letters: str, optional: frozenset[str]
) -> Iterator[Finding]:
    """One finding where all is well; else one for each thing that is wrong."""
    kind, name, setting = what
    check = f"storage.{kind}"
    allowed, forbidden, why = [], [], ""
    for right, call in rights:
        error = _error_of(call)
        code = _code(error)
        if code in ("QueueNotFound", "ContainerNotFound"):
            yield Finding(
                check, "failed", f"the {kind} {name} does not exist", f"Create it, or correct {setting}: {_MISSING}"
            )
            return
        if error is None or (isinstance(error, HttpResponseError) and error.status_code in (400, 404, 412)):
            allowed.append(right)
        elif isinstance(error, HttpResponseError) and error.status_code == 403:  # noqa: PLR2004  the status
            forbidden.append(right)
            why = code
        else:
            yield Finding(check, "failed", f"{name}: {right} could not be tried: {said(error)}", _trouble(error))
            return
    if why in ("AuthenticationFailed", "AuthorizationFailure", "AuthorizationSourceIPMismatch"):
        yield Finding(check, "failed", f"{name}: not admitted at all ({why})", _NOT_ADMITTED[why])
        return
    needed = [right for right in forbidden if right not in optional]
    if needed:
        yield Finding(
            check,
            "failed",
            f"{name}: missing right to {', '.join(needed)} ({why})",
            f"Give the app's identity {role} on it; a signature needs the permissions {letters}.",
        )
    if unneeded := [right for right in forbidden if right in optional]:
        found = f"{name}: no right to {', '.join(unneeded)}, which the app does not need"
        yield Finding(check, "warning", found, "Who operates it with these tools needs it: status, watch, redrive.")
    if not forbidden:
        yield Finding(check, "ok", f"{name}: there; may {', '.join(allowed)}")


def _error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except AzureError as error:
        return error
    except Exception as error:  # noqa: BLE001  a reply that makes no sense ends in ValueError, TypeError, …
        return error
    return None


def _code(error: Exception | None) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or getattr(error, "status_code", None) or "")


_MISSING = "the deployment creates queues and container, the app does not. Until then the carts wait."


def _trouble(error: Exception) -> str:
    if isinstance(error, ClientAuthenticationError):
        return (
            f"No identity for storage. On Azure: is {STORAGE}__clientId assigned to the app? On a laptop: `az login`, "
            f"and settings without {STORAGE}__credential."
        )
    if isinstance(error, HttpResponseError) and error.status_code:
        return "The storage account has trouble of its own: try again, and look at its health."
    return f"Is the address in {STORAGE} right, does the account exist, is its firewall open to this machine?"


_NOT_ADMITTED = {
    "AuthenticationFailed": "The key or the signature is wrong or has expired: put the present one into the settings.",
    "AuthorizationFailure": "The signature has expired, or the account's firewall or its rule against keys forbids it.",
    "AuthorizationSourceIPMismatch": "The signature is for other addresses: make one for this caller's.",
}
