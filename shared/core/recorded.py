"""What an outcome says, read back from the event that tells it. Pure, and never raises.

The event may come from a record that another version wrote, or that somebody has edited. So nothing is expected of its
data but that they are JSON.
"""

import json

from shared.core import jsontext
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event


def told_error(event: Event) -> tuple[str | None, str | None]:
    """Class and code of an outcome's error, where it has them and its data are at hand."""
    error = jsontext.members(jsontext.members(event.data or "{}").get("error", "{}"))
    return _string(error.get("class")), _string(error.get("code"))


def differing_members(event: Event, request: CheckoutRequest) -> tuple[str, ...]:
    """The members in which a request differs from the one of the same id that this event has answered.

    Only those are known that an event repeats: `context`, where its data are at hand, and `correlationId`. Neither the
    user's name nor `notAfter` is recorded. Copies of one message agree in both.
    """
    members = jsontext.members(event.text)
    correlation = _string(members.get("correlationid"))
    differs = {
        "context": event.data is not None
        and not _is_same_json(jsontext.members(event.data).get("context"), request.context),
        "correlationId": correlation is not None and correlation != request.correlation_id,
    }
    return tuple(name for name, is_other in differs.items() if is_other)


def _is_same_json(one: str | None, other: str | None) -> bool:
    """Whether two JSON texts say the same, in whatever order of members and with whatever white space. Absent is null.

    `true` and `1` are not told apart, nor `1.0` and `1`.
    """
    return one == other or bool(_value(one) == _value(other))


def _value(text: str | None) -> object:
    return jsontext.load((text or "null").encode())


def _string(raw: str | None) -> str | None:
    """The string that this JSON text is, or None where it is something else."""
    return json.loads(raw) if raw is not None and raw.startswith('"') else None
