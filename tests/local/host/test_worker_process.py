"""The two deaths, and how a host and its worker start and end, with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.host.__main__ import main
from local.host.protocol import WorkerDied
from local.host.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.storage.queue import QueueClient

    from tests.conftest import Storage

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0
HANDLER = """
import azure.functions as func, os, pathlib, sys, time
HERE = pathlib.Path(__file__).parent
app = func.FunctionApp()

@app.queue_trigger(arg_name="message", queue_name="%CARTS_QUEUE%", connection="CheckoutStorage")
def work(message: func.QueueMessage) -> None:
    text = message.get_body().decode()
    os.write(2, f"begun {text} {message.dequeue_count}\\n".encode())  # a line in one piece: others write beside it
    if text == "exit":
        sys.exit(3)
    if text == "killer" and message.dequeue_count == 1:
        while not (HERE / "die").exists():
            time.sleep(0.01)
        os._exit(9)
    if text == "slow" and message.dequeue_count == 1:
        while not (HERE / "go").exists():
            time.sleep(0.01)
"""


class Host:
    """A local host as a command, and the lines that it and its worker have printed."""

    def __init__(self, storage: Storage, folder: Path, handler: str = HANDLER, **environ: str) -> None:
        queues = {
            "batchSize": 8, "maxDequeueCount": 2, "visibilityTimeout": "00:00:02",
            "maxPollingInterval": "00:00:01", "messageEncoding": "none",
        }  # fmt: skip
        (folder / "host.json").write_text(json.dumps({"extensions": {"queues": queues}}))
        (folder / "function_app.py").write_text(handler)
        values = {"CARTS_QUEUE": storage.carts.queue_name, "CheckoutStorage": storage.connection_string}
        (folder / "settings.json").write_text(json.dumps({"Values": values | environ}))
        command = [sys.executable, "-m", "local.host", "--app-dir", str(folder)]
        command += ["--settings", str(folder / "settings.json")]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)  # noqa: S603
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return "".join(line for _, line in self.lines)

    def times(self, pattern: str) -> list[float]:
        """When lines with this pattern were printed."""
        return [at for at, line in self.lines if re.search(pattern, line)]

    def wait_for(self, pattern: str, number: int = 1) -> list[float]:
        until(lambda: len(self.times(pattern)) >= number or not self._reader.is_alive(), lambda: self.text)
        assert len(self.times(pattern)) >= number, self.text
        return self.times(pattern)

    @property
    def worker(self) -> int:
        self.wait_for(r"worker \d+ started")
        return int(re.findall(r"worker (\d+) started", self.text)[-1])

    def wait(self) -> int:
        """Wait until no process holds its stderr any more."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "the worker outlives its host"
        return code

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.lines.append((time.monotonic(), line))


@contextmanager
def running(storage: Storage, folder: Path, **options: str) -> Iterator[Host]:
    host = Host(storage, folder, **options)
    try:
        yield host
    finally:
        host.process.kill()
        host.wait()
        assert host.process.stderr is not None
        host.process.stderr.close()


def test_a_worker_that_dies_fails_all_of_its_invocations_and_they_come_back_together(
    storage: Storage, tmp_path: Path
) -> None:
    with running(storage, tmp_path) as host:
        for text in ("killer", "slow", "slow"):
            storage.carts.send_message(text)
        host.wait_for("begun .* 1$", 3)
        (tmp_path / "die").touch()
        (died,) = host.wait_for(r"worker \d+ died \(exit code 9\): 3 invocations fail")
        again = host.wait_for("begun .* 2$", 3)
        until(lambda: count(storage.carts) == 0)

        assert all(1.5 < at - died < 8 for at in again), "after visibilityTimeout, long before the lease ends"
        assert len(re.findall(r"failed after .*the worker died", host.text)) == 3
        assert len(host.times(r"worker \d+ started")) == 2


def test_a_message_that_kills_its_worker_at_each_delivery_takes_its_neighbour_to_the_poison_queue(
    storage: Storage, tmp_path: Path
) -> None:
    handler = HANDLER.replace(" and message.dequeue_count == 1", "")
    (tmp_path / "die").touch()
    storage.carts.send_message("slow")
    storage.carts.send_message("killer")

    with running(storage, tmp_path, handler=handler) as host:
        until(lambda: count(storage.poison) == 2, lambda: host.text)

        assert len(host.times(r"worker \d+ died \(exit code 9\)")) == 2  # maxDequeueCount
    assert {"slow", "killer"} == {message.content for message in storage.poison.peek_messages(5)}


def test_a_message_of_a_poison_queue_comes_back_when_its_lease_ends(storage: Storage, tmp_path: Path) -> None:
    storage.poison.send_message("killer")
    (tmp_path / "die").touch()
    handler = HANDLER.replace("%CARTS_QUEUE%", "%CARTS_QUEUE%-poison")

    with running(storage, tmp_path, handler=handler, LOCAL_HOST_LEASE_SECONDS="5") as host:
        (died,) = host.wait_for(r"worker \d+ died")
        (again,) = host.wait_for("begun killer 2")

    assert again - died > 3.5  # visibilityTimeout is 2


def test_sys_exit_in_a_function_ends_the_worker(storage: Storage, tmp_path: Path) -> None:
    storage.carts.send_message("exit")

    with running(storage, tmp_path) as host:
        until(lambda: count(storage.poison) == 1, lambda: host.text)

        assert len(host.times(r"worker \d+ died \(exit code 1\): 1 invocations fail")) == 2


def test_a_host_that_is_killed_takes_its_worker_along_and_the_lease_goes_on(storage: Storage, tmp_path: Path) -> None:
    storage.carts.send_message("slow")

    with running(storage, tmp_path) as host:
        host.wait_for("begun slow")
        host.process.kill()
        assert host.wait() == -signal.SIGKILL  # and with it the worker, or its stderr would still be open

    assert storage.carts.receive_message() is None
    assert count(storage.carts) == 1


def test_sigterm_lets_running_functions_end_and_settles_them(storage: Storage, tmp_path: Path) -> None:
    storage.carts.send_message("slow")

    with running(storage, tmp_path) as host:
        host.wait_for("begun slow")
        host.process.send_signal(signal.SIGTERM)
        host.wait_for("stopping")
        (tmp_path / "go").touch()
        assert host.wait() == 0

        assert "stands in for `func start`" in host.lines[0][1]
        assert "succeeded" in host.text
        assert "died" not in host.text
    assert count(storage.carts) == 0


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_worker(storage: Storage, tmp_path: Path) -> None:
    with running(storage, tmp_path) as host:
        assert os.getpgid(host.worker) != os.getpgid(host.process.pid)
        host.process.send_signal(signal.SIGINT)
        assert host.wait() == 0


def test_while_no_worker_can_load_the_app_messages_wait_and_the_reason_is_told(
    storage: Storage, tmp_path: Path
) -> None:
    with running(storage, tmp_path) as host:
        first = host.worker
        (tmp_path / "function_app.py").write_text("raise ValueError('RETRY_BASE_SECONDS must be a number')\n")
        os.kill(first, signal.SIGKILL)
        storage.carts.send_message("patient")
        host.wait_for("messages wait; the next try is in 1 s: ValueError: RETRY_BASE_SECONDS must be a number")
        host.wait_for("the next try is in 2 s")
        assert count(storage.carts) == 1
        (tmp_path / "function_app.py").write_text(HANDLER)
        host.wait_for("begun patient 1")
        until(lambda: count(storage.carts) == 0, lambda: host.text)


def test_a_host_without_a_worker_stops_at_once(storage: Storage, tmp_path: Path) -> None:
    with running(storage, tmp_path) as host:
        first = host.worker
        (tmp_path / "function_app.py").write_text("raise ValueError\n")
        os.kill(first, signal.SIGKILL)
        storage.carts.send_message("x")
        host.wait_for("the next try is in 2 s")
        host.process.send_signal(signal.SIGTERM)
        assert host.wait() == 0

        assert "still running" not in host.text
    assert count(storage.carts) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "raise ValueError('PARTNER_CENTER_URL is wrong; and more')\n",
            "ValueError: PARTNER_CENTER_URL is wrong; and more\n  at {folder}/function_app.py:1",
        ),
        ("", "IndexingError: function_app.py defines 0 function apps instead of one"),
        ("import os\nos._exit(7)\n", "the worker ended while it loaded the app"),
    ],
)
def test_an_app_that_cannot_be_loaded_at_the_start_is_reported_and_ends_with_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    (tmp_path / "host.json").write_text((ROOT / "host.json").read_text())
    (tmp_path / "function_app.py").write_text(source)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    assert main(["--app-dir", str(tmp_path)]) == 1

    expected = f"no function is indexed, so messages wait: {reason.format(folder=tmp_path)}"
    assert expected in capfd.readouterr().err


def test_a_worker_that_is_stopped_takes_no_more_invocations(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(HANDLER)
    worker = WorkerProcess(tmp_path)
    worker.start()
    worker.stop()

    with pytest.raises(WorkerDied):
        worker.invoke("work", b"x", {})


def count(queue: QueueClient) -> int | None:
    return queue.get_queue_properties().approximate_message_count


def until(condition: Callable[[], bool], otherwise: Callable[[], str] = str) -> None:
    """Poll, since neither the storage nor a pipe notifies."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        threading.Event().wait(0.02)
