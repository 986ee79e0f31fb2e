"""A verdict of any kind with all members, so that one assertion fits all kinds."""

from dataclasses import dataclass

from shared.core import verdict
from shared.core.errors import Error
from shared.core.models import ServiceResponse
from shared.core.verdict import AlreadyOrdered, Bought, Refused, Retry, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged. `kind`: the outcome of what was bought, else the name of the verdict."""

    kind: str
    error: Error | None
    result: str | None = None
    known: bool = True


def view(found: Verdict) -> Judged:
    match found:
        case Bought(outcome, result, error):
            return Judged(outcome, error, result)
        case Refused(error, result, known):
            return Judged("refused", error, result, known=known)
        case AlreadyOrdered(error, result):
            return Judged("already_ordered", error, result)
        case Retry(error):
            return Judged("retry", error)


def judge(response: ServiceResponse) -> Judged:
    return view(verdict.judge(response))
