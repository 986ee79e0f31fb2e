"""Checks the evidence of a chaos run: by `local.invariants`, and by the scenarios that the carts played."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local import invariants
from local.invariants import BOUGHT, final_outcome, outcome_of
from local.simulator.steps import FaultStep, Masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.chaos.evidence import Evidence
    from local.chaos.plan import ExpectedRequest
    from local.simulator.scenarios import Scenario
    from shared.core.messages import CheckoutRequest, InvalidMessage

SERVER_ERROR = 500
EXPECTED_EXCEPTIONS = frozenset({"StorageUnavailable", "TokenUnavailable"})
"""The exceptions that may be logged: storage or the identity endpoint failed. Any other is a bug."""
MAX_DIFFERING = 0.1
"""The share of outcomes that may differ from those without chaos. With more, a run proves little."""
MAX_COPIES = 1.2
"""The messages that may end with a published outcome, for each that was sent."""


@dataclass(slots=True)
class Findings:
    """What the checks found, one sentence each.

    `violations`: of an invariant. `residuals`: bought carts whose outcome is `failed`, as docs/failures.md accepts.
    `differing`: true outcomes that are not the scenario's own, such as `unknown` after a lost response.
    """

    violations: list[str] = field(default_factory=list)
    residuals: list[str] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def check(evidence: Evidence) -> Findings:
    """Check everything."""
    findings = Findings(violations=[*_check_run(evidence)])
    by_cart: defaultdict[str, list[ExpectedRequest]] = defaultdict(list)
    for expected in evidence.plan.requests:
        by_cart[expected.request.cart_id].append(expected)
    pages = {page["cartId"]: page for page in evidence.books["carts"]}
    for cart, requests in by_cart.items():
        page = pages.get(cart, {"posts": 0, "purchases": 0, "msRequestIds": [], "orderIds": []})
        _check_cart(evidence, requests, page, findings)
    total = len(evidence.plan.requests)
    if len(findings.differing) > max(1, MAX_DIFFERING * total):
        findings.violations.append(f"{len(findings.differing)} of {total} outcomes differ from their scenario's")
    if evidence.copies > MAX_COPIES:
        findings.violations.append(f"{evidence.copies:.2f} live copies for each message sent: more than {MAX_COPIES}")
    return findings


def _check_run(evidence: Evidence) -> Iterator[str]:
    """Check what is not about a single request."""
    plan = evidence.plan
    yield from invariants.queues_are_empty(evidence.left)
    yield from (f"a worker ended by itself: {output}" for output in evidence.crashed)
    for name, count in evidence.log.exceptions.items():
        if name not in EXPECTED_EXCEPTIONS:
            yield f"8: {count} times {name}"
    yield from invariants.recorded_before_published(evidence.published, evidence.records)
    messages: list[CheckoutRequest | InvalidMessage] = [*plan.invalid_messages]
    messages += [expected.request for expected in plan.requests]
    yield from invariants.no_other_events(evidence.by_id, messages)
    for message in plan.invalid_messages:
        yield from invariants.rejected_once(message, evidence.by_id.get(message.event_id, []))


def _check_cart(
    evidence: Evidence, requests: list[ExpectedRequest], page: Mapping[str, Any], findings: Findings
) -> None:
    """Check the requests for one cart. `page`: the cart's in the simulator's books."""
    first, violations = requests[0], findings.violations
    violations += invariants.bought_once(first.request, page["purchases"])
    violations += invariants.ms_request_ids_are_derived(
        [expected.request for expected in requests], page["msRequestIds"], _coded_failures(first.scenario)
    )
    alone = not _may_be_residual(evidence, requests, page)
    for expected in requests:
        events = evidence.events_of(expected)
        violations += invariants.answered_once(expected.request, events)
        violations += invariants.outcome_is_true(expected.request, events, page["purchases"], alone=alone)
        if events:
            violations += _check_outcome(evidence, expected, page)
            _classify(evidence, expected, page, findings, alone=alone)


def _check_outcome(evidence: Evidence, expected: ExpectedRequest, page: Mapping[str, Any]) -> Iterator[str]:
    """9: a purchase is reported as the service reported it."""
    request, events = expected.request, evidence.events_of(expected)
    outcome = final_outcome(request, events)
    if outcome not in BOUGHT:
        return
    if outcome != expected.scenario.expected:
        yield f"9: the outcome of {request.request_id} is {outcome}, but the service said {expected.scenario.expected}"
    orders = {order["id"] for order in evidence.data_of(events[-1])["result"]["orders"]}
    if not orders <= set(page["orderIds"]):
        yield f"9: the outcome of {request.request_id} has the orders {orders}, which are not its cart's"


def _classify(
    evidence: Evidence, expected: ExpectedRequest, page: Mapping[str, Any], findings: Findings, *, alone: bool
) -> None:
    """Add what is not a violation but worth a look."""
    request, scenario, events = expected.request, expected.scenario, evidence.events_of(expected)
    outcome = final_outcome(request, events)
    if request.correction_id in evidence.by_id:
        findings.corrections.append(f"{request.request_id}: {outcome_of(events[0])}, corrected to {outcome}")
    if outcome == "failed" and page["purchases"] and not alone:
        findings.residuals.append(
            f"{request.request_id} ({scenario.name}, cart {request.cart_id}): several live messages, {page['posts']} "
            "POSTs; one lost the response to its own, another was refused meanwhile"
        )
    if outcome != scenario.expected:
        error = evidence.data_of(events[-1]).get("error", {})
        findings.differing.append(
            f"{request.request_id} ({scenario.name}): {outcome} instead of {scenario.expected}: {error.get('class')}, "
            f"{page['posts']} POSTs, {evidence.poisonings(expected)} times out of the poison queue: "
            f"{error.get('description')}"
        )


def _may_be_residual(evidence: Evidence, requests: list[ExpectedRequest], page: Mapping[str, Any]) -> bool:
    """Whether a cart had two live messages, one of which never received the response to its POST.

    Messages are counted as they were sent and as they ended. A worker that received a response logged its status.
    """
    messages = max(sum(expected.copies for expected in requests), evidence.chains(requests))
    received = sum("status" in line for expected in requests for line in evidence.log_of(expected))
    return messages > 1 and page["posts"] != received


def _coded_failures(scenario: Scenario) -> int:
    """How many steps of a scenario fail with a fault code: each allows a new MS-RequestId."""
    answers = (step.by if isinstance(step, Masked) else step for step in scenario.script)
    return sum(isinstance(step, FaultStep) and step.status >= SERVER_ERROR and bool(step.code) for step in answers)
