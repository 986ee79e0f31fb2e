"""The simulated Partner Center as an HTTP server, since only a socket can lose a response.

    POST /v1/customers/{c}/carts/{cart}/checkout     GET /v1/customers/{c}/carts/{cart}
    GET  /v1/customers/{c}/orders                    GET /v1/customers/{c}/orders/{order}
    GET  /msi/token (the managed identity endpoint)

    GET  /_simulator/books                           GET /_simulator/scenarios
    POST /_simulator/limiter   {"limit": 5, "window": 10, "per": "customer"}
    POST /_simulator/outage    {"mode": "503" | "drop" | null}
    POST /_simulator/identity  {"failure": 500 | null, "delay": 0, "revoke": true}

It listens on 127.0.0.1 only: its control paths require no authentication.
"""

import json
import re
import secrets
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from local.simulator.carts import Idempotency
from local.simulator.controls import Controls, summary
from local.simulator.identity import IdentityEndpoint
from local.simulator.scenarios import SCENARIOS
from local.simulator.service import SimulatedService
from local.simulator.state import SimulatedResponse
from local.simulator.steps import FaultStep

TENANT = "11111111-1111-4111-8111-111111111111"

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CHECKOUT = re.compile(r"/v1/customers/([^/]+)/carts/([^/]+)/checkout")
_CART = re.compile(r"/v1/customers/([^/]+)/carts/([^/]+)")
_ORDERS = re.compile(r"/v1/customers/([^/]+)/orders")
_ORDER = re.compile(r"/v1/customers/([^/]+)/orders/([^/]+)")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,256}")
_LARGEST_BODY = 65_536
_IDLE = 120.0  # seconds that a connection may wait for its next request


class Simulator:
    """The service and the identity endpoint behind one URL, as a context manager or by `start` and `stop`.

    Args:
        tenant_id: The tenant whose tokens are accepted.
        idempotency: See `SimulatedService`, like `scale` and `latency`.
        clock: Dates responses and tokens, in epoch seconds. Delays are real.
        port: Where to listen. 0 is a free port.
    """

    def __init__(
        self,
        *,
        tenant_id: str = TENANT,
        idempotency: Idempotency = "strict",
        scale: float = 1.0,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        port: int = 0,
    ) -> None:
        self.service = SimulatedService(idempotency=idempotency, scale=scale, latency=latency)
        self.identity = IdentityEndpoint(tenant_id, secrets.token_hex(16))
        self.controls = Controls(self.service, self.identity)
        self.clock = clock
        self.stopped = threading.Event()
        self._server = _SimulatorServer(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving. Responses in progress are cut off."""
        self.stopped.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Return the app settings that point the function here."""
        return {
            "PARTNER_CENTER_URL": self.url,
            "PARTNER_CENTER_TENANT_ID": self.identity.tenant_id,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.identity.header,
        }

    def snapshot(self) -> dict[str, Any]:
        """Return the service's report, with the numbers of tokens requested and refused."""
        report = self.service.snapshot()
        report["totals"] |= {"tokens": self.identity.requests, "refusedTokens": self.identity.refused}
        return report

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _SimulatorServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # a benchmark opens its connections all at once

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _RequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as inherited
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  as inherited
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the connections that callers keep alive, so that their threads end."""
        super().server_close()
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as inherited
        # A caller that disconnects is not an error. Anything else is a bug, and its traceback is printed.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _RequestHandler(BaseHTTPRequestHandler):
    """Routes requests to the service, and delivers its responses."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: _SimulatorServer

    def do_GET(self) -> None:
        """Serve a GET."""
        self._serve(self._get)

    def do_POST(self) -> None:
        """Serve a POST."""
        self._serve(self._post)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as inherited
        """Log nothing: the report counts every call."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP or an unknown method, in JSON like all responses, and close the connection."""
        del explain  # as inherited
        self.close_connection = True
        self._send(_refused(code, 800002, message or "The request is malformed."))

    def _serve(self, answer: Callable[[str], SimulatedResponse]) -> None:
        try:  # the base class lets every target through
            path = urlsplit(self.path).path
        except ValueError:
            path = ""
        self._send(answer(path))

    def _get(self, path: str) -> SimulatedResponse:
        if path == "/msi/token":
            return self._token()
        if path == "/_simulator/books":
            return _control(200, self.server.simulator.snapshot())
        if path == "/_simulator/scenarios":
            return _control(200, {"scenarios": [summary(scenario) for scenario in SCENARIOS]})
        service = self.server.simulator.service
        if match := _CART.fullmatch(path):
            customer, cart = match.groups()
            return self._api((customer, cart), lambda _, now: service.get_cart(customer, cart, now))
        if match := _ORDERS.fullmatch(path):
            customer = match[1]
            return self._api((customer,), lambda _, now: service.list_orders(customer, now))
        if match := _ORDER.fullmatch(path):
            customer, order = match.groups()  # an order's id is no GUID
            return self._api((customer,), lambda _, now: service.get_order(customer, order, now))
        return _refused(404, 1000, "There is no such resource.")

    def _post(self, path: str) -> SimulatedResponse:
        try:
            content = self._content()
        except ValueError as error:
            self.close_connection = True  # what follows on this connection cannot be parsed
            return _refused(400, 800002, str(error))
        if path in self.server.simulator.controls.by_path:
            return self._command(path, content)
        match = _CHECKOUT.fullmatch(path)
        if match is None:
            return _refused(404, 1000, "There is no such resource.")
        if content:
            return _refused(400, 800002, "A checkout has no body.")
        customer, cart = match.groups()
        return self._api((customer, cart), partial(self.server.simulator.service.checkout, customer, cart))

    def _content(self) -> bytes:
        """Read the body.

        Raises:
            ValueError: Its length is not given, or too large.
        """
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise ValueError("Content-Length is missing or malformed.")
        if len(length) > 9 or int(length) > _LARGEST_BODY:  # noqa: PLR2004  int() has its limits, too
            raise ValueError("The body is too large.")
        return self.rfile.read(int(length))

    def _api(self, ids: tuple[str, ...], answer: Callable[[str, float], SimulatedResponse]) -> SimulatedResponse:
        """Serve a call of the API: check the token, then the request, then ask the service."""
        simulator = self.server.simulator
        now = simulator.clock()
        request_id, correlation_id = self._echoed("MS-RequestId"), self._echoed("MS-CorrelationId")
        authorization = self.headers.get("Authorization")
        fault = simulator.identity.refusal(authorization, (simulator.url, f"{simulator.url}/"), now)
        if fault is not None:
            response = SimulatedResponse(fault.status, fault.body())
        elif "application/json" not in self.headers.get("Accept", ""):
            response = _refused(400, 800002, "Accept must ask for application/json: the default is XML.")
        elif not all(map(_GUID.fullmatch, ids)):
            response = _refused(400, 800002, "An id in the path is not a GUID.")
        else:
            response = answer(request_id, now)
        return response.echo(request_id, correlation_id)

    def _echoed(self, name: str) -> str:
        """Return the caller's id, or a new one where it is absent or not a valid header value."""
        value = self.headers.get(name, "")
        return value if _HEADER_VALUE.fullmatch(value) else str(uuid.uuid4())

    def _token(self) -> SimulatedResponse:
        simulator = self.server.simulator
        query = dict(parse_qsl(urlsplit(self.path).query))
        answer = simulator.identity.token(query, self.headers.get("X-IDENTITY-HEADER"), simulator.clock())
        return replace(_control(answer.status, answer.body), delay=answer.delay)

    def _command(self, path: str, content: bytes) -> SimulatedResponse:
        try:
            self.server.simulator.controls.by_path[path](**json.loads(content or b"{}"))
        except (TypeError, ValueError) as error:
            return _control(400, {"error": str(error)})
        return _control(200, {})

    def _send(self, response: SimulatedResponse) -> None:
        """Deliver the response as it says."""
        stopped = self.server.simulator.stopped
        if stopped.wait(response.delay) or response.drop == "before":
            return self._disconnect()
        head, body = self._head(response), response.body
        if response.drop == "mid_body":
            self.wfile.write(head + body[: len(body) // 2])
            return self._disconnect()
        if response.trickle is None:
            self.wfile.write(head + body)
            return None
        chunk, pause = response.trickle
        self.wfile.write(head)
        for start in range(0, len(body), chunk):
            self.wfile.write(body[start : start + chunk])
            if stopped.wait(pause):
                return self._disconnect()
        return None

    def _head(self, response: SimulatedResponse) -> bytes:
        headers = {"Date": formatdate(self.server.simulator.clock(), usegmt=True), **response.headers}
        headers["Content-Length"] = str(len(response.body))
        if self.close_connection:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {response.status} {responses.get(response.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _disconnect(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the caller may have closed it before
            self.connection.shutdown(socket.SHUT_RDWR)


def _refused(status: int, code: int, description: str) -> SimulatedResponse:
    return SimulatedResponse(status, FaultStep(status, code, description).body())


def _control(status: int, tree: Mapping[str, Any]) -> SimulatedResponse:
    return SimulatedResponse(status, json.dumps(tree).encode(), ours=False)
