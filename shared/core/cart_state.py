"""What is known of a cart's POSTs, and what may be done with the cart because of it. Pure.

A cart can be bought once, so the idempotency key belongs to the cart. The record of a cart carries, beside its
entries, the state of its POSTs. It is read and written together with them, and each write is conditional:

    load ── may it POST now? ── enter ── POST ── answer ── append, or note what the answer left and defer
              │                   └─ replaces `post`; an unanswered one goes into `doubt`
              └─ another request's POST may be at work: wait

Telling `failed`, and taking a new key, are allowed on a *closed* cart only: nobody is in doubt, or every POST in
doubt was settled before GET cart was sent and the cart was `Active`.

All times come from the `Date` of storage's answers. `settle` is SETTLE_SECONDS: how long after its entry an
unanswered POST may still be at work.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from shared.core.errors import ErrorClass
from shared.core.verdict import CartStatusReading

LONGEST_TURN = 30.0
"""Seconds after which a request that waits for another one looks at the record again."""
LONGEST_ENTRY = 30.0
"""Seconds after its entry within which a POST must begin."""
CART_GONE = timedelta(days=8)
"""How long after the latest doubt a cart, which lives seven days, cannot be bought any more."""

_TICK = timedelta(microseconds=1)


class Post(msgspec.Struct, frozen=True):
    """The entry of a POST.

    Attributes:
        by: The event id of its request.
        at: When it was entered, by storage's clock.
        heard: Its answer left nothing at work.
        delivery: The delivery that entered it (`Delivery.name`): two copies of a message may enter at one moment.
    """

    by: str
    at: datetime
    heard: bool = False
    delivery: str = ""

    def is_same(self, other: "Post | None") -> bool:
        """Whether both are the entry of one POST, whatever was heard of it."""
        return other is not None and (self.by, self.at, self.delivery) == (other.by, other.at, other.delivery)


class CartState(msgspec.Struct, frozen=True):
    """The working state of one cart. The default is that of a cart without a record.

    `key`: makes the MS-RequestId, and only grows. None: the record has lost its state (see `lost_state`).
    `post`: the latest POST. `doubt`: the time of the latest earlier POST without a certain answer.
    `spent`: a coded failure was answered under this key, and the service may repeat it for ever.
    """

    key: int | None = 0
    post: Post | None = None
    doubt: datetime | None = None
    spent: bool = False


class PostEvidence(msgspec.Struct, frozen=True):
    """What the answer to a POST left: see `shared.core.evidence`."""

    heard: bool
    spent: bool


class CartLookup(msgspec.Struct, frozen=True):
    """What GET cart said.

    `sent`: when the request was *sent*. `not_found`: the service knows no such cart. `transient`: the class of a
    response that says to ask again, else None.
    """

    sent: datetime
    reading: CartStatusReading
    not_found: bool = False
    transient: ErrorClass | None = None


def lost_state(last_modified: datetime) -> CartState:
    """The state of a record that carries none: it was restored, copied or edited.

    Any POST before that moment may be at work, under any key.
    """
    return CartState(key=None, doubt=last_modified)


def wait_for_others(state: CartState, by: str, now: datetime, settle: float) -> float:
    """Seconds to wait until the POST of another request cannot be at work; 0: this request may go on.

    Its own entry does not stop a request: posting again under the same key recovers a lost answer.

        request A   enter ─ POST ─────────── ✕ killed      enter ─ POST: the first result again
        request B          load ─ wait ─ load ─ wait …
    """
    if state.post is not None and state.post.by == by:
        return 0.0
    return min(LONGEST_TURN, settle_remaining(state, now, settle))


def in_doubt_since(state: CartState, answered: Post | None = None) -> datetime | None:
    """The time of the latest POST that may still be at work, or may have bought; None: there is none.

    `answered`: the own entry, while an answer of the heard kind is in hand. It is compared with the entry in the
    record, since a twin may have replaced it:

        this delivery   enter 1 ─ POST ────────────── 400: clears entry 1, not entry 2
        its twin                    enter 2 ─ POST ───────── ?
    """
    post = state.post
    if post is None or post.heard or post.is_same(answered):
        return state.doubt
    return post.at if state.doubt is None else max(state.doubt, post.at)


def settle_remaining(state: CartState, now: datetime, settle: float, answered: Post | None = None) -> float:
    """Seconds until every POST in doubt is settled, that is, cannot be at work any more."""
    since = in_doubt_since(state, answered)
    if since is None:
        return 0.0
    # at most `settle`, even where the entry was written by a clock ahead of this one
    return min(settle, max(0.0, settle - (now - since).total_seconds()))


def is_closed(
    state: CartState,
    *,
    bought: bool,
    look: CartLookup | None,
    settle: float,
    answered: Post | None = None,
    refused_404: Post | None = None,
) -> bool:
    """Whether no order of this cart exists, and none can come of a POST that has begun.

    The state is read before GET cart is sent, and both again after a lost race. What counts is how old the doubt was
    when the GET was *sent*:

        entry ─ POST ─ ? ···························· buys       settled
                          GET sent ─ Active ············· │ ······ │ ─ now: no proof, the GET was too early

    Args:
        state: As it was read before GET cart was sent.
        bought: Whether the record has an entry that bought, even in part.
        look: What GET cart said; None: it was not asked.
        settle: SETTLE_SECONDS.
        answered: The own entry, while an answer of the heard kind is in hand.
        refused_404: The own entry, where its answer was a 404 that proves nothing by itself. It stands where GET cart
            does not know the cart either and no other POST is in doubt.
    """
    if bought:
        return False
    since = in_doubt_since(state, answered)
    if since is None:
        return True
    if look is None or look.sent - since < timedelta(seconds=settle):
        return False
    if look.reading is CartStatusReading.ACTIVE:
        return True
    return look.not_found and refused_404 is not None and in_doubt_since(state, refused_404) is None


def may_resolve_as_not_bought(
    state: CartState, now: datetime, *, bought: bool, look: CartLookup | None, settle: float
) -> bool:
    """Whether an operator may say that nothing was bought: on a closed cart, or when it cannot be alive any more."""
    since = in_doubt_since(state)
    gone = not bought and since is not None and now - since >= CART_GONE
    return gone or is_closed(state, bought=bought, look=look, settle=settle)


def enter(
    state: CartState,
    by: str,
    now: datetime,
    *,
    delivery: str = "",
    closed: bool = False,
    answered: Post | None = None,
) -> CartState:
    """The state with the entry of the next POST. On a closed cart a spent or lost key is replaced by a new one.

    Under the same key the POST that the entry replaces goes into `doubt`, unless its answer was heard: the entry
    would else hide it.

    Args:
        state: As it was read.
        by: The event id of the request.
        now: The time of the entry, which becomes later than all that it replaces.
        delivery: The delivery that enters it.
        closed: Whether the cart is closed (`is_closed`).
        answered: The own entry, while an answer of the heard kind is in hand (a 401, after which it POSTs again).

    Raises:
        ValueError: the record has lost its state and the cart is not closed, so there is no key to POST under.
    """
    times = [time for time in (state.doubt, state.post.at if state.post else None) if time is not None]
    post = Post(by, max([now, *(time + _TICK for time in times)]), delivery=delivery)
    if closed and (state.spent or state.key is None):
        return CartState(_new_key(state), post)
    if state.key is None:
        raise ValueError("a cart without a key is not posted before it is closed")
    return CartState(state.key, post, in_doubt_since(state, answered), state.spent)


def entry_holds(monotonic: float, wall: float) -> bool:
    """Whether a POST may begin so many seconds after its entry, by the monotonic and by the wall clock.

    A process that was frozen meanwhile must enter its POST anew: others may count the old entry as settled.

        this process    enter ─ frozen ································ POST: must not begin
        another                    ······ settled ─ GET: Active ─ tells `failed`
    """
    return max(monotonic, wall) <= LONGEST_ENTRY


def after_deferral(state: CartState, own: Post, key: int, left: PostEvidence) -> CartState:
    """The state with what the answer to the POST `own`, sent under `key`, left.

    Where another entry has replaced it, that one is not heard.
    """
    post = state.post
    if post is not None and post.is_same(own) and left.heard:
        post = replace(post, heard=True)
    return replace(state, post=post, spent=state.spent or (left.spent and key == state.key))


def after_refusal(state: CartState, answered_key: int) -> CartState:
    """The state that is written together with a `failed` by a refusal that stood: the next POST has a new key."""
    present = _new_key(state) if state.key is None else state.key
    return CartState(max(present, answered_key + 1))


def after_giving_up(state: CartState) -> CartState:
    """The state that is written together with a `failed` that the service did not decide: the key stays.

    A lost state gets a key again, since the cart is closed.
    """
    return CartState(_new_key(state) if state.key is None else state.key, spent=state.spent)


def after_purchase(state: CartState, own: Post) -> CartState:
    """The state that is written together with an outcome that bought: its own POST is answered."""
    return replace(state, post=None) if own.is_same(state.post) else state


def after_unknown(state: CartState, answered: Post | None = None) -> CartState:
    """The state that is written together with `unknown`: what is in doubt stays so, for the next request.

    A lost state stays lost: nobody knows under which key the cart may have been bought.
    """
    return replace(state, post=None, doubt=in_doubt_since(state, answered))


def _new_key(state: CartState) -> int:
    """A key greater than any before. After a lost state: the seconds of its Last-Modified, more than any count."""
    if state.key is None and state.doubt is not None:
        return int(state.doubt.timestamp())
    return (state.key or 0) + 1
