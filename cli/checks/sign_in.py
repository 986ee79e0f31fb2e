"""The doctor's checks of identity and service: whose token there is, and whether the service admits it."""

import os
import socket
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests

from cli.checks.configuration import LOOPBACK, Finding
from cli.times import format_age, format_utc
from shared.adapters.identity import REFRESH_BEFORE, TokenProvider, claims, credential_factory
from shared.adapters.partner_center import CONNECT_TIMEOUT, GET_TIMEOUT, PartnerCenter
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.ports import TokenUnavailable, WrongTenant
from shared.settings import Settings

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The id of a customer and of a cart that cannot exist: whoever asks for them is told so, and nothing happens."""
_AMBIENT = ("IDENTITY_", "MSI_", "IMDS_", "AZURE_")


@contextmanager
def surroundings(values: Mapping[str, str], *, clean: bool) -> Iterator[None]:
    """Let the SDK see the identity endpoint of these settings: it reads the environment, whatever it is given.

    `clean`: the settings come from a file, so what the shell says of an identity is of another app.
    """
    before = dict(os.environ)
    try:
        if clean:
            for name in before:
                if name.startswith(("IDENTITY_", "MSI_")):
                    del os.environ[name]
            os.environ.update({name: value for name, value in values.items() if name.startswith(_AMBIENT)})
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def of_identity(settings: Settings) -> Generator[Finding, None, TokenProvider | None]:
    """Whose token there is: got as the app gets it, and judged as the app judges it; returns where it comes from."""
    who = f"user-assigned {settings.identity_client_id}" if settings.identity_client_id else "system-assigned"
    identity = TokenProvider(credential_factory(settings), settings.scope, settings.tenant_id)
    try:
        token = identity.token()
    except WrongTenant as error:
        yield Finding(
            "identity.tenant",
            "failed",
            f"wrong tenant: {error}",
            "Correct PARTNER_CENTER_TENANT_ID if that tenant may pay; else sign in as an identity of the right one.",
        )
        return None
    except TokenUnavailable as error:
        yield Finding("identity.token", "failed", f"{error} ({settings.auth}, {who})", _no_token(settings))
        return None
    said = claims(token)
    if not said:
        yield Finding("identity.token", "warning", "there is a token, but it cannot be read: tenant unknown")
        return identity
    yield Finding(
        "identity.token",
        "ok",
        f"a token for {_claim(said, 'aud')}, of tenant {_claim(said, 'tid')}, app {_claim(said, 'appid')} ({who})",
    )
    yield _expiry(said.get("exp"))
    if settings.tenant_id is None:
        todo = "Set PARTNER_CENTER_TENANT_ID: it keeps a test from a real invoice."
        yield Finding("identity.tenant", "warning", "no tenant is demanded of a token", todo)
    return identity


def _no_token(settings: Settings) -> str:
    if not any(os.environ.get(name) for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")):
        return (
            "No identity: this process has no IDENTITY_ENDPOINT. On Azure, give the function app a managed identity; "
            "on a laptop there is none: run this where the app runs, or --skip identity."
        )
    if settings.auth == "federated":
        return (
            "The identity must be user-assigned to the app, and PARTNER_CENTER_APP_ID's registration needs a federated "
            "credential for it; an AADSTS code can be looked up."
        )
    return (
        "Is the identity assigned to the app (PARTNER_CENTER_IDENTITY_CLIENT_ID), and does the endpoint answer? 400: "
        "no such identity; 401: IDENTITY_HEADER; 5xx: wait. The app tries again every minute."
    )


def _claim(said: Mapping[str, Any], name: str) -> str:
    return printable(str(said.get(name, "none")), 80)


def _expiry(ends: object) -> Finding:
    if not isinstance(ends, int | float):
        return Finding("identity.expiry", "warning", "the token does not say when it ends")
    now = datetime.now(UTC)
    at = datetime.fromtimestamp(min(ends, 4e9), UTC)
    found = f"ends {format_utc(at)} UTC ({format_age(at, now)})"
    if ends - time.time() <= REFRESH_BEFORE:
        return Finding(
            "identity.expiry", "warning", found, "Is this machine's clock right? The app asks anew each time."
        )
    return Finding("identity.expiry", "ok", found)


def of_service(settings: Settings, *, with_token: TokenProvider | None) -> Iterator[Finding]:
    """Whether the service is reached, and admits the token: by GET of a cart that cannot exist, never by a POST."""
    url = f"{settings.partner_center_url}/{settings.api_version}/customers/{NOBODY}/carts/{NOBODY}"
    where = urlsplit(url).hostname or ""
    proxies = {"no_proxy": where} if where in LOOPBACK else None
    try:
        with requests.get(
            url,
            headers={"Accept": "application/json"},
            auth=lambda request: request,  # no .netrc has a say
            proxies=proxies,
            timeout=(CONNECT_TIMEOUT, GET_TIMEOUT),
            allow_redirects=False,
            stream=True,
        ) as response:
            status = response.status_code
    except (requests.RequestException, OSError) as error:
        yield Finding(
            "service.reachable", "failed", f"{where} is not reached: {_why(url, error)}", _unreachable(proxies)
        )
        return
    yield Finding("service.reachable", "ok", f"{where} answers (HTTP {status} to a call without a token)")
    if with_token is None:
        yield Finding("service.admits", "skipped", "without a token nobody is admitted", "Mend the identity first.")
        return
    nobody = CheckoutRequest(NOBODY, NOBODY, "doctor", datetime.now(UTC))
    yield _admitted(PartnerCenter(settings, with_token).get_cart(nobody))


def _admitted(answer: ServiceResponse) -> Finding:
    ids = f"MS-RequestId {printable(answer.request_id or 'none', 80)}"
    if answer.status is None:
        return Finding("service.admits", "failed", answer.failure or "no answer", "Try again; does it pass?")
    if answer.status == 401:  # noqa: PLR2004  the status
        return Finding(
            "service.admits",
            "failed",
            f"HTTP 401: Partner Center does not accept this identity's token ({ids})",
            "Register the app in Partner Center (Account settings > App management), or take the federated sign-in.",
        )
    if answer.status == 403:  # noqa: PLR2004  the status
        return Finding(
            "service.admits",
            "failed",
            f"HTTP 403: Partner Center refuses this application ({ids})",
            "Correct its permissions, consent or Conditional Access; or take the federated sign-in.",
        )
    if answer.status >= 500 or answer.status == 429:  # noqa: PLR2004  the statuses
        return Finding("service.admits", "warning", f"HTTP {answer.status}: not now ({ids})", "Try again in a minute.")
    return Finding("service.admits", "ok", f"the token is accepted (HTTP {answer.status} to a cart that cannot exist)")


def _why(url: str, error: Exception) -> str:
    """The reason in words: requests hides it, and quotes addresses. Asked of the socket, unless a proxy is between."""
    parts = urlsplit(url)
    if parts.scheme not in getproxies() or parts.hostname in LOOPBACK:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT).close()
        except OSError as trouble:
            return trouble.strerror or type(trouble).__name__
    return type(error).__name__


def _unreachable(proxies: object) -> str:
    if proxies:
        return "Is the simulator running (make run), and is PARTNER_CENTER_URL its address?"
    return (
        "Look at DNS, the firewall, the virtual network's outbound rules and HTTPS_PROXY. Carts are deferred meanwhile."
    )
