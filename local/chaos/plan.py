"""What a chaos run does, all of it fixed by the seed: carts, messages, storms, broken lines, deaths.

What the seed cannot fix is which request a fault of the hour hits, and who holds a message when its worker is
killed: that depends on the machine.

Carts with one request are played strictly: a second MS-RequestId buys them again, and the books show it. Carts
with two requests at once rest on the service's promise per cart (docs/failures.md), so they play scenarios of
their own that keep it, numbered 1000 higher. `main` is the simulator that knows them:

    python -m local.chaos.plan --port 0 --scale 0.02
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from local.chaos.fault_proxy import Fault, Kind
from local.simulator.__main__ import main as run_simulator
from local.simulator.scenarios import BY_NAME, BY_NUMBER, Scenario, cart_id
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 4
"""How much longer than planned it may take to send all, since no more is sent than the storage can hold."""

Line = Literal["queue", "blob", "service"]
LINES: tuple[Line, ...] = get_args(Line)

_CUSTOMERS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout:chaos")
_DOCUMENTED = 1000

# fmt: off
MIX = {
    # scenario: how many of a thousand carts play it; mostly success
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
# fmt: on
_FOR_TWO = ("created", "dropped-before", "dropped-after", "plain-503", "partial", "fault-403-900323", "slow")
DOCUMENTED = {
    name: replace(BY_NAME[name], number=BY_NAME[name].number + _DOCUMENTED, documented=True) for name in _FOR_TWO
}

_NONSENSE = (
    "please buy everything, the {number}.",
    '{{"customerId": "{customer}", "cartId": "{cart}", "requestID": "{number}"}}',
    '{{"customerId": "{customer}", "cartId": "{cart}", "requestId": {number}}}',
    '{{"customerId": "{customer}", "customerId": "{customer}", "cartId": "{cart}", "context": {number}}}',
    '{{"customerId": "{customer}", "cartId": "no cart, the {number}."}}',
    '{{"dequeueCount": "{number}", "id": "spoofed"}}',
)


class CrashPoint(StrEnum):
    """Where a worker is killed by the message that it handles."""

    BEFORE_POST = "before the POST"
    AFTER_POST = "after the POST, its answer unread"
    BEFORE_KEEP = "before the record is kept"
    AFTER_KEEP = "after the record is kept"
    AFTER_PUBLISH = "after the outcome is told"
    AFTER_DEFER = "after the copy is sent"


class Crash(NamedTuple):
    """A message kills its worker at this point, so many times."""

    point: CrashPoint
    times: int


@dataclass(frozen=True, slots=True)
class ExpectedRequest:
    """One request of the run: what it is, what its cart plays, how many messages ask for it."""

    request: CheckoutRequest
    scenario: Scenario
    copies: int


class Action(NamedTuple):
    """Something that is done to the service: a control path of the simulator, and what it is told."""

    path: str
    tree: dict[str, Any]
    kind: str
    """What the report counts it as; empty: the end of something."""


class LineFault(NamedTuple):
    """For some seconds a line is broken; ``worker`` None: every worker's."""

    line: Line
    worker: int | None
    fault: Fault
    seconds: float


class Kill(NamedTuple):
    """A worker is killed, whatever it does."""

    worker: int


class Sending(NamedTuple):
    """A message enters the carts queue, or the poison queue by hand; ``event_id`` is that of its outcome."""

    text: str
    event_id: str
    poison: bool = False


Event = Action | LineFault | Kill | Sending


@dataclass(frozen=True, slots=True)
class Scale:
    """How rough it gets, in seconds of this machine.

    ``lease``: how long a fetched message is invisible. ``window``: how long carts come in, if nothing holds them up;
    things break until all are sent.
    ``outage``: of the service. ``quiet``: how long storage is gone altogether; a line that is dead for more than
    about 4 seconds makes the program put messages off for 30 to 60. ``storms``: whether the limiter throttles all.
    """

    lease: int
    window: float
    outage: float
    quiet: float
    storms: bool
    settings: dict[str, str]

    @classmethod
    def of(cls, carts: int) -> Scale:
        """A small run must end within a minute, so it leaves out what makes messages wait for one."""
        if carts < 500:  # noqa: PLR2004
            settings = {"SETTLE_SECONDS": "3", "RETRY_CAP_SECONDS": "2", "RETRY_MAX_AGE_SECONDS": "12"}
            return cls(3, 12.0, 3.0, 1.5, storms=False, settings=settings)
        settings = {"SETTLE_SECONDS": "5", "RETRY_CAP_SECONDS": "8", "RETRY_MAX_AGE_SECONDS": "150"}
        return cls(10, max(60.0, carts * 0.044), 30.0, 15.0, storms=True, settings=settings)


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it: what is sent, what must be answered, who dies, and what happens when, by seconds."""

    seed: str
    scale: Scale
    demands: tuple[ExpectedRequest, ...]
    strays: tuple[InvalidMessage, ...]
    deaths: dict[str, Crash]
    events: tuple[tuple[float, Event], ...]

    @classmethod
    def of(cls, seed: str, carts: int, workers: int) -> Plan:
        """Make the plan of this seed."""
        scale = Scale.of(carts)
        made = _PlanBuilder(seed, carts, workers, scale)
        demands, deaths = made.demands()
        strays = tuple(made.strays())
        made.break_lines()
        made.trouble_service()
        made.kill()
        events = tuple(sorted(made.events, key=lambda event: event[0]))
        return cls(seed, scale, tuple(demands), strays, deaths, events)

    @property
    def messages(self) -> int:
        """How many messages are sent."""
        return sum(isinstance(event, Sending) for _, event in self.events)


class _PlanBuilder:
    """Throws the dice, each part of the plan with its own."""

    def __init__(self, seed: str, carts: int, workers: int, scale: Scale) -> None:
        self._seed, self._carts, self._workers, self._scale = seed, carts, workers, scale
        self.events: list[tuple[float, Event]] = []

    def demands(self) -> tuple[list[ExpectedRequest], dict[str, Crash]]:
        """A cart each; 2 % are asked for by two requests, 10 % of all requests come twice."""
        dice = self._dice("carts")
        demands: list[ExpectedRequest] = []
        deadly = list(self._deadly(dice))
        deaths: dict[str, Crash] = {}
        places = dict(zip(dice.sample(range(self._carts // 2), len(deadly)), deadly, strict=True))
        for number in range(self._carts):
            at = self._scale.window * number / self._carts
            if number in places:
                name, death = places[number]
                demands.append(self._demand(BY_NAME[name], number, "", [at], dice))
                deaths[demands[-1].request.cart_id] = death
                continue
            twice = dice.random() < 0.1  # noqa: PLR2004
            ats = [at, at + dice.choice((0.0, dice.uniform(0.0, 5.0)))] if twice else [at]
            if dice.random() < 0.02:  # noqa: PLR2004
                scenario = DOCUMENTED[dice.choice(_FOR_TWO)]
                demands.append(self._demand(scenario, number, "", ats, dice))
                later = at + dice.choice((0.0, dice.uniform(0.0, 8.0)))
                demands.append(self._demand(scenario, number, ", again", [later], dice))
            else:
                (name,) = dice.choices(list(MIX), list(MIX.values()))
                demands.append(self._demand(BY_NAME[name], number, "", ats, dice))
        return demands, deaths

    def strays(self) -> Iterator[InvalidMessage]:
        """2 % of the carts' number: messages that are no requests."""
        dice = self._dice("strays")
        for number in range(max(1, self._carts // 50)):
            customer, cart = (uuid.UUID(int=dice.getrandbits(128), version=4) for _ in range(2))
            text = dice.choice(_NONSENSE).format(number=f"{number}", customer=customer, cart=cart)
            found = decode(f"{text}{' ' * number}".encode(), _delivery())
            if not isinstance(found, InvalidMessage):
                raise AssertionError(f"{text} is a request")  # noqa: TRY004  the table above is wrong
            self._at(dice.uniform(0.0, self._scale.window), Sending(found.body.decode(), found.event_id))
            yield found

    def break_lines(self) -> None:
        """One line after another is bad for a while; in a large run storage is also gone for longer."""
        dice, scale = self._dice("lines"), self._scale
        dead = [scale.window * share for share in (0.3, 0.8) if scale.storms]
        for begin, line in zip(dead, (LINES[1], LINES[0]), strict=False):
            self._at(begin, LineFault(line, None, Fault(Kind.REFUSE), scale.quiet))
        at = 2.0
        while at < scale.window * LONGEST:
            at = next((end for begin in dead if begin - 3.0 < at < (end := begin + scale.quiet)), at)
            line = dice.choice(LINES)
            share = dice.uniform(0.2, 0.5) if scale.storms or line == "service" else 0.06
            faults = [
                Fault(Kind.DROP_BEFORE, share),
                Fault(Kind.DROP_AFTER, share),
                Fault(Kind.DELAY, 0.5, dice.uniform(0.2, 1.0)),
            ]
            if scale.storms or line != "service":  # tokens come by this line too, and who gets none waits for a minute
                faults.append(Fault(Kind.REFUSE))
            fault = dice.choice(faults)
            # one worker that is refused puts off what it fetches for a minute; if all were, the run would only wait
            refused = fault.kind is Kind.REFUSE
            seconds = dice.uniform(0.4, 1.0) * (1.5 if refused else 3.0)
            whom = (*range(self._workers),) if refused else (None, *range(self._workers))
            self._at(at, LineFault(line, dice.choice(whom), fault, seconds))
            at += seconds + dice.uniform(0.5, 3.0)

    def trouble_service(self) -> None:
        """The service is out, throttles everybody or each customer, and takes back its tokens."""
        dice, scale = self._dice("service"), self._scale
        at = scale.window * dice.uniform(0.4, 0.5)
        self._during(at, scale.outage, "/_simulator/outage", {"mode": dice.choice(("503", "drop"))}, {"mode": None})
        self._at(scale.window * 0.65, Action("/_simulator/identity", {"revoke": True}, "revoked tokens"))
        if scale.storms:
            calm = {"limit": 0}
            for share, per in ((0.12, "tenant"), (0.62, "customer"), (0.75, "tenant")):
                limit = {"limit": 40 if per == "tenant" else 1, "window": 5, "per": per}
                self._during(scale.window * share, 12.0, "/_simulator/limiter", limit, calm)

    def kill(self) -> None:
        """Workers die at any time, one every five seconds or so."""
        dice = self._dice("kills")
        at = dice.uniform(2.0, 5.0)
        while at < self._scale.window * LONGEST:
            self._at(at, Kill(dice.randrange(self._workers)))
            at += 1.0 + dice.expovariate(1 / 4.0)

    def _deadly(self, dice: random.Random) -> Iterator[tuple[str, Crash]]:
        """Carts that kill their worker: at each point once, and some at the POST five times in a row or ten."""
        for point in CrashPoint:
            for _ in range(max(1, self._carts // 2000)):
                yield ("plain-503" if point is CrashPoint.AFTER_DEFER else "created"), Crash(point, 1)
        posts = (CrashPoint.BEFORE_POST, CrashPoint.AFTER_POST)
        for number in range(max(1, self._carts // 1000)):
            yield dice.choice(("created", "two-order-groups")), Crash(posts[number % 2], 5)
        for point in posts if self._scale.storms else ():
            yield "created", Crash(point, 10)

    def _demand(
        self, scenario: Scenario, number: int, name: str, ats: list[float], dice: random.Random
    ) -> ExpectedRequest:
        body = {
            "customerId": str(uuid.uuid5(_CUSTOMERS, f"{self._seed} {number // 5}")),
            "cartId": cart_id(scenario.number, f"{self._seed} {number}"),
            "requestId": f"{self._seed} {number}{name}",
            "context": {"scenario": scenario.name},
        }
        text = _form(body, dice.choice(("plain", "plain", "base64", "cloudevent")))
        found = decode(text.encode(), _delivery())
        if not isinstance(found, CheckoutRequest):
            raise AssertionError(f"{text} is no request")  # noqa: TRY004  we have just made it
        for at in ats:
            self._at(at, Sending(text, found.event_id))
        return ExpectedRequest(found, scenario, len(ats))

    def _during(self, at: float, seconds: float, path: str, begin: dict[str, Any], end: dict[str, Any]) -> None:
        kind = path.rpartition("/")[2]
        self._at(at, Action(path, begin, kind))
        self._at(at + seconds, Action(path, end, ""))

    def _at(self, at: float, event: Event) -> None:
        self.events.append((at, event))

    def _dice(self, part: str) -> random.Random:
        return random.Random(f"{self._seed} {part}")


_delivery = partial(Delivery, "", 1, datetime(2026, 1, 1, tzinfo=UTC))


def _form(body: dict[str, Any], form: str) -> str:
    match form:
        case "base64":
            return base64.b64encode(json.dumps(body).encode()).decode()
        case "cloudevent":
            event_id = body.pop("requestId")  # the function derives one from the event's source and id
            envelope = {"specversion": "1.0", "id": event_id, "source": "urn:chaos", "type": "chaos.order.placed"}
            return json.dumps({**envelope, "data": body})
        case _:
            return json.dumps(body)


def main() -> None:
    """The simulator, with the scenarios that keep the documented promise."""
    BY_NUMBER.update({scenario.number: scenario for scenario in DOCUMENTED.values()})
    run_simulator()


if __name__ == "__main__":
    main()
