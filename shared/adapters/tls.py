"""Why a TLS connection was refused, in OpenSSL's words, which requests, urllib3 and the SDK wrap or cut off."""

import ssl
from collections.abc import Iterator

from shared.adapters.http_session import AuthoritiesUnreadable, authorities

MOST_CAUSES = 32
"""How many errors inside each other are looked at."""


def tls_refusal(error: BaseException) -> str | None:
    """Say why TLS refused the other side and which authorities are trusted, or None where TLS was not the reason.

    It quotes nothing that the other side sent.
    """
    for cause in _causes(error):
        if isinstance(cause, AuthoritiesUnreadable):
            return f"TLS: {cause}"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message.rstrip('.')}; {_trusted()}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {(cause.reason or type(cause).__name__).replace('_', ' ').lower()}"
    return None


def _trusted() -> str:
    name, path = authorities()
    if name == "certifi":
        return "trusted are certifi's, REQUESTS_CA_BUNDLE names others"
    return f"trusted are those of {name}={path}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was made from, by whichever way it holds them."""
    found = [error]
    for cause in found:
        yield cause
        held = (*cause.args, getattr(cause, "reason", None), getattr(cause, "inner_exception", None))
        inner = (*held, cause.__cause__, cause.__context__)
        new = [each for each in inner if isinstance(each, BaseException) and all(each is not known for known in found)]
        found += new[: MOST_CAUSES - len(found)]
