"""The API of the simulated service: what a request must have, and which resource it asks for."""

import json
import re
import uuid
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import parse_qs

from local.simulator.carts import CartLine
from local.simulator.http_server import Request
from local.simulator.identity import IdentityEndpoint
from local.simulator.responses import fault_response
from local.simulator.service import SimulatedService
from local.simulator.state import SimulatedResponse
from local.simulator.steps import FaultStep

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,256}")
_JSON_TYPES = frozenset({"application/json", "text/json"})
NO_RESOURCE = FaultStep(404, 1000, "There is no such resource.")
_NO_JSON = FaultStep(400, 800002, "Accept must ask for application/json: the default is XML.")
_NO_GUID = FaultStep(400, 800002, "An id in the path is not a GUID.")


class Refused(Exception):
    """The request cannot be served."""

    def __init__(self, fault: FaultStep) -> None:
        self.fault = fault


class Api:
    """Answers requests under `/v1`, each with the ids that Microsoft's support asks for.

    Args:
        audiences: What a token must have been issued for.
    """

    def __init__(self, service: SimulatedService, identity: IdentityEndpoint, audiences: Collection[str]) -> None:
        self._service = service
        self._identity = identity
        self._audiences = audiences

    def answer(self, request: Request, now: float) -> SimulatedResponse:
        """Check the token, then the request, then ask the service."""
        request_id, correlation_id = (_echoed(request, name) for name in ("MS-RequestId", "MS-CorrelationId"))
        try:
            response = self._routed(request, request_id, now)
        except Refused as refused:
            response = fault_response(refused.fault)
        return response.echo(request_id, correlation_id, request.headers.get("MS-CV"))

    def _routed(self, request: Request, request_id: str, now: float) -> SimulatedResponse:
        for method, pattern, answer in _ROUTES:
            match = pattern.fullmatch(request.path)
            if match is not None and method == request.method:
                self._admit(request, match, now)
                return answer(self._service, request, match, request_id, now)
        raise Refused(NO_RESOURCE)

    def _admit(self, request: Request, match: re.Match[str], now: float) -> None:
        refusal = self._identity.refusal(request.headers.get("Authorization"), self._audiences, now)
        if refusal is not None:
            raise Refused(refusal)
        if "application/json" not in request.headers.get("Accept", ""):
            raise Refused(_NO_JSON)
        ids = match.groupdict()
        if not all(_GUID.fullmatch(ids[name]) for name in ("customer", "cart") if name in ids):
            raise Refused(_NO_GUID)


def _checkout(
    service: SimulatedService, request: Request, path: re.Match[str], request_id: str, now: float
) -> SimulatedResponse:
    _json(request)  # it says nothing: Microsoft's SDKs send the text "success", Learn's example sends nothing
    return service.checkout(path["customer"], path["cart"], request_id, now)


def _json(request: Request) -> Any:  # noqa: ANN401  any JSON
    """Return the JSON of the body. None: there is no body.

    Raises:
        Refused: It is not JSON.
    """
    if not request.content.strip():
        return None
    if request.headers.get_content_type() not in _JSON_TYPES or "Content-Type" not in request.headers:
        raise Refused(FaultStep(415, 800002, "The body must be application/json."))
    try:
        return json.loads(request.content)
    except (ValueError, RecursionError):
        raise Refused(FaultStep(400, 800002, "The body is not JSON.")) from None


def _lines(request: Request) -> list[CartLine]:
    """Return the lines of a cart that is written, each with its id and its order group.

    Lines that are billed alike are one order group, unless they name theirs.
    """
    tree = _json(request)
    lines = tree.get("lineItems") if isinstance(tree, dict) else None
    if not isinstance(lines, list) or not lines or not all(map(_is_line, lines)):
        raise Refused(FaultStep(400, 800002, "A cart has lineItems, each with a catalogItemId and a quantity."))
    kinds: list[object] = []
    for number, line in enumerate(lines):
        kind = [line.get(name) for name in ("currencyCode", "billingCycle", "termDuration")]
        kinds += [] if kind in kinds else [kind]
        group = line.get("orderGroup") or kinds.index(kind)
        line |= {"id": number, "orderGroup": str(group)}
    return lines


def _is_line(line: object) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("catalogItemId"), str):
        return False
    quantity = line.get("quantity")
    return isinstance(quantity, int) and quantity > 0


def _asks_for_prices(request: Request) -> bool:
    return parse_qs(request.query).get("include_price", [""])[-1].lower() == "true"


def _echoed(request: Request, name: str) -> str:
    """Return the caller's id, or a new one where it is absent or not a valid header value."""
    value = request.headers.get(name, "")
    return value if _HEADER_VALUE.fullmatch(value) else str(uuid.uuid4())


_Answer = Callable[[SimulatedService, Request, re.Match[str], str, float], SimulatedResponse]
_CARTS = "/v1/customers/(?P<customer>[^/]+)/carts"
_CART = f"{_CARTS}/(?P<cart>[^/]+)"
_ORDERS = "/v1/customers/(?P<customer>[^/]+)/orders"
_ORDER = f"{_ORDERS}/(?P<order>[^/]+)"

# fmt: off
_TABLE: tuple[tuple[str, str, _Answer], ...] = (
    ("POST", f"{_CART}/checkout", _checkout),
    ("GET", _CART, lambda service, _, path, __, now: service.get_cart(path["customer"], path["cart"], now)),
    ("POST", _CARTS, lambda service, sent, path, _, now: service.create_cart(path["customer"], _lines(sent), now)),
    ("PUT", _CART, lambda service, sent, path, _, now:
        service.update_cart(path["customer"], path["cart"], _lines(sent), now)),
    ("GET", _ORDERS, lambda service, sent, path, _, now:
        service.list_orders(path["customer"], now, prices=_asks_for_prices(sent))),
    ("GET", _ORDER, lambda service, sent, path, _, now:
        service.get_order(path["customer"], path["order"], now, prices=_asks_for_prices(sent))),
    ("GET", f"{_ORDER}/activationlinks", lambda service, _, path, __, now:
        service.get_activation_links(path["customer"], path["order"], now)),
    ("GET", rf"{_ORDER}/lineitems/(?P<line>[0-9]{{1,9}})/activationlinks", lambda service, _, path, __, now:
        service.get_activation_links(path["customer"], path["order"], now, int(path["line"]))),
)
# fmt: on
_ROUTES = [(method, re.compile(pattern, re.IGNORECASE), answer) for method, pattern, answer in _TABLE]
