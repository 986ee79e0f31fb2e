"""The services that the model plays: what may be answered to a POST, and when a cart is bought."""

from dataclasses import dataclass, replace

PLAIN = ("refused", "5xx")
HELD = ("401", "403", "429")
DOUBTFUL = ("5xx", "busy", "unknown code")


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    `answers`: what may be said of a cart that it does not buy. `protects`: a cart is bought once, else a key buys
    once. `remembers`: a coded answer of a key is given again. `buys_after`: answers after which it may buy all the
    same. `on_bought`: what it may answer beside the first result. `repeats`: it gives the first result again.
    `stale`: GET cart may say Active until settled. `get_fails`: GET cart may answer nothing of use. `not_found`: it may
    say that there is no such cart.
    `atomic`: two POSTs under one key at once are one purchase. `operator`: a person resolves what is `unknown`.
    `gives_up`, `six_days`: what a message may do; `loses_state`: the record may be restored without its state.
    """

    name: str
    answers: tuple[str, ...] = PLAIN
    protects: bool = False
    remembers: bool = False
    buys_after: tuple[str, ...] = ("5xx",)
    late: bool = False
    on_bought: tuple[str, ...] = ()
    repeats: bool = True
    stale: bool = False
    get_fails: bool = False
    not_found: bool = False
    atomic: bool = True
    operator: bool = False
    gives_up: bool = True
    six_days: bool = False
    loses_state: bool = False
    never_unknown: bool = False


STRICT = Service("strict", never_unknown=True)
DOCUMENTED = replace(STRICT, name="documented", protects=True, buys_after=())
REMEMBERING = replace(STRICT, name="remembering", remembers=True)
LATE = replace(STRICT, name="late", answers=DOUBTFUL, buys_after=DOUBTFUL, late=True, stale=True)
HOLDING = replace(STRICT, name="holding", answers=HELD, on_bought=HELD)
STALE = replace(STRICT, name="stale", stale=True)
SILENT = Service("silent", get_fails=True, six_days=True, operator=True)
FORGETFUL = Service("forgetful", repeats=False, on_bought=("refused", "already ordered"), operator=True)
RESTORED = Service("restored", loses_state=True, repeats=False, on_bought=("refused",))
MISSING = Service("missing", answers=("404", "5xx"), not_found=True)
NOT_ATOMIC = Service("not atomic", atomic=False)
WORST = replace(
    LATE, name="worst", answers=(*DOUBTFUL, *HELD, "refused"), on_bought=HELD, remembers=True, never_unknown=False
)

ALL = (DOCUMENTED, STRICT, REMEMBERING, LATE, HOLDING, STALE, SILENT, FORGETFUL, RESTORED, MISSING, WORST)
