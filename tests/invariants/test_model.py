"""Messages, duplicates, responses, faults, kills and time in any order: a stateful test against a small model.

The model knows of each cart only what a bystander could: what its scenario says, whether anything disturbed
it, and what the books say. From that follows which outcomes may be told of it.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from local.invariants import BOUGHT
from local.simulator.scenarios import BY_NAME, scenario_of
from tests.support.history import Failure
from tests.support.world import SETTINGS, World

HASTY = replace(SETTINGS, retry_cap=20_000.0, retry_max_age=60.0)


class Deployment(RuleBasedStateMachine):
    """One storage account, one service, workers that are killed, and a model of what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(HASTY).tap()
        self.requests: dict[str, list[str]] = {}
        self.disturbed = False
        self.invalid = 0

    @rule(
        scenario=st.sampled_from(sorted(BY_NAME)),
        seed=st.integers(0, 1),
        request_id=st.sampled_from(["order-1", "order-2"]),
        copies=st.integers(1, 2),
    )
    def enqueue(self, scenario: str, seed: int, request_id: str, copies: int) -> None:
        for _ in range(copies):
            cart = self.world.enqueue(scenario, request_id, seed=seed)
            self.requests.setdefault(cart, []).append(request_id)

    @rule(body=st.sampled_from(["", "nonsense", "{}", '{"customerId": 1}', "e30="]))
    def enqueue_nonsense(self, body: str) -> None:
        self.world.carts.send(body)
        self.invalid += 1

    @rule(deliveries=st.integers(1, 5))
    def deliver(self, deliveries: int) -> None:
        for _ in range(deliveries):
            if (message := self.world.carts.receive()) is not None:
                self.world.deliver(message)

    @rule(step=st.integers(0, 7), how=st.sampled_from(list(Failure)))
    def deliver_with_a_fault(self, step: int, how: Failure) -> None:
        if (message := self.world.carts.receive()) is not None:
            self.disturbed = True
            self.world.journal.plan[len(self.world.journal.steps) + step] = how
            self.world.deliver(message)
            self.world.journal.plan.clear()

    @rule(times=st.integers(1, 6))
    def kill_at_the_post(self, times: int) -> None:
        """The worker is killed during its POST, several times in a row."""
        self.disturbed = True
        for _ in range(times):
            self.world.clock.advance(600)
            if (message := self.world.carts.receive()) is not None:
                self.world.journal.plan[len(self.world.journal.steps) + 3] = Failure.KILLED_AFTER
                self.world.deliver(message)
                self.world.journal.plan.clear()

    @precondition(lambda self: self.world.poison.messages)
    @rule()
    def report_poison(self) -> None:
        if (message := self.world.poison.receive()) is not None:
            self.world.deliver(message, from_poison=True)

    @rule(seconds=st.sampled_from([1, 30, 120, 700]))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        assert 0 == self.world.service.snapshot()["totals"]["boughtTwice"]

    def teardown(self) -> None:
        self.world.run()
        assert [] == self.world.violations()
        published = self.world.published()
        for event in published:
            if event["type"].endswith(".invalid"):
                self.invalid -= 1
                continue
            cart = event["subject"].rpartition("/")[2]
            assert event["type"].rpartition(".")[2] in self.allowed(cart), cart
        assert self.invalid <= 0  # each invalid message was told, a redelivered one maybe twice

    def allowed(self, cart: str) -> set[str]:
        """The outcomes that may be published for a cart: the model."""
        scenario = scenario_of(cart)
        assert scenario is not None
        alone = len(self.requests[cart]) == 1 and not self.disturbed
        if alone:
            return {scenario.expected}
        more = set(BOUGHT) if self.world.purchases(cart) else {"failed"}
        return {scenario.expected, "failed", "unknown"} | more


TestDeployment = Deployment.TestCase
TestDeployment.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
