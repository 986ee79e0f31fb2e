"""Visits every state that can be reached, breadth first, so that the first bad history is a shortest one."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.model.liveness import Quiet
from tests.model.story import Step, Story
from tests.model.world import Message, World, canonical


@dataclass(frozen=True)
class Result:
    """What was found. `wrong`: what must never happen, or ""; `history`: the steps that led to it."""

    states: int
    wrong: str = ""
    history: list[str] = field(default_factory=list)


def start(names: str, faults: int) -> World:
    """The first state: one message for each letter, equal letters for messages of one request."""
    return canonical(World(tuple(Message(name) for name in names), faults=faults))


def explore(story: Story, names: str, faults: int, *, limit: int | None = None, live: bool = False) -> Result:
    """Visit all states, or `limit` of them. `live`: play on from each until every message has ended."""
    quiet = [Quiet(story.rules, story.service, fails=fails) for fails in (False, True)] if live else []
    first = start(names, faults)
    origin: dict[World, World | None] = {first: None}
    queue = deque([first])
    while queue:
        world = queue.popleft()
        if not all(each.ends(world) for each in quiet):
            steps = list(history(story, origin, world, complete=True))
            return Result(len(origin), "a message never ends", [each.label for each in steps])
        for step in story.steps(world):
            after = canonical(step.after)
            if step.wrong or wrong_in(after):
                steps = list(history(story, origin, world))
                wrong = steps[-1].wrong or wrong_in(steps[-1].after)
                return Result(len(origin), wrong, [each.label for each in steps])
            if after not in origin:
                origin[after] = world
                queue.append(after)
        if limit is not None and len(origin) > limit:
            break
    return Result(len(origin))


def wrong_in(world: World) -> str:
    """What is wrong in this state."""
    keys = {work.key for work in world.work}
    if len(keys) > 1:
        return f"POSTs are at work under the keys {sorted(keys)}"
    if len({work.by for work in world.work}) > 1:
        return "POSTs of two requests are at work"
    return ""


def history(story: Story, origin: dict[World, World | None], last: World, *, complete: bool = False) -> Iterator[Step]:
    """The steps that led to a state, and unless they are complete the one after it that is wrong.

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
    if not complete:
        yield next(step for step in story.steps(world) if step.wrong or wrong_in(step.after))
