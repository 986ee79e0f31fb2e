"""The client of the Partner Center API: three calls. It returns what came back and decides nothing.

The whole exchange of a call is bounded, not only the gap between two bytes: see `_DeadlineSocket`.
"""

import io
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import default_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from shared.adapters.http_session import Adapter, Session
from shared.adapters.identity import TokenProvider
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.ports import TokenUnavailable
from shared.settings import Settings

CONNECT_TIMEOUT = 5.0
GET_TIMEOUT = 30.0
LONGEST_BODY = 10 * 1024 * 1024
_CHUNK = 64 * 1024
_HEADERS = {**default_headers(), "Accept": "application/json", "X-Locale": "en-US"}
"""Of every request; XML is on offer, too, and other languages."""
_UNAUTHORIZED = 401
_OUT_OF_TIME = ServiceResponse(None, failure="no call: out of time")


class PartnerCenter:
    """The service over HTTP: one session, as many connections as threads; no redirects, retries or cookies."""

    def __init__(self, settings: Settings, identity: TokenProvider) -> None:
        self._base = f"{settings.partner_center_url}/{settings.api_version}/customers"
        self._identity = identity
        self._timeout = settings.checkout_timeout
        # a proxy cannot reach this machine's own loopback, and must not be shown a token either
        host = urlsplit(settings.partner_center_url).hostname
        self._no_proxy = host if host in ("127.0.0.1", "localhost", "::1") else None
        self._session = Session(_DeadlineAdapter(pool_connections=1, pool_maxsize=settings.threads, max_retries=0))

    def checkout(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`. A 401 is tried once more with a new token, in the same time."""
        token = self._identity.token()
        headers = _headers(request) | {"MS-RequestId": request.ms_request_id}
        if request.customer_user_upn is not None:
            headers["x-ms-customeruser-upn"] = request.customer_user_upn
        deadline = time.monotonic() + self._timeout
        return self._authorized("POST", f"{self._cart(request)}/checkout", headers, token, deadline)

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.get_cart`."""
        return self._get(self._cart(request), request)

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.list_orders`."""
        return self._get(f"{self._base}/{request.customer_id}/orders", request)

    def _cart(self, request: CheckoutRequest) -> str:
        return f"{self._base}/{request.customer_id}/carts/{request.cart_id}"  # two checked GUIDs, nothing else

    def _get(self, url: str, request: CheckoutRequest) -> ServiceResponse:
        deadline = time.monotonic() + GET_TIMEOUT  # in all: the time that the token takes is part of it
        try:
            token = self._identity.token()
        except TokenUnavailable as error:
            return ServiceResponse(None, failure=str(error))
        return self._authorized("GET", url, _headers(request), token, deadline)

    def _authorized(
        self, method: str, url: str, headers: dict[str, str], token: str, deadline: float
    ) -> ServiceResponse:
        answer = self._exchange(method, url, headers, token, deadline)
        if answer.status == _UNAUTHORIZED and (renewed := self._identity.renew(token)) is not None:
            again = self._exchange(method, url, headers, renewed, deadline)
            return answer if again is _OUT_OF_TIME else again  # a 401 is certain: nothing was bought
        return answer

    def _exchange(self, method: str, url: str, headers: dict[str, str], token: str, deadline: float) -> ServiceResponse:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return _OUT_OF_TIME
        _DEADLINE.at = deadline
        try:
            with self._session.request(
                method,
                url,
                headers=headers | {"Authorization": f"Bearer {token}"},
                proxies={"no_proxy": self._no_proxy} if self._no_proxy else None,
                timeout=(min(CONNECT_TIMEOUT, remaining), remaining),
                stream=True,
            ) as response:
                got = response.headers
                return ServiceResponse(
                    response.status_code,
                    _read(response),
                    retry_after=got.get("Retry-After"),
                    request_id=got.get("MS-RequestId"),
                    correlation_id=got.get("MS-CorrelationId"),
                    cv=got.get("MS-CV"),
                )
        except (requests.RequestException, HTTPError, OSError) as error:
            # only the kind of failure: its text may quote what was sent
            return ServiceResponse(None, failure=f"no answer: {type(error).__name__}")
        finally:
            _DEADLINE.at = None


def _headers(request: CheckoutRequest) -> dict[str, str]:
    return _HEADERS | {"MS-CorrelationId": request.correlation_id}


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > LONGEST_BODY:
            raise requests.exceptions.ContentDecodingError("the answer is longer than 10 MiB")
    return bytes(body)


class _Deadline(threading.local):
    """The end of the exchange that this thread is in, on the monotonic clock."""

    at: float | None = None


_DEADLINE = _Deadline()


class _DeadlineSocket:
    """A socket whose every read gets what is left until the deadline.

    A read timeout bounds the gap between two bytes, so an answer that trickles would outlive the function's
    own timeout, and with it the whole worker:

        timeout 180 s   ·byte···170 s···byte···170 s···byte···  for ever
        deadline 180 s  ·byte···170 s···byte·10 s─┤ TimeoutError
    """

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  a plain socket or a TLS one
        self._sock = sock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the socket has
        return getattr(self._sock, name)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:  # noqa: ANN401  http.client asks for "rb" only
        return io.BufferedReader(_DeadlineReader(self._sock))


class _DeadlineReader(io.RawIOBase):
    """What http.client reads an answer from, header and body."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  a plain socket or a TLS one
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  any writable buffer
        if _DEADLINE.at is not None:
            remaining = _DEADLINE.at - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("the exchange took longer than it may")
            self._sock.settimeout(remaining)
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PlainConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _DeadlineSocket(self.sock)


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _DeadlineSocket(self.sock)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class _DeadlineAdapter(Adapter):
    """Connections that keep a deadline, and stay alive where an idle one would be dropped in silence."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as the adapter's own
        options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if hasattr(socket, "TCP_KEEPIDLE"):  # Linux; Azure forgets a connection after four idle minutes
            options.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60))
        super().init_poolmanager(*args, socket_options=options, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as the adapter's own
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
