"""The doctor's checks of settings and host.json. Each yields what it finds, and what to do."""

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shared.bootstrap import HOST_JSON
from shared.core.jsontext import printable
from shared.settings import DEFAULT_URL, Settings, SettingsError, in_flight

THREADS = "PYTHON_THREADPOOL_THREAD_COUNT"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DOTS = (".", "_", "__")
"""How a setting's dots are spelled: as they are, in the environment of Linux, and as that is set by hand."""
_SETTLES = 3  # times the longest POST: below that, a doubt ends before the POST may have


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `ok`, `warning`, `failed` or `skipped`, and what to do about it."""

    check: str
    status: str
    found: str
    todo: str = ""

    def told(self) -> dict[str, str]:
        """As JSON says it."""
        found = {"check": self.check, "status": self.status, "found": self.found, "todo": self.todo}
        return {name: value for name, value in found.items() if value}


def of_settings(values: Mapping[str, str], where: str) -> Generator[Finding, None, Settings | None]:
    """The app's own reading of them, wherever they stand; returns them, or None where they are wrong."""
    for function in ("checkout_cart", "report_poison"):
        names = [f"AzureWebJobs{dot}{function}{dot}Disabled" for dot in _DOTS]
        if any(values.get(name, "").lower() in ("true", "1") for name in names):
            yield Finding(
                "settings.disabled",
                "warning",
                f"{function} is disabled: its messages wait",
                f"When it may go on, set AzureWebJobs.{function}.Disabled to false.",
            )
    try:
        settings = Settings.from_env(values)
    except SettingsError as error:
        for mistake in error.mistakes:
            todo = f"Correct it in {where}: with it the app indexes no function, and all carts wait."
            yield Finding("settings", "failed", mistake, todo)
        return None
    host = urlsplit(settings.partner_center_url).hostname
    payer = f"tenant {settings.tenant_id}" if settings.tenant_id else "any tenant"
    yield Finding("settings", "ok", f"complete; {settings.auth} sign-in, {payer} pays, at {host}")
    if host in LOOPBACK:
        yield Finding(
            "settings.url",
            "warning",
            "PARTNER_CENTER_URL is this machine: nothing is really bought",
            f"For the real service leave it out, or set it to {DEFAULT_URL}.",
        )
    elif settings.settle < _SETTLES * settings.checkout_timeout:
        yield Finding(
            "settings.settle",
            "warning",
            f"SETTLE_SECONDS, {settings.settle:g}, is short for a timeout of {settings.checkout_timeout:g} seconds",
            "Set it to 600: a POST may be at work for a while after its answer was lost.",
        )
    return settings


def of_host(values: Mapping[str, str], file: Path | None) -> Iterator[Finding]:
    """host.json, and whether there are as many threads as it hands over messages."""
    path = file or HOST_JSON
    try:
        handed = in_flight(path)
        queues = json.loads(path.read_text(encoding="utf-8"))["extensions"]["queues"]
    except OSError as error:
        todo = "Name the one that is deployed: --host-json FILE."
        yield Finding("host.json", "failed", f"{path} cannot be read: {error.strerror}", todo)
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Finding(
            "host.json",
            "failed",
            f"{path} has no extensions.queues with batchSize and newBatchThreshold in it",
            "Deploy the project's own host.json: the host's defaults lose messages here.",
        )
        return
    yield from _threads(values.get(THREADS, "").strip(), handed)
    if queues.get("messageEncoding") != "none":
        yield Finding(
            "host.encoding",
            "failed",
            f"messageEncoding is {queues.get('messageEncoding', 'base64, by default')}",
            'Set it to "none": else a message in plain JSON goes to the poison queue unread.',
        )
    if queues.get("visibilityTimeout", "00:00:00") == "00:00:00":
        yield Finding(
            "host.visibility",
            "failed",
            "visibilityTimeout is 0: what raises burns its five deliveries in a second",
            'Set it to "00:00:30".',
        )


def _threads(given: str, handed: int) -> Iterator[Finding]:
    todo = f"Set {THREADS} to {handed}: the messages that have no thread wait, leased, for those that have."
    if not given:
        cores = "the worker's default is min(32, cores + 4)"
        yield Finding("host.threads", "failed", f"host.json hands over {handed} messages at once; {cores}", todo)
    elif not given.isascii() or not given.isdigit() or int(given) < handed:
        said = f"host.json hands over {handed} messages at once, and there are {printable(given, 20)} threads"
        yield Finding("host.threads", "failed", said, todo)
    else:
        yield Finding(
            "host.threads", "ok", f"{given} threads for the {handed} messages that host.json hands over at once"
        )
