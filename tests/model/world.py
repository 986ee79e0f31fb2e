"""One state of the model: messages, the cart's record, the service, an operator. Small, hashable, and canonical.

Two states that differ only in how POSTs and keys are numbered are one state, so there are finitely many, however
often a message is tried again.
"""

from enum import IntEnum
from typing import NamedTuple

from tests.model.rules import LOST, Entries, Seen, State

GONE = -2
"""A key that no POST can have any more."""


class At(IntEnum):
    """Where a delivery is. It may be killed, or frozen for as long as you like, at each."""

    QUEUE = 0  # in the queue, or about to load the record; it may hold what GET cart said
    WROTE = 1  # the answer to the write of its entry was lost
    ENTERED = 2  # before the first byte of its POST
    SENT = 3
    ANSWERED = 4
    DONE = 5


class Ordered(IntEnum):
    """What this delivery has learned of the order. A copy does not carry it."""

    NO = 0
    SAID = 1  # GET cart, or 800065, has said that the cart is ordered
    REPEATED = 2  # and the POST that repeats the first result was sent


class Message(NamedTuple):
    """A message.

    `refused`: its copy carries a refusal without proof: the key of the POST, and its number where it was a 404.
    `number`, `key`, `age`: of its own POST, from its entry until its answer is dealt with. `ending`: this delivery
    has asked GET cart since it makes no POST any more.
    """

    by: str
    at: int = At.QUEUE
    refused: tuple[int, int] | None = None
    number: int = 0
    key: int = 0
    age: int = 0
    answer: str = ""
    seen: Seen | None = None
    ending: bool = False
    ordered: int = Ordered.NO


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


class Step(NamedTuple):
    """One step. `wrong`: what must never happen, and has happened by it. `end`: it gives up, or a person acts."""

    label: str
    after: World
    wrong: str = ""
    end: bool = False


def next_number(world: World) -> int:
    """The number of the next POST."""
    live = [m.number for m in world.messages]
    live += [m.refused[1] for m in world.messages if m.refused]
    live += [w.number for w in world.work]
    if world.state.post:
        live.append(world.state.post.number)
    return max(live, default=0) + 1


def canonical(world: World) -> World:
    """The same state with the smallest numbers: POSTs by their order, keys by their order and neighbourhood."""
    messages, state, entries, work, memory, bought, told, operator, faults = world
    numbers, keys = _live(world)
    if told:
        told = sum(n < told for n in numbers)
        told += bool(told)
    if memory:
        memory = tuple([each for each in memory if each[0] in keys])
    if bought:
        bought = tuple(sorted([(key if key in keys else GONE, fresh) for key, fresh in bought]))
    if (numbers and max(numbers) != len(numbers)) or (keys and max(keys) != len(keys) - 1):
        number = {0: 0, **{n: i for i, n in enumerate(sorted(numbers), 1)}}
        key = _renumbered(keys)
        messages = tuple([_renamed(m, number, key) for m in messages])
        post = state.post and state.post._replace(number=number[state.post.number])
        state = State(key.get(state.key, LOST), post, state.doubt, state.spent)
        work = tuple([Work(number[w.number], key[w.key], *w[2:]) for w in work])
        memory = tuple([(key[k], answer) for k, answer in memory])
        bought = tuple([(key.get(k, GONE), fresh) for k, fresh in bought])
    return World(_ordered(messages), state, entries, tuple(sorted(work)), memory, bought, told, operator, faults)


def _live(world: World) -> tuple[set[int], set[int]]:
    """The numbers and the keys that anything may still ask for."""
    numbers, keys = set(), set()
    for m in world.messages:
        if m.number:
            numbers.add(m.number)
            keys.add(m.key)
        if m.refused:
            keys.add(m.refused[0])
            numbers.update(m.refused[1:] if m.refused[1] else ())
    for w in world.work:
        numbers.add(w.number)
        keys.add(w.key)
    if world.state.post:
        numbers.add(world.state.post.number)
    if world.state.key != LOST:
        keys.add(world.state.key)
    return numbers, keys


def _renamed(m: Message, number: dict[int, int], key: dict[int, int]) -> Message:
    refused = m.refused and (key[m.refused[0]], number[m.refused[1]])
    return Message(m.by, m.at, refused, number[m.number], key[m.key] if m.number else 0, *m[5:])


def _renumbered(keys: set[int]) -> dict[int, int]:
    """Neighbours stay neighbours; a greater distance becomes two."""
    found: dict[int, int] = {}
    last, at = -1, -1
    for key in sorted(keys):
        at += 1 if not found or key == last + 1 else 2
        found[key] = at
        last = key
    return found


def _ordered(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Messages of one request are alike, so their places do not count."""
    return tuple(sorted(messages, key=_order))


def _order(message: Message) -> tuple[object, ...]:
    return *message[:2], message.refused or (), *message[3:7], message.seen or (), *message[8:]
