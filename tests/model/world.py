"""One state of the model: messages, the cart's record, the service, an operator. Small, hashable, and canonical.

Two states that differ only in how POSTs and keys are numbered are one state, so there are finitely many, however
often a message is tried again.
"""

from enum import IntEnum
from typing import NamedTuple

from tests.model.rules import LOST, Entries, Seen, State


class At(IntEnum):
    """Where a delivery is. It may be killed, or frozen for as long as you like, at each."""

    QUEUE = 0  # in the queue, or about to load the record; it may hold what GET cart said
    WROTE = 1  # the answer to the write of its entry was lost
    ENTERED = 2  # before the first byte of its POST
    SENT = 3
    ANSWERED = 4
    DONE = 5


class Mode(IntEnum):
    """What its copy says: nothing, only ask any more, the cart is ordered, or it was refused without proof."""

    NORMAL = 0
    ENDING = 1
    ORDERED = 2
    REFUSED = 3  # and further: REFUSED + the key of the refused POST


class Message(NamedTuple):
    """A message. `number`, `key`, `age`: of its own POST, from its entry until its answer is dealt with."""

    by: str
    at: int = At.QUEUE
    mode: int = Mode.NORMAL
    number: int = 0
    key: int = 0
    age: int = 0
    answer: str = ""
    seen: Seen | None = None


class Work(NamedTuple):
    """A POST at the service. `answered`: it goes on all the same. `blind`: it does not see that its key has bought."""

    number: int
    key: int
    by: str
    answered: bool = False
    blind: bool = False


class World(NamedTuple):
    """Everything. `memory`: the answer that each key is given again; `bought`: the keys of the purchases, and whether
    each is fresh; `told`: the POSTs below this number began before a `failed` was told."""

    messages: tuple[Message, ...]
    state: State = State()
    entries: Entries = ()
    work: tuple[Work, ...] = ()
    memory: tuple[tuple[int, str], ...] = ()
    bought: tuple[tuple[int, bool], ...] = ()
    told: int = 0
    operator: tuple[str, Seen] | None = None
    faults: int = 0


def next_number(world: World) -> int:
    """The number of the next POST."""
    live = [m.number for m in world.messages]
    live += [w.number for w in world.work]
    if world.state.post:
        live.append(world.state.post.number)
    return max(live, default=0) + 1


def canonical(world: World) -> World:
    """The same state with the smallest numbers: POSTs by their order, keys by their order and neighbourhood."""
    messages, state, work = world.messages, world.state, world.work
    post = state.post
    live = {m.number for m in messages if m.number} | {w.number for w in work} | ({post.number} if post else set())
    number = {n: i for i, n in enumerate(sorted(live), 1)}
    number[0] = 0
    keys = {m.key for m in messages if m.number} | {w.key for w in work} | {m.mode - 3 for m in messages if m.mode > 2}
    if state.key != LOST:
        keys.add(state.key)
    key = _renumbered(keys)
    messages = tuple(
        sorted(
            (
                Message(
                    m.by,
                    m.at,
                    m.mode if m.mode < 3 else 3 + key[m.mode - 3],
                    number[m.number],
                    key[m.key] if m.number else 0,
                    *m[5:],
                )
                for m in messages
            ),
            key=_order,
        )
    )
    if post:
        post = post._replace(number=number[post.number])
    before = sum(n < world.told for n in live)
    return World(
        messages,
        State(key.get(state.key, LOST), post, state.doubt, state.spent),
        world.entries,
        tuple(sorted(Work(number[w.number], key[w.key], *w[2:]) for w in work)),
        tuple(sorted((key[k], a) for k, a in world.memory if k in key)),
        tuple(sorted((key.get(k, -2), fresh) for k, fresh in world.bought)),
        before + 1 if before else 0,
        world.operator,
        world.faults,
    )


def _renumbered(keys: set[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    last, at = -1, -1
    for key in sorted(keys):
        at += 1 if not found or key == last + 1 else 2
        found[key] = at
        last = key
    return found


def _order(message: Message) -> tuple[object, ...]:
    return *message[:7], message.seen or ()
