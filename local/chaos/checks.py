"""Checks the evidence of a chaos run: by `local.invariants`, and by the scenarios that the carts played."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from local import invariants
from local.invariants import BOUGHT, final_outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.chaos.evidence import Evidence
    from local.chaos.plan import ExpectedRequest
    from shared.core.messages import CheckoutRequest, InvalidMessage

    Page = Mapping[str, Any]

EXPECTED_EXCEPTIONS = frozenset({"StorageUnavailable", "TokenUnavailable"})
"""The exceptions that may be logged: storage or the identity endpoint failed. Any other is a bug."""
MAX_DIFFERING = 0.1
"""The share of outcomes that may differ from those without chaos. With more, a run proves little."""
MAX_COPIES = 1.2
"""The messages that may end with a published outcome, for each that was sent."""
MAX_RESIDUALS = 3
"""The carts that may be `failed` though a POST bought them that was at work for longer than SETTLE_SECONDS."""


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
    findings = Findings(violations=[*_check_run(evidence), *_check_unnamed(evidence)])
    by_cart: defaultdict[str, list[ExpectedRequest]] = defaultdict(list)
    for expected in evidence.requests:
        by_cart[expected.request.cart_id].append(expected)
    pages = {page["cartId"]: page for page in evidence.books["carts"]}
    for cart, requests in by_cart.items():
        page = pages.get(cart, {"posts": 0, "purchases": 0, "msRequestIds": [], "orderIds": []})
        _check_cart(evidence, requests, page, findings)
    total = len(evidence.requests)
    if len(findings.differing) > max(1, MAX_DIFFERING * total):
        findings.violations.append(f"{len(findings.differing)} of {total} outcomes differ from their scenario's")
    if len(findings.residuals) > MAX_RESIDUALS:
        findings.violations.append(f"{len(findings.residuals)} residuals: more than {MAX_RESIDUALS}")
    if evidence.copies > MAX_COPIES:
        findings.violations.append(f"{evidence.copies:.2f} live copies for each message sent: more than {MAX_COPIES}")
    return findings


def _check_run(evidence: Evidence) -> Iterator[str]:
    """Check what is not about a single request."""
    plan, records = evidence.plan, evidence.records
    yield from invariants.queues_are_empty(evidence.left)
    yield from (f"a worker ended by itself: {output}" for output in evidence.crashed)
    for name, count in evidence.log.exceptions.items():
        if name not in EXPECTED_EXCEPTIONS:
            yield f"8: {count} times {name}"
    yield from invariants.recorded_before_published(evidence.published, records)
    yield from invariants.every_entry_is_published(evidence.published, records)
    revisions = {
        name: [evidence.data_of(entry).get("revision") for entry in entries if _is_readable(evidence, entry)]
        for name, entries in records.items()
    }
    yield from invariants.revisions_count_up(revisions)
    messages: list[CheckoutRequest | InvalidMessage] = [*plan.invalid_messages]
    messages += [expected.request for expected in evidence.requests]
    yield from invariants.no_other_events(evidence.by_id, messages)
    for message in plan.invalid_messages:
        yield from invariants.rejected_once(message, evidence.by_id.get(message.event_id, []))


def _is_readable(evidence: Evidence, entry: Mapping[str, Any]) -> bool:
    """Whether the data of an entry are known: they lie in a blob where they were too large, and are read once told."""
    return "data" in entry or entry["id"] in evidence.data


def _check_unnamed(evidence: Evidence) -> Iterator[str]:
    """1: for each message without `requestId` an outcome was told, under its own id or that of a poison copy."""
    missing: defaultdict[str, list[ExpectedRequest]] = defaultdict(list)
    copies: defaultdict[str, int] = defaultdict(int)
    for expected in evidence.requests:
        if expected.named:
            continue
        if not expected.copies:
            copies[expected.request.cart_id] += 1
        elif not evidence.events_of(expected):
            missing[expected.request.cart_id].append(expected)
    for cart, requests in missing.items():
        for expected in requests[copies[cart] :]:
            yield f"1: the message {expected.request.request_id} for the cart {cart} was never answered"


def _check_cart(evidence: Evidence, requests: list[ExpectedRequest], page: Page, findings: Findings) -> None:
    """Check the requests for one cart. `page`: the cart's in the simulator's books."""
    of_cart, violations = requests[0].request, findings.violations
    violations += invariants.bought_once(of_cart, page["purchases"])
    violations += invariants.keys_only_grow(of_cart, page["msRequestIds"])
    violations += invariants.one_key_at_work(of_cart, page)
    for expected in requests:
        events = evidence.events_of(expected)
        if expected.named or events:  # else `_check_unnamed` looks for the poison copy's
            violations += invariants.answered_once(expected.request, events)
        if not events:
            continue
        if residual := [*_residual(evidence, expected, page)]:
            findings.residuals += residual
        else:
            violations += invariants.outcome_is_true(expected.request, events, page)
        violations += _check_outcome(evidence, expected, page)
        _classify(evidence, expected, page, findings)


def _residual(evidence: Evidence, expected: ExpectedRequest, page: Page) -> Iterator[str]:
    """A sentence for a `failed` cart, each of whose purchases was made by a POST that outlived SETTLE_SECONDS.

    entry ─ POST ─ ? ···················· settled            buys
                                             GET cart: Active ─ `failed`
    """
    told = evidence.events_of(expected)[-1]
    if outcome_of(told) != "failed":
        return
    purchases = invariants.purchases_begun_before(page, datetime.fromisoformat(told["time"]).timestamp())
    posts = [_post_of(page, purchase) for purchase in purchases]
    if posts and all(post is not None and _age(post) > evidence.plan.settle for post in posts):
        named = ", ".join(
            f"{post['msRequestId']}, came {_clock(post['cameAt'])}, ended {_clock(post['endedAt'])} after "
            f"{_age(post):.1f} s"
            for post in posts
            if post is not None
        )
        yield (
            f"{expected.request.request_id} ({expected.scenario.name}, cart {page['cartId']}): failed at "
            f"{told['time']}, though bought by a POST that outlived {evidence.plan.settle:.0f} s: {named}"
        )


def _post_of(page: Page, purchase: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The POST that made a purchase: the first under its MS-RequestId that ended when it took effect, or later."""
    own = (post for post in page["postLog"] if post["msRequestId"] == purchase["msRequestId"])
    return min((post for post in own if post["endedAt"] >= purchase["at"]), key=_came_at, default=None)


def _came_at(post: Mapping[str, Any]) -> float:
    return float(post["cameAt"])


def _age(post: Mapping[str, Any]) -> float:
    return float(post["endedAt"] - post["cameAt"])


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _check_outcome(evidence: Evidence, expected: ExpectedRequest, page: Page) -> Iterator[str]:
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


def _classify(evidence: Evidence, expected: ExpectedRequest, page: Page, findings: Findings) -> None:
    """Add what is not a violation but worth a look."""
    request, scenario, events = expected.request, expected.scenario, evidence.events_of(expected)
    outcome = final_outcome(request, events)
    if request.correction_id() in evidence.by_id:
        findings.corrections.append(f"{request.request_id}: {outcome_of(events[0])}, corrected to {outcome}")
    if outcome != scenario.expected:
        error = evidence.data_of(events[-1]).get("error", {})
        findings.differing.append(
            f"{request.request_id} ({scenario.name}): {outcome} instead of {scenario.expected}: {error.get('class')}, "
            f"{page['posts']} POSTs, {evidence.poisonings(expected)} times out of the poison queue: "
            f"{error.get('description')}"
        )
