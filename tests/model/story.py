"""What may happen next: the steps of messages, service, operator and time.

    load ─ wait? ─ GET cart? ─ enter ─ first byte ─ the service answers ─ GET cart? ─ append, or note and defer

Each arrow is a step of its own, so that anything may happen between two of them. Loading and writing need no steps
of their own: a write is conditional, so it is one step with the load that it is based on, or it is lost without an
effect. An entry that is written late is like one that has aged. What a GET said is lost as soon as the record is
written by somebody else.
"""

from collections.abc import Iterator

from shared.core.rules import InHand
from tests.model.outside import readings, serve, time
from tests.model.rules import LOST, Entered, Entries, Entry, Rules, Seen, State, ruling, verdict_of
from tests.model.services import Service
from tests.model.world import At, Message, Ordered, Step, Work, World, next_number


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
                lost = m._replace(at=At.ANSWERED) if m.answer else copy_of(m)._replace(ordered=m.ordered)
                after = m._replace(at=At.ENTERED, answer="") if mine else lost
                yield Step(
                    f"{m.by}{i} reads again: {'its entry is there' if mine else 'no entry'}", put(world, i, after)
                )
            case At.ENTERED if self.rules.holds(m.age):
                work = tuple(sorted((*world.work, Work(m.number, m.key, m.by))))
                repeats = Ordered.REPEATED if m.ordered else Ordered.NO
                sent = put(world, i, m._replace(at=At.SENT, ordered=repeats))._replace(work=work)
                yield Step(f"{m.by}{i} sends POST {m.number} under key {m.key}", sent)
            case At.ENTERED:
                yield Step(f"{m.by}{i} finds its entry too old", put(world, i, not_sent(m)))
            case At.QUEUE | At.ANSWERED:
                yield from self._decide(world, i, m)

    @staticmethod
    def _faults(world: World, i: int, m: Message) -> Iterator[Step]:
        """It is killed, cannot connect, or its answer is lost on the way, while the POST goes on."""
        if m.at in (At.WROTE, At.ENTERED, At.SENT, At.ANSWERED) or m.seen or m.ordered:
            yield Step(f"{m.by}{i} is killed", put(world, i, copy_of(m)))
        if m.at == At.ENTERED:
            yield Step(f"{m.by}{i} cannot connect", put(world, i, not_sent(m)))
        if m.at == At.SENT:
            yield Step(f"{m.by}{i} loses its answer", put(world, i, m._replace(at=At.ANSWERED, answer="none")))

    def _decide(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """By the record, else by the answer in hand, else it asks the service."""
        verdict = verdict_of(m.answer) if m.answer else ""
        in_hand = InHand.BOUGHT if verdict == "bought" else InHand.ORDERED if m.ordered else InHand.NOTHING
        found, corrects = ruling(world.entries, m.by, in_hand)
        if found == "replay":
            yield Step(f"{m.by}{i} is answered by the record", put(world, i, Message(m.by, At.DONE)))
        elif found == "copy":
            yield self._tell(world, i, "completed", world.state, "is answered by another's order", corrects=corrects)
        elif corrects and verdict != "bought":
            yield self._unknown(world, i, m, "is told failed of an ordered cart meanwhile", corrects=True)
        elif verdict == "bought":
            state = self.rules.purchased(world.state, own(m))
            yield self._tell(world, i, "completed", state, "tells completed", corrects=corrects)
        elif m.answer:
            yield from self._answered(world, i, m, verdict)
        else:
            yield from self._begin(world, i, m)

    def _begin(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """No answer in hand. A request may give up at any time: too old, too late, or poisoned twice."""
        if m.refused or m.ending:
            yield from self._without_post(world, i, m)
            return
        if self.service.gives_up and m.seen is None:
            yield from self._give_up(world, i, m)
        if not self.rules.waits(world.state, m.by):
            yield from self._enter(world, i, m)

    def _enter(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """The entry of the next POST; on a closed cart, under a new key where the key is spent or lost."""
        state, lost = world.state, world.state.key == LOST
        renews = state.spent or lost
        closed = renews and self.rules.closed(state, any_bought(world.entries), m.seen, None)
        if renews and not closed and m.seen is None and not self.rules.settles(state, None):
            yield from self._look(world, i, m)
        elif closed or not lost:
            yield from self._write_entry(world, i, m, closed=closed, answered=None)
        elif m.seen is not None and m.seen.reading == "not_now":
            yield from self._not_now(world, i, m)
        elif m.seen is not None:
            yield self._unknown(world, i, m, "cannot POST without a key")

    def _write_entry(
        self, world: World, i: int, m: Message, *, closed: bool, answered: Entered | None
    ) -> Iterator[Step]:
        number = next_number(world)
        state = self.rules.enter(world.state, m.by, number, closed, answered)
        entered = copy_of(m)._replace(at=At.ENTERED, number=number, key=state.key, ordered=m.ordered)
        label = f"{m.by}{i} enters POST {number} under key {state.key}"
        yield self._write(world, i, label, entered, state, world.entries)
        if world.faults:
            wrote = entered._replace(at=At.WROTE, answer=m.answer)  # which is in hand again where it loses the race
            lost = self._write(world, i, f"{label}, its answer is lost", wrote, state, world.entries)
            yield lost._replace(after=lost.after._replace(faults=world.faults - 1))

    def _answered(self, world: World, i: int, m: Message, verdict: str) -> Iterator[Step]:
        """An answer in hand that did not buy."""
        if verdict == "ordered":
            yield from self._ordered(world, i, m)
        elif verdict != "retry" and m.ordered == Ordered.REPEATED:
            yield self._unknown(world, i, m, "is refused, though the cart is ordered")
        elif verdict == "unproven":
            refused = m.key, m.number if m.answer == "404" else 0
            yield self._defer(world, i, m._replace(refused=refused), "is refused without proof")
        elif verdict == "refused":
            yield from self._without_post(world, i, m)
        else:
            yield from self._try_again(world, i, m)

    def _try_again(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """A transient answer in hand."""
        if m.ending:
            yield from self._without_post(world, i, m)
            return
        yield self._defer(world, i, m, f"defers after {m.answer}")
        post = world.state.post
        if m.answer in ("401", "not sent") and post and post.number == m.number:
            yield from self._write_entry(world, i, m, closed=False, answered=own(m))
        if m.ordered:
            if self.service.six_days:
                yield self._unknown(world, i, m, "gives up after six days")
        elif self.service.gives_up:
            yield from self._give_up(world, i, m)

    def _give_up(self, world: World, i: int, m: Message) -> Iterator[Step]:
        for step in self._without_post(world, i, m._replace(ending=True)):
            yield step._replace(end=True)

    def _without_post(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """It makes no POST, or its POST was refused: `failed` on a closed cart, else GET cart once settled."""
        heard, refused = self._heard(m), self._refused(m)
        bought = any_bought(world.entries)
        if self.rules.closed(world.state, bought, m.seen, heard, m.seen and self._refused_404(world, m)):
            state = self.rules.refused(world.state, refused) if refused is not None else self.rules.gave_up(world.state)
            yield self._tell(world, i, "failed", state, "gives up" if refused is None else "is refused", end=m.ending)
        elif m.seen is None and self.rules.settles(world.state, heard):
            yield self._defer(world, i, m, "waits until settled")
        elif m.seen is None:
            yield from self._look(world, i, m)
        elif m.seen.reading == "ordered":
            yield from self._ordered(world, i, m)
        elif m.seen.reading == "not_now":
            yield from self._not_now(world, i, m)
        else:
            yield self._unknown(world, i, m, "cannot know")

    def _ordered(self, world: World, i: int, m: Message) -> Iterator[Step]:
        """The cart is ordered: one more POST under the same key can only repeat the first result."""
        if m.ordered == Ordered.REPEATED or world.state.key == LOST:
            yield self._unknown(world, i, m, "cannot learn more of an ordered cart")
        elif m.ordered == Ordered.NO:  # a step of its own: the entry may lose a race
            yield Step(f"{m.by}{i} finds the cart ordered", put(world, i, m._replace(ordered=Ordered.SAID)))
        elif self.rules.waits(world.state, m.by):
            yield self._defer(world, i, m, "waits before it repeats the POST")
        else:
            yield from self._write_entry(world, i, m, closed=False, answered=None)
        if self.service.six_days and m.ordered == Ordered.SAID:
            yield self._unknown(world, i, m, "gives up after six days")

    def _not_now(self, world: World, i: int, m: Message) -> Iterator[Step]:
        yield self._defer(world, i, m, "defers")
        if self.service.six_days:
            yield self._unknown(world, i, m, "gives up after six days")

    def _defer(self, world: World, i: int, m: Message, why: str) -> Step:
        """Note what the answer left, unless another entry has replaced its POST, and send a copy that waits."""
        label, post = f"{m.by}{i} {why}", world.state.post
        if not m.answer or post is None or (post.by, post.number) != (m.by, m.number):
            return Step(label, put(world, i, copy_of(m)))
        state = self.rules.deferred(world.state, own(m), m.key, m.answer)
        return self._write(world, i, label, copy_of(m), state, world.entries)

    def _unknown(self, world: World, i: int, m: Message, why: str, *, corrects: bool = False) -> Step:
        state = self.rules.unknown(world.state, self._heard(m))
        step = self._tell(world, i, "unknown", state, why, corrects=corrects, end=True)
        wrong = f"{m.by} is told unknown" if self.service.never_unknown else ""
        return step._replace(wrong=step.wrong or wrong)

    def _look(self, world: World, i: int, m: Message) -> Iterator[Step]:
        settled = self.rules.doubt(world.state, self._heard(m)) != 0
        for reading in readings(self.service, world):
            after = put(world, i, m._replace(seen=Seen(settled, reading)))
            yield Step(f"{m.by}{i} GETs the cart: {reading}", after)

    def _heard(self, m: Message) -> Entered | None:
        """Its own entry, while an answer of the heard kind is in hand."""
        return own(m) if m.answer and self.rules.left(m.answer).heard else None

    @staticmethod
    def _refused(m: Message) -> int | None:
        """The key of the POST whose refusal stands once the cart is closed."""
        if m.answer and verdict_of(m.answer) == "refused":
            return m.key
        return m.refused[0] if m.refused else None

    @staticmethod
    def _refused_404(world: World, m: Message) -> Entered | None:
        """The entry of the POST that a 404 answered, which its copy carries."""
        if not (m.refused and m.refused[1]):
            return None
        post, number = world.state.post, m.refused[1]
        return post if post and (post.by, post.number) == (m.by, number) else Entered(m.by, number, 1, heard=False)

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
            m if j == i and m is not None else self._void(each) if each.seen else each
            for j, each in enumerate(world.messages)
        )
        after = world._replace(messages=messages, state=state, entries=entries, told=told, operator=None)
        return Step(label, after, wrong)

    def _void(self, m: Message) -> Message:
        """It loses the race: it reads the record again, and GETs the cart again."""
        if self.keeps_look and m.seen:
            return m._replace(seen=m.seen._replace(settled=True))
        return m._replace(seen=None, ending=False)

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


def copy_of(message: Message) -> Message:
    """Its copy, or the next delivery of it: they know only what the message carries."""
    return Message(message.by, refused=message.refused)


def not_sent(message: Message) -> Message:
    """Its POST did not begin, so it repeats nothing."""
    ordered = Ordered.SAID if message.ordered else Ordered.NO
    return message._replace(at=At.ANSWERED, answer="not sent", ordered=ordered)


def own(message: Message) -> Entered:
    """The entry of a message's own POST."""
    return Entered(message.by, message.number, message.age, heard=False)


def any_bought(entries: Entries) -> bool:
    """Whether an entry bought the cart."""
    return any(entry.outcome == "completed" for entry in entries)
