"""Builds the plan of a chaos run from its seed."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

from local.chaos.fault_proxy import ProxyFault, ProxyFaultKind
from local.chaos.plan import (
    LINES,
    Action,
    ChaosPlan,
    Crash,
    CrashPoint,
    Death,
    ExpectedRequest,
    Intensity,
    Kill,
    LineFault,
    PlannedMessage,
    ServiceFault,
)
from local.message_text import decode_text, request_text
from local.simulator.scenarios import BY_NAME, cart_id
from shared.core.messages import CheckoutRequest, InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.chaos.plan import PlannedEvent
    from local.message_text import Form
    from local.simulator.carts import Idempotency
    from local.simulator.scenarios import Scenario

MAX_STRETCH = 4
"""How many times longer than planned sending may take: it pauses while the queue is full."""

_CUSTOMERS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout:chaos")
_FORMS: tuple[Form, ...] = ("plain", "plain", "base64", "cloudevent")
_UNNAMED = 1 / 3
"""The share of requests whose messages carry no `requestId`."""
_TWICE, _AT_ONCE, _AFTERWARDS = 0.1, 0.04, 0.2
"""The shares of carts whose message is sent twice, that two requests ask for at one moment, and that are asked for
again once the first outcome was published, whatever it says."""

# fmt: off
MIX = {
    "created": 520, "ok": 60, "accepted": 20, "pending": 40, "two-order-groups": 30, "byte-order-mark": 10,
    "huge-result": 6, "pending-review": 12, "pending-po-upload": 8, "partial": 15, "order-in-error": 8,
    "only-order-errors": 10, "fault-403-900323": 15, "fault-404-800008": 10, "fault-500-800083": 6, "unknown-400": 8,
    "empty-body": 10, "no-orders": 10, "login-page": 5, "empty-object-for-ever": 2,
    "throttled": 5, "throttled-thrice": 3,
    "slow": 20, "too-slow": 8, "trickle": 6, "endless-trickle": 3,
    "dropped-before": 20, "dropped-after": 25, "dropped-mid-body": 10, "dropped-twice": 5,
    "dropped-before-then-refused": 6, "dropped-after-then-refused": 4, "never-answers": 3, "never-tells": 3,
    "refuses-a-repeat": 6, "ordered-at-a-repeat": 4,
    "html-502": 10, "plain-503": 10, "uncoded-500": 6, "coded-500": 20, "coded-500-twice": 8,
    "coded-500-after-purchase": 4, "html-404": 4, "in-progress": 8, "already-ordered": 4, "unauthorized-once": 3,
}
"""How many of a thousand carts play each scenario, unless it lasts for days."""
# fmt: on
PLAYED = {name: share for name, share in MIX.items() if not BY_NAME[name].lasts_days}

_INVALID = (
    "please buy everything, the {number}.",
    '{{"customerId": "{customer}", "cartId": "{cart}", "requestID": "{number}"}}',
    '{{"customerId": "{customer}", "cartId": "{cart}", "requestId": {number}}}',
    '{{"customerId": "{customer}", "customerId": "{customer}", "cartId": "{cart}", "context": {number}}}',
    '{{"customerId": "{customer}", "cartId": "no cart, the {number}."}}',
    '{{"dequeueCount": "{number}", "id": "spoofed"}}',
)


def build_plan(seed: str, carts: int, workers: int, idempotency: Idempotency = "strict") -> ChaosPlan:
    """Build the plan of this seed."""
    intensity = Intensity.of(carts)
    builder = _PlanBuilder(seed, carts, workers, intensity)
    requests, crashes = builder.add_requests()
    invalid_messages = tuple(builder.add_invalid_messages())
    builder.add_line_faults()
    builder.add_service_faults()
    builder.add_kills()
    events = tuple(sorted(builder.events, key=lambda event: event[0]))
    return ChaosPlan(seed, intensity, tuple(requests), invalid_messages, crashes, events, idempotency)


class _PlanBuilder:
    """Builds the parts of a plan, each from a random source of its own."""

    def __init__(self, seed: str, carts: int, workers: int, intensity: Intensity) -> None:
        self._seed, self._carts, self._workers, self._intensity = seed, carts, workers, intensity
        self.events: list[tuple[float, PlannedEvent]] = []

    def add_requests(self) -> tuple[list[ExpectedRequest], dict[str, Crash]]:
        """Add a request for each cart and a second one for some of them, at once or after the first outcome."""
        rng = self._random("carts")
        requests: list[ExpectedRequest] = []
        crashing = list(self._crashing_carts(rng))
        crashes: dict[str, Crash] = {}
        crashing_numbers = dict(zip(rng.sample(range(self._carts * 4 // 5), len(crashing)), crashing, strict=True))
        for number in range(self._carts):
            at = self._intensity.window * number / self._carts
            if number in crashing_numbers:
                name, crash = crashing_numbers[number]
                requests.append(self._request(BY_NAME[name], number, "", [at], rng))
                crashes[requests[-1].request.cart_id] = crash
            else:
                (name,) = rng.choices(list(PLAYED), list(PLAYED.values()))
                ats = [at, at + rng.choice((0.0, rng.uniform(0.0, 5.0)))] if rng.random() < _TWICE else [at]
                requests.append(self._request(BY_NAME[name], number, "", ats, rng))
                if rng.random() < _AT_ONCE:
                    beside = at + rng.choice((0.0, rng.uniform(0.0, 3.0)))
                    requests.append(self._request(BY_NAME[name], number, ", beside", [beside], rng))
            if rng.random() < _AFTERWARDS:
                requests.append(self._request(BY_NAME[name], number, ", again", [at], rng, afterwards=True))
        return requests, crashes

    def add_invalid_messages(self) -> Iterator[InvalidMessage]:
        """Add invalid messages, 2 % of the number of carts."""
        rng = self._random("strays")
        for number in range(max(1, self._carts // 50)):
            customer, cart = (uuid.UUID(int=rng.getrandbits(128), version=4) for _ in range(2))
            text = rng.choice(_INVALID).format(number=f"{number}", customer=customer, cart=cart)
            found = decode_text(f"{text}{' ' * number}")
            if not isinstance(found, InvalidMessage):
                raise AssertionError(f"{text} is a request")  # noqa: TRY004  a mistake in _INVALID
            self._at(rng.uniform(0.0, self._intensity.window), PlannedMessage(found.body.decode(), found.event_id))
            yield found

    def add_line_faults(self) -> None:
        """Let one line after another fail for a while, and in a large run storage for longer."""
        rng, intensity = self._random("lines"), self._intensity
        outages = [intensity.window * share for share in (0.3, 0.8) if intensity.throttling]
        for begin, line in zip(outages, (LINES[1], LINES[0]), strict=False):
            self._at(begin, LineFault(line, None, ProxyFault(ProxyFaultKind.REFUSE), intensity.storage_outage))
        at = 2.0
        while at < intensity.window * MAX_STRETCH:
            at = next((end for begin in outages if begin - 3.0 < at < (end := begin + intensity.storage_outage)), at)
            line = rng.choice(LINES)
            share = rng.uniform(0.2, 0.5) if intensity.throttling or line == "service" else 0.06
            faults = [
                ProxyFault(ProxyFaultKind.DROP_BEFORE, share),
                ProxyFault(ProxyFaultKind.DROP_AFTER, share),
                ProxyFault(ProxyFaultKind.DELAY, 0.5, rng.uniform(0.2, 1.0)),
            ]
            if intensity.throttling or line != "service":  # tokens use it too, and are tried again after a minute only
                faults.append(ProxyFault(ProxyFaultKind.REFUSE))
            fault = rng.choice(faults)
            # a refused worker defers what it receives by a minute; with all of them refused, the run would only wait
            refused = fault.kind is ProxyFaultKind.REFUSE
            seconds = rng.uniform(0.4, 1.0) * (1.5 if refused else 3.0)
            affected = (*range(self._workers),) if refused else (None, *range(self._workers))
            self._at(at, LineFault(line, rng.choice(affected), fault, seconds))
            at += seconds + rng.uniform(0.5, 3.0)

    def add_service_faults(self) -> None:
        """Let the service fail, throttle by tenant or by customer, and revoke its tokens."""
        rng, intensity = self._random("service"), self._intensity
        at = intensity.window * rng.uniform(0.4, 0.5)
        outage = Action("/_simulator/outage", {"mode": rng.choice(("503", "drop"))}, ServiceFault.OUTAGE)
        self._during(at, intensity.outage, outage, end={"mode": None})
        self._at(intensity.window * 0.65, Action("/_simulator/identity", {"revoke": True}, ServiceFault.REVOKED_TOKENS))
        if intensity.throttling:
            for share, per in ((0.12, "tenant"), (0.62, "customer"), (0.75, "tenant")):
                limit = {"limit": 40 if per == "tenant" else 1, "window": 5, "per": per}
                begin = Action("/_simulator/limiter", limit, ServiceFault.THROTTLING)
                self._during(intensity.window * share, 12.0, begin, end={"limit": 0})

    def add_kills(self) -> None:
        """Kill a worker process or a whole instance at random times, every five seconds or so."""
        rng = self._random("kills")
        at = rng.uniform(2.0, 5.0)
        while at < self._intensity.window * MAX_STRETCH:
            self._at(at, Kill(rng.randrange(self._workers), rng.choice((*Death,))))
            at += 1.0 + rng.expovariate(1 / 4.0)

    def _crashing_carts(self, rng: random.Random) -> Iterator[tuple[str, Crash]]:
        """Scenarios of carts that kill their worker: once at each point, some around the POST five or ten times."""
        for point in CrashPoint:
            for _ in range(max(1, self._carts // 2000)):
                yield ("plain-503" if point is CrashPoint.AFTER_DEFER else "created"), Crash(point, 1)
        posts = (CrashPoint.BEFORE_ENTRY, CrashPoint.AFTER_ENTRY, CrashPoint.BEFORE_POST, CrashPoint.AFTER_POST)
        for number in range(max(1, self._carts // 1000)):
            yield rng.choice(("created", "two-order-groups")), Crash(posts[-1 - number % len(posts)], 5)
        for point in posts if self._intensity.throttling else ():
            yield "created", Crash(point, 10)

    def _request(
        self,
        scenario: Scenario,
        number: int,
        name: str,
        ats: list[float],
        rng: random.Random,
        *,
        afterwards: bool = False,
    ) -> ExpectedRequest:
        name, cart = f"{self._seed} {number}{name}", cart_id(scenario.number, f"{self._seed} {number}")
        body = {
            "customerId": str(uuid.uuid5(_CUSTOMERS, f"{self._seed} {number // 5}")),
            "cartId": cart,
            "context": {"scenario": scenario.name, "request": name},
        }
        form = rng.choice(_FORMS)
        named = form == "cloudevent" or rng.random() >= _UNNAMED * len(_FORMS) / (len(_FORMS) - 1)
        text = request_text(body | {"requestId": name} if named else body, form, "chaos")
        found = decode_text(text)
        if not isinstance(found, CheckoutRequest):
            raise AssertionError(f"{text} is not a request")  # noqa: TRY004  a wrong plan
        for at in ats:
            self._at(at, PlannedMessage(text, name, after=cart if afterwards else None))
        return ExpectedRequest(found, scenario, len(ats), name, named)

    def _during(self, at: float, seconds: float, begin: Action, *, end: dict[str, Any]) -> None:
        self._at(at, begin)
        self._at(at + seconds, Action(begin.path, end, None))

    def _at(self, at: float, event: PlannedEvent) -> None:
        self.events.append((at, event))

    def _random(self, part: str) -> random.Random:
        return random.Random(f"{self._seed} {part}")
