"""The scenarios: what the simulated Partner Center does to a cart, one row each.

A cart names its own scenario: the first eight hex digits of its id are the scenario's number, so nothing has to be
seeded before a run (`0000002a-...` is scenario 42). Each POST plays the script's next step. The last step repeats.
Each row also says which outcome the function must publish.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from local.simulator.fault_codes import FAILURES, NOT_ADMITTED, ORDERED, REFUSALS
from local.simulator.steps import (
    BOM,
    Commit,
    Drop,
    DropMidBody,
    FaultStep,
    GatewayStep,
    Interim,
    Later,
    Masked,
    RefusedGroup,
    Slow,
    Step,
    Throttle,
    Trickle,
    commits,
)

ExpectedOutcome = Literal["completed", "action_required", "partial", "failed", "unknown"]

IN_PROGRESS = FaultStep(409, 800064, "The cart is being processed by another request.")
DOWN = GatewayStep(503, b"Service Unavailable", "text/plain")

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout:simulator")


class ScenarioGroup(StrEnum):
    """What a scenario is about, in the words of the chaos report. Documents and reports group by it."""

    SMOOTH = "the service: bought at the first call"
    LOST_REQUEST = "the service: the connection is lost before the request arrives"
    LOST_RESPONSE = "the service: it orders, and the response is lost or cut"
    SLOW = "the service: slow, too slow, trickling, silent"
    BROKEN = "the service: 5xx, gateway pages, unusable responses"
    NOT_ADMITTED = "the service: 401, 409 and 429 for one cart"
    PARTIAL = "the service: a partial success, or a pending human action"
    REFUSED = "the service: refusals with a code"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: what the service does, and the outcome that the function must publish.

    `error_class` and `code` are those of the outcome's error. `code` is `None` where the service gave none.
    `get_script` holds the responses to the first GETs of the cart. Later GETs return its real state, as it was `stale`
    seconds ago. `busy`: a POST that comes while another one is at work gets 409/800064. Without it, it plays the next
    step of the script.

    What no row plays, since no caller could then keep its promises: a refusal after a purchase that takes effect, or
    that GET cart shows, later than SETTLE_SECONDS after its POST came; and a refusal after a purchase hidden by
    a 401, a 403, a 429 or a documented refusal, none of which puts the caller in doubt. Steps and `stale` can.
    """

    number: int
    name: str
    about: str
    script: tuple[Step, ...]
    expected: ExpectedOutcome = "completed"
    error_class: str | None = None
    code: str | None = None
    decided_by_giving_up: bool = False
    order_groups: int = 1
    lines: int = 1  # line items in each order group
    bought_before: bool = False  # another client checked it out an hour ago
    busy: bool = True
    stale: float = 0.0
    line_error: Mapping[str, object] | None = None  # of each line, as GET cart tells it
    get_script: tuple[FaultStep | GatewayStep | Drop, ...] = ()
    group: ScenarioGroup = ScenarioGroup.SMOOTH

    @property
    def purchases(self) -> int:
        """How often the simulator must have recorded a purchase of this cart in the end."""
        return int(self.bought_before or any(map(commits, self.script)))

    @property
    def lasts_days(self) -> bool:
        """Whether the function tells its outcome only after days, whatever the settings.

        It tries 401 and 403 for two days, and a bought cart whose result nobody tells until the cart's last day.
        """
        held = self.error_class in ("authentication", "configuration")
        return self.decided_by_giving_up and (held or self.purchases > 0)


_OUT_OF_STOCK = RefusedGroup(800089, "The offer cannot be bought in this quantity.")
_UNDOCUMENTED = RefusedGroup(999001, "An undocumented code.")
_TWICE = RefusedGroup(800065, "The cart was submitted before.")
_REFUSED = FaultStep(400, 800013, "The quantity is not valid.")
_ORDERED = FaultStep(400, 800065, "The cart was submitted before.")
_FAILED = FaultStep(500, 800003, "The service failed.")
_UNDOCUMENTED_400 = FaultStep(400, 999008)
_TOO_MANY_SEATS = {"errorCode": "10015", "errorDescription": "Too many seats.", "additionalInformation": None}
_LATE = 200.0
"""Longer than a caller waits, shorter than SETTLE_SECONDS, and so too when scaled like the settings of the stack."""
_UNKNOWN_ERROR = "The service has encountered an unknown error"
_HTML = b"<html><head><title>%d</title></head><body><h1>The gateway could not serve you</h1></body></html>"
_LOGIN = GatewayStep(200, b"<!DOCTYPE html><html><body>Sign in to your account</body></html>")
_JSON = "application/json; charset=utf-8"

_ANOTHERS = GatewayStep(
    201,
    b'{"orders": [{"id": "b0d70a69-4c42-4b27-b2f7-9a6b8c4fd5b6", "status": "completed", "lineItems": [],'
    b' "referenceCustomerId": "99999999-9999-4999-8999-999999999999"}], "orderErrors": []}',
    _JSON,
    {"MS-RequestId": "77777777-7777-4777-8777-777777777777"},
)
"""The service's answer to another call. It has the ids of that call."""


def _html(status: int) -> GatewayStep:
    return GatewayStep(status, _HTML % status)


def _json(status: int, content: bytes) -> GatewayStep:
    return GatewayStep(status, content, _JSON)


def _redirect(status: int = 302) -> GatewayStep:
    # to this server, which counts a caller that follows it with a token
    return GatewayStep(status, b"", "text/html", {"Location": "/v1/somewhere/else"})


# fmt: off
# A table: one argument a line would make it a thousand lines long.
_ROWS = {
    ScenarioGroup.SMOOTH: (
        Scenario(1, "created", "Bought at the first call: 201.", (Commit(),)),
        Scenario(2, "ok", "Bought at the first call: 200.", (Commit(status=200),)),
        Scenario(3, "accepted", "Bought at the first call: 202.", (Commit(status=202),)),
        Scenario(4, "two-order-groups", "Two order groups, two orders.", (Commit(),), order_groups=2),
        Scenario(6, "new-order-status", "Ordered, with an undocumented status.", (Commit(("in_orbit",)),)),
        Scenario(7, "unknown-fields", "Ordered; the response has fields that the reference does not list.",
                 (Commit(extra={"additionalInformation": {"price": "$36.480", "deep": [1, None, "\u00fc"]}}),)),
        Scenario(8, "dates-with-zero-offset", "Ordered; dates end in +00:00.", (Commit(utc_offset=0),)),
        Scenario(9, "dates-with-offset", "Ordered; dates end in -08:00.", (Commit(utc_offset=-8),)),
        Scenario(10, "byte-order-mark", "Ordered; the body begins with a UTF-8 byte order mark.", (Commit(bom=True),)),
        Scenario(11, "huge-result", "Ordered: 200 line items, more than a queue message holds.",
                 (Commit(),), lines=200),
    ),
    ScenarioGroup.LOST_REQUEST: (
        Scenario(54, "dropped-before", "Closed before the purchase; the second call buys.", (Drop(), Commit())),
        Scenario(57, "dropped-twice", "Closed after the purchase, closed again, then returns the result.",
                 (Slow(2, Drop(Commit())), Drop(), Commit())),
        Scenario(58, "dropped-before-then-refused", "Closed before the purchase, then refuses an active cart.",
                 (Drop(), _REFUSED), "failed", "cart", "800013"),
        Scenario(63, "dropped-then-refused-and-mute", "Closed, then refuses; the first GET of the cart fails.",
                 (Drop(), _REFUSED), "failed", "cart", "800013", get_script=(DOWN,)),
    ),
    ScenarioGroup.LOST_RESPONSE: (
        Scenario(55, "dropped-after", "Closed after the purchase; the second call returns the result.",
                 (Drop(Commit()), Commit())),
        Scenario(56, "dropped-mid-body", "Closed half-way through the body; the second call returns the result.",
                 (DropMidBody(), Commit())),
        Scenario(59, "dropped-after-then-refused", "Closed after the purchase, then refuses: the cart is ordered.",
                 (Drop(Commit()), _REFUSED), "unknown", "already_ordered", "800013"),
        Scenario(60, "dropped-after-then-ordered", "Closed after the purchase, then says that the cart is ordered.",
                 (Drop(Commit()), _ORDERED), "unknown", "already_ordered", "800065"),
        Scenario(64, "refuses-a-repeat", "Bought; a second call is refused.", (Commit(), _REFUSED)),
        Scenario(65, "ordered-at-a-repeat", "Bought; a second call says that the cart is ordered.",
                 (Commit(), _ORDERED)),
        Scenario(66, "refused-and-stale", "Closed after the purchase, then refuses; GET cart says Active for a while.",
                 (Drop(Commit()), _REFUSED, Commit()), stale=_LATE),
        Scenario(67, "refused-for-ever-and-stale", "The same, and every later call is refused.",
                 (Drop(Commit()), _REFUSED), "unknown", "already_ordered", "800013", stale=_LATE),
        Scenario(79, "coded-500-after-purchase", "Bought, hidden by 500/800005; the same MS-RequestId gets the result.",
                 (Masked(Commit(), FaultStep(500, 800005)), Commit())),
        Scenario(120, "ordered-late", "Closed, and ordered later; a call meanwhile waits for the result.",
                 (Later(_LATE), Commit()), busy=False),
        Scenario(121, "busy-until-ordered-late", "Closed, and ordered later; 409 until then.",
                 (Later(_LATE), Commit())),
        Scenario(122, "refused-then-ordered-late", "Closed; refuses an active cart; the first call orders it later.",
                 (Later(_LATE), _REFUSED, Commit()), busy=False),
        Scenario(123, "refused-for-ever-though-ordered-late", "The same, and every later call is refused.",
                 (Later(_LATE), _REFUSED), "unknown", "already_ordered", "800013", busy=False),
    ),
    ScenarioGroup.SLOW: (
        Scenario(50, "slow", "Bought after 20 seconds.", (Slow(20),)),
        Scenario(51, "too-slow", "Answers after 240 seconds, past any timeout; a later call returns the result.",
                 (Slow(240), Commit())),
        Scenario(52, "trickle", "The body comes in small pieces, within the limit.", (Trickle(256, 0.5),)),
        Scenario(53, "endless-trickle", "The body takes longer than any timeout; the second call returns the result.",
                 (Trickle(8, 4), Commit())),
        Scenario(69, "too-slow-then-refused", "Ordered after 220 seconds; before that it refuses an active cart.",
                 (Slow(220), _REFUSED, Commit()), busy=False),
        Scenario(128, "interim-answers", "103 and 102 come before the answer.", (Interim((103, 102, 103), 1),)),
        Scenario(129, "interim-then-closed", "103, then closed after the purchase; the second call returns the result.",
                 (Interim((103,), then=Drop(Commit())), Commit())),
        Scenario(130, "interim-for-ever", "102 every four seconds, past any timeout; a later call returns the result.",
                 (Interim((102,) * 60, 4), Commit())),
        Scenario(61, "never-answers", "Every connection is closed before the purchase.", (Drop(),),
                 "failed", "service", decided_by_giving_up=True),
        Scenario(62, "never-tells", "Bought at the first call, and every connection is closed.",
                 (Drop(Commit()), Drop()), "unknown", "already_ordered", decided_by_giving_up=True),
    ),
    ScenarioGroup.BROKEN: (
        Scenario(35, "unknown-fault-in-a-200", "200 with an undocumented fault, then bought.",
                 (FaultStep(200, 999002), Commit())),
        Scenario(36, "empty-body", "Bought, hidden by an empty 200; the second call returns the result.",
                 (Masked(Commit(), GatewayStep(200)), Commit())),
        Scenario(37, "empty-object", "Bought, hidden by `{}`; the second call returns the result.",
                 (Masked(Commit(), _json(200, b"{}")), Commit())),
        Scenario(38, "no-orders", 'Bought, hidden by `{"orders": []}`; the second call returns the result.',
                 (Masked(Commit(), _json(201, b'{"orders": []}')), Commit())),
        Scenario(39, "login-page", "200 with an HTML page, then bought.", (_LOGIN, Commit())),
        Scenario(40, "empty-object-for-ever", "Never more than `{}`.", (_json(200, b"{}"),),
                 "failed", "service", decided_by_giving_up=True),
        Scenario(41, "cut-json", "200 with half a JSON text of the right length, then bought.",
                 (Masked(Commit(), _json(200, b'{"orders": [{"id": "6f1')), Commit())),
        Scenario(70, "html-502", "Bought, hidden by an HTML 502; the same MS-RequestId returns the result.",
                 (Masked(Commit(), _html(502)), Commit())),
        Scenario(71, "plain-503", "503 in plain text, then bought.", (DOWN, Commit())),
        Scenario(72, "html-504", "Bought, hidden by a 504; the same MS-RequestId returns the result.",
                 (Masked(Commit(), _html(504)), Commit())),
        Scenario(73, "empty-408", "Bought, hidden by an empty 408; the same MS-RequestId returns the result.",
                 (Masked(Commit(), GatewayStep(408)), Commit())),
        Scenario(74, "uncoded-501", "501 with code 0, then bought.", (FaultStep(501, 0, _UNKNOWN_ERROR), Commit())),
        Scenario(75, "uncoded-500", "Bought, hidden by a 500 with code 0; the same MS-RequestId returns the result.",
                 (Masked(Commit(), FaultStep(500, 0, _UNKNOWN_ERROR)), Commit())),
        Scenario(76, "empty-500", "Bought, hidden by an empty 500; the same MS-RequestId returns the result.",
                 (Masked(Commit(), GatewayStep(500)), Commit())),
        Scenario(77, "coded-500", "500/800003; in a strict service only a new MS-RequestId gets past it.",
                 (FaultStep(500, 800003), Commit())),
        Scenario(78, "coded-500-twice", "Two coded 500s, each given again for its MS-RequestId.",
                 (FaultStep(500, 800003), FaultStep(500, "900192"), Commit())),
        Scenario(80, "unknown-500", "500 with an undocumented code, then bought.", (FaultStep(500, 999003), Commit())),
        Scenario(81, "service-down", "503, permanently.", (DOWN,), "failed", "service", decided_by_giving_up=True),
        Scenario(82, "html-404", "A gateway's 404, then bought.", (_html(404), Commit())),
        Scenario(83, "html-404-for-ever", "A gateway's 404, permanently: it proves nothing about the cart.",
                 (_html(404),), "failed", "service", decided_by_giving_up=True),
        Scenario(84, "empty-400", "Bought, hidden by an empty 400; the second call returns the result.",
                 (Masked(Commit(), GatewayStep(400)), Commit())),
        Scenario(85, "plain-400", "400 in plain text, then bought.",
                 (GatewayStep(400, b"Bad Request", "text/plain"), Commit())),
        Scenario(86, "json-list-400", "400 with a JSON list, then bought.", (_json(400, b'["no object"]'), Commit())),
        Scenario(87, "coded-500-ordered-late", "500/800003, and ordered later: the same MS-RequestId gets the result.",
                 (Later(_LATE, _FAILED), Commit()), busy=False),
        Scenario(88, "coded-500-then-refused-then-ordered-late", "The same, and the second call is refused.",
                 (Later(_LATE, _FAILED), _REFUSED, Commit()), busy=False),
        Scenario(89, "html-502-then-refused-then-ordered-late", "502; refuses an active cart; the first call orders.",
                 (Later(_LATE, _html(502)), _REFUSED, Commit()), busy=False),
        Scenario(103, "uncoded-403-for-ever", "403 without a code, permanently.", (FaultStep(403, None),),
                 "failed", "configuration", decided_by_giving_up=True),
        Scenario(105, "unknown-403", "403 with an undocumented code, then bought.", (FaultStep(403, 999005), Commit())),
        Scenario(106, "html-403", "A gateway's 403, then bought.", (_html(403), Commit())),
        Scenario(107, "redirect", "302 once, then bought.", (_redirect(), Commit())),
        Scenario(108, "redirect-for-ever", "307, permanently.", (_redirect(307),),
                 "failed", "configuration", decided_by_giving_up=True),
        Scenario(131, "answer-of-another", "Bought; the answer is that of another customer's cart.",
                 (Masked(Commit(), _ANOTHERS), Commit())),
        Scenario(132, "answer-of-another-for-ever", "Every answer is that of another customer's cart.", (_ANOTHERS,),
                 "failed", "service", decided_by_giving_up=True),
        Scenario(134, "code-0-when-ordered", "400 with code 0; GET cart says Ordered.",
                 (FaultStep(400, 0, _UNKNOWN_ERROR),), "unknown", "already_ordered", bought_before=True),
        Scenario(135, "uncoded-400-after-purchase", "Bought, hidden by a 400 without a code.",
                 (Masked(Commit(), FaultStep(400, None)), Commit())),
        Scenario(136, "unknown-400-and-a-line-error", "Undocumented 400; GET cart says what is wrong with the line.",
                 (FaultStep(400, 999009),), "failed", "rejected", "999009", line_error=_TOO_MANY_SEATS),
        Scenario(138, "message-400", "400 with a `Message` and no code.",
                 (_json(400, b'{"Message": "The request is invalid."}'),), "failed", "rejected"),
        Scenario(139, "problem-details-400", "400 with the members of Problem Details and no code.",
                 (_json(400, b'{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "No."}'),),
                 "failed", "rejected"),
        Scenario(149, "uncoded-order-error", "No order group is bought, and no code says why.",
                 (_json(201, b'{"orders": [], "orderErrors": [{"description": "No."}]}'),), "failed", "rejected"),
        Scenario(146, "gateway-404", "404 in the gateway's own shape, then bought.",
                 (_json(404, b'{"statusCode": 404, "message": "Resource not found"}'), Commit())),
        Scenario(147, "orders-that-are-none", "Bought, hidden by orders that are no objects.",
                 (Masked(Commit(), _json(201, b'{"orders": ["x", 5]}')), Commit())),
        Scenario(148, "order-errors-that-are-none", "201 with an order error that is null, then bought.",
                 (_json(201, b'{"orderErrors": [null]}'), Commit())),
        Scenario(110, "unknown-400", "Undocumented 400; GET cart says Active.",
                 (FaultStep(400, 999006),), "failed", "rejected", "999006"),
        Scenario(111, "unknown-400-when-ordered", "Undocumented 400; GET cart says Ordered.",
                 (FaultStep(400, 999006),), "unknown", "already_ordered", "999006", bought_before=True),
        Scenario(112, "uncoded-400", "400 without a code.", (FaultStep(400, None),), "failed", "rejected"),
        Scenario(113, "uncoded-404", "404 in JSON without a code.", (_json(404, b'{"message": "Resource not found"}'),),
                 "failed", "not_found"),
        Scenario(118, "unknown-410", "410 with an undocumented code.", (FaultStep(410, 999007),),
                 "failed", "rejected", "999007"),
        Scenario(124, "unknown-400-ordered-late", "Undocumented 400, the cart is Active, and it is ordered later.",
                 (Later(_LATE, _UNDOCUMENTED_400), Commit()), busy=False),
        Scenario(125, "unknown-400-ordered-late-then-refused", "The same, and every later call is refused.",
                 (Later(_LATE, _UNDOCUMENTED_400), _REFUSED), "unknown", "already_ordered", "800013", busy=False),
        Scenario(126, "unknown-400-and-stale", "Bought, hidden by an unknown 400; GET cart says Active for a while.",
                 (Masked(Commit(), _UNDOCUMENTED_400), Commit()), stale=_LATE),
        Scenario(127, "coded-500-and-stale", "Bought, hidden by 500/800003; GET cart says Active for a while.",
                 (Masked(Commit(), _FAILED), Commit()), stale=_LATE),
    ),
    ScenarioGroup.NOT_ADMITTED: (
        Scenario(45, "throttled", "429 with Retry-After in seconds, then bought.", (Throttle(), Commit())),
        Scenario(46, "throttled-until", "429 with Retry-After as a date, then bought.",
                 (Throttle(as_date=True), Commit())),
        Scenario(47, "throttled-without-header", "429 without Retry-After, then bought.", (Throttle(None), Commit())),
        Scenario(48, "throttled-thrice", "Three times 429, then bought.", (*[Throttle(5)] * 3, Commit())),
        Scenario(90, "in-progress", "409/800064 twice, then bought.", (IN_PROGRESS, IN_PROGRESS, Commit())),
        Scenario(91, "unknown-409", "409 with an undocumented code, then bought.", (FaultStep(409, 999004), Commit())),
        Scenario(92, "uncoded-409", "409 without a code, then bought.", (FaultStep(409, None), Commit())),
        Scenario(93, "in-progress-for-ever", "409 without a code, permanently.", (FaultStep(409, None),),
                 "failed", "in_progress", decided_by_giving_up=True),
        Scenario(94, "in-progress-then-ordered", "409/800064, and ordered later; a call meanwhile waits for it.",
                 (Later(_LATE, IN_PROGRESS), Commit()), busy=False),
        Scenario(97, "in-progress-then-refused", "409/800064; refuses an active cart; the first call orders it later.",
                 (Later(_LATE, IN_PROGRESS), _REFUSED, Commit()), busy=False),
        Scenario(95, "already-ordered", "400/800065: another client checked this cart out.", (_ORDERED,),
                 "unknown", "already_ordered", "800065", bought_before=True),
        Scenario(96, "already-ordered-in-text", "The same, with the code as text.", (FaultStep(400, "800065"),),
                 "unknown", "already_ordered", "800065", bought_before=True),
        Scenario(100, "unauthorized-once", "401, then bought with a new token.", (FaultStep(401, 900420), Commit())),
        Scenario(101, "unauthorized-for-ever", "401, permanently.", (FaultStep(401, 900420),),
                 "failed", "authentication", "900420", decided_by_giving_up=True),
        Scenario(102, "empty-401", "401 without a body, then bought with a new token.",
                 (GatewayStep(401, headers={"WWW-Authenticate": "Bearer"}), Commit())),
        Scenario(140, "gateway-401", "401 in the gateway's own shape, then bought with a new token.",
                 (_json(401, b'{"statusCode": 401, "message": "Access token is missing or invalid."}'), Commit())),
        Scenario(141, "order-errors-in-progress", "No order group is bought, since another call is at it; then bought.",
                 (Commit((RefusedGroup(800064),)), Commit())),
        Scenario(142, "order-errors-failed", "No order group is bought, since the service failed; then bought.",
                 (Commit((RefusedGroup(800003),)), Commit())),
        Scenario(98, "throttled-after-purchase", "Bought, hidden by a 429; the second call returns the result.",
                 (Masked(Commit(), Throttle()), Commit())),
        Scenario(99, "throttled-repeat", "Closed after the purchase, then 429, then returns the result.",
                 (Drop(Commit()), Throttle(), Commit())),
        Scenario(109, "unauthorized-after-purchase", "Bought, hidden by a 401; the second call returns the result.",
                 (Masked(Commit(), FaultStep(401, 900420)), Commit())),
        Scenario(119, "forbidden-repeat", "Closed after the purchase, then 403/900308, then returns the result.",
                 (Drop(Commit()), FaultStep(403, 900308), Commit())),
    ),
    ScenarioGroup.PARTIAL: (
        Scenario(5, "pending", "Ordered; provisioning goes on, so no subscription id yet.", (Commit(("pending",)),)),
        Scenario(15, "pending-review", "Ordered, but the order waits for a review.",
                 (Commit(("pending_review",)),), "action_required", "partner"),
        Scenario(16, "pending-po-upload", "Ordered, but a purchase order must be uploaded.",
                 (Commit(("pending_po_upload",)),), "action_required", "partner"),
        Scenario(17, "pending-review-spelt-oddly", "The same status, spelt `Pending-Review`.",
                 (Commit(("Pending-Review",)),), "action_required", "partner"),
        Scenario(12, "bare-order", "Ordered; the answer is the order itself.", (Commit(bare=True),)),
        Scenario(18, "bare-order-pending-review", "The same, and the order waits for a review.",
                 (Commit(("pending_review",), bare=True),), "action_required", "partner"),
        Scenario(19, "pending-po-upload-in-pascal-case", "A purchase order must be uploaded: `PendingPoUpload`.",
                 (Commit(("PendingPoUpload",)),), "action_required", "partner"),
        Scenario(27, "activation", "Ordered, but somebody must activate each line.",
                 (Commit(activation=True),), "action_required", "partner", lines=2),
        Scenario(28, "partial-success-in-pascal-case", "The order says `PartialSuccess`.",
                 (Commit(("PartialSuccess",)),), "partial", "rejected"),
        Scenario(29, "order-canceled", "The order says canceled, with one l.",
                 (Commit(("canceled",)),), "partial", "rejected"),
        Scenario(34, "all-orders-failed", "Two orders, and neither will be fulfilled.",
                 (Commit(("error", "canceled")),), "partial", "rejected", order_groups=2),
        Scenario(20, "partial", "One order group is bought, the other is refused.",
                 (Commit(("completed", _OUT_OF_STOCK)),), "partial", "cart", "800089", order_groups=2),
        Scenario(21, "partial-success", "The order says partial_success.",
                 (Commit(("partial_success",)),), "partial", "rejected"),
        Scenario(22, "partial-success-spelt-oddly", "The order says `Partial Success`.",
                 (Commit(("Partial Success",)),), "partial", "rejected"),
        Scenario(23, "order-in-error", "One order says error.", (Commit(("error", "completed")),),
                 "partial", "rejected", order_groups=2),
        Scenario(24, "po-review-rejected", "The order's purchase order was rejected.",
                 (Commit(("po_review_rejected",)),), "partial", "rejected"),
        Scenario(25, "order-cancelled", "The order says cancelled.", (Commit(("cancelled",)),), "partial", "rejected"),
        Scenario(26, "partial-before-action", "One order waits for a review, the other failed: partial wins.",
                 (Commit(("pending_review", "error")),), "partial", "rejected", order_groups=2),
    ),
    ScenarioGroup.REFUSED: (
        Scenario(30, "only-order-errors", "201, but no order group was bought.",
                 (Commit((_OUT_OF_STOCK,)),), "failed", "cart", "800089"),
        Scenario(31, "only-unknown-order-errors", "No group bought, undocumented code: the cart is asked.",
                 (Commit((_UNDOCUMENTED,)),), "failed", "rejected", "999001"),
        Scenario(32, "order-errors-say-ordered", "No group is bought, since the cart was ordered before.",
                 (Commit((_TWICE,)),), "unknown", "already_ordered", "800065", bought_before=True),
        Scenario(33, "fault-in-a-200", "200 with the fault 400072 in it.",
                 (FaultStep(200, 400072),), "failed", "cart", "400072"),
        Scenario(104, "conditional-access", "403/900308, permanently: a policy keeps the function out.",
                 (FaultStep(403, 900308),), "failed", "configuration", "900308", decided_by_giving_up=True),
        Scenario(114, "code-in-text", "400 with the code as text.",
                 (FaultStep(400, "800002"),), "failed", "cart", "800002"),
        Scenario(115, "fault-with-data", "400 with what is wrong in `data`.",
                 (FaultStep(400, 800013, data=("quantity", "\u2264 300")),), "failed", "cart", "800013"),
        Scenario(137, "fault-with-objects", "400 with objects in `data`.",
                 (FaultStep(400, 800013, data=({"name": "quantity", "values": [1, None]}, "\u2264 300")),),
                 "failed", "cart", "800013"),
        Scenario(143, "code-in-an-error-object", "400 with code and message in `error`.",
                 (_json(400, b'{"error": {"code": "800013", "message": "The quantity is not valid."}}'),),
                 "failed", "cart", "800013"),
        Scenario(144, "code-in-a-list-of-errors", "400 with code and description in `errors`.",
                 (_json(400, b'{"errors": [{"code": 800013, "description": "The quantity is not valid."}]}'),),
                 "failed", "cart", "800013"),
        Scenario(145, "code-in-pascal-case", "400 with `Code` and `Description`.",
                 (_json(400, b'{"Code": 800013, "Description": "The quantity is not valid."}'),),
                 "failed", "cart", "800013"),
        Scenario(116, "fault-without-data", "400 without `data` and `source`.",
                 (FaultStep(400, 800013, source=None, data=None),), "failed", "cart", "800013"),
        Scenario(117, "fault-after-byte-order-mark", "400 with a UTF-8 byte order mark.",
                 (_json(400, BOM + _REFUSED.body()),), "failed", "cart", "800013"),
    ),
}

# fmt: on


def _rows() -> Iterator[Scenario]:
    for group, rows in _ROWS.items():
        for row in rows:
            yield replace(row, group=group)


def _documented_codes() -> Iterator[Scenario]:
    """One scenario per documented code, numbered by status and code: 400/800002 is 400800002."""
    for error_class, rows in REFUSALS.items():
        for fault in _faults(rows):
            about, group = f"{fault.status}/{fault.code}: final, class {error_class}.", ScenarioGroup.REFUSED
            yield Scenario(*_label(fault), about, (fault,), "failed", error_class, str(fault.code), group=group)
    for group, rows in ((ScenarioGroup.BROKEN, FAILURES), (ScenarioGroup.NOT_ADMITTED, NOT_ADMITTED)):
        for fault in _faults(rows):
            about = f"{fault.status}/{fault.code}, then bought."
            yield Scenario(*_label(fault), about, (fault, Commit()), group=group)
    for fault in _faults(ORDERED):
        about = f"{fault.status}/{fault.code}: another client checked this cart out."
        code, group = str(fault.code), ScenarioGroup.NOT_ADMITTED
        yield Scenario(
            *_label(fault), about, (fault,), "unknown", "already_ordered", code, bought_before=True, group=group
        )


def _faults(rows: Mapping[int, str]) -> Iterator[FaultStep]:
    return (FaultStep(status, int(code)) for status, codes in rows.items() for code in codes.split())


def _label(fault: FaultStep) -> tuple[int, str]:
    return int(f"{fault.status}{fault.code:>06}"), f"fault-{fault.status}-{fault.code}"


SCENARIOS = (*sorted(_rows(), key=lambda row: row.number), *_documented_codes())
BY_NUMBER = {scenario.number: scenario for scenario in SCENARIOS}
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def cart_id(number_or_name: int | str, seed: str) -> str:
    """Return a cart id that plays this scenario. The same seed gives the same id.

    Raises:
        KeyError: there is no scenario of this name. An unknown number is a cart that does not exist.
    """
    number = BY_NAME[number_or_name].number if isinstance(number_or_name, str) else number_or_name
    return f"{number:08x}{str(uuid.uuid5(_NAMESPACE, seed))[8:]}"


def scenario_of(cart_id: str) -> Scenario | None:
    """Return the scenario that a cart's id names, or None: there is no such cart."""
    return BY_NUMBER.get(int(cart_id[:8], 16))
