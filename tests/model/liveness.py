"""From any state, when no more faults come: does every message end?

Quiet days are played: the service answers as well as it can, or it fails for ever. Where it fails, or repeats a failure
for ever, a message that gets nowhere for long gives up, as it does by its age. A copy that waits comes back after the
POSTs in doubt are settled, as the program's do under a spent key from the third attempt on.
"""

from collections.abc import Iterable
from dataclasses import replace

from tests.model.outside import serve, time
from tests.model.rules import Rules
from tests.model.services import Service
from tests.model.story import Story
from tests.model.world import At, Step, World, canonical

PATIENCE = 100
"""Steps after which a message gives up. Far more than any history needs that gets somewhere."""


class Quiet:
    """One way of playing on without faults. `fails`: the service fails for ever, and GET cart where it may."""

    def __init__(self, rules: Rules, service: Service, *, fails: bool) -> None:
        calm = replace(service, operator=False, loses_state=False)
        self._story = Story(rules, replace(calm, gives_up=True, six_days=True, never_unknown=False))
        self._fails = fails
        self._steps = 2 * PATIENCE if fails or service.remembers else PATIENCE
        self._ending: set[World] = set()

    def ends(self, world: World) -> bool:
        """Whether every message comes to its end."""
        world = canonical(world._replace(faults=0, operator=None))
        passed: list[World] = []
        for count in range(self._steps):
            if world in self._ending or all(m.at == At.DONE for m in world.messages):
                self._ending.update(passed)
                return True
            passed.append(world)
            step = self._next(world, patient=count < PATIENCE)
            if step is None:
                return False
            world = canonical(step.after)
        return False

    def _next(self, world: World, *, patient: bool) -> Step | None:
        """Deliveries go on first, then the service, then time, then messages that wait in the queue."""
        story = self._story
        at_work = [i for i, m in enumerate(world.messages) if m.at not in (At.QUEUE, At.DONE) or m.seen or m.ordered]
        waiting = [i for i in range(len(world.messages)) if i not in at_work]
        groups: list[Iterable[Step]] = [
            *(self._sorted(story.message(world, i), patient=patient) for i in at_work),
            *(self._served(list(serve(story.service, world, work))) for work in world.work),
            time(world),
            *(self._sorted(story.message(world, i), patient=patient) for i in waiting),
        ]
        return next((step for group in groups for step in group if canonical(step.after) != world), None)

    def _sorted(self, steps: Iterable[Step], *, patient: bool) -> list[Step]:
        def order(step: Step) -> tuple[bool, bool]:
            no_look = self._fails and "GETs" in step.label and "not_now" not in step.label
            return step.end == patient, no_look

        return sorted(steps, key=order)

    def _served(self, steps: list[Step]) -> list[Step]:
        failing = [step for step in steps if "5xx" in step.label and "buys" not in step.label]
        return failing if self._fails and failing else steps
