"""The app's settings: read once from the environment, checked together, frozen.

All mistakes are reported in one `SettingsError`. The host then indexes no function, and the messages wait in their
queue, which is the safe state of a misconfigured function that spends money.
"""

import os
import re
from collections.abc import Mapping
from typing import ClassVar

from shared.core.redacted import Redacted
from shared.setting_reader import SettingReader
from shared.storage_connection import THIS_MACHINE, read_connection

DEFAULT_URL = "https://api.partnercenter.microsoft.com"
CHINA_URL = "https://partner.partnercenterapi.microsoftonline.cn"
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
_LOOPBACK = re.compile(rf"(https?{THIS_MACHINE})/?", re.IGNORECASE | re.ASCII)
_LAST_PORT = 65_535


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
        read = SettingReader(os.environ if env is None else env)
        loopback, url = _partner_center_url(read)
        auth = read.choice("PARTNER_CENTER_AUTH", ("managed_identity", "federated"))
        federated = auth == "federated"
        storage = read_connection(read)
        settings = cls(
            carts_queue=read.storage_name("CARTS_QUEUE", "carts", longest=56),
            outcomes_queue=read.storage_name("OUTCOMES_QUEUE", "checkout-outcomes"),
            records_container=read.storage_name("RECORDS_CONTAINER", "checkout-records"),
            storage_connection_string=storage.string,
            storage_queue_uri=storage.queue_uri,
            storage_blob_uri=storage.blob_uri,
            storage_credential=storage.credential,
            storage_client_id=storage.client_id,
            partner_center_url=url,
            api_version=_api_version(read),
            auth=auth,
            identity_client_id=read.guid("PARTNER_CENTER_IDENTITY_CLIENT_ID"),
            tenant_id=read.guid("PARTNER_CENTER_TENANT_ID", required=federated or not loopback),
            app_id=read.guid("PARTNER_CENTER_APP_ID", required=federated),
            checkout_timeout=read.seconds("CHECKOUT_TIMEOUT_SECONDS", 180.0, most=LONGEST_CHECKOUT_TIMEOUT),
            settle=read.seconds("SETTLE_SECONDS", 600.0, most=DAY),
            retry_base=read.seconds("RETRY_BASE_SECONDS", 5.0, most=DAY),
            retry_cap=read.seconds("RETRY_CAP_SECONDS", 900.0, most=DAY),
            retry_max_age=read.seconds("RETRY_MAX_AGE_SECONDS", DAY, most=MAX_AGE),
            # the worker's own setting and default: the connection pools are as large as its thread pool
            threads=read.count("PYTHON_THREADPOOL_THREAD_COUNT", min(32, (os.cpu_count() or 1) + 4), most=1000),
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


def _partner_center_url(read: SettingReader) -> tuple[bool, str]:
    value = read.text("PARTNER_CENTER_URL") or DEFAULT_URL
    if match := _CLOUD.fullmatch(value):
        return False, match[1].lower()
    if (match := _LOOPBACK.fullmatch(value)) and int(match[2] or 0) <= _LAST_PORT:
        return True, match[1].lower()
    read.mistakes.append(
        f"PARTNER_CENTER_URL must be {DEFAULT_URL}, {CHINA_URL} or a loopback address: "
        "tokens that can buy are sent nowhere else"
    )
    return False, DEFAULT_URL


def _api_version(read: SettingReader) -> str:
    value = read.text("PARTNER_CENTER_API_VERSION") or "v1"
    if not re.fullmatch(r"v[0-9]{1,3}(?:\.[0-9]{1,3})?", value, re.ASCII):
        read.mistakes.append("PARTNER_CENTER_API_VERSION must look like v1")
    return value
