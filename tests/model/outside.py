"""What happens outside the program: the service answers and buys, and time passes."""

from collections.abc import Iterator

from tests.model.rules import NEVER
from tests.model.services import Service
from tests.model.world import At, Step, Work, World

LONGEST_LATE = 1
"""How many POSTs may go on at once that were answered."""


def readings(service: Service, world: World) -> list[str]:
    """What GET cart may say."""
    found = ["ordered" if world.bought else "active"]
    if service.stale and any(fresh for _, fresh in world.bought):
        found.append("active")
    found += ["not_now", "unclear"] if service.get_fails else []
    return found + (["not_found"] if service.not_found else [])


def answers(service: Service, world: World, work: Work) -> list[tuple[str, bool, bool]]:
    """How the service may go on with a POST: (answer, whether it buys, whether the POST goes on)."""
    memory = dict(world.memory)
    own_key = any(key == work.key for key, _ in world.bought)
    if work.answered:
        return [("", False, False)] + ([] if own_key else [("", True, False)])
    if service.remembers and work.key in memory:
        return [(memory[work.key], False, False)]
    if (own_key and not work.blind) or (world.bought and service.protects):
        return [(kind, False, False) for kind in (("201",) if service.repeats else ()) + service.on_bought]
    found = [("201", True, False)] + [(kind, False, False) for kind in service.answers]
    found += [(kind, True, False) for kind in service.buys_after]
    if service.late and sum(each.answered for each in world.work) < LONGEST_LATE:
        found += [(kind, False, True) for kind in service.buys_after]
    return found


def serve(service: Service, world: World, work: Work) -> Iterator[Step]:
    """The service answers a POST, or ends one that it had answered."""
    rest = tuple(each for each in world.work if each != work)
    for answer, buys, goes_on in answers(service, world, work):
        others = rest
        if buys and not service.atomic:
            others = tuple(each._replace(blind=True) if each.key == work.key else each for each in rest)
        if goes_on:
            others = tuple(sorted((*rest, work._replace(answered=True))))
        messages = tuple(
            m._replace(at=At.ANSWERED, answer=answer) if (m.at, m.number) == (At.SENT, work.number) else m
            for m in world.messages
        )
        after = world._replace(messages=messages, work=others)
        if service.remembers and answer not in ("", "429", "401"):
            after = after._replace(memory=tuple(sorted({**dict(world.memory), work.key: answer}.items())))
        more = (", buys" if buys else "") + (", goes on" if goes_on else "")
        label = f"the service: POST {work.number} -> {answer or 'ends'}{more}"
        yield _buy(after, work, label) if buys else Step(label, after)


def _buy(after: World, work: Work, label: str) -> Step:
    wrong = ""
    if after.bought:
        wrong = f"the cart is bought twice, under keys {after.bought[0][0]} and {work.key}"
    elif work.number < after.told:
        wrong = f"failed was told, and POST {work.number}, begun before, buys the cart"
    return Step(label, after._replace(bought=(*after.bought, (work.key, True))), wrong)


def time(world: World) -> Iterator[Step]:
    """SETTLE_SECONDS pass. No POST outlives them."""
    state = world.state
    post = state.post and state.post._replace(age=1)
    aged = world._replace(
        state=state._replace(post=post, doubt=min(1, state.doubt + 1) if state.doubt != NEVER else NEVER),
        messages=tuple(m._replace(age=1) if m.number else m for m in world.messages),
        bought=tuple((key, False) for key, _ in world.bought),
    )
    if not world.work and aged != world:
        yield Step("SETTLE_SECONDS pass", aged)
