"""The report of a chaos run, as JSON."""

from __future__ import annotations

from collections import Counter
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from local.chaos.fault_table import count_faults
from local.invariants import outcome_of

if TYPE_CHECKING:
    from local.chaos.checks import Findings
    from local.chaos.evidence import Evidence
    from shared.core.messages import CheckoutRequest


def chaos_report(evidence: Evidence, findings: Findings) -> dict[str, Any]:
    """Summarize a run: what was done, what came of it, and what the checks found."""
    plan, log, totals = evidence.plan, evidence.log, evidence.books["totals"]
    first = [events[0] for events in evidence.by_id.values()]
    data = [evidence.data_of(event) for event in first]
    unknown = [of["error"]["class"] for event, of in zip(first, data, strict=True) if outcome_of(event) == "unknown"]
    return {
        "passed": not findings.violations,
        "seed": plan.seed,
        "idempotency": plan.idempotency,
        "seconds": round(evidence.duration, 1),
        "carts": len({expected.request.cart_id for expected in plan.requests}),
        "requests": len(plan.requests),
        "invalid": len(plan.invalid_messages),
        "messages": plan.messages,
        "deliveries": evidence.deliveries,
        "results": dict(log.results.most_common()),
        "posts": totals["posts"],
        "throttled": totals["throttled"],
        "purchases": totals["purchases"],
        "boughtTwice": totals["boughtTwice"],
        "mostAttempts": max((of.get("attempts", 0) for of in data), default=0),
        "survived": count_faults(plan, evidence.injected),
        "waited": _waited(evidence.seconds or [0.0]),
        "outcomes": dict(Counter(map(outcome_of, first)).most_common()),
        "unknownTold": len(unknown),
        "unknown": dict(Counter(unknown).most_common()),
        "toldMoreThanOnce": sum(len(events) > 1 for events in evidence.by_id.values()),
        "liveCopies": round(evidence.copies, 3),
        "poisoned": sum(any(line["function"] == "report_poison" for line in lines) for lines in log.lines.values()),
        "corrections": findings.corrections,
        "residual": findings.residuals,
        "differing": findings.differing,
        "left": evidence.left,
        "exceptions": dict(log.exceptions.most_common()),
        "violations": findings.violations,
    }


def journals(evidence: Evidence, findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """Return the log lines of all requests for the carts that a finding names, by name and request id."""
    sentences = (findings.violations, findings.residuals, findings.corrections, findings.differing)
    named = " ".join(sentence for found in sentences for sentence in found)
    carts = {each.request.cart_id for each in evidence.requests if _is_named(each.request, named)}
    found = [each for each in evidence.requests if each.request.cart_id in carts]
    return {f"{each.name} {each.request.request_id}": evidence.log_of(each) for each in found}


def _is_named(request: CheckoutRequest, sentences: str) -> bool:
    return request.cart_id in sentences or f"{request.request_id} " in sentences


def _waited(seconds: list[float]) -> dict[str, float]:
    """`seconds`: from sending to the first outcome, sorted."""
    p95 = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    return {"median": round(median(seconds), 1), "p95": round(p95, 1), "longest": round(seconds[-1], 1)}
