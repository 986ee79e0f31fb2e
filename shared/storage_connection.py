"""The settings of the connection `CheckoutStorage`, which the host's trigger and this program read alike.

    CheckoutStorage                     a connection string
    CheckoutStorage__queueServiceUri    or the addresses, and an identity: credential and clientId
    CheckoutStorage__blobServiceUri
    CheckoutStorage__accountName        or the account, from which the host makes the addresses

The host knows more members. One that it uses and this program ignores would make them use different accounts or
identities: carts would be read from one, and outcomes written to the other. So every other member is refused. Names
have no case, and `:` may stand for `__`, as in .NET configuration. Sources: StorageClientProvider of the Storage
extension, ClientFactory of Microsoft.Extensions.Azure.
"""

import re
from collections.abc import Mapping

import msgspec

from shared.setting_reader import SettingReader, configuration_key

STORAGE = "CheckoutStorage"
MEMBERS = ("queueServiceUri", "blobServiceUri", "accountName", "credential", "clientId")
THIS_MACHINE = r"://(?:127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?"

_SECTION = f"{STORAGE.lower()}:"
_KNOWN = {member.lower(): f"{STORAGE}__{member}" for member in MEMBERS}
_ENDPOINT = re.compile(rf"(?:https://[^/@?#\s]+|http{THIS_MACHINE})(?:/[^@?#\s]*)?", re.ASCII)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
# Where the host looks before it looks at CheckoutStorage.
_HIDES = re.compile(
    rf"(?:azurewebjobs{STORAGE}|(?:connectionstrings:|[a-z]+connstr_)(?:azurewebjobs)?{STORAGE})(?::.*)?", re.IGNORECASE
)
_BY_CLIENT_ID = f"name the identity by its client ID, in {STORAGE}__clientId"
_KEYLESS = "this program signs in to storage with a managed identity, or uses a connection string: remove it"
_REFUSED = {
    "serviceuri": f"names one service, and this program needs two: give {STORAGE}__queueServiceUri and "
    f"{STORAGE}__blobServiceUri, or {STORAGE}__accountName",
    "managedidentityresourceid": _BY_CLIENT_ID,
    "managedidentityobjectid": _BY_CLIENT_ID,
    "managedidentityclientid": _BY_CLIENT_ID,
    "tenantid": _KEYLESS,
    "clientsecret": _KEYLESS,
    "clientcertificate": _KEYLESS,
}

# The account name and key of every Azurite. They are public and protect nothing.
_DEVELOPMENT_STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
)


class Connection(msgspec.Struct, frozen=True):
    """How to reach the queues and the records: a connection string, or two addresses and an identity."""

    string: str | None
    queue_uri: str | None
    blob_uri: str | None
    credential: str | None
    client_id: str | None


def is_connection_setting(name: str) -> bool:
    """Whether this setting belongs to the connection, or to one that hides it."""
    key = configuration_key(name)
    return f"{key}:".startswith(_SECTION) or bool(_HIDES.fullmatch(key))


def read_connection(read: SettingReader) -> Connection:
    """The connection. What is wrong with it is added to the reader's mistakes."""
    found = _members(read)
    string = _connection_string(read, found)
    queue_uri, blob_uri = _addresses(read, found, required=not _text(read.env, STORAGE))
    return Connection(
        string=string,
        queue_uri=queue_uri,
        blob_uri=blob_uri,
        credential=_credential(read, found),
        client_id=read.guid(_KNOWN["clientid"], given=found.get("clientid")),
    )


def _members(read: SettingReader) -> dict[str, str]:
    """The values of the members that are set, by their names in lower case."""
    found: dict[str, str] = {}
    for name, value in read.env.items():
        key = configuration_key(name)
        if not value.strip():
            continue
        if _HIDES.fullmatch(key):
            read.mistakes.append(
                f"{name} hides {STORAGE} from the host's trigger, and not from this program: rename or remove it"
            )
        if not key.startswith(_SECTION):
            continue
        member = key.removeprefix(_SECTION)
        if member in _KNOWN:
            if found.setdefault(member, value) != value:
                read.mistakes.append(f"{name} is set twice, in different case, with different values")
        else:
            read.mistakes.append(f"{name}: {_REFUSED.get(member) or _unknown()}")
    return found


def _unknown() -> str:
    known = ", ".join(_KNOWN.values())
    return f"no such member is known, and the host might use it where this program would not. Known are {known}"


def _connection_string(read: SettingReader, found: Mapping[str, str]) -> str | None:
    value = read.text(STORAGE)
    if value is None:
        return None
    if found:
        names = ", ".join(_KNOWN[member] for member in found)
        read.mistakes.append(
            f"{STORAGE} and {names} exclude each other: keep the connection string, or the members with the identity"
        )
    if value.rstrip(";").lower() == "usedevelopmentstorage=true":
        return _DEVELOPMENT_STORAGE
    if not _connects(value):
        read.mistakes.append(
            f"{STORAGE} is not a storage connection string: it needs AccountName and AccountKey, or a "
            "SharedAccessSignature with AccountName or both endpoints, or is UseDevelopmentStorage=true"
        )
    return value


def _addresses(read: SettingReader, found: Mapping[str, str], *, required: bool) -> tuple[str | None, str | None]:
    account = read.text(_KNOWN["accountname"], given=found.get("accountname"))
    queue, blob = (
        _endpoint(read, _KNOWN[member], found.get(member), required=required and "accountname" not in found)
        for member in ("queueserviceuri", "blobserviceuri")
    )
    if account is None:
        return queue, blob
    if not _ACCOUNT.fullmatch(account):
        read.mistakes.append(f"{_KNOWN['accountname']} must be 3 to 24 lower-case letters and digits")
    elif queue or blob:
        read.mistakes.append(
            f"{_KNOWN['accountname']} and {STORAGE}__…ServiceUri exclude each other: the host would use the account"
        )
    return f"https://{account}.queue.core.windows.net", f"https://{account}.blob.core.windows.net"


def _endpoint(read: SettingReader, name: str, given: str | None, *, required: bool) -> str | None:
    hint = f" (or give {STORAGE}, a connection string)"
    value = read.text(name, required=required, hint=hint, given=given)
    if value is not None and not _ENDPOINT.fullmatch(value):
        read.mistakes.append(f"{name} must be an https URL such as https://account.queue.core.windows.net")
    return value


def _credential(read: SettingReader, found: Mapping[str, str]) -> str | None:
    name = _KNOWN["credential"]
    value = read.text(name, given=found.get("credential"))
    if value is not None and value.lower() != "managedidentity":
        read.mistakes.append(f"{name} must be managedidentity, or absent")
    return value


def _text(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "").strip()


def _connects(connection_string: str) -> bool:
    """Whether the SDK finds both services and a credential in it. Its own error would come too late."""
    pairs = [part.partition("=") for part in connection_string.rstrip(";").split(";")]
    given = {name.lower() for name, _, value in pairs if value}
    addressed = "accountname" in given or {"blobendpoint", "queueendpoint"} <= given
    keyed = {"accountname", "accountkey"} <= given
    return all(equals for _, equals, _ in pairs) and (keyed or ("sharedaccesssignature" in given and addressed))
