"""An HTTP session that reads proxies and certificate authorities from the environment once.

`requests` reads the environment and looks for a .netrc at each request, and lets urllib3 load all authorities for
each connection: 20 ms and half a megabyte, 96 times in a worker with 32 threads. This session reads the environment
once for each host, and its connections share one TLS context.

No proxy is used for this machine and its own link. It could not lead there, and would be shown what is sent in the
clear: the header that opens the identity endpoint, and the token that buys.
"""

import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
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

    Args:
        adapter: Makes the connections.
        direct: Hosts that no proxy is used for, besides those of `is_local`.
    """

    def __init__(self, adapter: HTTPAdapter, direct: Collection[str] = ()) -> None:
        self._adapter = adapter
        self._direct = direct
        self._proxies_of = cache(self._find_proxies)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
        data: Any = None,  # noqa: ANN401  whatever `requests` sends
        files: Any = None,  # noqa: ANN401  likewise
        stream: bool = False,
        **_: object,
    ) -> requests.Response:
        """Send a request. Unless `stream`, its body is read before this returns. Timeouts: to connect, to read.

        Whatever else the SDK passes is of no effect: the proxies are the environment's, the authorities the adapter's,
        certificates are always verified, and the SDK follows redirects itself.

        Raises:
            requests.RequestException: no response came, or none that can be read.
        """
        prepared = requests.PreparedRequest()
        prepared.prepare_method(method)
        prepared.prepare_url(url, None)
        prepared.prepare_headers(headers)
        prepared.prepare_body(data, files)
        response = self._adapter.send(prepared, stream=stream, timeout=timeout, proxies=self.proxies(url))
        if not stream:
            response.content  # noqa: B018  the property reads the body
        return response

    def proxies(self, url: str) -> dict[str, str]:
        """The proxies for a URL: the environment's, read once for each host."""
        parts = urlsplit(url)
        return self._proxies_of(parts.scheme, parts.netloc)

    def _find_proxies(self, scheme: str, netloc: str) -> dict[str, str]:
        url = f"{scheme}://{netloc}"
        host = urlsplit(url).hostname or ""
        return {} if host in self._direct or is_local(host) else get_environ_proxies(url)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()


def is_local(host: str) -> bool:
    """Whether a host is this machine, or on its own link, however it is written. Names are not resolved."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    # what is unspecified, 0.0.0.0 and ::, connects to this machine
    return address is not None and (address.is_loopback or address.is_link_local or address.is_unspecified)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1 and 0x7f000001, as the resolver reads them
    except OSError:
        return None


class AuthoritiesUnreadable(requests.exceptions.SSLError):
    """The file or folder that holds the certificate authorities cannot be read."""


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
        del verify, cert
        conn.cert_reqs = "CERT_REQUIRED"
        if url.lower().startswith("https"):
            self._load_authorities()

    def _load_authorities(self) -> None:
        with self._loading:
            if not self._loaded:
                name, bundle = authorities()
                try:
                    self._context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
                except OSError as error:  # an SSLError, too: no certificate is in it
                    told = getattr(error, "reason", None) or error.strerror
                    raise AuthoritiesUnreadable(f"{name} cannot be read: {told}") from error
                self._loaded = True


def authorities() -> tuple[str, str]:
    """What names the certificate authorities that are trusted, and the path of their file or folder."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name):
            return name, path
    return "certifi", DEFAULT_CA_BUNDLE_PATH


def _context() -> ssl.SSLContext:
    """A context that checks certificates and host names, and that several threads can connect with at once.

    urllib3 sets the ALPN protocols for each connection. OpenSSL frees the old list while another thread, without the
    GIL, may be copying it, whose handshake then carries arbitrary bytes. So they are set once.
    """
    context = create_urllib3_context()
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    context.set_alpn_protocols = lambda _: None  # type: ignore[assignment, method-assign]
    return context
