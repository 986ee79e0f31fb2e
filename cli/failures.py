"""Why a request of the Azure SDK failed, in one line for an operator."""

import os
import re
import shutil

from azure.core.exceptions import ClientAuthenticationError

from shared.adapters.tls import tls_refusal
from shared.core.jsontext import printable

LONGEST = 300
_QUERY = re.compile(r"\?\S+")
_ATTEMPT = re.compile(r"^\t(\w+): (.*)$", re.MULTILINE)
_SIGN_IN = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")
_VARIABLES = {
    "EnvironmentCredential": (*_SIGN_IN, "AZURE_USERNAME", "AZURE_PASSWORD"),
    "WorkloadIdentityCredential": ("AZURE_FEDERATED_TOKEN_FILE",),
    "ManagedIdentityCredential": ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
}
"""A credential is configured where one of its variables is set ..."""
_PROGRAMS = {
    "AzureCliCredential": ("az",),
    "AzurePowerShellCredential": ("pwsh", "powershell"),
    "AzureDeveloperCliCredential": ("azd",),
}
"""... or one of its programs is installed."""


def describe(error: Exception) -> str:
    """The reason: TLS's, those of the credentials that are configured, or the first line of the SDK's text.

    It holds no query strings, which may be a signature.
    """
    reason = tls_refusal(error) or _of_credentials(error) or str(error).partition("\n")[0]
    return printable(_QUERY.sub("?…", reason), LONGEST)


def _of_credentials(error: Exception) -> str | None:
    """Why no credential of a DefaultAzureCredential has a token. Its text begins with those that are not set up."""
    attempts = dict(_ATTEMPT.findall(str(error))) if isinstance(error, ClientAuthenticationError) else {}
    if not attempts:
        return None
    configured = {name: reason for name, reason in attempts.items() if _is_configured(name)}
    if not configured:
        return "nobody is signed in on this machine: there is no az, no AZURE_CLIENT_ID and no managed identity"
    return "no token: " + "; ".join(f"{name}: {reason}" for name, reason in configured.items())


def _is_configured(credential: str) -> bool:
    variables, programs = _VARIABLES.get(credential, ()), _PROGRAMS.get(credential, ())
    return any(os.environ.get(name) for name in variables) or any(shutil.which(name) for name in programs)
