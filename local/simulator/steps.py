"""The steps of a scenario's script: what one call of the service gets.

A step is a response (`ResponseStep`), or it wraps one and delays or breaks its delivery (`Slow`, `Interim`, `Trickle`,
`Drop`, `DropMidBody`), or it answers before its purchase takes effect (`Later`). Seconds are those of the real service.
The simulator's `scale` shortens them all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """An order group that is not bought."""

    code: int
    description: str = "The order group could not be bought."


@dataclass(frozen=True, slots=True)
class Commit:
    """Buy the cart and return its CartCheckoutResult.

    `groups` is the result of each of the cart's order groups, repeating: an order with that status, or a
    `RefusedGroup`. Where every group is refused nothing is bought. `bare`: the body is the first order alone.
    `activation`: the lines are SaaS subscriptions that somebody must activate.
    """

    groups: tuple[str | RefusedGroup, ...] = ("completed",)
    status: int = 201
    bom: bool = False
    bare: bool = False
    activation: bool = False
    utc_offset: int | None = None  # hours; None: `Z` with seven digits, the service's habit
    extra: Mapping[str, object] = field(default_factory=dict)  # fields that the reference does not list


@dataclass(frozen=True, slots=True)
class FaultStep:
    """The service's own fault body. `None` leaves a field out."""

    status: int
    code: int | str | None
    description: str = "The call was refused."
    source: str | None = "PartnerFD"
    data: tuple[object, ...] | None = ()

    def body(self) -> bytes:
        """Return the body as sent."""
        fields = {
            "code": self.code,
            "description": self.description,
            "data": self.data,
            "source": self.source,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@dataclass(frozen=True, slots=True)
class GatewayStep:
    """The response of a gateway, a proxy or a login page. It echoes none of the caller's ids."""

    status: int
    content: bytes = b""
    content_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Throttle:
    """The gateway's 429: Retry-After in `seconds`, as a date, or (`None`) absent."""

    seconds: int | None = 30
    as_date: bool = False


@dataclass(frozen=True, slots=True)
class Masked:
    """The cart is bought, and the caller gets another response."""

    commit: Commit
    by: FaultStep | GatewayStep | Throttle


ResponseStep = Commit | FaultStep | GatewayStep | Throttle | Masked


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is closed without a response: before the purchase, or `after` it."""

    after: Commit | None = None


@dataclass(frozen=True, slots=True)
class DropMidBody:
    """The connection is closed half-way through the body."""

    then: ResponseStep = Commit()


@dataclass(frozen=True, slots=True)
class Interim:
    """Interim answers, `pause` seconds apart, then the answer, or a closed connection."""

    statuses: tuple[int, ...]
    pause: float = 0.0
    then: ResponseStep | Drop = Commit()


@dataclass(frozen=True, slots=True)
class Trickle:
    """The body is sent in chunks of `chunk` bytes, `pause` seconds apart."""

    chunk: int
    pause: float
    then: ResponseStep = Commit()


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait for `seconds`, then play the step."""

    seconds: float
    then: ResponseStep | Drop | DropMidBody | Interim | Trickle = Commit()


@dataclass(frozen=True, slots=True)
class Later:
    """The answer (or none) comes at once, and the work goes on: the purchase takes effect after `seconds`."""

    seconds: float
    answer: FaultStep | GatewayStep | Drop = Drop()
    commit: Commit = Commit()


Step = ResponseStep | Drop | DropMidBody | Interim | Trickle | Slow | Later


def commits(step: Step | None) -> bool:
    """Tell whether a step buys anything."""
    match step:
        case Commit():
            return any(isinstance(group, str) for group in step.groups)
        case Masked() | Later():
            return commits(step.commit)
        case Drop():
            return commits(step.after)
        case DropMidBody() | Interim() | Trickle() | Slow():
            return commits(step.then)
        case _:
            return False
