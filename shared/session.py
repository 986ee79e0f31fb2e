"""HTTP sessions that learn once what the machine says of proxies and certificate authorities.

`requests` looks through the environment and for a .netrc at each request, and has urllib3 load all authorities
anew for each connection: 20 ms and half a megabyte, 96 times in a worker with 32 threads. Here a session reads
the environment once for each host, and its connections share one TLS context.
"""

import os
import ssl
import threading
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.util.ssl_ import ALPN_PROTOCOLS, create_urllib3_context


class Session(requests.Session):
    """A session without .netrc: an entry there would take the place of an Authorization header."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self._proxies_of = cache(get_environ_proxies)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:  # noqa: ANN401
        """As the base class, but the environment is read once for each host; authorities are the adapter's."""
        given = dict(proxies or {})
        parts = urlsplit(url)
        found = self._proxies_of(f"{parts.scheme}://{parts.netloc}", given.get("no_proxy"))
        return {"proxies": {**found, **given}, "stream": stream, "verify": verify is not False, "cert": cert}


class CompleteSession(Session):
    """A session whose caller, an SDK, gives every request complete: nothing of the session is merged into it."""

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As the base class, without its defaults, cookies and parameters, which take as long as the rest."""
        prepared = requests.PreparedRequest()
        prepared.prepare(
            method=request.method,
            url=request.url,
            headers=request.headers,
            files=request.files,
            data=request.data,
            params=request.params,
            auth=request.auth,
            hooks=request.hooks,
        )
        return prepared


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

    urllib3 sets the protocols of ALPN anew for each connection. OpenSSL frees the old list while another thread,
    without the GIL, may be copying it, and that one's handshake then carries whatever lay there. So they are set once.
    """
    context = create_urllib3_context()
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    context.set_alpn_protocols = lambda _: None  # type: ignore[assignment, method-assign]
    return context
