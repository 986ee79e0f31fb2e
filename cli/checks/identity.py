"""The doctor's check of the identity: which token the app gets, and of which tenant."""

import os
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any

from cli.checks import Finding
from cli.times import format_age, format_utc
from shared.adapters.identity import REFRESH_BEFORE, TokenProvider, claims, credential_factory
from shared.core.jsontext import printable
from shared.ports import TokenUnavailable, WrongTenant
from shared.settings import Settings


def check_identity(settings: Settings) -> Generator[Finding, None, TokenProvider | None]:
    """Acquire a token as the app does and return its provider, or None if there is no token that the app accepts."""
    who = f"user-assigned {settings.identity_client_id}" if settings.identity_client_id else "system-assigned"
    provider = TokenProvider(credential_factory(settings), settings.scope, settings.tenant_id)
    try:
        token = provider.token()
    except WrongTenant as error:
        yield Finding(
            "identity.tenant",
            "failed",
            f"wrong tenant: {error}",
            "Correct PARTNER_CENTER_TENANT_ID if that tenant may pay. Otherwise use an identity of the right tenant.",
        )
        return None
    except TokenUnavailable as error:
        yield Finding("identity.token", "failed", f"{error} ({settings.auth}, {who})", _advise(settings))
        return None
    found = claims(token)
    if not found:
        yield Finding("identity.token", "warning", "there is a token, but it cannot be parsed: tenant unknown")
        return provider
    yield Finding(
        "identity.token",
        "ok",
        f"a token for {_claim(found, 'aud')}, of tenant {_claim(found, 'tid')}, app {_claim(found, 'appid')} ({who})",
    )
    yield _check_expiry(found.get("exp"))
    if settings.tenant_id is None:
        todo = "Set PARTNER_CENTER_TENANT_ID: it prevents a test from causing a real invoice."
        yield Finding("identity.tenant", "warning", "tokens of any tenant are accepted", todo)
    return provider


def _advise(settings: Settings) -> str:
    if not any(os.environ.get(name) for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")):
        return (
            "No identity: this process has no IDENTITY_ENDPOINT. On Azure, give the function app a managed identity. "
            "A laptop has none: run this where the app runs, or use --skip identity."
        )
    if settings.auth == "federated":
        return (
            "The identity must be user-assigned to the app, and PARTNER_CENTER_APP_ID's registration needs a federated "
            "credential for it. Look up the AADSTS code, if there is one."
        )
    return (
        "Is the identity assigned to the app (PARTNER_CENTER_IDENTITY_CLIENT_ID), and does the endpoint answer? 400: "
        "no such identity; 401: IDENTITY_HEADER; 5xx: wait. The app tries again every minute."
    )


def _claim(token_claims: Mapping[str, Any], name: str) -> str:
    return printable(str(token_claims.get(name, "none")), 80)


def _check_expiry(expires: object) -> Finding:
    if not isinstance(expires, int | float):
        return Finding("identity.expiry", "warning", "the token does not say when it expires")
    now = datetime.now(UTC)
    at = datetime.fromtimestamp(min(expires, 4e9), UTC)
    found = f"expires {format_utc(at)} UTC ({format_age(at, now)})"
    if expires - time.time() <= REFRESH_BEFORE:
        todo = "Is this machine's clock right? The app acquires a token for every call."
        return Finding("identity.expiry", "warning", found, todo)
    return Finding("identity.expiry", "ok", found)
