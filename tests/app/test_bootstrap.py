"""The wiring: the settings' names reach the right places, and what is passed in is used in their stead."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import bootstrap as module
from shared.adapters.storage import Storage
from shared.bootstrap import bootstrap, utc_now, warn_of_idle_messages
from shared.core.messages import Delivery, ms_request_id
from shared.core.models import ServiceResponse
from shared.host_json import HOST_JSON, queue_options
from shared.settings import Settings, SettingsError
from shared.telemetry import LOGGER
from tests.support.memory import MemoryBlobs, MemoryQueue, Responses

SETTINGS = Settings(
    "carts",
    "outcomes",
    "records",
    storage_connection_string="AccountName=shop;AccountKey=c2VjcmV0",
    partner_center_url="http://127.0.0.1:9",
)
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
REQUEST = {
    "customerId": "c0ffee00-1111-4222-8333-444444444444",
    "cartId": "bebebebe-1111-4222-8333-444444444444",
    "requestId": "order-1",
}


class Queues:
    """Creates each queue once, and stores its name."""

    def __init__(self) -> None:
        self.made: dict[str, MemoryQueue] = {}

    def __call__(self, name: str) -> MemoryQueue:
        return self.made.setdefault(name, MemoryQueue(lambda: NOW))


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> None:
    """Bootstrap sets the levels of the SDK's loggers; the test for that wants to see it do so."""
    for name in ("azure", "azure.identity"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def deliver(service: Responses, queues: Queues, blobs: MemoryBlobs, *, last: bool = False, body: object = None) -> None:
    checkout = bootstrap(
        SETTINGS, partner_center=service, queue=queues, blobs=blobs, clock=lambda: NOW, uniform=lambda low, _: low
    )
    checkout.handle(json.dumps(body or REQUEST).encode(), Delivery("message-1", 1, NOW, last))


def test_the_outcome_goes_to_the_outcomes_queue_and_the_record_to_the_blobs() -> None:
    queues, blobs = Queues(), MemoryBlobs(lambda: NOW)
    service = Responses(ServiceResponse(201, b'{"orders": [{"id": "o", "status": "completed"}]}'))
    deliver(service, queues, blobs)

    assert {"carts", "carts-poison", "outcomes"} == set(queues.made)
    assert ([0, 0, 1]) == [len(queues.made[name].messages) for name in ("carts", "carts-poison", "outcomes")]
    assert ["c0ffee00-1111-4222-8333-444444444444/bebebebe-1111-4222-8333-444444444444.json"] == list(blobs.blobs)
    assert [ms_request_id(REQUEST["customerId"], REQUEST["cartId"], 0)] == service.posts


def test_a_deferral_uses_the_carts_queue_and_the_clock_and_random_source_that_were_passed_in() -> None:
    queues = Queues()
    deliver(Responses(ServiceResponse(503, b"")), queues, MemoryBlobs(lambda: NOW))
    (waiting,) = queues.made["carts"].messages
    assert (waiting.visible_at - NOW).total_seconds() == 3  # uniform(5/2, 5) of a dice that rolls low, rounded up


def test_the_policy_is_that_of_the_settings() -> None:
    queues = Queues()
    checkout = bootstrap(
        Settings("carts", "outcomes", "records", storage_connection_string="unused", retry_base=100.0),
        partner_center=Responses(ServiceResponse(503, b"")),
        queue=queues,
        blobs=MemoryBlobs(lambda: NOW),
        clock=lambda: NOW,
        uniform=lambda _, high: high,
    )
    checkout.handle(json.dumps(REQUEST).encode(), Delivery("message-1", 1, NOW))
    (waiting,) = queues.made["carts"].messages
    assert (waiting.visible_at - NOW).total_seconds() == 100


def test_storage_is_not_touched_where_ports_are_passed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_storage(_: Settings) -> Storage:
        raise AssertionError("made")

    monkeypatch.setattr(module, "Storage", no_storage)
    bootstrap(SETTINGS, queue=Queues(), blobs=MemoryBlobs(lambda: NOW))


def test_wiring_makes_no_call() -> None:
    """It runs while the worker imports the app: nothing listens at these addresses, and that must not matter."""
    bootstrap(SETTINGS)


def test_wrong_settings_are_reported_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CheckoutStorage", "CARTS_QUEUE", "OUTCOMES_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="CARTS_QUEUE is missing"):
        bootstrap()


def test_the_loggers_of_the_sdks_are_quiet_and_the_root_logger_is_unchanged() -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    bootstrap(SETTINGS)
    assert not logging.getLogger("azure.core.pipeline.policies.http_logging_policy").isEnabledFor(logging.INFO)
    assert not logging.getLogger("azure.identity").isEnabledFor(logging.WARNING)
    assert (root.level, root.handlers) == before


def test_the_clock_of_the_program_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize(("threads", "warnings"), [(31, 1), (6, 1), (32, 0), (64, 0)])
def test_fewer_threads_than_messages_in_flight_cause_a_warning(
    threads: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert queue_options(HOST_JSON, {}).in_flight == 32
    with caplog.at_level(logging.WARNING, LOGGER.name):
        warn_of_idle_messages(Settings("carts", "outcomes", "records", threads=threads))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warnings
    assert all("PYTHON_THREADPOOL_THREAD_COUNT to 32" in record.getMessage() for record in caplog.records)


def test_host_json_is_in_the_folder_of_the_app() -> None:
    assert Path(__file__).parents[2] / "host.json" == HOST_JSON
