"""Partner Center on a laptop: a real HTTP server around the books, since only a socket can lose an answer.

    POST /v1/customers/{c}/carts/{cart}/checkout     GET /v1/customers/{c}/carts/{cart}
    GET  /v1/customers/{c}/orders                    GET /msi/token (the managed identity endpoint)

    GET  /_simulator/books                           GET /_simulator/scenarios
    POST /_simulator/limiter   {"limit": 5, "window": 10, "per": "customer"}
    POST /_simulator/outage    {"mode": "503" | "drop" | null}
    POST /_simulator/identity  {"failure": 500 | null, "delay": 0, "revoke": true}

It listens on 127.0.0.1 only: its control paths ask nobody who they are.
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
from types import TracebackType
from typing import Any, Self, get_args
from urllib.parse import parse_qsl, urlsplit

from local.simulator.identity import IdentityEndpoint
from local.simulator.scenarios import SCENARIOS, Fault, Scenario
from local.simulator.service import Limiter, Outage, Per, Reply, SimulatedService

TENANT = "11111111-1111-4111-8111-111111111111"

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CHECKOUT = re.compile(r"/v1/customers/([^/]+)/carts/([^/]+)/checkout")
_CART = re.compile(r"/v1/customers/([^/]+)/carts/([^/]+)")
_ORDERS = re.compile(r"/v1/customers/([^/]+)/orders")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,256}")
_LARGEST_BODY = 65_536
_IDLE = 120.0  # seconds that a connection may wait for its next request


class Simulator:
    """The service, the identity endpoint and their books, behind one URL.

    ``strict``, ``scale`` and ``latency`` are those of `SimulatedService`. The books and the tokens go by ``clock``, in
    epoch seconds; delays are real. Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(
        self,
        *,
        tenant_id: str = TENANT,
        strict: bool = True,
        scale: float = 1.0,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        port: int = 0,
    ) -> None:
        self.books = SimulatedService(strict=strict, scale=scale, latency=latency)
        self.identity = IdentityEndpoint(tenant_id, secrets.token_hex(16))
        self.clock = clock
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; answers that are still under way are cut off."""
        self.stopped.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Return the settings that lead the function here."""
        return {
            "PARTNER_CENTER_URL": self.url,
            "PARTNER_CENTER_TENANT_ID": self.identity.tenant_id,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.identity.header,
        }

    def snapshot(self) -> dict[str, Any]:
        """Return the books, with the tokens that were asked for and those that were refused."""
        books = self.books.snapshot()
        books["totals"] |= {"tokens": self.identity.requests, "refusedTokens": self.identity.refused}
        return books

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # a benchmark opens its connections all at once

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as inherited
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  as inherited
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Hang up on the callers that keep their connections alive: their threads end with them."""
        super().server_close()
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as inherited
        # A caller that hangs up is no error of ours; anything else is a bug and wants its traceback.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: _Server

    def do_GET(self) -> None:
        """Serve a GET."""
        self._serve(self._get)

    def do_POST(self) -> None:
        """Serve a POST."""
        self._serve(self._post)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as inherited
        """Say nothing: the books tell it better."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not HTTP, or no method of ours: in JSON like everything else, and hang up."""
        del explain  # as inherited
        self.close_connection = True
        self._send(_refused(code, 800002, message or "The request is malformed."))

    def _serve(self, answer: Callable[[str], Reply]) -> None:
        try:  # the base class lets every target through
            path = urlsplit(self.path).path
        except ValueError:
            path = ""
        self._send(answer(path))

    def _get(self, path: str) -> Reply:
        if path == "/msi/token":
            return self._token()
        if path == "/_simulator/books":
            return _control(200, self.server.simulator.snapshot())
        if path == "/_simulator/scenarios":
            return _control(200, {"scenarios": [_summary(scenario) for scenario in SCENARIOS]})
        books = self.server.simulator.books
        if found := _CART.fullmatch(path):
            customer, cart = found.groups()
            return self._api((customer, cart), lambda _, now: books.get_cart(customer, cart, now))
        if found := _ORDERS.fullmatch(path):
            customer = found[1]
            return self._api((customer,), lambda _, now: books.list_orders(customer, now))
        return _refused(404, 1000, "There is no such resource.")

    def _post(self, path: str) -> Reply:
        try:
            content = self._content()
        except ValueError as error:
            self.close_connection = True  # what follows on this connection is anybody's guess
            return _refused(400, 800002, str(error))
        if path in _CONTROLS:
            return self._command(path, content)
        found = _CHECKOUT.fullmatch(path)
        if found is None:
            return _refused(404, 1000, "There is no such resource.")
        if content:
            return _refused(400, 800002, "A checkout has no body.")
        customer, cart = found.groups()
        return self._api((customer, cart), partial(self.server.simulator.books.checkout, customer, cart))

    def _content(self) -> bytes:
        """Read the body. Raises ValueError where its length is not known, or too large."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise ValueError("Content-Length is missing or malformed.")
        if len(length) > 9 or int(length) > _LARGEST_BODY:  # noqa: PLR2004  int() has its limits, too
            raise ValueError("The body is too large.")
        return self.rfile.read(int(length))

    def _api(self, ids: tuple[str, ...], answer: Callable[[str, float], Reply]) -> Reply:
        """Answer a call of the API: first the token, then the form, then the service."""
        simulator = self.server.simulator
        now = simulator.clock()
        request_id, correlation_id = self._echoed("MS-RequestId"), self._echoed("MS-CorrelationId")
        authorization = self.headers.get("Authorization")
        fault = simulator.identity.refusal(authorization, (simulator.url, f"{simulator.url}/"), now)
        if fault is not None:
            reply = Reply(fault.status, fault.body())
        elif "application/json" not in self.headers.get("Accept", ""):
            reply = _refused(400, 800002, "Accept must ask for application/json: the default is XML.")
        elif not all(map(_GUID.fullmatch, ids)):
            reply = _refused(400, 800002, "An id in the path is no GUID.")
        else:
            reply = answer(request_id, now)
        return reply.echo(request_id, correlation_id)

    def _echoed(self, name: str) -> str:
        """Return the caller's id; a new one where it is absent or would not survive in a header."""
        value = self.headers.get(name, "")
        return value if _HEADER_VALUE.fullmatch(value) else str(uuid.uuid4())

    def _token(self) -> Reply:
        simulator = self.server.simulator
        query = dict(parse_qsl(urlsplit(self.path).query))
        answer = simulator.identity.token(query, self.headers.get("X-IDENTITY-HEADER"), simulator.clock())
        return replace(_control(answer.status, answer.body), delay=answer.delay)

    def _command(self, path: str, content: bytes) -> Reply:
        try:
            _CONTROLS[path](self.server.simulator, **json.loads(content or b"{}"))
        except (TypeError, ValueError) as error:
            return _control(400, {"error": str(error)})
        return _control(200, {})

    def _send(self, reply: Reply) -> None:
        """Carry out what the reply says about its way home."""
        stopped = self.server.simulator.stopped
        if stopped.wait(reply.delay) or reply.drop == "before":
            return self._hang_up()
        head, body = self._head(reply), reply.body
        if reply.drop == "mid_body":
            self.wfile.write(head + body[: len(body) // 2])
            return self._hang_up()
        if reply.trickle is None:
            self.wfile.write(head + body)
            return None
        chunk, pause = reply.trickle
        self.wfile.write(head)
        for start in range(0, len(body), chunk):
            self.wfile.write(body[start : start + chunk])
            if stopped.wait(pause):
                return self._hang_up()
        return None

    def _head(self, reply: Reply) -> bytes:
        headers = {"Date": formatdate(self.server.simulator.clock(), usegmt=True), **reply.headers}
        headers["Content-Length"] = str(len(reply.body))
        if self.close_connection:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the caller may have been faster
            self.connection.shutdown(socket.SHUT_RDWR)


def _refused(status: int, code: int, description: str) -> Reply:
    return Reply(status, Fault(status, code, description).body())


def _control(status: int, tree: Mapping[str, Any]) -> Reply:
    return Reply(status, json.dumps(tree).encode(), ours=False)


def _summary(scenario: Scenario) -> dict[str, Any]:
    return {
        "number": scenario.number,
        "name": scenario.name,
        "about": scenario.about,
        "expected": scenario.expected,
        "errorClass": scenario.error_class,
        "code": scenario.code,
        "decidedByGivingUp": scenario.decided_by_giving_up,
        "purchases": scenario.purchases,
    }


def _limit(simulator: Simulator, *, limit: int, window: float = 60.0, per: Per = "tenant") -> None:
    if per not in get_args(Per):
        raise ValueError("per: tenant or customer")
    simulator.books.limiter = Limiter(int(limit), float(window), per)


def _break(simulator: Simulator, *, mode: Outage | None) -> None:
    if mode not in (None, *get_args(Outage)):
        raise ValueError("mode: 503, drop or null")
    simulator.books.outage = mode


def _misidentify(simulator: Simulator, *, failure: int | None = None, delay: float = 0.0, revoke: bool = False) -> None:
    simulator.identity.failure = None if failure is None else int(failure)
    simulator.identity.delay = float(delay)
    if revoke:
        simulator.identity.revoke()


_CONTROLS: Mapping[str, Callable[..., None]] = {
    "/_simulator/limiter": _limit,
    "/_simulator/outage": _break,
    "/_simulator/identity": _misidentify,
}
