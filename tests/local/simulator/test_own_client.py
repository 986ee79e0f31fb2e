"""The program's own client with the simulator: what stands between a request and its answer on the wire."""

from datetime import UTC, datetime

import pytest

from local.simulator.scenarios import BY_NAME, cart_id
from local.simulator.server import Simulator
from shared.adapters.identity import TokenProvider, credential_factory
from shared.adapters.partner_center import PartnerCenter
from shared.core.messages import CheckoutRequest
from shared.settings import Settings

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("created", [201, 200]),
        ("interim-answers", [201, 200]),
        ("interim-then-closed", [None, 200]),
        ("interim-for-ever", [None, 200]),
        ("answer-of-another", [None, 200]),
        ("answer-of-another-for-ever", [None, None]),
    ],
)
def test_the_client_takes_the_answer_to_its_own_call_and_no_other(
    monkeypatch: pytest.MonkeyPatch, name: str, statuses: list[int | None]
) -> None:
    with Simulator(scale=0.005) as simulator:
        for variable, value in simulator.environment().items():
            monkeypatch.setenv(variable, value)
        settings = Settings("carts", "outcomes", "records", partner_center_url=simulator.url, checkout_timeout=0.6)
        identity = TokenProvider(credential_factory(settings), settings.scope, simulator.identity.tenant_id)
        service = PartnerCenter(settings, identity)
        request = CheckoutRequest(CUSTOMER, cart_id(name, "own"), "order-1", datetime(2026, 11, 22, tzinfo=UTC))
        found = []
        for _ in statuses:
            answer = service.checkout(request, ms_request_id="A", token=service.token(), may_begin=lambda: True)
            found.append(answer.status)
            ended = simulator.service.page(CUSTOMER, request.cart_id)["postLog"][-1]["endedAt"]
            simulator.stopped.wait(ended - simulator.clock())  # until then the cart is busy
        page = simulator.service.page(CUSTOMER, request.cart_id)
    assert statuses == found
    assert BY_NAME[name].purchases == page["purchases"]
