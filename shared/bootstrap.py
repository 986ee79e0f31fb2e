"""Wires the program from its settings. The app, the command line and the tests use it alike.

Every external dependency can be passed in: a test passes its own clock, random source and ports.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from shared.adapters.identity import TokenProvider, credential_factory
from shared.adapters.limits import time_limits
from shared.adapters.partner_center import PartnerCenter
from shared.adapters.storage import Storage
from shared.attempt import CheckoutAttempt
from shared.checkout import Checkout
from shared.context import Clocks
from shared.core.retry import RetryPolicy, ThrottleGate, Uniform
from shared.host_json import queue_options
from shared.ports import Blobs, PartnerCenterApi, Queue
from shared.publisher import Publisher
from shared.records import Records
from shared.semconv import Endpoints
from shared.settings import Settings
from shared.steps import Steps
from shared.telemetry import LOGGER, Telemetry


def utc_now() -> datetime:
    """The clock of the program."""
    return datetime.now(UTC)


def bootstrap(
    settings: Settings | None = None,
    *,
    partner_center: PartnerCenterApi | None = None,
    queue: Callable[[str], Queue] | None = None,
    blobs: Blobs | None = None,
    clock: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    uniform: Uniform = random.uniform,
) -> Checkout:
    """The program, ready to handle messages.

    Raises:
        SettingsError: the settings are wrong; it lists every mistake.
    """
    settings = settings or Settings.from_env()
    # the SDKs log each request at INFO, which costs as much as the storage call itself
    logging.getLogger("azure").setLevel(logging.WARNING)
    # it warns about a missing token and may quote the response, which our own log line does not
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
    # urllib3 logs whole URLs, which hold the signature of a SharedAccessSignature: each one at DEBUG, and at
    # WARNING that of a response whose header cannot be parsed
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    if queue is None or blobs is None:
        account = Storage(settings)
        queue = queue or account.queue
        blobs = blobs or account.blobs(settings.records_container)
    if partner_center is None:
        tokens = TokenProvider(credential_factory(settings), settings.scope, settings.tenant_id)
        partner_center = PartnerCenter(settings, tokens)
    policy = RetryPolicy(settings.retry_base, settings.retry_cap, settings.retry_max_age, settings.settle)
    publisher = Publisher(queue(settings.outcomes_queue), queue(settings.carts_queue), queue(settings.poison_queue))
    endpoints = Endpoints(
        settings.carts_queue, settings.outcomes_queue, f"{settings.partner_center_url}/{settings.api_version}"
    )
    steps = Steps(Records(blobs), publisher, policy, clock, uniform)
    return Checkout(
        attempt=CheckoutAttempt(partner_center, steps, ThrottleGate(), policy, clock, uniform),
        steps=steps,
        telemetry=Telemetry(endpoints, clock),
        clocks=Clocks(clock, monotonic),
        limits=time_limits(settings),
        uniform=uniform,
    )


def warn_of_idle_messages(settings: Settings) -> None:
    """Warn when the host hands over more messages than the worker has threads: the rest would wait, leased.

    Never raises: where host.json is not understood here, the host judges it, and the app works.
    """
    try:
        options = queue_options()
    except Exception as error:  # noqa: BLE001  a warning must not stop the app
        LOGGER.warning("host.json and its overrides cannot be checked: %s", type(error).__name__)
        return
    if options.dynamic_concurrency:
        LOGGER.warning(
            "host.json enables dynamic concurrency: the host may hand over more messages than there are threads (%d)",
            settings.threads,
        )
    elif settings.threads < options.in_flight:
        LOGGER.warning(
            "host.json hands over %d messages at once, but there are %d threads: "
            "set PYTHON_THREADPOOL_THREAD_COUNT to %d",
            options.in_flight,
            settings.threads,
            options.in_flight,
        )
