from __future__ import annotations

import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import azure.functions as func
import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.host.functions import IndexingError, load, thread_count
from local.host.in_process_worker import InProcessWorker
from local.host.local_host import LocalHost, resolve
from shared.host_json import QueueOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.conftest import Storage

ROOT = Path(__file__).parents[3]
QUICK = QueueOptions(
    batch_size=4,
    new_batch_threshold=28,
    max_dequeue_count=2,
    visibility_timeout=1,
    max_polling_interval=0.2,
    message_encoding="none",
)
PATIENCE = 30.0


def test_a_message_that_succeeds_is_deleted(storage: Storage) -> None:
    seen = Calls()
    storage.carts.send_message("hello")

    with host_of(app(seen), QUICK, storage.environ):
        seen.wait_for(1)
        until(lambda: count(storage.carts) == 0)

    assert count(storage.poison) == 0


def test_the_function_gets_the_raw_text_as_bytes_with_the_messages_properties(storage: Storage) -> None:
    seen = Calls()
    body = '{"id": "spoofed", "dequeueCount": "x", "naïve": "☂"}'
    sent = storage.carts.send_message(body)

    with host_of(app(seen), QUICK, storage.environ):
        (message,) = seen.wait_for(1)

    assert message.get_body() == body.encode()
    assert message.id == sent.id
    assert message.dequeue_count == 1
    assert message.insertion_time == sent.inserted_on
    assert message.expiration_time == sent.expires_on
    assert message.pop_receipt


def test_a_message_that_fails_comes_back_after_the_visibility_timeout_and_ends_in_poison(
    storage: Storage,
) -> None:
    seen = Calls(ValueError("no"))
    storage.carts.send_message("☂ bare")
    storage.poison.delete_queue()  # the host makes it

    with host_of(app(seen), QUICK, storage.environ):
        first, second = seen.wait_for(2)
        until(lambda: count(storage.carts) == 0)

    assert [first.dequeue_count, second.dequeue_count] == [1, 2]
    assert seen.times[1] - seen.times[0] >= 0.9  # the service counts in whole seconds
    poisoned = storage.poison.receive_message()
    assert poisoned is not None
    assert poisoned.content == "☂ bare"
    assert poisoned.dequeue_count == 1
    assert poisoned.inserted_on is not None
    assert poisoned.expires_on is not None
    assert poisoned.expires_on - poisoned.inserted_on == timedelta(days=7)


def test_a_message_over_the_maximum_dequeue_count_goes_to_poison_without_a_call(storage: Storage) -> None:
    seen = Calls()
    storage.carts.send_message("killer")
    for _ in range(QUICK.max_dequeue_count):
        received = storage.carts.receive_message()
        assert received is not None
        storage.carts.update_message(received, visibility_timeout=0)

    with host_of(app(seen), QUICK, storage.environ):
        until(lambda: count(storage.poison) == 1 and count(storage.carts) == 0)

    assert seen.messages == []


def test_a_poison_queue_has_no_poison_queue(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    seen = Calls(ValueError("no"))
    storage.poison.send_message("x")
    environ = {**storage.environ, "CARTS_QUEUE": storage.poison.queue_name, "LOCAL_HOST_LEASE_SECONDS": "1"}

    with host_of(app(seen), QUICK, environ):
        until(lambda: "is skipped" in caplog.text)

    assert [message.dequeue_count for message in seen.messages] == [1, 2]
    assert seen.times[1] - seen.times[0] >= 0.9  # it kept its lease
    assert count(storage.poison) == 1


def test_a_later_extension_delivers_a_message_of_a_poison_queue_without_a_limit(storage: Storage) -> None:
    seen = Calls(ValueError("no"))
    storage.poison.send_message("x")
    environ = {
        **storage.environ,
        "CARTS_QUEUE": storage.poison.queue_name,
        "LOCAL_HOST_LEASE_SECONDS": "1",
        "LOCAL_HOST_QUEUES_EXTENSION": "5.3.8",
    }

    with host_of(app(seen), QUICK, environ):
        messages = seen.wait_for(4)

    assert QUICK.max_dequeue_count == 2
    assert [message.dequeue_count for message in messages] == [1, 2, 3, 4]


def test_the_next_batch_is_fetched_when_the_number_running_is_at_the_threshold(storage: Storage) -> None:
    options = QueueOptions(batch_size=2, new_batch_threshold=2, max_polling_interval=0.1, message_encoding="none")
    gate = threading.Semaphore(0)
    seen = Calls(before=lambda: gate.acquire(timeout=PATIENCE))
    for number in range(8):
        storage.carts.send_message(str(number))

    with host_of(app(seen), options, storage.environ | {"PYTHON_THREADPOOL_THREAD_COUNT": "8"}):
        seen.wait_for(4)
        assert len(storage.carts.peek_messages(32)) == 4
        gate.release()  # three run: over the threshold
        until(lambda: count(storage.carts) == 7)
        assert len(storage.carts.peek_messages(32)) == 4
        gate.release()  # two run
        seen.wait_for(6)
        assert len(storage.carts.peek_messages(32)) == 2
        gate.release(6)
        until(lambda: count(storage.carts) == 0)


def test_all_functions_share_one_pool_of_threads(storage: Storage) -> None:
    running = Calls(before=lambda: gate.wait(PATIENCE))
    gate = threading.Event()
    both = app(running)
    trigger(both, "%OUTCOMES_QUEUE%", running)
    storage.carts.send_message("x")
    storage.outcomes.send_message("y")

    with host_of(both, QUICK, storage.environ | {"PYTHON_THREADPOOL_THREAD_COUNT": "1"}):
        running.wait_for(1)
        until(lambda: not storage.carts.peek_messages() and not storage.outcomes.peek_messages())
        assert len(running.messages) == 1  # the other is fetched, and waits for the thread
        gate.set()
        running.wait_for(2)


def test_a_lease_is_renewed_while_the_function_runs(storage: Storage) -> None:
    gate = threading.Event()
    seen = Calls(before=lambda: gate.wait(PATIENCE))
    storage.carts.send_message("slow")

    with host_of(app(seen), QUICK, storage.environ | {"LOCAL_HOST_LEASE_SECONDS": "2"}):
        seen.wait_for(1)
        while time.monotonic() < seen.times[0] + 4.5:
            assert storage.carts.receive_message() is None
        gate.set()
        until(lambda: count(storage.carts) == 0)  # deleted, with the last receipt

    assert len(seen.messages) == 1


def test_a_message_that_another_receiver_has_leased_is_not_settled(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    seen = Calls(before=lambda: gate.wait(PATIENCE))
    storage.carts.send_message("x")

    with host_of(app(seen), QUICK, storage.environ):
        (message,) = seen.wait_for(1)
        storage.carts.update_message(str(message.id), message.pop_receipt, visibility_timeout=60)
        gate.set()
        until(lambda: "taken by another" in caplog.text)

    assert count(storage.carts) == 1


def test_the_listener_outlives_an_outage_of_the_storage(
    azurite: Azurite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del azurite
    seen = Calls()
    with Azurite(tmp_path, separate=True) as own:
        environ = {"CheckoutStorage": own.connection_string, "CARTS_QUEUE": "carts"}
        with (
            QueueClient.from_connection_string(own.connection_string, "carts") as carts,
            host_of(app(seen), QUICK, environ),
        ):
            until(lambda: "cannot read carts" in caplog.text)  # there is no such queue yet
            carts.create_queue()
            carts.send_message("before")
            seen.wait_for(1)
            caplog.clear()
            own.stop("queue")
            until(lambda: "cannot read carts" in caplog.text)
            own.start("queue")
            carts.send_message("after")
            seen.wait_for(2)


def test_a_host_that_stops_fetches_no_more(storage: Storage) -> None:
    gate = threading.Event()
    seen = Calls(before=lambda: gate.wait(PATIENCE))
    storage.carts.send_message("in time")
    host = host_of(app(seen), QUICK, storage.environ)
    host.start()
    seen.wait_for(1)

    with ThreadPoolExecutor(1) as pool:
        left = pool.submit(host.stop)
        until(lambda: not host._listeners[0]._fetcher.is_alive())
        storage.carts.send_message("too late")
        gate.set()
        assert left.result(PATIENCE) == 0

    (message,) = storage.carts.peek_messages(32)
    assert message.content == "too late"


def test_a_drain_has_a_limit(storage: Storage) -> None:
    gate = threading.Event()
    seen = Calls(before=lambda: gate.wait(PATIENCE))
    storage.carts.send_message("slow")
    host = host_of(app(seen), QUICK, storage.environ)
    host.start()
    seen.wait_for(1)

    assert host.stop(timeout=0.1) == 1
    gate.set()
    until(lambda: count(storage.carts) == 0)


def test_a_module_without_an_app_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "function_app.py").write_text("")
    forget_app(monkeypatch)
    with pytest.raises(IndexingError, match="0 function apps"):
        load(tmp_path)


def test_names_are_resolved_inside_the_string() -> None:
    assert resolve("%CARTS_QUEUE%-poison", {"CARTS_QUEUE": "carts"}) == "carts-poison"
    with pytest.raises(IndexingError, match="CARTS_QUEUE is missing"):
        resolve("%CARTS_QUEUE%", {})


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"CheckoutStorage": "UseDevelopmentStorage=true"}, "http://127.0.0.1:10001/devstoreaccount1/carts"),
        (
            {"CheckoutStorage__queueServiceUri": "https://shop.queue.core.windows.net"},
            "https://shop.queue.core.windows.net/carts",
        ),
        (
            {
                "CheckoutStorage__queueServiceUri": "https://shop.queue.core.windows.net",
                "CheckoutStorage__credential": "managedidentity",
            },
            "https://shop.queue.core.windows.net/carts",
        ),
    ],
)
def test_a_connection_is_found_as_the_real_host_finds_it(environ: dict[str, str], url: str) -> None:
    host = host_of(app(Calls()), QUICK, environ | {"CARTS_QUEUE": "Carts"})
    (listener,) = host._listeners
    assert listener._queue.url == url


def test_a_missing_connection_is_named() -> None:
    with pytest.raises(IndexingError, match="CheckoutStorage__queueServiceUri"):
        host_of(app(Calls()), QUICK, {"CARTS_QUEUE": "carts"})


def test_what_the_real_host_would_refuse_is_refused() -> None:
    timer = func.FunctionApp()
    timer.timer_trigger(arg_name="timer", schedule="0 * * * * *")(lambda timer: None)  # noqa: ARG005
    with pytest.raises(IndexingError, match="only queue triggers"):
        host_of(timer, QUICK, {})

    extra = func.FunctionApp()

    @extra.queue_trigger(arg_name="message", queue_name="carts", connection="CheckoutStorage")
    def two_parameters(message: func.QueueMessage, more: str) -> None: ...

    with pytest.raises(IndexingError, match="one parameter, message"):
        host_of(extra, QUICK, {})


def test_the_root_logger_is_left_alone() -> None:
    root = logging.getLogger()
    before = [*root.handlers], [*root.filters], root.level
    host_of(app(Calls()), QUICK, {"CARTS_QUEUE": "carts", "CheckoutStorage": "UseDevelopmentStorage=true"})
    assert ([*root.handlers], [*root.filters], root.level) == before


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        (QueueOptions(message_encoding="base64"), "messageEncoding is base64"),
        (QueueOptions(message_encoding="none", dynamic_concurrency=True), "dynamicConcurrencyEnabled"),
    ],
    ids=["base64", "dynamic concurrency"],
)
def test_options_that_the_local_host_does_not_support_are_refused(options: QueueOptions, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        host_of(app(Calls()), options, {})


class Calls:
    """A function that records each call, then calls `before` and raises `error`."""

    def __init__(self, error: BaseException | None = None, before: Callable[[], object] | None = None) -> None:
        self.messages: list[func.QueueMessage] = []
        self.times: list[float] = []
        self._error, self._before = error, before
        self._called = threading.Condition()

    def __call__(self, message: func.QueueMessage) -> None:
        with self._called:
            self.times.append(time.monotonic())
            self.messages.append(message)
            self._called.notify_all()
        if self._before:
            self._before()
        if self._error:
            raise self._error

    def wait_for(self, number: int) -> list[func.QueueMessage]:
        with self._called:
            assert self._called.wait_for(lambda: len(self.messages) >= number, PATIENCE)
            return self.messages[:number]


def app(calls: Calls) -> func.FunctionApp:
    made = func.FunctionApp()
    trigger(made, "%CARTS_QUEUE%", calls)
    return made


def host_of(made: func.FunctionApp, options: QueueOptions, environ: Mapping[str, str]) -> LocalHost:
    return LocalHost(InProcessWorker(made, thread_count(environ)), options, environ)


def trigger(made: func.FunctionApp, queue: str, calls: Calls) -> None:
    def work(message: func.QueueMessage) -> None:
        calls(message)

    work.__name__ = f"work{len(made._function_builders)}"
    made.queue_trigger(
        arg_name="message", queue_name=queue, connection="CheckoutStorage", data_type=func.DataType.BINARY
    )(work)


def forget_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `function_app` be imported anew, and restore the imported module."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "function_app", raising=False)


def count(queue: QueueClient) -> int | None:
    return queue.get_queue_properties().approximate_message_count


def until(condition: Callable[[], bool]) -> None:
    """Poll, since the storage does not notify."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
