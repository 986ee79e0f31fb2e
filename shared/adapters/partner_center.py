"""The client of the Partner Center API: three calls. It returns the response and decides nothing.

The whole exchange of a call is bounded, not only the gap between two bytes: see `shared.adapters.deadline`.
"""

import time
from urllib.parse import urlsplit

import requests
from requests.utils import default_headers
from urllib3.exceptions import HTTPError

from shared.adapters.deadline import DeadlineAdapter, exchange_until
from shared.adapters.http_session import Session
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
"""Sent with every request: the service can also answer in XML, and in other languages."""
_UNAUTHORIZED = 401
_OUT_OF_TIME = ServiceResponse(None, failure="no call: out of time")


class PartnerCenter:
    """The service over HTTP: one session, as many connections as threads, no redirects, retries or cookies."""

    def __init__(self, settings: Settings, tokens: TokenProvider) -> None:
        self._base = f"{settings.partner_center_url}/{settings.api_version}/customers"
        self._tokens = tokens
        self._timeout = settings.checkout_timeout
        # a proxy cannot reach this machine's own loopback, and must not receive a token either
        host = urlsplit(settings.partner_center_url).hostname
        self._no_proxy = host if host in ("127.0.0.1", "localhost", "::1") else None
        self._session = Session(DeadlineAdapter(pool_connections=1, pool_maxsize=settings.threads, max_retries=0))

    def checkout(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`. A 401 is tried once more with a new token, within the same deadline."""
        token = self._tokens.token()
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
        return f"{self._base}/{request.customer_id}/carts/{request.cart_id}"  # both were checked to be GUIDs

    def _get(self, url: str, request: CheckoutRequest) -> ServiceResponse:
        deadline = time.monotonic() + GET_TIMEOUT  # in all, with the time that the token takes
        try:
            token = self._tokens.token()
        except TokenUnavailable as error:
            return ServiceResponse(None, failure=str(error))
        return self._authorized("GET", url, _headers(request), token, deadline)

    def _authorized(
        self, method: str, url: str, headers: dict[str, str], token: str, deadline: float
    ) -> ServiceResponse:
        response = self._exchange(method, url, headers, token, deadline)
        if response.status == _UNAUTHORIZED and (renewed := self._tokens.renew(token)) is not None:
            second = self._exchange(method, url, headers, renewed, deadline)
            return response if second is _OUT_OF_TIME else second  # a 401 proves that nothing was bought
        return response

    def _exchange(self, method: str, url: str, headers: dict[str, str], token: str, deadline: float) -> ServiceResponse:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return _OUT_OF_TIME
        try:
            with (
                exchange_until(deadline),
                self._session.request(
                    method,
                    url,
                    headers=headers | {"Authorization": f"Bearer {token}"},
                    proxies={"no_proxy": self._no_proxy} if self._no_proxy else None,
                    timeout=(min(CONNECT_TIMEOUT, remaining), remaining),
                    stream=True,
                ) as response,
            ):
                received = response.headers
                return ServiceResponse(
                    response.status_code,
                    _read(response),
                    retry_after=received.get("Retry-After"),
                    request_id=received.get("MS-RequestId"),
                    correlation_id=received.get("MS-CorrelationId"),
                    cv=received.get("MS-CV"),
                )
        except (requests.RequestException, HTTPError, OSError) as error:
            # only the kind of failure: its text may quote what was sent
            return ServiceResponse(None, failure=f"no answer: {type(error).__name__}")


def _headers(request: CheckoutRequest) -> dict[str, str]:
    return _HEADERS | {"MS-CorrelationId": request.correlation_id}


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > LONGEST_BODY:
            raise requests.exceptions.ContentDecodingError("the answer is longer than 10 MiB")
    return bytes(body)
