"""The control paths, which make the simulated service and its identity endpoint fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from local.simulator.service import Outage
from local.simulator.state import LimitScope, RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.simulator.identity import IdentityEndpoint
    from local.simulator.scenarios import Scenario
    from local.simulator.service import SimulatedService


class Controls:
    """The `POST` commands by their paths, each called with the members of a JSON object."""

    def __init__(self, service: SimulatedService, identity: IdentityEndpoint) -> None:
        self._service = service
        self._identity = identity
        self.by_path: Mapping[str, Callable[..., None]] = {
            "/_simulator/limiter": self._set_limiter,
            "/_simulator/outage": self._set_outage,
            "/_simulator/identity": self._set_identity,
        }

    def _set_limiter(self, *, limit: int, window: float = 60.0, per: LimitScope = "tenant") -> None:
        if per not in get_args(LimitScope):
            raise ValueError("per: tenant or customer")
        self._service.limiter = RateLimiter(int(limit), float(window), per)

    def _set_outage(self, *, mode: Outage | None) -> None:
        if mode not in (None, *get_args(Outage)):
            raise ValueError("mode: 503, drop or null")
        self._service.outage = mode

    def _set_identity(self, *, failure: int | None = None, delay: float = 0.0, revoke: bool = False) -> None:
        self._identity.failure = None if failure is None else int(failure)
        self._identity.delay = float(delay)
        if revoke:
            self._identity.revoke()


def summary(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as `GET /_simulator/scenarios` lists it."""
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
