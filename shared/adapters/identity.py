"""Acquires tokens for the Partner Center API, and rejects those of another tenant.

    managed_identity   the identity's own token for Partner Center
    federated          the identity's token is the assertion with which a registered app signs in

The `tid` claim of a token names the tenant that is invoiced. The sandbox has the same address as production, so the
check of `tid` is all that separates a test from a real invoice.
"""

import base64
import binascii
import json
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.identity import AzureAuthorityHosts, ClientAssertionCredential, ManagedIdentityCredential

from shared.adapters.sdk_transport import sdk_transport
from shared.adapters.tls import tls_refusal
from shared.core.jsontext import printable
from shared.ports import TokenUnavailable, WrongTenant
from shared.settings import CHINA_URL, Settings

ASSERTION_SCOPE = "api://AzureADTokenExchange/.default"
ASSERTION_SCOPE_CHINA = "api://AzureADTokenExchangeChina/.default"
REFRESH_BEFORE = 300.0
"""Seconds before its expiry at which a token is renewed."""
LAST_USE = 30.0
"""Seconds before its expiry until which a token is used when no new one can be acquired."""
RENEW_EVERY = 60.0
"""Seconds between two credential objects, so that a service that refuses every token does not cost one each."""
CONNECT_TIMEOUT = 2.0
READ_TIMEOUT = 5.0
LONGEST_REQUEST = 2 * (CONNECT_TIMEOUT + READ_TIMEOUT)
"""Seconds that acquiring a token can take at worst: with `federated` it takes two requests."""

# One try: the message waits in its queue for the next one. The SDK's retry would sleep in the thread for as long as a
# Retry-After says.
LIMITS: dict[str, Any] = {
    "connection_timeout": CONNECT_TIMEOUT,
    "read_timeout": READ_TIMEOUT,
    "retry_total": 0,
}
_ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "IMDS_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
_CODE = re.compile(r"\bAADSTS[0-9]{1,9}\b|(?<![\w.-])[45][0-9]{2}(?![\w.-])", re.ASCII)


class TokenProvider:
    """Tokens for the Partner Center API. Thread-safe, one per process."""

    def __init__(
        self,
        make_credential: Callable[[], TokenCredential],
        scope: str,
        tenant_id: str | None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_credential = make_credential
        self._scope = scope
        self._tenant_id = tenant_id
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._credential = make_credential()
        self._token: AccessToken | None = None
        self._failure: tuple[float, TokenUnavailable] | None = None
        self._renewed_at = float("-inf")

    def token(self) -> str:
        """Return a valid token.

        One request at a time. The threads that waited for it share its result:

            thread 1   lock ──── request ──── unlock
            thread 2     wait ────────────────┤ finds the token, or a failure that happened during its wait

        Raises:
            TokenUnavailable: the identity service returned none.
            WrongTenant: it returned the token of another tenant.
        """
        if token := self._fresh():
            return token
        waiting_since = self._monotonic()
        with self._lock:
            if token := self._fresh():
                return token
            if self._failure is not None and self._failure[0] >= waiting_since:
                return self._current_or_raise(self._failure[1])
            return self._request()

    def renew(self, refused: str) -> str | None:
        """Return another token than the one that the service has just refused, or None.

        A credential caches its token until it expires, so a new one needs a new credential object. As in `token`, the
        threads that waited share the result.
        """
        waiting_since = self._monotonic()
        with self._lock:
            current = self._fresh()
            if current is not None and current != refused:
                return current  # another thread has renewed it
            if self._failure is not None and self._failure[0] >= waiting_since:
                return None
            if not self._replace_credential():
                return None
            try:
                return self._request()
            except TokenUnavailable:
                return None

    def _replace_credential(self) -> bool:
        """Replace the credential and drop its token. Returns False where that was done less than RENEW_EVERY ago."""
        if self._monotonic() - self._renewed_at < RENEW_EVERY:
            return False
        self._renewed_at = self._monotonic()
        self._credential = self._make_credential()
        self._token = None
        return True

    def _fresh(self) -> str | None:
        token = self._token
        return token.token if token is not None and token.expires_on - self._clock() > REFRESH_BEFORE else None

    def _request(self) -> str:
        try:
            token = self._credential.get_token(self._scope)
            self._check_tenant(token.token)
        except WrongTenant as error:
            self._failure = (self._monotonic(), error)
            self._replace_credential()  # it caches that token for a day, even if the tenant is corrected sooner
            raise
        except Exception as error:  # noqa: BLE001  a response that is no token ends in AttributeError, TypeError, …
            # only the documented codes of the identity service's text: the rest may be anything
            summary = " ".join([type(error).__name__, *dict.fromkeys(_CODE.findall(str(error)))])
            refusal = tls_refusal(error)
            failure = TokenUnavailable(f"no token for {self._scope}: {summary}" + (f" ({refusal})" if refusal else ""))
            self._failure = (self._monotonic(), failure)
            return self._current_or_raise(failure)
        self._token = token
        return token.token

    def _current_or_raise(self, failure: TokenUnavailable) -> str:
        """Return the current token, which is used almost until it expires, or raise `failure`."""
        token = self._token
        if token is not None and token.expires_on - self._clock() > LAST_USE:
            return token.token
        raise failure from None

    def _check_tenant(self, token: str) -> None:
        if self._tenant_id is None:  # the settings allow that for a loopback service only
            return
        tenant = claims(token).get("tid")
        if not isinstance(tenant, str) or tenant.lower() != self._tenant_id:
            actual = printable(tenant, 40) if isinstance(tenant, str) else "no tenant"
            raise WrongTenant(f"the token names {actual}, but PARTNER_CENTER_TENANT_ID is {self._tenant_id}: not used")


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT, or {}. They are not verified: the service does that."""
    try:
        encoded = token.split(".")[1]
        payload = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def transport() -> RequestsTransport:
    """A transport for credentials. Whatever the platform's identity endpoint is, no proxy is used for it."""
    named = (urlsplit(os.environ.get(name, "")).hostname for name in _ENDPOINTS)
    direct = frozenset(host for host in named if host)
    return sdk_transport(LIMITS["connection_timeout"], LIMITS["read_timeout"], direct=direct)


def credential_factory(
    settings: Settings, sign_in: HttpTransport[Any, Any] | None = None
) -> Callable[[], TokenCredential]:
    """Return a factory of credentials of the configured kind. `sign_in`: the transport of the app's sign-in."""
    own = transport()

    def managed_identity() -> ManagedIdentityCredential:
        return ManagedIdentityCredential(client_id=settings.identity_client_id, transport=own, **LIMITS)

    def federated() -> ClientAssertionCredential:
        identity = managed_identity()
        china = settings.partner_center_url == CHINA_URL
        scope = ASSERTION_SCOPE_CHINA if china else ASSERTION_SCOPE
        authority = {"authority": AzureAuthorityHosts.AZURE_CHINA} if china else {}
        return ClientAssertionCredential(
            settings.tenant_id or "",
            settings.app_id or "",
            lambda: identity.get_token(scope).token,
            transport=sign_in or own,
            **LIMITS,
            **authority,
        )

    return federated if settings.auth == "federated" else managed_identity
