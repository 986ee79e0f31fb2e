"""An HTTP session that reads proxies and certificate authorities from the environment once.

`requests` reads the environment and looks for a .netrc at each request, and lets urllib3 load all authorities for
each connection: 20 ms and half a megabyte, 96 times in a worker with 32 threads. This session reads the environment
once for each host, and its connections share one TLS context.
"""

import os
import ssl
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.util.ssl_ import ALPN_PROTOCOLS, create_urllib3_context


class Session:
    """The part of `requests.Session` that the SDK and the API client use: it sends a complete request.

    Nothing is merged into a request, no cookie is stored, and a redirect is a response like any other: `requests`
    would read its body, unbounded, and parse its Location even where it must not follow. No .netrc is read, whose
    entry would replace an Authorization header.
    """

    def __init__(self, adapter: HTTPAdapter) -> None:
        self._adapter = adapter
        self._proxies_of = cache(get_environ_proxies)

    def request(  # noqa: PLR0913  what the SDK passes
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
        data: Any = None,  # noqa: ANN401  whatever `requests` sends
        files: Any = None,  # noqa: ANN401  likewise
        stream: bool = False,
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401  likewise
        proxies: Mapping[str, str] | None = None,
        allow_redirects: bool = False,  # noqa: ARG002  passed by the SDK, which follows them itself
    ) -> requests.Response:
        """Send a request. Unless `stream`, its body is read before this returns. Timeouts: to connect, to read.

        `proxies` wins over the environment; its `no_proxy` excepts hosts. Authorities are the adapter's.

        Raises:
            requests.RequestException: no response came, or none that can be read.
        """
        prepared = requests.PreparedRequest()
        prepared.prepare_method(method)
        prepared.prepare_url(url, None)
        prepared.prepare_headers(headers)
        prepared.prepare_body(data, files)
        response = self._adapter.send(
            prepared,
            stream=stream,
            timeout=timeout,
            verify=verify is not False,
            cert=cert,
            proxies=self.proxies(url, proxies or {}),
        )
        if not stream:
            response.content  # noqa: B018  the property reads the body
        return response

    def proxies(self, url: str, given: Mapping[str, str]) -> dict[str, str]:
        """The proxies for a URL: the environment's, read once for each host, and those given."""
        parts = urlsplit(url)
        return {**self._proxies_of(f"{parts.scheme}://{parts.netloc}", given.get("no_proxy")), **given}

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()


class Adapter(HTTPAdapter):
    """Connections that share one TLS context, whose authorities are loaded when the first of them needs it.

    They are those of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, else of the package certifi, as with `requests`.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  as the base class
        self._context = _context()
        self._loading = threading.Lock()
        self._loaded = False
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as the base class
        """As the base class, with our context."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as the base class
        """As the base class, with our context inside the tunnel."""
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ANN401  as the base class
        """As the base class, but the authorities are in our context and not the connection's to load."""
        if verify is not True or cert is not None:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
            return
        conn.cert_reqs = "CERT_REQUIRED"
        if url.lower().startswith("https"):
            self._load_authorities()

    def _load_authorities(self) -> None:
        with self._loading:
            if not self._loaded:
                bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
                bundle = bundle or DEFAULT_CA_BUNDLE_PATH
                self._context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
                self._loaded = True


def _context() -> ssl.SSLContext:
    """A context that checks certificates and host names, and that several threads can connect with at once.

    urllib3 sets the ALPN protocols for each connection. OpenSSL frees the old list while another thread, without the
    GIL, may be copying it, whose handshake then carries arbitrary bytes. So they are set once.
    """
    context = create_urllib3_context()
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    context.set_alpn_protocols = lambda _: None  # type: ignore[assignment, method-assign]
    return context
