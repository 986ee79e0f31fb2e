"""The service without a socket: purchases, repeated results, throttling."""

import json
import re
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, get_args

import pytest

from local.simulator.carts import Idempotency
from local.simulator.scenarios import BY_NAME, BY_NUMBER, SCENARIOS, Scenario, cart_id, scenario_of
from local.simulator.service import SimulatedService
from local.simulator.state import RateLimiter, SimulatedResponse
from local.simulator.steps import BOM, Commit, FaultStep, Interim, commits
from shared.core import errors, models

CUSTOMER = "22222222-2222-4222-8222-222222222222"
NOW = 1_795_000_000.0
A_DAY = 86_400.0


def post(
    service: SimulatedService, cart: str, ms_request_id: str = "A", now: float = NOW, customer: str = CUSTOMER
) -> SimulatedResponse:
    return service.checkout(customer, cart, ms_request_id, now)


def posts(service: SimulatedService, name: str, ms_request_ids: str) -> list[SimulatedResponse]:
    """POST a scenario's cart, a minute apart, once for each letter."""
    times = (NOW + 60 * minute for minute in range(len(ms_request_ids)))
    return [post(service, cart_id(name, ""), each, now) for each, now in zip(ms_request_ids, times, strict=True)]


def tree(reply: SimulatedResponse) -> Any:
    return json.loads(reply.body.removeprefix(BOM))


def status_of(service: SimulatedService, cart: str, now: float = NOW) -> str:
    status: str = tree(service.get_cart(CUSTOMER, cart, now))["status"]
    return status


def purchases(service: SimulatedService, name: str) -> int:
    count: int = service.page(CUSTOMER, cart_id(name, ""))["purchases"]
    return count


# What a POST gets


def test_the_same_ms_request_id_gets_the_first_result_with_200() -> None:
    service = SimulatedService()
    first, second = posts(service, "created", "AA")
    assert (first.status, second.status) == (201, 200)
    assert first.body == second.body
    assert purchases(service, "created") == 1


def test_another_ms_request_id_buys_again_when_strict() -> None:
    service = SimulatedService()
    first, second = posts(service, "created", "AB")
    assert tree(first)["orders"][0]["id"] != tree(second)["orders"][0]["id"]
    assert purchases(service, "created") == 2
    assert service.snapshot()["totals"]["boughtTwice"] == 1


def test_another_ms_request_id_gets_the_first_result_as_documented() -> None:
    service = SimulatedService(idempotency="documented")
    first, second = posts(service, "created", "AB")
    assert (second.status, second.body) == (200, first.body)
    assert purchases(service, "created") == 1


@pytest.mark.parametrize(
    ("idempotency", "statuses", "bought"),
    [("documented", [500, 200, 200], 1), ("strict", [500, 200, 201], 2), ("remembering", [500, 500, 201], 2)],
)
def test_a_purchase_hidden_by_a_coded_500_is_repeated_for_its_ms_request_id_unless_the_service_remembers(
    idempotency: Idempotency, statuses: list[int], bought: int
) -> None:
    service = SimulatedService(idempotency=idempotency)
    assert statuses == [reply.status for reply in posts(service, "coded-500-after-purchase", "AAB")]
    assert purchases(service, "coded-500-after-purchase") == bought


def test_a_coded_500_is_repeated_for_its_ms_request_id_but_not_as_documented() -> None:
    strict, documented = SimulatedService(), SimulatedService(idempotency="documented")
    assert [reply.status for reply in posts(strict, "coded-500", "AAAB")] == [500, 500, 500, 201]
    assert [reply.status for reply in posts(documented, "coded-500", "AAAB")] == [500, 201, 200, 200]


@pytest.mark.parametrize("idempotency", get_args(Idempotency))
def test_a_code_in_progress_is_no_answer_that_is_given_again_whatever_its_status(idempotency: Idempotency) -> None:
    service = SimulatedService(idempotency=idempotency)
    assert [reply.status for reply in posts(service, "fault-500-800064", "AA")] == [500, 201]


@pytest.mark.parametrize("name", ["coded-500", "unknown-403", "unknown-409", "unknown-fault-in-a-200"])
def test_a_remembering_service_gives_a_coded_answer_again_until_there_is_a_new_ms_request_id(name: str) -> None:
    first, *again, new = posts(SimulatedService(idempotency="remembering"), name, "AAAB")
    assert [first, first] == [replace(reply, headers=first.headers) for reply in again]
    assert 201 == new.status


def test_a_remembering_service_does_not_count_what_it_gives_again_as_a_step() -> None:
    replies = posts(SimulatedService(idempotency="remembering"), "coded-500-twice", "AABBC")
    assert ["800003", "800003", "900192", "900192"] == [str(tree(reply)["code"]) for reply in replies[:4]]
    assert 201 == replies[4].status


def test_a_remembering_service_gives_a_result_without_orders_again(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (*BY_NAME["only-order-errors"].script, Commit())
    monkeypatch.setitem(BY_NUMBER, 30, replace(BY_NUMBER[30], script=script))
    refused, again, new = posts(SimulatedService(idempotency="remembering"), "only-order-errors", "AAB")
    assert refused.body == again.body
    assert tree(new)["orders"]


@pytest.mark.parametrize(
    "name",
    ["throttled", "unauthorized-once", "in-progress", "html-404", "plain-400", "uncoded-409", "uncoded-500"],
)
def test_a_remembering_service_forgets_what_is_no_coded_answer_of_the_ms_request_id(name: str) -> None:
    service = SimulatedService(idempotency="remembering")
    assert posts(service, name, "AAA")[-1].status in (200, 201)
    assert purchases(service, name) == 1


def test_an_uncoded_500_may_hide_a_purchase_which_a_new_ms_request_id_repeats() -> None:
    patient, hasty = SimulatedService(), SimulatedService()
    posts(patient, "uncoded-500", "AA")
    posts(hasty, "uncoded-500", "AB")
    assert (purchases(patient, "uncoded-500"), purchases(hasty, "uncoded-500")) == (1, 2)


def test_a_refusal_plays_even_when_the_cart_is_ordered() -> None:
    service = SimulatedService()
    dropped, refused = posts(service, "dropped-after-then-refused", "AA")
    assert (dropped.drop, refused.status) == ("before", 400)
    assert status_of(service, cart_id("dropped-after-then-refused", "")) == "Ordered"


def test_a_cart_at_work_is_in_progress_until_it_is_done() -> None:
    service = SimulatedService()
    cart = cart_id("slow", "")
    first = post(service, cart, now=NOW)
    during = post(service, cart, now=NOW + 19)
    after = post(service, cart, now=NOW + 20)
    assert (first.delay, during.status, tree(during)["code"], after.status) == (20, 409, 800064, 200)
    assert service.page(CUSTOMER, cart)["purchases"] == 1


def test_a_scenario_can_switch_the_409_of_a_busy_cart_off() -> None:
    service = SimulatedService()
    cart = cart_id("too-slow-then-refused", "")
    slow = post(service, cart, now=NOW)
    during = post(service, cart, now=NOW + 185)
    after = post(service, cart, now=NOW + 221)
    assert (slow.delay, during.status, tree(during)["code"], after.status) == (220, 400, 800013, 200)
    assert service.page(CUSTOMER, cart)["purchases"] == 1


def test_a_purchase_shows_only_when_the_service_is_done() -> None:
    service = SimulatedService()
    cart = cart_id("slow", "")
    post(service, cart)
    assert (status_of(service, cart, NOW + 19), status_of(service, cart, NOW + 20)) == ("Active", "Ordered")
    assert tree(service.list_orders(CUSTOMER, NOW + 19))["totalCount"] == 0
    assert tree(service.list_orders(CUSTOMER, NOW + 20))["totalCount"] == 1


# What is ordered later than it is answered


@pytest.mark.parametrize(
    ("name", "status", "drop"),
    [
        ("ordered-late", 0, "before"),
        ("coded-500-ordered-late", 500, "none"),
        ("unknown-400-ordered-late", 400, "none"),
        ("in-progress-then-ordered", 409, "none"),
        ("html-502-then-refused-then-ordered-late", 502, "none"),
    ],
)
def test_an_answer_at_once_can_be_followed_by_an_order(name: str, status: int, drop: str) -> None:
    service = SimulatedService()
    cart = cart_id(name, "")
    reply = post(service, cart)
    assert (reply.status if drop == "none" else 0, reply.drop, reply.delay) == (status, drop, 0)
    assert (status_of(service, cart, NOW + 199), status_of(service, cart, NOW + 200)) == ("Active", "Ordered")
    assert tree(service.list_orders(CUSTOMER, NOW + 199))["items"] == []
    assert len(tree(service.list_orders(CUSTOMER, NOW + 200))["items"]) == 1


def test_a_cart_can_be_refused_and_active_and_ordered_later_by_the_lost_post() -> None:
    service = SimulatedService()
    cart = cart_id("refused-then-ordered-late", "")
    lost, refused = post(service, cart), post(service, cart, now=NOW + 10)
    meanwhile = status_of(service, cart, NOW + 10)
    repeated = post(service, cart, now=NOW + 600)
    assert (lost.drop, refused.status, meanwhile, repeated.status) == ("before", 400, "Active", 200)
    assert tree(repeated)["orders"][0]["id"] == service.page(CUSTOMER, cart)["orderIds"][0]
    assert service.page(CUSTOMER, cart)["purchases"] == 1


@pytest.mark.parametrize("idempotency", get_args(Idempotency))
def test_two_posts_at_work_under_one_ms_request_id_are_one_purchase(idempotency: Idempotency) -> None:
    service = SimulatedService(idempotency=idempotency)
    cart = cart_id("ordered-late", "")
    post(service, cart, "A")
    second = post(service, cart, "A", NOW + 50)
    assert (second.status, second.delay) == (200, 150)  # it waits for the first one's result
    assert service.page(CUSTOMER, cart)["purchases"] == 1


@pytest.mark.parametrize(("idempotency", "bought"), [("documented", 1), ("strict", 2), ("remembering", 2)])
def test_two_posts_at_work_under_two_ms_request_ids_are_two_purchases_unless_documented(
    idempotency: Idempotency, bought: int
) -> None:
    service = SimulatedService(idempotency=idempotency)
    cart = cart_id("ordered-late", "")
    post(service, cart, "A")
    second = post(service, cart, "B", NOW + 50)
    assert (second.status, second.delay) == ((200, 150) if bought == 1 else (201, 0))
    assert service.page(CUSTOMER, cart)["purchases"] == bought


def test_a_coded_500_is_repeated_until_its_order_takes_effect() -> None:
    service = SimulatedService()
    cart = cart_id("coded-500-ordered-late", "")
    statuses = [post(service, cart, now=NOW + seconds).status for seconds in (0, 100, 199, 200)]
    assert [500, 500, 500, 200] == statuses
    assert service.page(CUSTOMER, cart)["purchases"] == 1


def test_a_cart_that_will_be_ordered_is_busy_until_then() -> None:
    service = SimulatedService()
    cart = cart_id("busy-until-ordered-late", "")
    statuses = [post(service, cart, now=NOW + seconds).status for seconds in (0, 1, 199, 200)]
    assert [0, 409, 409, 200] == statuses


def test_a_cart_can_look_active_for_a_while_after_its_purchase() -> None:
    service = SimulatedService(scale=0.5)
    cart = cart_id("refused-and-stale", "")
    post(service, cart)
    assert (status_of(service, cart, NOW + 99), status_of(service, cart, NOW + 100)) == ("Active", "Ordered")


# One order


def test_one_order_can_be_had_by_its_id_once_it_shows() -> None:
    service = SimulatedService()
    cart = cart_id("slow", "")
    order = tree(post(service, cart))["orders"][0]
    early, found = (service.get_order(CUSTOMER.upper(), order["id"].upper(), NOW + at) for at in (19, 20))
    assert (early.status, found.status, tree(found)) == (404, 200, order)


def test_an_id_of_letters_is_compared_with_its_case() -> None:
    service = SimulatedService()
    ids = [tree(post(service, cart_id("created", str(number))))["orders"][0]["id"] for number in range(20)]
    letters = next(each for each in ids if len(each) == 32)
    found, other = (service.get_order(CUSTOMER, each, NOW).status for each in (letters, letters.swapcase()))
    assert (found, other) == (200, 404)


def test_an_order_of_another_customer_is_not_found() -> None:
    service = SimulatedService()
    order = tree(post(service, cart_id("created", "")))["orders"][0]
    reply = service.get_order(CUSTOMER.replace("2", "3"), order["id"], NOW)
    assert (reply.status, tree(reply)["code"]) == (404, 1000)


# Around it


def test_latency_is_added_to_every_checkout() -> None:
    service = SimulatedService(latency=3, scale=0.1)
    assert (post(service, cart_id("created", "")).delay, post(service, cart_id("slow", "")).delay) == (3, 5)


def test_an_id_without_a_scenario_is_not_found() -> None:
    stranger = "00000000-0000-4000-8000-000000000000"
    for reply in (post(SimulatedService(), stranger), SimulatedService().get_cart(CUSTOMER, stranger, NOW)):
        assert (reply.status, tree(reply)["code"]) == (404, 800008)


def test_ids_are_compared_without_case() -> None:
    service = SimulatedService()
    cart = cart_id("created", "")
    assert post(service, cart).body == post(service, cart.upper(), customer=CUSTOMER.upper()).body


def test_the_page_of_a_cart_lists_every_call_in_order() -> None:
    service = SimulatedService()
    posts(service, "dropped-after", "AAB")
    cart = cart_id("dropped-after", "")
    service.get_cart(CUSTOMER, cart, NOW + A_DAY)
    page = service.page(CUSTOMER, cart)
    assert (page["posts"], page["msRequestIds"], page["purchases"], page["gets"]) == (3, ["A", "A", "B"], 2, 1)
    listed = tree(service.list_orders(CUSTOMER, NOW + A_DAY))["items"]
    assert page["orderIds"] == [order["id"] for order in listed]


def test_the_page_of_a_cart_says_when_each_post_came_was_answered_and_ended() -> None:
    service = SimulatedService()
    cart = cart_id("busy-until-ordered-late", "")
    for key, seconds in (("A", 0), ("A", 10), ("B", 300)):
        post(service, cart, key, NOW + seconds)
    page = service.page(CUSTOMER, cart)
    names = ("msRequestId", "cameAt", "answeredAt", "endedAt", "status")
    assert [
        dict(zip(names, ("A", NOW, NOW, NOW + 200, None), strict=True)),
        dict(zip(names, ("A", NOW + 10, NOW + 10, NOW + 10, 409), strict=True)),
        dict(zip(names, ("B", NOW + 300, NOW + 300, NOW + 300, 201), strict=True)),
    ] == page["postLog"]
    assert [("A", NOW + 200), ("B", NOW + 300)] == [(each["msRequestId"], each["at"]) for each in page["purchaseLog"]]
    assert page["orderIds"] == [order for each in page["purchaseLog"] for order in each["orderIds"]]


def test_a_post_that_waits_for_the_result_of_another_one_ends_with_it() -> None:
    service = SimulatedService(latency=3)
    cart = cart_id("ordered-late", "")
    post(service, cart)
    post(service, cart, now=NOW + 50)
    assert [NOW + 203, NOW + 203] == [each["endedAt"] for each in service.page(CUSTOMER, cart)["postLog"]]


# Throttling


@pytest.mark.parametrize(
    ("name", "header"),
    [("throttled", "30"), ("throttled-until", "date"), ("throttled-without-header", None)],
)
def test_the_gateway_throttles_in_its_own_shape(name: str, header: str | None) -> None:
    reply = post(SimulatedService(), cart_id(name, ""))
    published = reply.headers.get("Retry-After")
    if header == "date" and published is not None:
        assert parsedate_to_datetime(published).timestamp() == NOW + 30
    else:
        assert published == header
    assert (reply.status, tree(reply)["statusCode"], reply.ours) == (429, 429, False)


def test_retry_after_is_scaled_and_rounded_up() -> None:
    assert post(SimulatedService(scale=0.01), cart_id("throttled", "")).headers["Retry-After"] == "1"


def test_the_limiter_admits_so_many_in_a_window_and_returns_what_is_left_of_it() -> None:
    service = SimulatedService()
    service.limiter = RateLimiter(limit=2, window=60)
    replies = [post(service, cart_id("created", str(n)), now=NOW + n * 10) for n in range(3)]
    later = post(service, cart_id("created", "2"), now=NOW + 60)
    assert [reply.status for reply in (*replies, later)] == [201, 201, 429, 201]
    assert replies[2].headers["Retry-After"] == "40"
    totals = service.snapshot()["totals"]
    assert (totals["posts"], totals["purchases"], totals["throttled"]) == (3, 3, 1)


def test_the_limiter_can_count_by_customer() -> None:
    service = SimulatedService()
    service.limiter = RateLimiter(limit=1, per="customer")
    other = CUSTOMER.replace("2", "3")
    statuses = [
        post(service, cart_id("created", str(n)), customer=who).status
        for n, who in enumerate((CUSTOMER, CUSTOMER, other))
    ]
    assert statuses == [201, 429, 201]


# Outage


def test_an_outage_answers_503_or_nothing_and_buys_nothing() -> None:
    service = SimulatedService()
    service.outage = "503"
    cart = cart_id("created", "")
    assert [
        reply.status
        for reply in (
            post(service, cart),
            service.get_cart(CUSTOMER, cart, NOW),
            service.list_orders(CUSTOMER, NOW),
            service.get_order(CUSTOMER, "order", NOW),
        )
    ] == [503] * 4
    service.outage = "drop"
    assert post(service, cart).drop == "before"
    assert service.snapshot()["totals"] | {"outages": 5, "purchases": 0} == service.snapshot()["totals"]


# The table


@pytest.mark.parametrize("idempotency", ["documented", "strict"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_repeated_calls_buy_every_scenario_as_often_as_it_declares(
    scenario: Scenario, idempotency: Idempotency
) -> None:
    """Like the function: a new MS-RequestId after a coded 5xx only, and only where the cart is Active afterwards."""
    service, key, now = SimulatedService(idempotency=idempotency), 0, NOW
    cart = cart_id(scenario.name, "")
    for _ in range(len(scenario.script) + 2):
        reply = post(service, cart, str(key), now)
        now += 1000
        coded = reply.ours and reply.status >= 500 and tree(reply)["code"]
        if coded and status_of(service, cart, now) == "Active":
            key += 1
    assert service.page(CUSTOMER, cart)["purchases"] == scenario.purchases
    assert status_of_after(service, cart, scenario, now) == ("Ordered" if scenario.purchases else "Active")


def status_of_after(service: SimulatedService, cart: str, scenario: Scenario, now: float) -> str:
    for _ in scenario.get_script:
        assert service.get_cart(CUSTOMER, cart, now).status == 503
    return status_of(service, cart, now)


def test_numbers_and_names_are_unique_and_every_outcome_occurs() -> None:
    assert len({s.number for s in SCENARIOS}) == len({s.name for s in SCENARIOS}) == len(SCENARIOS)
    assert {s.expected for s in SCENARIOS} == {"completed", "action_required", "partial", "failed", "unknown"}


def test_every_code_of_the_programs_error_table_is_played() -> None:
    steps = [step for scenario in SCENARIOS for step in scenario.script]
    played = {(step.status, str(step.code)) for step in steps if isinstance(step, FaultStep)}

    missing = {(row.status, code) for row in errors.ROWS for code in row.codes} - played

    assert missing == set(), "add them to local/simulator/fault_codes.py"


def test_an_error_is_expected_exactly_where_the_outcome_has_one() -> None:
    for scenario in SCENARIOS:
        assert (scenario.error_class is None) == (scenario.expected == "completed"), scenario.name
        assert scenario.code is None or scenario.error_class is not None, scenario.name


def test_an_outcome_agrees_with_what_was_bought() -> None:
    for scenario in SCENARIOS:
        bought = scenario.expected in {"completed", "action_required", "partial"}
        assert bought <= bool(scenario.purchases), scenario.name
        assert not (scenario.expected == "failed" and scenario.purchases), scenario.name


def test_a_failed_or_unknown_scenario_never_reaches_a_purchase_by_a_later_call() -> None:
    for scenario in SCENARIOS:
        if scenario.expected in {"failed", "unknown"}:
            assert not commits(scenario.script[-1]), scenario.name


def test_a_cart_id_names_its_scenario_and_is_the_same_for_the_same_seed() -> None:
    assert cart_id("created", "a") == cart_id(1, "a") != cart_id(1, "b")
    assert cart_id("created", "a").startswith("00000001-")
    assert scenario_of(cart_id("fault-400-800002", "a").upper()) is BY_NAME["fault-400-800002"]


# What a result looks like


def orders(count: int = 60, name: str = "created", **how: Any) -> list[dict[str, Any]]:
    """Return the orders of as many carts, as GET orders returns them."""
    service = SimulatedService()
    for number in range(count):
        post(service, cart_id(name, str(number)))
    return list(tree(service.list_orders(CUSTOMER, NOW, **how))["items"])


ORDER = {
    *("alternateId", "attributes", "billingCycle", "client", "creationDate", "currencyCode", "id", "lineItems"),
    *("links", "referenceCustomerId", "status", "transactionType"),
}
SOMETIMES = {"currencySymbol", "partnerOnRecordAttestationAccepted"}
LINE = {
    *("attestationAccepted", "customTermEndDate", "friendlyName", "lineItemNumber", "links", "offerId"),
    *("parentSubscriptionId", "partnerIdOnRecord", "provisioningContext", "quantity", "renewsTo", "subscriptionId"),
    *("transactionType",),
}
LINE_SOMETIMES = {"additionalPartnerIdsOnRecord", "promotionId", "purchaseCommitment", "termDuration"}


def test_orders_have_every_field_of_the_reference_but_not_all_of_them_always() -> None:
    found = orders()
    lines = [line for order in found for line in order["lineItems"]]
    assert ORDER == set.intersection(*map(set, found))
    assert ORDER | SOMETIMES == set.union(*map(set, found))
    assert LINE == set.intersection(*map(set, lines))
    assert LINE | LINE_SOMETIMES == set.union(*map(set, lines))


def test_prices_are_there_only_when_they_are_asked_for() -> None:
    found = orders(prices=True)
    assert ORDER | {"totalPrice"} == set.intersection(*map(set, found))
    assert LINE | {"pricing"} == set.intersection(*(set(line) for order in found for line in order["lineItems"]))


def test_orders_are_as_varied_as_real_ones() -> None:
    found = orders()
    lines = [line for order in found for line in order["lineItems"]]
    cycles = {order["billingCycle"].lower().replace("onetime", "one_time") for order in found}
    assert {*models.BillingCycle} == cycles
    assert {32, 36} == {len(order["id"]) for order in found}  # letters, or a GUID
    assert {"UserPurchase"} == {order["transactionType"] for order in found}
    assert {"New", "new"} == {line["transactionType"] for line in lines}
    assert {*models.TermDuration, None} == {line.get("termDuration") for line in lines}
    assert {CUSTOMER} == {order["referenceCustomerId"].lower() for order in found}
    assert not [line for line in lines if "activationLinks" in line["links"]]


def test_the_customer_of_an_order_may_be_spelt_in_upper_case() -> None:
    customer = CUSTOMER.replace("2222-4", "ABCD-4").lower()
    service = SimulatedService()
    for number in range(20):
        post(service, cart_id("created", str(number)), customer=customer)
    found = tree(service.list_orders(customer, NOW))["items"]
    assert {customer, customer.upper()} == {order["referenceCustomerId"] for order in found}


def test_a_cart_has_the_fields_that_the_sdk_knows() -> None:
    service, cart = SimulatedService(), cart_id("created", "")
    found = tree(service.get_cart(CUSTOMER, cart, NOW))
    (line,) = found["lineItems"]
    assert {"attributes", "creationTimestamp", "expirationTimestamp", "id", "lastModifiedTimestamp"} <= set(found)
    assert {"lastModifiedUser", "lineItems", "links", "status"} <= set(found)
    assert {
        *("addonItems", "attestationAccepted", "billingCycle", "catalogItemId", "currencyCode", "customTermEndDate"),
        *("friendlyName", "id", "orderGroup", "participants", "provisioningContext", "purchaseSystem", "quantity"),
        "renewsTo",
    } == set(line) - {"promotionId", "termDuration"}


def test_a_line_of_a_cart_may_say_what_is_wrong_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"errorCode": "10015", "errorDescription": "Too many seats.", "additionalInformation": None}
    monkeypatch.setitem(BY_NUMBER, 1, replace(BY_NUMBER[1], line_error=error))
    (line,) = tree(SimulatedService().get_cart(CUSTOMER, cart_id("created", ""), NOW))["lineItems"]
    assert error == line["error"]


def test_a_result_may_be_a_bare_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_NUMBER, 1, replace(BY_NUMBER[1], script=(Commit(bare=True),)))
    service = SimulatedService()
    bare = tree(post(service, cart_id("created", "")))
    assert "orders" not in bare
    assert bare == tree(service.get_order(CUSTOMER, bare["id"], NOW))


def test_an_order_line_may_have_to_be_activated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_NUMBER, 1, replace(BY_NUMBER[1], script=(Commit(activation=True),), lines=2))
    service = SimulatedService()
    (order,) = tree(post(service, cart_id("created", "")))["orders"]
    links = [line["links"]["activationLinks"]["uri"] for line in order["lineItems"]]
    everything, one, none = (service.get_activation_links(CUSTOMER, order["id"], NOW, line) for line in (None, 1, 2))
    assert [f"/customers/{CUSTOMER}/orders/{order['id']}/lineitems/{line}/activationlinks" for line in (0, 1)] == links
    assert [0, 1] == [each["lineItemNumber"] for each in tree(everything)["items"]]
    assert [1] == [each["lineItemNumber"] for each in tree(one)["items"]]
    assert tree(one)["items"][0]["link"]["uri"].startswith("https://")
    assert [] == tree(none)["items"]


def test_money_keeps_its_last_zero() -> None:
    service = SimulatedService()
    post(service, cart_id("created", ""))
    assert b'"totalPrice": 36.480' in service.list_orders(CUSTOMER, NOW, prices=True).body


def test_the_offers_of_the_cart_are_those_of_its_order() -> None:
    service = SimulatedService()
    cart = cart_id("two-order-groups", "")
    result = tree(post(service, cart))
    items = tree(service.get_cart(CUSTOMER, cart, NOW))["lineItems"]
    assert [item["orderGroup"] for item in items] == ["0", "1"]
    assert [order["lineItems"][0]["offerId"] for order in result["orders"]] == [item["catalogItemId"] for item in items]
    assert items[0]["catalogItemId"] == "CFQ7TTC0LH18:0001:CFQ7TTC0K971"


def test_a_failed_order_group_is_named() -> None:
    result = tree(post(SimulatedService(), cart_id("partial", "")))
    assert [error["orderGroupId"] for error in result["orderErrors"]] == ["1"]
    assert len(result["orders"]) == 1


def test_a_pending_order_has_no_subscription_yet() -> None:
    assert "subscriptionId" not in tree(post(SimulatedService(), cart_id("pending", "")))["orders"][0]["lineItems"][0]


def test_the_huge_result_is_larger_than_a_queue_message() -> None:
    body = post(SimulatedService(), cart_id("huge-result", "")).body
    assert len(body) > 65_536
    assert len(json.loads(body)["orders"][0]["lineItems"]) == 200


@pytest.mark.parametrize(
    ("name", "ending"), [("created", "Z"), ("dates-with-zero-offset", "+00:00"), ("dates-with-offset", "-08:00")]
)
def test_dates_have_the_formats_of_the_service(name: str, ending: str) -> None:
    date = tree(post(SimulatedService(), cart_id(name, "")))["orders"][0]["creationDate"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+" + re.escape(ending), date)
    assert datetime.fromisoformat(date).timestamp() == NOW


def test_a_byte_order_mark_comes_first_and_once() -> None:
    body = post(SimulatedService(), cart_id("byte-order-mark", "")).body
    assert body.startswith(BOM)
    assert json.loads(body.removeprefix(BOM))["orders"]


def test_a_trickle_pauses_after_each_chunk() -> None:
    reply = post(SimulatedService(scale=0.5), cart_id("endless-trickle", ""))
    assert (reply.trickle, reply.seconds > 200) == ((8, 2.0), True)


def test_interim_answers_come_before_the_answer_and_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_NUMBER, 1, replace(BY_NUMBER[1], script=(Interim((102, 103), 30), Commit())))
    service, cart = SimulatedService(scale=0.5), cart_id("created", "")
    reply = post(service, cart)
    assert ((102, 103), 15, 30, 201) == (reply.interim, reply.pause, reply.seconds, reply.status)
    assert (status_of(service, cart, NOW + 29), status_of(service, cart, NOW + 30)) == ("Active", "Ordered")
    assert NOW + 30 == service.page(CUSTOMER, cart)["postLog"][0]["answeredAt"]


def test_a_gateway_echoes_no_ids_and_the_service_does() -> None:
    service = SimulatedService()
    ours, gateways = post(service, cart_id("created", "")), post(service, cart_id("html-502", ""))
    assert ours.echo("A", "B").headers["MS-RequestId"] == "A"
    assert ours.echo("A", "B").headers["MS-CorrelationId"] == "B"
    assert ours.echo("A", "B", "E.1").headers["MS-CV"] == "E.1"
    assert "MS-RequestId" not in gateways.echo("A", "B").headers


def test_a_commit_without_an_order_buys_nothing() -> None:
    assert not commits(BY_NAME["only-order-errors"].script[0])
    assert commits(Commit())
