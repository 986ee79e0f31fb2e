"""The managed identity endpoint of App Service and its tokens, without sockets or secrets.

    GET /msi/token?api-version=2019-08-01&resource=https://...[&client_id=...]
    X-IDENTITY-HEADER: the value of the setting IDENTITY_HEADER

A token is a JWT without a signature (`alg: none`), which nothing but the simulator accepts. Protocol: "How to use
managed identities for App Service and Azure Functions", REST endpoint reference.
"""

import base64
import binascii
import json
import threading
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from local.simulator.steps import FaultStep

API_VERSION = "2019-08-01"
SYSTEM_ASSIGNED = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A response of the endpoint, sent after `delay` seconds."""

    status: int
    body: Mapping[str, Any]
    delay: float = 0.0


class IdentityEndpoint:
    """Issues tokens, checks them and counts both.

    Attributes:
        requests: The number of calls.
        refused: The number of Authorization headers that were not accepted.
        failure: A status that every call gets. `None`: no failure.
        delay: Seconds that every call takes.
        tenants: Another tenant per client id: a wrong identity, which must never buy.
    """

    def __init__(self, tenant_id: str, header: str, *, lifetime: float = 86_400) -> None:
        self.tenant_id = tenant_id
        self.header = header
        self.lifetime = lifetime
        self.requests = 0
        self.refused = 0
        self.failure: int | None = None
        self.delay = 0.0
        self.tenants: dict[str, str] = {}
        self._issued: set[str] = set()
        self._revoked: set[str] = set()
        self._lock = threading.Lock()

    def token(self, query: Mapping[str, str], header: str | None, now: float) -> TokenResponse:
        """Respond to GET /msi/token. `query` has one value per name, `header` is X-IDENTITY-HEADER."""
        with self._lock:
            self.requests += 1
        problem = self._problem(query, header)
        if problem is not None:
            status, message = problem
            return TokenResponse(status, {"statusCode": status, "message": message}, self.delay)
        client_id = query.get("client_id") or SYSTEM_ASSIGNED
        resource = query["resource"]
        token = self.issue(resource, now, client_id)
        body = {
            "access_token": token,
            "expires_on": str(int(now + self.lifetime)),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": client_id,
        }
        return TokenResponse(200, body, self.delay)

    def issue(self, audience: str, now: float, client_id: str = SYSTEM_ASSIGNED) -> str:
        """Return a new, unique token."""
        token_id = str(uuid.uuid4())
        tenant = self.tenants.get(client_id, self.tenant_id)
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant}/",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + self.lifetime),
            "tid": tenant,
            "appid": client_id,
            "idtyp": "app",
            "jti": token_id,
        }
        with self._lock:
            self._issued.add(token_id)
        return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}."

    def revoke(self, token: str | None = None) -> None:
        """Refuse this token from now on, or all that were issued."""
        with self._lock:
            self._revoked |= self._issued if token is None else {str(claims_of(token)["jti"])}

    def refusal(self, authorization: str | None, audiences: Collection[str], now: float) -> FaultStep | None:
        """Return the 401 for an Authorization header, or `None` where it is accepted."""
        fault = self._judge(authorization, audiences, now)
        if fault is not None:
            with self._lock:
                self.refused += 1
        return fault

    def _judge(self, authorization: str | None, audiences: Collection[str], now: float) -> FaultStep | None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _unauthorized("A bearer token is missing.")
        try:
            claims = claims_of(token)
        except ValueError:
            return _unauthorized("The token is malformed.")
        expires = claims.get("exp")
        if claims.get("aud") not in audiences:
            return _unauthorized("The token's audience is wrong.", 900420)
        if not isinstance(expires, int) or expires <= now:
            return _unauthorized("The token is expired.")
        if claims.get("tid") != self.tenant_id or claims.get("jti") in self._revoked:
            return _unauthorized("The token is revoked, or another tenant's.")
        return None

    def _problem(self, query: Mapping[str, str], header: str | None) -> tuple[int, str] | None:
        if header != self.header:
            return 401, "X-IDENTITY-HEADER is missing or wrong."
        if query.get("api-version") != API_VERSION:
            return 400, f"api-version must be {API_VERSION}."
        if not query.get("resource"):
            return 400, "resource is missing."
        return None if self.failure is None else (self.failure, "The simulator was told to fail.")


def claims_of(token: str) -> dict[str, Any]:
    """Return a token's claims.

    Raises:
        ValueError: It is not a JWT.
    """
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, RecursionError) as error:
        raise ValueError("not a JWT") from error
    if not isinstance(claims, dict) or not isinstance(claims.get("jti", ""), str):
        raise ValueError("not a JWT")  # noqa: TRY004  one error for all malformed tokens
    return claims


def _unauthorized(description: str, code: int = 800001) -> FaultStep:
    return FaultStep(401, code, description, "PartnerApi")


def _part(claims: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
