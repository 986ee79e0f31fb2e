"""Small mistakes in one decision each. The explorer must find every one of them, or it proves nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as replace_service
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from shared.core import cart_state, evidence
from shared.core.cart_state import CartLookup, CartState, Post, PostEvidence
from shared.core.models import ServiceResponse
from shared.core.verdict import Verdict
from tests.model.explorer import Result, explore
from tests.model.rules import SETTLE, Rules
from tests.model.services import FORGETFUL, LATE, MISSING, RESTORED, SILENT, STRICT, Service
from tests.model.story import Story
from tests.support.builders import NOW

LOOSE = replace_service(STRICT, never_unknown=False)
"""Where a mistake that also tells `unknown` is followed to the `failed` that is not true."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: what it changes, and where the explorer looks for it."""

    name: str
    service: Service
    names: str = "AB"
    faults: int = 1
    changes: dict[str, Callable[..., Any]] = field(default_factory=dict)
    keeps_look: bool = False
    wrong: str = "failed"
    quick: bool = True
    live: bool = False

    def story(self) -> Story:
        """The story with this mistake."""
        return Story(Rules(**self.changes), self.service, keeps_look=self.keeps_look)

    def explored(self) -> Result:
        """What the explorer finds: the harm that the mistake does, not that the record is wrong meanwhile."""
        return explore(self.story(), self.names, self.faults, live=self.live, harm_only=True)


def _forgets_the_replaced(state: CartState, by: str, now: datetime, **how: Any) -> CartState:
    return replace(cart_state.enter(state, by, now, **how), doubt=state.doubt)


def _settled_after_the_get(state: CartState, *, look: CartLookup | None, **how: Any) -> bool:
    return cart_state.is_closed(state, look=look and replace(look, sent=NOW), **how)


def _doubt_blocks_nobody(state: CartState, by: str, now: datetime, settle: float) -> float:
    return cart_state.wait_for_others(replace(state, doubt=None), by, now, settle)


def _doubt_blocks_for_ever(state: CartState, by: str, now: datetime, settle: float) -> float:
    stuck = state.doubt is not None and not (state.post and state.post.by == by)
    return 1.0 if stuck else cart_state.wait_for_others(state, by, now, settle)


def _waits_for_nobody(_state: CartState, _by: str, _now: datetime, _settle: float) -> float:
    return 0.0


def _unknown_codes_are_proof(response: ServiceResponse, verdict: Verdict) -> PostEvidence:
    left = evidence.evidence_of(response, verdict)
    return PostEvidence(heard=True, spent=left.spent) if b"999999" in response.body else left


def _failures_are_heard(response: ServiceResponse, verdict: Verdict) -> PostEvidence:
    left = evidence.evidence_of(response, verdict)
    return PostEvidence(heard=True, spent=left.spent) if (response.status or 0) >= 500 else left


def _busy_is_heard(response: ServiceResponse, verdict: Verdict) -> PostEvidence:
    left = evidence.evidence_of(response, verdict)
    return PostEvidence(heard=True, spent=left.spent) if response.status == 409 else left


def _doubt_is_ignored(state: CartState, answered: Post | None = None) -> datetime | None:
    return cart_state.in_doubt_since(replace(state, doubt=None), answered)


def _others_are_ignored(state: CartState, answered: Post | None = None) -> datetime | None:
    return state.doubt if answered else cart_state.in_doubt_since(state, answered)


def _closed_by(doubt: Callable[..., datetime | None]) -> Callable[..., bool]:
    def closed(state: CartState, *, answered: Post | None = None, **how: Any) -> bool:
        seen = CartState(state.key, None, doubt(state, answered), state.spent)
        return cart_state.is_closed(seen, **how)

    return closed


def _closed_without_age(state: CartState, **how: Any) -> bool:
    return cart_state.is_closed(state, **{**how, "settle": -2 * 3600.0})


def _settled_at_once(_state: CartState, _now: datetime, _settle: float, _answered: Post | None = None) -> float:
    return 0.0


def _closed_by_any_404(state: CartState, *, refused_404: Post | None = None, **how: Any) -> bool:
    look = how["look"]
    return cart_state.is_closed(state, **how) or bool(look and look.not_found and refused_404)


def _closed_without_get(state: CartState, *, bought: bool, answered: Post | None = None, **_how: Any) -> bool:
    return not bought and cart_state.settle_remaining(state, NOW, SETTLE, answered) == 0


def _no_doubt_after_unknown(state: CartState, _answered: Post | None = None) -> CartState:
    return replace(state, post=None, doubt=None)


def _not_bought_though_bought(state: CartState, _now: datetime, **how: Any) -> bool:
    return cart_state.is_closed(state, **{**how, "bought": False})


def _late_first_byte(_monotonic: float, _wall: float) -> bool:
    return True


def _unknown_makes_a_key(state: CartState, answered: Post | None = None) -> CartState:
    found = cart_state.after_unknown(state, answered)
    return replace(found, key=found.key or int(NOW.timestamp()))


def _new_key_without_closing(state: CartState, by: str, now: datetime, *, closed: bool, **how: Any) -> CartState:
    return cart_state.enter(state, by, now, closed=closed or state.spent, **how)


MUTANTS = (
    Mutant("the replaced entry is forgotten", STRICT, changes={"enter": _forgets_the_replaced}),
    Mutant(
        "settledness is measured after the GET",
        LOOSE,
        changes={"settle_remaining": _settled_at_once, "is_closed": _settled_after_the_get},
    ),
    Mutant("a GET is kept over a lost race", LOOSE, keeps_look=True),
    Mutant("doubt does not block", STRICT, wrong="two requests", changes={"wait_for_others": _doubt_blocks_nobody}),
    Mutant(
        "doubt blocks for ever",
        FORGETFUL,
        wrong="never ends",
        live=True,
        changes={"wait_for_others": _doubt_blocks_for_ever},
    ),
    Mutant(
        "another's entry does not block", STRICT, wrong="two requests", changes={"wait_for_others": _waits_for_nobody}
    ),
    Mutant("an unknown code stands without settling", LATE, changes={"evidence_of": _unknown_codes_are_proof}),
    Mutant("doubt is ignored", STRICT, changes={"is_closed": _closed_by(_doubt_is_ignored)}),
    Mutant("another's entry is ignored", STRICT, changes={"is_closed": _closed_by(_others_are_ignored)}),
    Mutant(
        "closed without age",
        STRICT,
        changes={"settle_remaining": _settled_at_once, "is_closed": _closed_without_age},
    ),
    Mutant("a 404 stands though another POST is in doubt", MISSING, changes={"is_closed": _closed_by_any_404}),
    Mutant("closed without GET", STRICT, changes={"is_closed": _closed_without_get}),
    Mutant("a 5xx counts as heard", STRICT, changes={"evidence_of": _failures_are_heard}),
    Mutant("a 409 counts as heard", LATE, changes={"evidence_of": _busy_is_heard}),
    Mutant("unknown leaves no doubt", FORGETFUL, changes={"after_unknown": _no_doubt_after_unknown}),
    Mutant(
        "not bought, of a bought record",
        SILENT,
        quick=False,
        changes={"may_resolve_as_not_bought": _not_bought_though_bought},
    ),
    Mutant("a late first byte", STRICT, wrong="two requests", changes={"entry_holds": _late_first_byte}),
    Mutant(
        "unknown makes a lost key anew", RESTORED, wrong="bought twice", changes={"after_unknown": _unknown_makes_a_key}
    ),
    Mutant(
        "a spent key is replaced before the cart is closed",
        STRICT,
        wrong="bought twice",
        changes={"enter": _new_key_without_closing},
    ),
)
