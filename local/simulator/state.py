"""A response of the simulated service and how it is delivered, and the rate limiter."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

LimitScope = Literal["tenant", "customer"]

JSON_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class SimulatedResponse:
    """A response and its delivery. `delay`, `pause` and the pause of `trickle` are in seconds.

    `drop`: the connection is closed `before` any byte of the response is sent, or in `mid_body`. The other fields then
    say what was lost. `interim`: the statuses of the interim answers before it, with `pause` after each. `trickle`:
    bytes per chunk, and the pause after each. `ours`: False for a gateway's response.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_HEADERS)
    drop: Literal["none", "before", "mid_body"] = "none"
    delay: float = 0.0
    interim: tuple[int, ...] = ()
    pause: float = 0.0
    trickle: tuple[int, float] | None = None
    ours: bool = True

    def echo(self, ms_request_id: str, ms_correlation_id: str, cv: str | None = None) -> "SimulatedResponse":
        """Return the response with the ids that the service echoes. A gateway echoes none."""
        if not self.ours:
            return self
        ids = {
            "MS-RequestId": ms_request_id,
            "MS-CorrelationId": ms_correlation_id,
            "MS-CV": cv or f"{ms_request_id[:8]}.0",
        }
        return replace(self, headers={**self.headers, **ids})

    @property
    def seconds_to_head(self) -> float:
        """Return how long a caller without a timeout waits for the response, after any interim answers."""
        return self.delay + len(self.interim) * self.pause

    @property
    def seconds(self) -> float:
        """Return how long a caller without a timeout waits for the end of the body."""
        if self.trickle is None:
            return self.seconds_to_head
        chunk, pause = self.trickle
        return self.seconds_to_head + ceil(len(self.body) / chunk) * pause


@dataclass(slots=True)
class RateLimiter:
    """Fixed windows: `limit` POSTs in `window` seconds, per tenant or per customer. 0: no limit."""

    limit: int = 0
    window: float = 60.0
    per: LimitScope = "tenant"
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def refuse(self, customer_id: str, now: float) -> float | None:
        """Admit a POST (`None`), or return the seconds that are left of the window."""
        if not self.limit:
            return None
        key = customer_id if self.per == "customer" else ""
        start, admitted = self._windows.get(key, (now, 0))
        if now >= start + self.window:
            start, admitted = now, 0
        if admitted >= self.limit:
            return start + self.window - now
        self._windows[key] = start, admitted + 1
        return None
