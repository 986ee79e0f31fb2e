"""The app's settings: read once from the environment, checked together, frozen.

All mistakes are reported in one `SettingsError`. The host then indexes no function, and the messages wait in their
queue, which is the safe state of a misconfigured function that spends money.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from shared.core.redacted import Redacted

DEFAULT_URL = "https://api.partnercenter.microsoft.com"
CHINA_URL = "https://partner.partnercenterapi.microsoftonline.cn"
STORAGE = "CheckoutStorage"
DAY = 86_400.0
MAX_AGE = 6 * DAY
"""Seconds after which a request is given up in any case: a cart lives seven days."""
LONGEST_CHECKOUT_TIMEOUT = 200.0
"""Seconds: the most that CHECKOUT_TIMEOUT_SECONDS may say, so that one message ends in time."""

# The two clouds, spelled out: a token is sent to these hosts or to this machine, and nowhere else. The whole URL is
# matched, so that no user info, look-alike host, path or query passes.
_CLOUD = re.compile(
    r"(https://(?:api\.partnercenter\.microsoft\.com|partner\.partnercenterapi\.microsoftonline\.cn))(?::443)?/?",
    re.IGNORECASE | re.ASCII,
)
_THIS_MACHINE = r"://(?:127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?"
_LOOPBACK = re.compile(rf"(https?{_THIS_MACHINE})/?", re.IGNORECASE | re.ASCII)
_LAST_PORT = 65_535
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_STORAGE_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])+", re.ASCII)
_SHORTEST_NAME = 3  # the service's rule, for queues and containers alike
_ENDPOINT = re.compile(rf"(?:https://[^/@?#\s]+|http{_THIS_MACHINE})(?:/[^@?#\s]*)?", re.ASCII)

# The account name and key of every Azurite. They are public and protect nothing.
_DEVELOPMENT_STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
)


class SettingsError(ValueError):
    """The app cannot start: `mistakes` holds one sentence for each wrong or missing setting."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = tuple(mistakes)
        listed = "\n".join(f"  - {mistake}" for mistake in mistakes)
        super().__init__(f"{len(mistakes)} setting(s) must be corrected before this app can start:\n{listed}")


class Settings(Redacted, frozen=True):
    """Every setting of the program. Durations are seconds."""

    redacted_fields: ClassVar[frozenset[str]] = frozenset({"storage_connection_string"})

    carts_queue: str
    outcomes_queue: str
    records_container: str
    storage_connection_string: str | None = None
    storage_queue_uri: str | None = None
    storage_blob_uri: str | None = None
    storage_credential: str | None = None
    storage_client_id: str | None = None
    partner_center_url: str = DEFAULT_URL
    api_version: str = "v1"
    auth: str = "managed_identity"
    identity_client_id: str | None = None
    tenant_id: str | None = None
    app_id: str | None = None
    checkout_timeout: float = 180.0
    settle: float = 600.0
    retry_base: float = 5.0
    retry_cap: float = 900.0
    retry_max_age: float = DAY
    threads: int = 32

    @property
    def poison_queue(self) -> str:
        """Where the host puts a message that failed `maxDequeueCount` times. The host defines the name."""
        return f"{self.carts_queue}-poison"

    @property
    def scope(self) -> str:
        """The token scope of the Partner Center API."""
        return f"{self.partner_center_url}/.default"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read and check every setting.

        Raises:
            SettingsError: with every mistake found, not only the first.
        """
        read = _Reader(os.environ if env is None else env)
        loopback, url = read.partner_center_url()
        auth = read.choice("PARTNER_CENTER_AUTH", ("managed_identity", "federated"))
        federated = auth == "federated"
        connection_string = read.connection_string()
        identity_based = connection_string is None
        settings = cls(
            carts_queue=read.storage_name("CARTS_QUEUE", "carts", longest=56),
            outcomes_queue=read.storage_name("OUTCOMES_QUEUE", "checkout-outcomes"),
            records_container=read.storage_name("RECORDS_CONTAINER", "checkout-records"),
            storage_connection_string=connection_string,
            storage_queue_uri=read.endpoint(f"{STORAGE}__queueServiceUri", required=identity_based),
            storage_blob_uri=read.endpoint(f"{STORAGE}__blobServiceUri", required=identity_based),
            storage_credential=read.storage_credential(),
            storage_client_id=read.guid(f"{STORAGE}__clientId"),
            partner_center_url=url,
            api_version=read.api_version(),
            auth=auth,
            identity_client_id=read.guid("PARTNER_CENTER_IDENTITY_CLIENT_ID"),
            tenant_id=read.guid("PARTNER_CENTER_TENANT_ID", required=federated or not loopback),
            app_id=read.guid("PARTNER_CENTER_APP_ID", required=federated),
            checkout_timeout=read.seconds("CHECKOUT_TIMEOUT_SECONDS", 180.0, most=LONGEST_CHECKOUT_TIMEOUT),
            settle=read.seconds("SETTLE_SECONDS", 600.0, most=DAY),
            retry_base=read.seconds("RETRY_BASE_SECONDS", 5.0, most=DAY),
            retry_cap=read.seconds("RETRY_CAP_SECONDS", 900.0, most=DAY),
            retry_max_age=read.seconds("RETRY_MAX_AGE_SECONDS", DAY, most=MAX_AGE),
            threads=read.threads(),
        )
        least = 2 * settings.checkout_timeout + 60.0
        if settings.settle < least and not loopback:
            read.mistakes.append(
                f"SETTLE_SECONDS must be at least {least:g}, two CHECKOUT_TIMEOUT_SECONDS and a minute: before, an "
                "unanswered POST may still be at work"
            )
        if settings.retry_base > settings.retry_cap:
            read.mistakes.append("RETRY_BASE_SECONDS must not be greater than RETRY_CAP_SECONDS")
        if settings.carts_queue.endswith("-poison"):
            read.mistakes.append("CARTS_QUEUE must not end in -poison: the host gives such a queue no poison queue")
        if settings.outcomes_queue in (settings.carts_queue, settings.poison_queue):
            read.mistakes.append("OUTCOMES_QUEUE must be another queue than CARTS_QUEUE and its poison queue")
        if read.mistakes:
            raise SettingsError(read.mistakes)
        return settings


class _Reader:
    """Reads one setting after another and collects what is wrong with each."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.mistakes: list[str] = []

    def _get(self, name: str, *, required: bool = False, hint: str = "") -> str | None:
        value = self._env.get(name, "").strip()
        if not value and required:
            self.mistakes.append(f"{name} is missing{hint}")
        return value or None

    def partner_center_url(self) -> tuple[bool, str]:
        value = self._get("PARTNER_CENTER_URL") or DEFAULT_URL
        if match := _CLOUD.fullmatch(value):
            return False, match[1].lower()
        if (match := _LOOPBACK.fullmatch(value)) and int(match[2] or 0) <= _LAST_PORT:
            return True, match[1].lower()
        self.mistakes.append(
            f"PARTNER_CENTER_URL must be {DEFAULT_URL}, {CHINA_URL} or a loopback address: "
            "tokens that can buy are sent nowhere else"
        )
        return False, DEFAULT_URL

    def connection_string(self) -> str | None:
        value = self._get(STORAGE)
        if value is None:
            return None
        if self._env.get(f"{STORAGE}__queueServiceUri") or self._env.get(f"{STORAGE}__blobServiceUri"):
            self.mistakes.append(
                f"{STORAGE} and {STORAGE}__…ServiceUri exclude each other: keep the connection string or the identity"
            )
        if value.rstrip(";").lower() == "usedevelopmentstorage=true":
            return _DEVELOPMENT_STORAGE
        if not _connects(value):
            self.mistakes.append(
                f"{STORAGE} is not a storage connection string: it needs AccountName and AccountKey, or a "
                "SharedAccessSignature with AccountName or both endpoints, or is UseDevelopmentStorage=true"
            )
        return value

    def endpoint(self, name: str, *, required: bool) -> str | None:
        value = self._get(name, required=required, hint=f" (or give {STORAGE}, a connection string)")
        if value is not None and not _ENDPOINT.fullmatch(value):
            self.mistakes.append(f"{name} must be an https URL such as https://account.queue.core.windows.net")
        return value

    def storage_credential(self) -> str | None:
        value = self._get(f"{STORAGE}__credential")
        if value is not None and value.lower() != "managedidentity":
            self.mistakes.append(f"{STORAGE}__credential must be managedidentity, or absent")
        return value

    def storage_name(self, name: str, example: str, *, longest: int = 63) -> str:
        value = self._get(name, required=True, hint=f" (for example {example})") or example
        if not (_SHORTEST_NAME <= len(value) <= longest and _STORAGE_NAME.fullmatch(value)):
            self.mistakes.append(
                f"{name} must be {_SHORTEST_NAME} to {longest} lower-case letters, digits and single hyphens, "
                f"for example {example}"
            )
        return value

    def guid(self, name: str, *, required: bool = False) -> str | None:
        value = self._get(name, required=required)
        if value is not None and not _GUID.fullmatch(value):
            self.mistakes.append(f"{name} must be a GUID such as 11111111-2222-3333-4444-555555555555")
        return value.lower() if value else None

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        value = self._get(name) or values[0]
        if value not in values:
            self.mistakes.append(f"{name} must be {' or '.join(values)}")
        return value

    def api_version(self) -> str:
        value = self._get("PARTNER_CENTER_API_VERSION") or "v1"
        if not re.fullmatch(r"v[0-9]{1,3}(?:\.[0-9]{1,3})?", value, re.ASCII):
            self.mistakes.append("PARTNER_CENTER_API_VERSION must look like v1")
        return value

    def seconds(self, name: str, default: float, *, most: float) -> float:
        return self._number(name, default, float, most=most, unit=" seconds")

    def threads(self) -> int:
        # the worker's own setting and default: the connection pools are as large as its thread pool
        default = min(32, (os.cpu_count() or 1) + 4)
        return int(self._number("PYTHON_THREADPOOL_THREAD_COUNT", default, int, most=1000, unit=""))

    def _number(self, name: str, default: float, parse: Callable[[str], float], *, most: float, unit: str) -> float:
        value = self._get(name)
        if value is None:
            return default
        try:
            number = parse(value)
        except ValueError:
            number = 0.0
        if not 0 < number <= most:  # NaN fails this too
            self.mistakes.append(f"{name} must be a number above 0 and at most {most:g}{unit}")
            return default
        return number


def _connects(connection_string: str) -> bool:
    """Whether the SDK finds both services and a credential in it. Its own error would come too late."""
    pairs = [part.partition("=") for part in connection_string.rstrip(";").split(";")]
    given = {name.lower() for name, _, value in pairs if value}
    addressed = "accountname" in given or {"blobendpoint", "queueendpoint"} <= given
    keyed = {"accountname", "accountkey"} <= given
    return all(equals for _, equals, _ in pairs) and (keyed or ("sharedaccesssignature" in given and addressed))


def in_flight(host_json: Path) -> int:
    """How many messages one instance handles at once: batchSize + newBatchThreshold of host.json."""
    queues = json.loads(host_json.read_text(encoding="utf-8"))["extensions"]["queues"]
    return int(queues["batchSize"]) + int(queues["newBatchThreshold"])
