"""The client of the Partner Center API: four calls. It returns the response and decides nothing.

The whole exchange of a call is bounded, not only the gap between two bytes: see `shared.adapters.deadline`. What it
returns is the answer to this call and no other: see `shared.adapters.connections` and `shared.core.ownership`.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterable

import msgspec
import requests
from requests.utils import default_headers
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

from shared import NAME, VERSION
from shared.adapters.connections import ExchangeAdapter
from shared.adapters.deadline import NotBegun, exchange_until
from shared.adapters.http_session import Session
from shared.adapters.identity import LONGEST_REQUEST, TokenProvider
from shared.adapters.tls import tls_refusal
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.order_list import ListedOrder, read_orders
from shared.core.ownership import is_of_another_cart, is_of_another_customer, names_another
from shared.ports import TokenUnavailable
from shared.settings import LONGEST_CHECKOUT_TIMEOUT, Settings

CONNECT_TIMEOUT = 5.0
GET_TIMEOUT = 30.0
LONGEST_TOKEN = LONGEST_REQUEST
"""Seconds that `token` and `renew_token` take at worst."""
LONGEST_GET = GET_TIMEOUT + LONGEST_TOKEN
"""Seconds that a GET takes at worst: a renewal after a 401 may begin at its deadline."""
LONGEST_POST = LONGEST_CHECKOUT_TIMEOUT
"""Seconds that a POST takes at worst: the most that CHECKOUT_TIMEOUT_SECONDS may say."""
LONGEST_BODY = 10 * 1024 * 1024
_CHUNK = 64 * 1024
_HEADERS = {
    **default_headers(),
    "User-Agent": f"{NAME}/{VERSION}",
    "Accept": "application/json",
    "X-Locale": "en-US",
}
"""Sent with every request: the service can also answer in XML, and in other languages."""
_UNAUTHORIZED = 401
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_OUT_OF_TIME = ServiceResponse(None, failure="no call: out of time", sent=False)
_FOREIGN = ServiceResponse(None, failure="no answer: another call's", foreign=True)
_TOO_OLD = ServiceResponse(None, failure="not sent: the entry is too old", sent=False)

_Read = Callable[[requests.Response], bytes]


class _Foreign(Exception):
    """The answer names another customer or cart: it is another call's."""


class PartnerCenter:
    """The service over HTTP: one session, as many connections as threads, no redirects, retries or cookies."""

    def __init__(self, settings: Settings, tokens: TokenProvider) -> None:
        self._base = f"{settings.partner_center_url}/{settings.api_version}/customers"
        self._tokens = tokens
        self._timeout = settings.checkout_timeout
        self._session = Session(ExchangeAdapter(pool_connections=1, pool_maxsize=settings.threads, max_retries=0))

    def token(self) -> str:
        """See `PartnerCenterApi.token`."""
        return self._tokens.token()

    def renew_token(self, refused: str) -> str | None:
        """See `PartnerCenterApi.renew_token`."""
        return self._tokens.renew(refused)

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`."""
        headers = {
            "Content-Type": "application/json",  # of an empty body, as in the documentation's example
            "MS-CorrelationId": request.correlation_id,
            "MS-RequestId": ms_request_id,
        }
        if request.customer_user_upn is not None:
            headers["x-ms-customeruser-upn"] = request.customer_user_upn
        deadline = time.monotonic() + self._timeout
        url, read = f"{self._cart(request)}/checkout", _own(request.customer_id)
        return self._exchange("POST", url, headers, token, deadline, read, may_begin)

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.get_cart`."""
        return self._get(self._cart(request), _own(request.customer_id, request.cart_id), request.correlation_id)

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.list_orders`."""
        url = f"{self._base}/{request.customer_id}/orders"
        return self._get(url, _own_orders(request.customer_id), request.correlation_id)

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        """See `PartnerCenterApi.get_order`."""
        url = f"{self._base}/{_segment(customer_id)}/orders/{_segment(order_id)}"
        return self._get(url, _own(customer_id))

    def _cart(self, request: CheckoutRequest) -> str:
        return f"{self._base}/{request.customer_id}/carts/{request.cart_id}"  # both were checked to be GUIDs

    def _get(self, url: str, read: _Read, correlation_id: str | None = None) -> ServiceResponse:
        """GET a resource, once more with a new token after a 401, within one deadline."""
        deadline = time.monotonic() + GET_TIMEOUT  # in all, with the time that the token takes
        headers = {} if correlation_id is None else {"MS-CorrelationId": correlation_id}
        try:
            token = self._tokens.token()
        except TokenUnavailable as error:
            return ServiceResponse(None, failure=str(error), sent=False)
        response = self._exchange("GET", url, headers | _new_id(), token, deadline, read)
        if response.status == _UNAUTHORIZED and (renewed := self._tokens.renew(token)) is not None:
            second = self._exchange("GET", url, headers | _new_id(), renewed, deadline, read)
            return response if second is _OUT_OF_TIME else second
        return response

    def _exchange(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        token: str,
        deadline: float,
        read: _Read,
        may_begin: Callable[[], bool] | None = None,
    ) -> ServiceResponse:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return _OUT_OF_TIME
        with exchange_until(deadline, may_begin) as exchange:
            try:
                with self._session.request(
                    method,
                    url,
                    headers=_HEADERS | headers | {"Authorization": f"Bearer {token}"},
                    timeout=(min(CONNECT_TIMEOUT, remaining), remaining),
                    stream=True,
                ) as response:
                    received = _received(response, read(response))
                    exchange.finish()
                    return received
            except NotBegun:
                return _TOO_OLD
            except _Foreign:
                return _FOREIGN
            except (requests.RequestException, HTTPError, OSError) as error:
                # only the kind of failure: its text may quote what was sent
                if exchange.sent:
                    return ServiceResponse(None, failure=f"no answer: {type(error).__name__}")
                return ServiceResponse(None, failure=f"not sent: {_named(error)}", sent=False)


def _new_id() -> dict[str, str]:
    """The MS-RequestId of a GET.

    It is random, so never the key of a POST, and new each time: a service that remembers the answer of an id would
    give an old one.
    """
    return {"MS-RequestId": str(uuid.uuid4())}


def _segment(value: str) -> str:
    """An id that is one segment of a path, whatever is made of the URL on the way."""
    if not _ID.fullmatch(value):
        raise ValueError("not an id of Partner Center: 1 to 64 letters, digits, hyphens and underscores")
    return value


def _reason(error: BaseException) -> BaseException:
    """The error that says why no connection was made, out of those that requests and urllib3 wrap it in."""
    inner: BaseException | None = None
    if isinstance(error, MaxRetryError):
        inner = error.reason
    elif isinstance(error, requests.RequestException | ProtocolError):
        inner = next((arg for arg in reversed(error.args) if isinstance(arg, BaseException)), None)
    return error if inner is None else _reason(inner)


def _named(error: BaseException) -> str:
    kind, refusal = type(_reason(error)).__name__, tls_refusal(error)
    return f"{kind} ({refusal})" if refusal else kind


def _received(response: requests.Response, body: bytes) -> ServiceResponse:
    received = response.headers
    return ServiceResponse(
        response.status_code,
        body,
        retry_after=received.get("Retry-After"),
        request_id=received.get("MS-RequestId"),
        correlation_id=received.get("MS-CorrelationId"),
        cv=received.get("MS-CV"),
    )


def _own(customer_id: str, cart_id: str | None = None) -> _Read:
    """Read a body that names neither another customer nor, as the answer to GET cart, another cart."""

    def read(response: requests.Response) -> bytes:
        body = _read(response)
        if is_of_another_customer(body, customer_id) or (cart_id is not None and is_of_another_cart(body, cart_id)):
            raise _Foreign
        return body

    return read


def _own_orders(customer_id: str) -> _Read:
    """Read the customer's orders, and keep of each what `read_orders` does: a large customer has thousands."""

    def read(response: requests.Response) -> bytes:
        if not response.ok:
            return _read(response)
        return b'{"items":[%b]}' % _joined(map(kept, read_orders(response.iter_content(_CHUNK)))).rstrip(b",")

    def kept(order: ListedOrder) -> bytes:
        if names_another(order.reference_customer_id, customer_id):
            raise _Foreign
        return msgspec.json.encode(order) + b","

    return read


def _read(response: requests.Response) -> bytes:
    return _joined(response.iter_content(_CHUNK))


def _joined(parts: Iterable[bytes]) -> bytes:
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > LONGEST_BODY:
            raise requests.exceptions.ContentDecodingError("the answer is longer than 10 MiB")
    return bytes(body)
