"""The transport of the Azure SDK's clients and credentials: a session of our own.

The one that the SDK makes reads .netrc, whose entry replaces an Authorization header, sends a proxy what is meant for
this machine, and takes an interim response for the answer.
"""

from collections.abc import Collection
from typing import Any

from azure.core.pipeline.transport import RequestsTransport

from shared.adapters.connections import ExchangeAdapter
from shared.adapters.http_session import Session

KEPT = 10
"""Connections to one host that are kept open, as by the SDK itself."""


def sdk_transport(
    connect_timeout: float,
    read_timeout: float,
    *,
    hosts: int = KEPT,
    connections: int = KEPT,
    direct: Collection[str] = (),
) -> RequestsTransport:
    """Make a transport that several clients can share. `connections`: to one host. `direct`: hosts without a proxy."""
    session: Any = Session(ExchangeAdapter(pool_connections=hosts, pool_maxsize=connections), direct)
    return RequestsTransport(
        session=session, session_owner=False, connection_timeout=connect_timeout, read_timeout=read_timeout
    )
