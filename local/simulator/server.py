"""The simulated Partner Center behind one URL.

    POST /v1/customers/{c}/carts/{cart}/checkout     GET /v1/customers/{c}/carts/{cart}
    POST /v1/customers/{c}/carts                     PUT /v1/customers/{c}/carts/{cart}
    GET  /v1/customers/{c}/orders                    GET /v1/customers/{c}/orders/{order}   ?include_price=true
    GET  /v1/customers/{c}/orders/{order}/activationlinks
    GET  /v1/customers/{c}/orders/{order}/lineitems/{line}/activationlinks
    GET  /msi/token (the managed identity endpoint)

    GET  /_simulator/books                           GET /_simulator/scenarios
    POST /_simulator/limiter   {"limit": 5, "window": 10, "per": "customer"}
    POST /_simulator/outage    {"mode": "503" | "drop" | null}
    POST /_simulator/identity  {"failure": 500 | null, "delay": 0, "revoke": true}

It listens on 127.0.0.1 only: its control paths require no authentication.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self
from urllib.parse import parse_qsl

from local.simulator.api import Api
from local.simulator.carts import Idempotency
from local.simulator.controls import Controls, summary
from local.simulator.http_server import HttpServer, Request
from local.simulator.identity import IdentityEndpoint
from local.simulator.scenarios import SCENARIOS
from local.simulator.service import SimulatedService
from local.simulator.state import SimulatedResponse

TENANT = "11111111-1111-4111-8111-111111111111"


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
        self._server = HttpServer(("127.0.0.1", port), self._answer, clock, self.stopped)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._api = Api(self.service, self.identity, (self.url, f"{self.url}/"))
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

    def _answer(self, request: Request) -> SimulatedResponse:
        match request.method, request.path:
            case "GET", "/msi/token":
                query, secret = dict(parse_qsl(request.query)), request.headers.get("X-IDENTITY-HEADER")
                token = self.identity.token(query, secret, self.clock())
                return replace(_control(token.status, token.body), delay=token.delay)
            case "GET", "/_simulator/books":
                return _control(200, self.snapshot())
            case "GET", "/_simulator/scenarios":
                return _control(200, {"scenarios": [summary(scenario) for scenario in SCENARIOS]})
            case "POST", path if path in self.controls.by_path:
                return self._command(request)
            case _:
                return self._api.answer(request, self.clock())

    def _command(self, request: Request) -> SimulatedResponse:
        try:
            self.controls.by_path[request.path](**json.loads(request.content or b"{}"))
        except (TypeError, ValueError) as error:
            return _control(400, {"error": str(error)})
        return _control(200, {})


def _control(status: int, tree: Mapping[str, Any]) -> SimulatedResponse:
    return SimulatedResponse(status, json.dumps(tree).encode(), ours=False)
