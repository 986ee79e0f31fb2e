"""The doctor's check of the app settings."""

from collections.abc import Generator, Iterator, Mapping
from urllib.parse import urlsplit

from cli.checks import Finding
from shared.settings import DEFAULT_URL, Settings, SettingsError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DOTS = (".", "_", "__")
"""A dot in a setting's name: as such, in the environment on Linux, and as it is set by hand there."""


def check_settings(values: Mapping[str, str], where: str) -> Generator[Finding, None, Settings | None]:
    """Parse the settings as the app does and return them, or None if they are wrong."""
    yield from _check_disabled(values)
    try:
        settings = Settings.from_env(values)
    except SettingsError as error:
        for mistake in error.mistakes:
            todo = f"Correct it in {where}: the app indexes no function until then, and all carts wait."
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
    return settings


def _check_disabled(values: Mapping[str, str]) -> Iterator[Finding]:
    for function in ("checkout_cart", "report_poison"):
        names = [f"AzureWebJobs{dot}{function}{dot}Disabled" for dot in _DOTS]
        if any(values.get(name, "").lower() in ("true", "1") for name in names):
            yield Finding(
                "settings.disabled",
                "warning",
                f"{function} is disabled: its messages wait",
                f"To enable it again, set AzureWebJobs.{function}.Disabled to false.",
            )
