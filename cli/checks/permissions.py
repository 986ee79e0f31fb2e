"""The permissions on a queue or a container, each tried with a call that requires it.

Counting, peeking and listing change nothing, so they must succeed. Every other call cannot take effect. That it was
permitted shows in the one error code which that impossible call provokes. Whatever else is answered proves nothing:

    permission    call                                               code, if permitted
    ------------  -------------------------------------------------  --------------------------------------------
    count, peek                                                      none: it succeeds
    send          a message that expires before it becomes visible   InvalidQueryParameterValue, or OutOfRange...
    receive       delete a message that does not exist               MessageNotFound, PopReceiptMismatch
    update        hide a message that does not exist                 MessageNotFound, PopReceiptMismatch
    read          read a blob that does not exist                    BlobNotFound
    write         overwrite a blob that does not exist, if-match     ConditionNotMet
    set metadata  of a blob that does not exist, if-match            BlobNotFound, ConditionNotMet
    delete        delete a blob that does not exist                  BlobNotFound
    list                                                             none: it succeeds

Observed on Azurite with shared access signatures. It is not verified that Azure checks permissions first.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from cli.checks import Finding
from cli.failures import describe
from shared.adapters.tls import tls_refusal
from shared.storage_connection import STORAGE

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

NO_MESSAGE = "00000000-0000-0000-0000-000000000000"
NO_RECEIPT = "AgAAAAMAAAAAAAAAAIA+1d6xnQE="
"""In the form of the service's own, of the year 1970: one in another form would be refused for its form."""
NO_BLOB = "doctor/never-written"
IMMUTABLE = "Remove it: docs/deployment.md, Records."

_FORBIDDEN = 403
_MISSING = "the deployment creates queues and container, the app does not. Until then the carts wait."
_NOT_ADMITTED = {
    "AuthenticationFailed": "The key or the signature is wrong or has expired: put the current one into the settings.",
    "AuthorizationFailure": "The signature has expired, or the account's firewall or its ban of keys forbids it.",
    "AuthorizationSourceIPMismatch": "The signature is for other addresses: create one for this caller's.",
}
_TODO = {
    "AccountRequiresHttps": f"The account takes https only: correct the address in {STORAGE}.",
    "BlobImmutableDueToPolicy": IMMUTABLE,
    "InvalidAuthenticationInfo": (
        f"The Authorization header was not understood. Is the key in {STORAGE} complete, is this machine's clock "
        "right, does a proxy change headers?"
    ),
    "InvalidHeaderValue": "If this is Azurite, it is older than the SDK: start it with --skipApiVersionCheck.",
}
_NO_MESSAGE_CODES = frozenset({"MessageNotFound", "PopReceiptMismatch"})
_EXPIRED_CODES = frozenset({"InvalidQueryParameterValue", "OutOfRangeQueryParameterValue"})


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission: the call that requires it, and the error codes that only a permitted call gets.

    Without codes the call must succeed.
    """

    name: str
    call: Callable[[], Any]
    codes: frozenset[str] = frozenset()
    may_succeed: bool = False


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


def queue_permissions(queue: "QueueClient") -> list[Permission]:
    """The permissions on a queue."""

    def send() -> None:
        # Refused, because it would expire while it is still invisible. If it is not refused, exactly that happens.
        message = queue.send_message("cart-checkout doctor", visibility_timeout=60, time_to_live=1)
        with suppress(AzureError):
            queue.delete_message(message)

    delete = partial(queue.delete_message, NO_MESSAGE, NO_RECEIPT)
    hide = partial(queue.update_message, NO_MESSAGE, NO_RECEIPT, visibility_timeout=0)
    return [
        Permission("count", queue.get_queue_properties),
        Permission("peek", partial(queue.peek_messages, 1)),
        Permission("send", send, _EXPIRED_CODES, may_succeed=True),
        Permission("receive", delete, _NO_MESSAGE_CODES),
        Permission("update", hide, _NO_MESSAGE_CODES),
    ]


def container_permissions(container: "ContainerClient") -> list[Permission]:
    """The permissions on the container of the records."""
    never: dict[str, Any] = {"etag": '"0x0"', "match_condition": MatchConditions.IfNotModified}
    write = partial(container.upload_blob, overwrite=True, **never)

    def set_metadata() -> None:
        # every POST is entered in the metadata of its cart's record first
        with container.get_blob_client(NO_BLOB) as blob:
            blob.set_blob_metadata({"doctor": "never"}, **never)

    return [
        Permission("read", lambda: container.download_blob(NO_BLOB).readall(), frozenset({"BlobNotFound"})),
        Permission("write", partial(write, NO_BLOB, b""), frozenset({"ConditionNotMet"})),
        Permission("set metadata", set_metadata, frozenset({"BlobNotFound", "ConditionNotMet"})),
        Permission("delete", lambda: container.delete_blob(NO_BLOB), frozenset({"BlobNotFound"})),
        Permission("list", lambda: next(container.list_blobs(results_per_page=1).by_page(), None)),
    ]


def check_permissions(target: Target, permissions: Sequence[Permission]) -> Iterator[Finding]:
    """One finding if all is well; otherwise one for each problem."""
    check = f"storage.{target.kind}"
    forbidden, reason = [], ""
    for permission in permissions:
        error = _error_of(permission.call)
        code = _code(error)
        if code in ("QueueNotFound", "ContainerNotFound"):
            todo = f"Create it, or correct {target.setting}: {_MISSING}"
            yield Finding(check, "failed", f"the {target.kind} {target.name} does not exist", todo)
            return
        if _proves(permission, error, code):
            continue
        if code and getattr(error, "status_code", None) == _FORBIDDEN:
            forbidden.append(permission.name)
            reason = code
        else:
            found = f"{target.name}: {permission.name} could not be tried: {_told(error, code)}"
            yield Finding(check, "failed", found, _advise(error, code))
            return
    if reason in _NOT_ADMITTED:
        yield Finding(check, "failed", f"{target.name}: not admitted at all ({reason})", _NOT_ADMITTED[reason])
    elif forbidden:
        yield from _report_forbidden(target, forbidden, reason)
    else:
        yield Finding(check, "ok", f"{target.name}: exists; may {', '.join(each.name for each in permissions)}")


def _proves(permission: Permission, error: Exception | None, code: str) -> bool:
    """Whether the answer is the one that only a permitted call gets."""
    if error is None:
        return permission.may_succeed or not permission.codes
    return code in permission.codes


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
    """The error code of the storage service, or empty: what is in between has none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _told(error: Exception | None, code: str) -> str:
    if error is None:
        return "what is impossible succeeded"
    status = getattr(error, "status_code", None)
    if code or not status:
        return f"{code} {describe(error)}".strip()
    return f"HTTP {status}, without an error code of the storage service"


def _advise(error: Exception | None, code: str) -> str:
    if code in _TODO:
        return _TODO[code]
    if error is not None and tls_refusal(error):
        return "Name the authorities in REQUESTS_CA_BUNDLE: docs/runtime.md, Proxies and authorities."
    status = getattr(error, "status_code", None)
    if error is None or (isinstance(error, HttpResponseError) and status and not code):
        return f"Is the address in {STORAGE} right, or does a proxy answer in its place (HTTPS_PROXY, NO_PROXY)?"
    if isinstance(error, HttpResponseError) and status and not isinstance(error, ClientAuthenticationError):
        return "The storage account failed: try again, and look at its health."
    if isinstance(error, ClientAuthenticationError):
        return "The storage account does not accept the sign-in: is its tenant the account's?"
    return f"Is the address in {STORAGE} right, does the account exist, is its firewall open to this machine?"
