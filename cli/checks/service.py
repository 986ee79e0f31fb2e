"""The doctor's check of Partner Center: whether it can be reached and accepts the token."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests

from cli.checks import Finding
from shared.adapters.connections import ExchangeAdapter
from shared.adapters.http_session import Session, is_local
from shared.adapters.identity import TokenProvider
from shared.adapters.partner_center import CONNECT_TIMEOUT, GET_TIMEOUT, PartnerCenter
from shared.adapters.tls import tls_refusal
from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.settings import Settings

UNUSED_ID = "00000000-0000-0000-0000-000000000000"
"""The id of a customer and of a cart that do not exist."""


def check_service(settings: Settings, tokens: TokenProvider | None) -> Iterator[Finding]:
    """Check with a GET of a cart that does not exist, and never with a POST."""
    url = f"{settings.partner_center_url}/{settings.api_version}/customers/{UNUSED_ID}/carts/{UNUSED_ID}"
    host = urlsplit(url).hostname or ""
    try:
        status = _get_without_token(url)
    except (requests.RequestException, OSError) as error:
        found = f"{host} cannot be reached: {_reason(url, error)}"
        yield Finding("service.reachable", "failed", found, _advise(host, error))
        return
    yield Finding("service.reachable", "ok", f"{host} answers (HTTP {status} to a call without a token)")
    if tokens is None:
        yield Finding("service.admits", "skipped", "not checked: there is no token", "Correct the identity first.")
        return
    request = CheckoutRequest(UNUSED_ID, UNUSED_ID, "doctor", datetime.now(UTC))
    yield _check_admission(PartnerCenter(settings, tokens).get_cart(request))


def _get_without_token(url: str) -> int:
    session, headers = Session(ExchangeAdapter()), {"Accept": "application/json"}
    with session.request("GET", url, headers=headers, timeout=(CONNECT_TIMEOUT, GET_TIMEOUT), stream=True) as response:
        return response.status_code


def _check_admission(response: ServiceResponse) -> Finding:
    ids = f"MS-RequestId {printable(response.request_id or 'none', 80)}"
    if response.status is None:
        return Finding("service.admits", "failed", response.failure or "no answer", "Try again; is it transient?")
    if response.status == 401:  # noqa: PLR2004  the status
        return Finding(
            "service.admits",
            "failed",
            f"HTTP 401: Partner Center does not accept this identity's token ({ids})",
            "Register the app in Partner Center (Account settings > App management), or use the federated sign-in.",
        )
    if response.status == 403:  # noqa: PLR2004  the status
        return Finding(
            "service.admits",
            "failed",
            f"HTTP 403: Partner Center refuses this application ({ids})",
            "Correct its permissions, consent or Conditional Access, or use the federated sign-in.",
        )
    if response.status >= 500 or response.status == 429:  # noqa: PLR2004  the statuses
        found = f"HTTP {response.status}: temporarily unavailable ({ids})"
        return Finding("service.admits", "warning", found, "Try again in a minute.")
    return Finding(
        "service.admits", "ok", f"the token is accepted (HTTP {response.status} to a cart that cannot exist)"
    )


def _reason(url: str, error: Exception) -> str:
    """Why the connection failed. requests hides the reason, so it is taken from a socket unless there is a proxy."""
    if refusal := tls_refusal(error):
        return refusal
    parts = urlsplit(url)
    if not Session(ExchangeAdapter()).proxies(url):
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT).close()
        except OSError as cause:
            return cause.strerror or type(cause).__name__
    return type(error).__name__


def _advise(host: str, error: Exception) -> str:
    if tls_refusal(error):
        return "Name the authorities in REQUESTS_CA_BUNDLE: docs/runtime.md, Proxies and authorities. Carts wait."
    if is_local(host):
        return "Is the simulator running (make run), and is PARTNER_CENTER_URL its address?"
    return (
        "Check DNS, the firewall, the virtual network's outbound rules and HTTPS_PROXY. Carts are deferred until then."
    )
