"""Visits every state that can be reached, breadth first, so that the first bad history is a shortest one."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.model.liveness import Quiet
from tests.model.story import Story
from tests.model.world import Message, Step, World, canonical


@dataclass(frozen=True)
class Result:
    """What was found. `wrong`: what must never happen, or ""; `history`: the steps that led to it."""

    states: int
    wrong: str = ""
    history: list[str] = field(default_factory=list)


def start(names: str, faults: int) -> World:
    """The first state: one message for each letter, equal letters for messages of one request."""
    return canonical(World(tuple(Message(name) for name in names), faults=faults))


def explore(
    story: Story, names: str, faults: int, *, limit: int | None = None, live: bool = False, harm_only: bool = False
) -> Result:
    """Visit all states, or `limit` of them.

    Args:
        story: What may happen.
        names: A letter for each message; equal ones are messages of one request.
        faults: How many faults may happen.
        limit: Where to stop.
        live: Play on from each state until every message has ended.
        harm_only: A POST that the record does not know is no mistake before it does harm.
    """
    quiet = [Quiet(story.rules, story.service, fails=fails) for fails in (False, True)] if live else []
    first = start(names, faults)
    origin: dict[World, World | None] = {first: None}
    queue = deque([first])
    while queue and (limit is None or len(origin) <= limit):
        world = queue.popleft()
        if not all(each.ends(world) for each in quiet):
            return Result(len(origin), "a message never ends", [each.label for each in history(story, origin, world)])
        for step in story.steps(world):
            after = canonical(step.after)
            if step.wrong or wrong_in(after, harm_only=harm_only):
                return _bad(story, origin, world, harm_only=harm_only)
            if after not in origin:
                origin[after] = world
                queue.append(after)
    return Result(len(origin))


def _bad(story: Story, origin: dict[World, World | None], world: World, *, harm_only: bool) -> Result:
    """The history of a state and of the step after it that is wrong."""
    steps = list(history(story, origin, world))
    for step in story.steps(steps[-1].after if steps else world):
        if wrong := step.wrong or wrong_in(step.after, harm_only=harm_only):
            return Result(len(origin), wrong, [each.label for each in (*steps, step)])
    raise AssertionError("a state and the same one with other numbers go on differently")


def wrong_in(world: World, *, harm_only: bool = False) -> str:
    """What is wrong in this state."""
    work, state = world.work, world.state
    if not work:
        return ""
    if any(each.key != work[0].key for each in work):
        return f"POSTs are at work under the keys {sorted({each.key for each in work})}"
    if any(each.by != work[0].by for each in work):
        return "POSTs of two requests are at work"
    for each in work if not harm_only and state.doubt != 0 else ():
        if state.post is None or state.post.number != each.number or state.post.heard:
            return f"the record does not know POST {each.number}, which is at work"
    return ""


def history(story: Story, origin: dict[World, World | None], last: World) -> Iterator[Step]:
    """The steps that led to a state.

    They are played again without renaming anything, so that a POST keeps its number and a message its place.
    """
    path = [last]
    while (before := origin[path[-1]]) is not None:
        path.append(before)
    world = path[-1]
    for target in reversed(path[:-1]):
        step = next(step for step in story.steps(world) if canonical(step.after) == target)
        yield step
        world = step.after
