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


def chaos_report(evidence: Evidence, findings: Findings) -> dict[str, Any]:
    """Summarize a run: what was done, what came of it, and what the checks found."""
    plan, log, totals = evidence.plan, evidence.log, evidence.books["totals"]
    first = [events[0] for events in evidence.by_id.values()]
    data = [evidence.data_of(event) for event in first]
    unknown = [of["error"]["class"] for event, of in zip(first, data, strict=True) if outcome_of(event) == "unknown"]
    return {
        "passed": not findings.violations,
        "seed": plan.seed,
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
        "waited": _waited(sorted(evidence.seconds.values()) or [0.0]),
        "outcomes": dict(Counter(map(outcome_of, first)).most_common()),
        "unknown": dict(Counter(unknown).most_common()),
        "toldMoreThanOnce": sum(len(events) > 1 for events in evidence.by_id.values()),
        "liveCopies": round(evidence.copies, 3),
        "poisoned": sum(any(line["function"] == "report_poison" for line in lines) for lines in log.lines.values()),
        "corrections": findings.corrections,
        "residual": findings.residuals,
        "differing": findings.differing,
        "notesLeft": evidence.notes,
        "left": evidence.left,
        "exceptions": dict(log.exceptions.most_common()),
        "violations": findings.violations,
    }


def journals(evidence: Evidence, findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """Return the log lines of each request that a finding names, by request id."""
    sentences = (findings.violations, findings.residuals, findings.corrections, findings.differing)
    named = " ".join(sentence for found in sentences for sentence in found)
    requests = {expected.request.request_id: expected for expected in evidence.plan.requests}
    return {id_: evidence.log_of(expected) for id_, expected in requests.items() if f"{id_} " in named}


def _waited(seconds: list[float]) -> dict[str, float]:
    """`seconds`: from sending to the first outcome, sorted."""
    p95 = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    return {"median": round(median(seconds), 1), "p95": round(p95, 1), "longest": round(seconds[-1], 1)}
