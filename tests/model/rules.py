"""The program's own decision functions, over the compact states of the model.

In the model a time is fresh (0: a POST of that time may be at work) or settled (1: it cannot be). Here each is made
a real one, the program's function is called, and its answer is made compact again. Each result is kept, since a
few hundred different states of a cart make up all histories.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from shared.core import cart_state, evidence, rules
from shared.core.cart_state import CartLookup, CartState, Post, PostEvidence
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Event, Outcome, decided
from shared.core.rules import CopyOf, InHand, Record, Replay
from shared.core.verdict import AlreadyOrdered, Bought, CartStatusReading, Refused, judge
from tests.support.builders import NOW, answer, request

SETTLE = 600.0
AGES = (timedelta(seconds=10), timedelta(hours=1))
"""How long ago a fresh and a settled time lies."""
NEVER = -1
LOST = -1
NAMES = (
    *("wait_for_others", "in_doubt_since", "settle_remaining", "is_closed", "may_resolve_as_not_bought"),
    *("enter", "entry_holds"),
    *("after_deferral", "after_refusal", "after_giving_up", "after_purchase", "after_unknown"),
)

ANSWERS: dict[str, ServiceResponse] = {
    "201": answer(201, {"orders": [{"id": "1", "status": "completed"}]}),
    "refused": answer(400, {"code": "800002"}),
    "unknown code": answer(400, {"code": "999999"}),
    "already ordered": answer(400, {"code": "800065"}),
    "busy": answer(409, {"code": "800064"}),
    "5xx": answer(500, {"code": "800003"}),
    "401": answer(401, {"code": "800001"}),
    "403": answer(403, {"code": "900308"}),
    "429": answer(429, {"statusCode": 429}),
    "404": answer(404, {"code": "999999"}),
    "none": ServiceResponse(None, failure="timeout"),
    "not sent": ServiceResponse(None, failure="not sent: ConnectionRefusedError", sent=False),
}


class Entered(NamedTuple):
    """The compact entry of a POST: the request, the POST's number, its age, whether it was heard."""

    by: str
    number: int
    age: int
    heard: bool


class State(NamedTuple):
    """A compact CartState. `key`: LOST for none; `doubt`: an age, or NEVER."""

    key: int = 0
    post: Entered | None = None
    doubt: int = NEVER
    spent: bool = False


class Seen(NamedTuple):
    """A compact CartLookup. `settled`: whether every doubt was settled when GET cart was sent."""

    settled: bool
    reading: str


class Entry(NamedTuple):
    """An entry of the record; `corrects`: it replaces an earlier one of this request."""

    by: str
    outcome: str
    corrects: bool = False


Entries = tuple[Entry, ...]


class Rules:
    """The decision functions of the program, or with `changes` those of a mutant, each result kept."""

    def __init__(self, **changes: Callable[..., Any]) -> None:
        own = {name: getattr(cart_state, name) for name in NAMES} | {"evidence_of": evidence.evidence_of}
        self._do = SimpleNamespace(**{**own, **changes})
        for name in ("waits", "doubt", "settles", "closed", "not_bought", "enter", "holds", "deferred"):
            setattr(self, name, cache(getattr(self, name)))
        for name in ("left", "refused", "gave_up", "purchased", "unknown"):
            setattr(self, name, cache(getattr(self, name)))

    def waits(self, state: State, by: str) -> bool:
        """Whether this request waits for the POST of another one."""
        return bool(self._do.wait_for_others(_real(state), by, NOW, SETTLE) > 0)

    def left(self, kind: str) -> PostEvidence:
        """What this answer left."""
        found: PostEvidence = self._do.evidence_of(ANSWERS[kind], judge(ANSWERS[kind]))
        return found

    def doubt(self, state: State, answered: Entered | None) -> int:
        """The age of the latest POST in doubt, or NEVER."""
        return _age(self._do.in_doubt_since(_real(state), _post(answered)))

    def settles(self, state: State, answered: Entered | None) -> bool:
        """Whether a POST in doubt may still be at work."""
        return bool(self._do.settle_remaining(_real(state), NOW, SETTLE, _post(answered)) > 0)

    def closed(
        self,
        state: State,
        bought: bool,
        seen: Seen | None,
        answered: Entered | None,
        refused_404: Entered | None = None,
    ) -> bool:
        """Whether the cart is closed."""
        found = self._do.is_closed(
            _real(state),
            bought=bought,
            look=_look(seen),
            settle=SETTLE,
            answered=_post(answered),
            refused_404=_post(refused_404),
        )
        return bool(found)

    def not_bought(self, state: State, bought: bool, seen: Seen | None) -> bool:
        """Whether an operator may say that nothing was bought."""
        found = self._do.may_resolve_as_not_bought(_real(state), NOW, bought=bought, look=_look(seen), settle=SETTLE)
        return bool(found)

    def enter(self, state: State, by: str, number: int, closed: bool, answered: Entered | None) -> State:
        """The state with the entry of POST `number`."""
        before = _real(state)
        found = self._do.enter(before, by, NOW, closed=closed, answered=_post(answered))
        times = [time for time in (before.doubt, before.post and before.post.at) if time]
        assert all(found.post.at > time for time in times), "an entry is later than all that it replaces"
        return State(found.key, Entered(by, number, 0, heard=False), _age(found.doubt), found.spent)

    def holds(self, age: int) -> bool:
        """Whether a POST may begin under an entry of this age."""
        return bool(self._do.entry_holds(*[(0.0, AGES[1].total_seconds())[age]] * 2))

    def deferred(self, state: State, own: Entered, key: int, kind: str) -> State:
        """The state with what the answer left."""
        return _compact(self._do.after_deferral(_real(state), _post(own), key, self.left(kind)), state)

    def refused(self, state: State, key: int) -> State:
        """The state beside a refusal that stood."""
        return _compact(self._do.after_refusal(_real(state), key), state)

    def gave_up(self, state: State) -> State:
        """The state beside any other `failed`."""
        return _compact(self._do.after_giving_up(_real(state)), state)

    def purchased(self, state: State, own: Entered) -> State:
        """The state beside a purchase."""
        return _compact(self._do.after_purchase(_real(state), _post(own)), state)

    def unknown(self, state: State, answered: Entered | None) -> State:
        """The state beside an `unknown`."""
        return _compact(self._do.after_unknown(_real(state), _post(answered)), state)


@cache
def verdict_of(kind: str) -> str:
    """What an answer means: bought, refused, unproven (an unknown code), ordered or retry."""
    found = judge(ANSWERS[kind])
    if isinstance(found, Refused):
        return "refused" if found.known else "unproven"
    return "bought" if isinstance(found, Bought) else "ordered" if isinstance(found, AlreadyOrdered) else "retry"


@cache
def ruling(entries: Entries, by: str, in_hand: InHand) -> tuple[str, bool]:
    """What the record says: replay, copy or undecided, and whether an entry of this request is corrected."""
    found = rules.apply_rules(Record(_events(entries)), request(by), in_hand)
    if isinstance(found, Replay):
        return "replay", False
    return "copy" if isinstance(found, CopyOf) else "undecided", bool(found.corrects)


@cache
def _events(entries: Entries) -> tuple[Event, ...]:
    if not entries:
        return ()
    before, entry = _events(entries[:-1]), entries[-1]
    of = request(entry.by)
    own = Record(before).own(of) if entry.corrects else ()
    return (*before, decided(of, Decision(Outcome(entry.outcome), 1), NOW, corrects=own))


@cache
def _real(state: State) -> CartState:
    doubt = None if state.doubt == NEVER else NOW - AGES[state.doubt]
    return CartState(None if state.key == LOST else state.key, _post(state.post), doubt, state.spent)


def _compact(found: CartState, before: State) -> State:
    post = None
    if found.post is not None:
        assert before.post is not None, "only an entry makes a post"
        post = before.post._replace(heard=found.post.heard)
    return State(LOST if found.key is None else found.key, post, _age(found.doubt), found.spent)


def _post(entered: Entered | None) -> Post | None:
    if entered is None:
        return None
    return Post(entered.by, NOW - AGES[entered.age] + timedelta(microseconds=entered.number), entered.heard)


def _age(time: Any) -> int:
    return NEVER if time is None else int((NOW - time).total_seconds() >= SETTLE)


def _look(seen: Seen | None) -> CartLookup | None:
    if seen is None:
        return None
    not_found = seen.reading == "not_found"
    reading = CartStatusReading.UNCLEAR if not_found else CartStatusReading(seen.reading)
    return CartLookup(NOW if seen.settled else NOW - AGES[1], reading, not_found)
