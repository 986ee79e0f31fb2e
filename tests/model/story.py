"""What may happen next: the steps of messages, service, operator and time.

    load ─ wait? ─ GET cart? ─ enter ─ first byte ─ the service answers ─ GET cart? ─ append, or note and defer

Each arrow is a step of its own, so that anything may happen between two of them. Loading and writing need no steps
of their own: a write is conditional, so it is one step with the load that it is based on, or it is lost without an
effect. An entry that is written late is like one that has aged. What a GET said is lost as soon as the record is
written by somebody else.
"""

from collections.abc import Iterator

from tests.model.outside import readings, serve, time
from tests.model.rules import LOST, Entered, Entries, Entry, Rules, Seen, State, ruling, verdict_of
from tests.model.services import Service
from tests.model.world import At, Message, Mode, Step, Work, World, next_number


class Story:
    """The program's story, told by its own decision functions, in one service."""

    def __init__(self, rules: Rules, service: Service, *, keeps_look: bool = False) -> None:
        self.rules = rules
        self.service = service
        self.keeps_look = keeps_look

    # --- the messages -------------------------------------------------------------------------------------

    def message(self, world: World, i: int) -> Iterator[Step]:
        """The next steps of one message, and its faults."""
        yield from self._go_on(world, i, world.messages[i])
        if world.faults:
            less = world._replace(faults=world.faults - 1)
            yield from self._faults(less, i, world.messages[i])

    def _go_on(self, world: World, i: int, m: Message) -> Iterator[Step]:
        match m.at:
            case At.WROTE:
                post = world.state.post
                mine = post is not None and (post.by, post.number) == (m.by, m.number)
                after = m._replace(at=At.ENTERED) if mine else Message(m.by, mode=m.mode)
                yield Step(
                    f"{m.by}{i} reads again: {'its entry is there' if mine else 'no entry'}", put(world, i, after)
                )
            case At.ENTERED if self.rules.holds(m.age):
                work = tuple(sorted((*world.work, Work(m.number, m.key, m.by))))
                sent = put(world, i, m._replace(at=At.SENT))._replace(work=work)
                yield Step(f"{m.by}{i} sends POST {m.number} under key {m.key}", sent)
            case At.ENTERED:
                yield Step(f"{m.by}{i} finds its entry too old", put(world, i, Message(m.by, mode=m.mode)))
            case At.QUEUE | At.ANSWERED:
                yield from self._decide(world, i, m)

    @staticmethod
    def _faults(world: World, i: int, m: Message) -> Iterator[Step]:
        """It is killed, or its answer is lost on the way, while the POST goes on."""
        if m.at in (At.WROTE, At.ENTERED, At.SENT, At.ANSWERED) or m.seen:
            yield Step(f"{m.by}{i} is killed", put(world, i, Message(m.by, mode=m.mode)))
        if m.at == At.SENT:
            yield Step(f"{m.by}{i} loses its answer", put(world, i, m._replace(at=At.ANSWERED, answer="none")))

    def _decide(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """By the record, else by the answer in hand, else it asks the service."""
        verdict = verdict_of(m.answer) if m.answer else ""
        found, corrects = ruling(world.entries, m.by, verdict == "bought")
        if found == "replay":
            yield Step(f"{m.by}{i} is answered by the record", put(world, i, Message(m.by, At.DONE)))
        elif found == "copy":
            yield self._tell(world, i, "completed", world.state, "is answered by another's order", corrects=corrects)
        elif verdict == "bought":
            state = self.rules.purchased(world.state, own(m))
            yield self._tell(world, i, "completed", state, "tells completed", corrects=corrects)
        elif m.answer:
            yield from self._answered(world, i, m, verdict)
        elif not self.rules.waits(world.state, m.by):
            yield from self._begin(world, i, m)

    def _begin(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """No answer in hand, and no other request's POST at work."""
        if m.mode == Mode.ENDING:
            yield from self._end(world, i, m)
        elif m.mode >= Mode.REFUSED:
            yield from self._stand(world, i, m, m.mode - Mode.REFUSED)
        else:
            if self.service.gives_up and m.mode == Mode.NORMAL and m.seen is None:
                yield from self._end(world, i, m)
            if self.service.six_days and m.mode == Mode.ORDERED:
                yield self._unknown(world, i, "gives up after six days")
            yield from self._enter(world, i, m)

    def _enter(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """The entry of the next POST; on a closed cart, under a new key where the key is spent or lost."""
        state = world.state
        doubt = self.rules.doubt(state, None)
        bought = any_bought(world.entries)
        renews = (state.spent and m.mode == Mode.NORMAL) or state.key == LOST
        closed = renews and self.rules.closed(state, bought, m.seen, None)
        if renews and not closed and m.seen is None:
            yield from self._look(world, i, m)
            if doubt == 1:
                return
        if state.key == LOST and not closed:
            if m.seen is not None and m.seen.reading == "not_now":
                yield Step(f"{m.by}{i} defers", put(world, i, Message(m.by, mode=m.mode)))
            elif m.seen is not None and m.seen.settled:
                yield self._unknown(world, i, "cannot POST without a key")
        else:
            yield from self._write_entry(world, i, m, closed=closed, answered=None)

    def _write_entry(
        self, world: World, i: int, m: Message, *, closed: bool, answered: Entered | None
    ) -> Iterator[Step]:
        number = next_number(world)
        state = self.rules.enter(world.state, m.by, number, closed, answered)
        entered = Message(m.by, At.ENTERED, m.mode, number, state.key)
        label = f"{m.by}{i} enters POST {number} under key {state.key}"
        yield self._write(world, i, label, entered, state, world.entries)
        if world.faults:
            lost = self._write(
                world, i, f"{label}, its answer is lost", entered._replace(at=At.WROTE), state, world.entries
            )
            yield lost._replace(after=lost.after._replace(faults=world.faults - 1))

    def _answered(self, world: World, i: int, m: Message, verdict: str) -> Iterator[Step]:
        """An answer in hand that did not buy."""
        heard = own(m) if self.rules.left(m.answer).heard else None
        if verdict == "ordered":
            yield from self._ordered(world, i, m, m.mode)
        elif verdict == "unproven":
            mode = m.mode if m.mode == Mode.ORDERED else Mode.REFUSED + m.key
            yield self._defer(world, i, m, mode, "is refused without proof")
        elif verdict == "refused" and m.mode == Mode.ORDERED:
            yield self._unknown(world, i, "is refused, though the cart is ordered", heard)
        elif verdict == "refused":
            yield from self._refused(world, i, m, heard)
        else:
            yield self._defer(world, i, m, m.mode, f"defers after {m.answer}")
            if (
                m.answer == "401"
                and m.mode != Mode.ENDING
                and not self.rules.waits(world.state, m.by)
                and world.state.key != LOST
            ):
                yield from self._write_entry(world, i, m, closed=False, answered=heard)
            if self.service.gives_up and self.rules.closed(world.state, any_bought(world.entries), None, heard):
                yield self._tell(world, i, "failed", self.rules.gave_up(world.state), "gives up", end=True)

    def _refused(self, world: World, i: int, m: Message, heard: Entered | None) -> Iterator[Step]:
        """A refusal in hand: it stands on a closed cart."""
        if self.rules.closed(world.state, any_bought(world.entries), m.seen, heard):
            yield self._tell(world, i, "failed", self.rules.refused(world.state, m.key), "is refused")
        elif m.seen is None:
            yield from self._look(world, i, m)
            if self.rules.doubt(world.state, heard) == 0:
                yield self._defer(world, i, m, m.mode, "is refused in doubt and waits")
        elif m.seen.reading == "ordered":
            yield from self._ordered(world, i, m, Mode.NORMAL)
        elif m.seen.reading == "unclear" and m.seen.settled:
            yield self._unknown(world, i, "is refused in doubt", heard)
        else:
            yield self._defer(world, i, m, m.mode, "is refused in doubt and defers")

    def _stand(self, world: World, i: int, m: Message, key: int) -> Iterator[Step]:
        """Its copy carries a refusal without proof: it stands once the cart is closed."""
        if self.rules.closed(world.state, any_bought(world.entries), m.seen, None):
            yield self._tell(world, i, "failed", self.rules.refused(world.state, key), "was refused, closed")
        else:
            yield from self._ask(world, i, m)

    def _end(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """It gives up: no POST any more, only GET cart."""
        if self.rules.closed(world.state, any_bought(world.entries), m.seen, None):
            yield self._tell(world, i, "failed", self.rules.gave_up(world.state), "gives up", end=True)
        else:
            for step in self._ask(world, i, m._replace(mode=Mode.ENDING)):
                yield step._replace(end=step.end or m.mode == Mode.NORMAL)

    def _ask(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """In doubt, once settled: GET cart, and what follows where the cart is not closed."""
        if m.seen is None:
            yield from self._look(world, i, m)
        elif m.seen.reading == "ordered" and world.state.key != LOST:
            yield from self._ordered(world, i, m, Mode.NORMAL)
        elif m.seen.reading in ("unclear", "ordered") and m.seen.settled:
            yield self._unknown(world, i, "cannot know")
        else:
            yield Step(f"{m.by}{i} defers", put(world, i, Message(m.by, mode=m.mode)))
            if self.service.six_days and m.seen.reading == "not_now":
                yield self._unknown(world, i, "gives up after six days")

    def _ordered(self, world: World, i: int, m: Message, mode: int) -> Iterator[Step]:
        """The cart is ordered: one more POST under the same key can only repeat the first result."""
        if mode == Mode.ORDERED:
            yield self._unknown(world, i, "cannot learn more of an ordered cart")
        else:
            yield self._defer(world, i, m, Mode.ORDERED, "finds the cart ordered")

    def _defer(self, world: World, i: int, m: Message, mode: int, why: str) -> Step:
        """Note what the answer left, and send a copy that waits."""
        copy = Message(m.by, mode=mode)
        if not m.answer:
            return Step(f"{m.by}{i} {why}", put(world, i, copy))
        state = self.rules.deferred(world.state, own(m), m.key, m.answer)
        return self._write(world, i, f"{m.by}{i} {why}", copy, state, world.entries)

    def _unknown(self, world: World, i: int, why: str, heard: Entered | None = None) -> Step:
        step = self._tell(world, i, "unknown", self.rules.unknown(world.state, heard), why, end=True)
        wrong = f"{world.messages[i].by} is told unknown" if self.service.never_unknown else ""
        return step._replace(wrong=step.wrong or wrong)

    def _look(self, world: World, i: int, m: Message) -> Iterator[Step]:
        answered = own(m) if m.answer and self.rules.left(m.answer).heard else None
        settled = self.rules.doubt(world.state, answered) != 0
        for reading in readings(self.service, world):
            after = put(world, i, m._replace(seen=Seen(settled, reading)))
            yield Step(f"{m.by}{i} GETs the cart: {reading}", after)

    # --- the record ---------------------------------------------------------------------------------------

    def _tell(
        self, world: World, i: int, outcome: str, state: State, why: str, *, corrects: bool = False, end: bool = False
    ) -> Step:
        by = world.messages[i].by
        entries = (*world.entries, Entry(by, outcome, corrects))
        step = self._write(world, i, f"{by}{i} {why}: {outcome}", Message(by, At.DONE), state, entries)
        return step._replace(end=end)

    def _write(
        self, world: World, i: int | None, label: str, m: Message | None, state: State, entries: Entries
    ) -> Step:
        """One conditional write of the record. What others saw of the cart is void."""
        wrong = ""
        if (state, entries) == (world.state, world.entries):
            return Step(label, world if m is None or i is None else put(world, i, m))
        if LOST not in (state.key, world.state.key) and state.key < world.state.key:
            wrong = f"key {world.state.key} became {state.key}"
        if entries[: len(world.entries)] != world.entries:
            wrong = "an entry is gone"
        told = world.told
        if len(entries) > len(world.entries) and entries[-1].outcome == "failed":
            told = next_number(world)
            wrong = wrong or (f"{entries[-1].by} is told failed, though the cart is bought" if world.bought else "")
        messages = tuple(
            m if j == i and m is not None else each._replace(seen=self._kept(each.seen)) if each.seen else each
            for j, each in enumerate(world.messages)
        )
        after = world._replace(messages=messages, state=state, entries=entries, told=told, operator=None)
        return Step(label, after, wrong)

    def _kept(self, seen: Seen | None) -> Seen | None:
        return seen and (seen._replace(settled=True) if self.keeps_look else None)

    # --- the operator -------------------------------------------------------------------------------------

    def operator(self, world: World) -> Iterator[Step]:
        """A person who has looked at an `unknown` ends it: bought, or not bought."""
        last = {entry.by: entry.outcome for entry in world.entries}
        for by in [by for by, outcome in last.items() if outcome == "unknown"]:
            if world.bought:
                entries = (*world.entries, Entry(by, "completed", corrects=True))
                yield self._write(world, None, f"an operator: {by} is bought", None, world.state, entries)._replace(
                    end=True
                )
            seen = world.operator[1] if world.operator and world.operator[0] == by else None
            if self.rules.not_bought(world.state, any_bought(world.entries), seen):
                entries = (*world.entries, Entry(by, "failed", corrects=True))
                state = self.rules.gave_up(world.state)
                yield self._write(world, None, f"an operator: {by} is not bought", None, state, entries)._replace(
                    end=True
                )
            if seen is None:
                settled = self.rules.doubt(world.state, None) != 0
                for reading in readings(self.service, world):
                    after = world._replace(operator=(by, Seen(settled, reading)))
                    yield Step(f"an operator GETs the cart: {reading}", after, end=True)

    def restore(self, world: World) -> Iterator[Step]:
        """Somebody restores the record, without its state."""
        if self.service.loses_state and world.faults:
            step = self._write(world, None, "the record loses its state", None, State(LOST, doubt=0), world.entries)
            yield step._replace(after=step.after._replace(faults=world.faults - 1))

    def steps(self, world: World) -> Iterator[Step]:
        """Everything that may happen next."""
        for i in range(len(world.messages)):
            yield from self.message(world, i)
        for work in world.work:
            yield from serve(self.service, world, work)
        if self.service.operator:
            yield from self.operator(world)
        yield from time(world)
        yield from self.restore(world)


def put(world: World, i: int, message: Message) -> World:
    """The world with this message in place `i`."""
    return world._replace(messages=(*world.messages[:i], message, *world.messages[i + 1 :]))


def own(message: Message) -> Entered:
    """The entry of a message's own POST."""
    return Entered(message.by, message.number, message.age, heard=False)


def any_bought(entries: Entries) -> bool:
    """Whether an entry bought the cart."""
    return any(entry.outcome == "completed" for entry in entries)
