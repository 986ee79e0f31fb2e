"""What a chaos run consists of: messages, faults, crashes, and when each happens.

The kinds of faults on a line are in `local.chaos.fault_proxy`, which injects them.

The seed fixes the plan. Which request a fault affects, and which message a worker holds when it is killed, depends on
the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from local.chaos.fault_proxy import ProxyFault
    from local.simulator.carts import Idempotency
    from local.simulator.scenarios import Scenario
    from shared.core.messages import CheckoutRequest, InvalidMessage

Line = Literal["queue", "blob", "service"]
"""A connection of the workers: to the queues, to the records, or to the service."""
LINES: tuple[Line, ...] = get_args(Line)


class CrashPoint(StrEnum):
    """Where a message kills the worker process that handles it.

    entry ──── POST ──── copy sent ──── what the answer left ──── return
                  └───── append ─────── publish ───────────────── return
    """

    BEFORE_ENTRY = "before the POST is entered"
    AFTER_ENTRY = "after the POST is entered, the reply unread"
    BEFORE_POST = "between entry and POST"
    AFTER_POST = "after the POST, its answer unread"
    BEFORE_APPEND = "before the outcome is recorded"
    AFTER_APPEND = "after the outcome is recorded"
    BEFORE_PUBLISH = "before the outcome is published"
    AFTER_PUBLISH = "after the outcome is published"
    AFTER_DEFER = "after the copy is sent"


class Death(StrEnum):
    """What is killed. A worker's host lives on: all its invocations fail together, and come back in seconds."""

    WORKER = "a worker process killed"
    INSTANCE = "an instance killed, worker and host"


class Crash(NamedTuple):
    """A message kills its worker process at this point, so many times."""

    point: CrashPoint
    times: int


@dataclass(frozen=True, slots=True)
class ExpectedRequest:
    """One request of the run, the scenario of its cart, and how many messages ask for it.

    `name`: its name in the plan. `named`: its messages carry a `requestId`. Otherwise each of them is a request of its
    own, under the id of the queue message or of its poison copy, which is known only after the run.
    """

    request: CheckoutRequest
    scenario: Scenario
    copies: int
    name: str = ""
    named: bool = True


class ServiceFault(StrEnum):
    """What is done to the service as a whole by a control path of the simulator, in the words of the fault table."""

    OUTAGE = "the service: away for all"
    REVOKED_TOKENS = "the service: tokens taken back"
    THROTTLING = "the service: 429 in a storm"


class Action(NamedTuple):
    """A request to a control path of the simulator, which begins a fault, or ends one (`fault` None)."""

    path: str
    body: dict[str, Any]
    fault: ServiceFault | None


class LineFault(NamedTuple):
    """A fault of a line for some seconds, for one worker or for all (`worker` None)."""

    line: Line
    worker: int | None
    fault: ProxyFault
    seconds: float


class Kill(NamedTuple):
    """An instance is killed, or only its worker process."""

    worker: int
    death: Death


class PlannedMessage(NamedTuple):
    """A message enters the carts queue, or the poison queue.

    `name`: of its request, or the event id of an invalid message. `after`: it is not sent before an outcome of this
    cart was published.
    """

    text: str
    name: str
    poison: bool = False
    after: str | None = None


PlannedEvent = Action | LineFault | Kill | PlannedMessage


@dataclass(frozen=True, slots=True)
class Intensity:
    """How much goes wrong and for how long, in seconds of this machine.

    `lease`: how long a received message is invisible. `window`: how long messages are sent, unless the queue is full;
    faults occur until all are sent. `outage`: of the service. `storage_outage`: of storage; a line that is down for
    more than about 4 seconds makes the function defer messages by 30 to 60. `throttling`: whether the service throttles
    all customers at times.
    """

    lease: int
    window: float
    outage: float
    storage_outage: float
    throttling: bool
    settings: dict[str, str]

    @classmethod
    def of(cls, carts: int) -> Intensity:
        """Return the intensity for a number of carts: a small run must end within a minute."""
        if carts < 500:  # noqa: PLR2004  a small run
            settings = {"SETTLE_SECONDS": "7", "RETRY_CAP_SECONDS": "2", "RETRY_MAX_AGE_SECONDS": "12"}
            return cls(3, 12.0, 3.0, 1.5, throttling=False, settings=settings)
        settings = {"SETTLE_SECONDS": "8", "RETRY_CAP_SECONDS": "8", "RETRY_MAX_AGE_SECONDS": "90"}
        return cls(20, max(60.0, carts * 0.044), 30.0, 15.0, throttling=True, settings=settings)


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """The plan of a run. `crashes` is by cart id, `events` by seconds after the start.

    `idempotency`: how the simulated service keeps its promise (`local.simulator.carts`).
    """

    seed: str
    intensity: Intensity
    requests: tuple[ExpectedRequest, ...]
    invalid_messages: tuple[InvalidMessage, ...]
    crashes: dict[str, Crash]
    events: tuple[tuple[float, PlannedEvent], ...]
    idempotency: Idempotency = "strict"

    @property
    def settle(self) -> float:
        """SETTLE_SECONDS of the run."""
        return float(self.intensity.settings["SETTLE_SECONDS"])

    @property
    def messages(self) -> int:
        """How many messages are sent."""
        return sum(isinstance(event, PlannedMessage) for _, event in self.events)
