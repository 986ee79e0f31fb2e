"""Makes the responses of the simulated service and of the gateways before it."""

from dataclasses import replace
from email.utils import formatdate
from json import dumps
from math import ceil

from local.simulator.state import JSON_HEADERS, SimulatedResponse
from local.simulator.steps import FaultStep, GatewayStep


def fault_response(fault: FaultStep) -> SimulatedResponse:
    """Return the service's own fault."""
    return SimulatedResponse(fault.status, fault.body())


def gateway_response(step: GatewayStep) -> SimulatedResponse:
    """Return the response of a gateway, without the service's ids."""
    return SimulatedResponse(step.status, step.content, {"Content-Type": step.content_type, **step.headers}, ours=False)


def throttled_response(wait: float | None, now: float, *, as_date: bool) -> SimulatedResponse:
    """Return the gateway's 429. Retry-After is in whole seconds, rounded up. `wait` None: there is none."""
    seconds = ceil(wait or 0)
    message = f"Rate limit is exceeded. Try again in {seconds} seconds."
    headers = dict(JSON_HEADERS)
    if wait is not None:
        headers["Retry-After"] = formatdate(ceil(now) + seconds, usegmt=True) if as_date else str(seconds)
    return SimulatedResponse(429, dumps({"statusCode": 429, "message": message}).encode(), headers, ours=False)


def dated(response: SimulatedResponse, now: float) -> SimulatedResponse:
    """Return the response with the `Date` at which it is complete."""
    return replace(
        response, headers={**response.headers, "Date": formatdate(now + response.seconds_to_head, usegmt=True)}
    )
