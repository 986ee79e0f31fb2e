"""Calls the control paths of a running simulator."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def call(url: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send a GET, or a POST where there is a body, and return the JSON object of the response."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()
