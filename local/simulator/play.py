"""Plays the steps of a scenario: a purchase at once, its delivery as instructions."""

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

from local.simulator import steps
from local.simulator.carts import Call, Purchase
from local.simulator.resources import encode, order_resource
from local.simulator.responses import fault_response, gateway_response, throttled_response
from local.simulator.state import SimulatedResponse

if TYPE_CHECKING:
    from collections.abc import Mapping


def play(step: steps.Step, call: Call, scale: float) -> SimulatedResponse:
    """Carry out a step. `scale` multiplies its seconds."""
    match step:
        case steps.Slow():
            seconds = step.seconds * scale
            response = play(step.then, replace(call, at=call.at + seconds), scale)
            return replace(response, delay=response.delay + seconds)
        case steps.Interim():
            pause = step.pause * scale
            response = play(step.then, replace(call, at=call.at + pause * len(step.statuses)), scale)
            return replace(response, interim=step.statuses, pause=pause)
        case steps.Trickle():
            return replace(_respond(step.then, call, scale), trickle=(step.chunk, step.pause * scale))
        case steps.DropMidBody():
            return replace(_respond(step.then, call, scale), drop="mid_body")
        case steps.Later():
            _commit(step.commit, replace(call, at=call.at + step.seconds * scale))
            return play(step.answer, call, scale)
        case steps.Drop():
            lost = _commit(step.after, call) if step.after else SimulatedResponse(0)
            return replace(lost, drop="before")
        case _:
            return _respond(step, call, scale)


def buy(step: steps.Commit, call: Call) -> SimulatedResponse:
    """Buy the cart, whatever was bought before."""
    cart = call.cart
    orders: list[Mapping[str, Any]] = []
    refused: list[steps.RefusedGroup] = []
    errors = []
    for (group, lines), result in zip(cart.groups().items(), cycle(step.groups), strict=False):
        if isinstance(result, steps.RefusedGroup):
            refused.append(result)
            errors.append({"code": result.code, "description": result.description, "orderGroupId": group})
        else:
            orders.append(order_resource(step, call, group, lines, result))
    attributes = {"objectType": "CartCheckoutResult"}
    tree = {"orders": orders, "orderErrors": errors, "attributes": attributes, **step.extra}
    body = encode(orders[0] if step.bare else tree)
    response = SimulatedResponse(step.status, steps.BOM + body if step.bom else body)
    if orders:
        cart.purchases.append(Purchase(call.ms_request_id, call.at, tuple(orders), response))
    elif refused:
        cart.remember(call.ms_request_id, step.status, refused[0].code, response)
    return response


def _respond(step: steps.ResponseStep, call: Call, scale: float) -> SimulatedResponse:
    match step:
        case steps.Commit():
            return _commit(step, call)
        case steps.Masked():
            _commit(step.commit, call)
            return _respond(step.by, call, scale)
        case steps.FaultStep():
            response = fault_response(step)
            call.cart.remember(call.ms_request_id, step.status, step.code, response)
            return response
        case steps.Throttle():
            wait = None if step.seconds is None else step.seconds * scale
            return throttled_response(wait, call.at, as_date=step.as_date)
        case steps.GatewayStep():
            return gateway_response(step)


def _commit(step: steps.Commit, call: Call) -> SimulatedResponse:
    """Buy, or give again what was given before."""
    first = call.cart.given_instead_of_buying(call.ms_request_id, call.at) if steps.commits(step) else None
    return buy(step, call) if first is None else first
