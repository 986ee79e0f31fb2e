"""The programs that are compared: how each is started, and the message it understands."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench import ROOT
from bench.stub.service import CUSTOMER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IN_FLIGHT = 32
"""Messages that one process handles at a time, and its threads."""
_APPS = ROOT / "bench" / "apps"
_CART = json.dumps({"customerId": CUSTOMER, "cartId": "{cart}", "requestId": "order-{cart}"})


@dataclass(frozen=True, slots=True)
class Competitor:
    """One program.

    Attributes:
        name: As it stands in the names of measurements.
        module: The module to run, and its arguments.
        message: The queue message of one cart, with `{cart}` in the place of the cart's id.
        settings: Environment variables.
        threads: How many messages it handles at a time.
        root: The folder that its module is run in.
    """

    name: str
    module: tuple[str, ...]
    message: str = _CART
    settings: Mapping[str, str] = field(default_factory=dict)
    threads: int = IN_FLIGHT
    root: Path = ROOT


def default_threads() -> int:
    """The thread count of a worker for which PYTHON_THREADPOOL_THREAD_COUNT is not set."""
    return min(32, (os.cpu_count() or 1) + 4)


def _celery_message() -> str:
    """The message of a task in Celery's protocol 2 on this transport, as `apply_async` sends it."""
    headers: dict[str, object] = {
        "lang": "py", "task": "checkout", "id": "{cart}", "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": "{cart}", "parent_id": None,
        "argsrepr": f"('{CUSTOMER}',)", "kwargsrepr": "{}", "origin": "bench", "ignore_result": True,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    properties = {
        "correlation_id": "{cart}", "reply_to": CUSTOMER, "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "carts"}, "body_encoding": "base64", "delivery_tag": "{cart}",
    }  # fmt: skip
    arguments = [[CUSTOMER], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


def _function_app(folder: Path) -> tuple[str, ...]:
    return ("bench.host_runner", str(folder))


_ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # as the deployment sets it; a tutorial sets nothing
DEPLOYED = {**_ONE_ARENA, "PYTHON_THREADPOOL_THREAD_COUNT": str(IN_FLIGHT)}
"""The environment of the deployed function."""

BASELINE = Competitor("baseline", _function_app(_APPS / "baseline"), settings=DEPLOYED)
OURS = Competitor("ours", _function_app(ROOT), settings=DEPLOYED)
TUTORIAL = Competitor("tutorial", _function_app(_APPS / "tutorial"), threads=default_threads())
CELERY = Competitor("celery", ("bench.apps.celery.checkout_task",), _celery_message(), _ONE_ARENA)
# With 32 messages reserved, Celery's transport sleeps for its polling interval, a second by default. Where all 32 take
# less than that, it sleeps after every 32: 28 carts per second at 0.2 s. This variant polls more often.
CELERY_AWAKE = replace(
    CELERY, name="celery_awake", settings={**_ONE_ARENA, "BENCH_CELERY_TRANSPORT": '{"polling_interval": 0.05}'}
)


def before(root: Path) -> Competitor:
    """Another version of the function, a checkout of it in `root`, run by that version's own `bench.host_runner`."""
    root = root.resolve()
    return replace(OURS, name="before", module=_function_app(root), root=root)
