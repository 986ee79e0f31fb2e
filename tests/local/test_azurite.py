from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from local import azurite as module
from local.azurite import HOST, Azurite, AzuriteUnavailable, connection_string, install

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Storage


def test_the_queue_and_the_blob_service_answer(storage: Storage) -> None:
    storage.carts.send_message("hello")
    storage.records.upload_blob("a/b.json", b"{}")

    assert storage.carts.receive_message() is not None
    assert storage.records.download_blob("a/b.json").readall() == b"{}"


def test_each_service_can_be_stopped_alone_and_comes_back_with_its_data(azurite: Azurite, tmp_path: Path) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent
    with (
        Azurite(tmp_path, separate=True) as separate,
        _queue(separate) as queue,
        _container(separate) as blobs,
    ):
        queue.create_queue()
        queue.send_message("kept")
        blobs.create_container()
        before = separate.connection_string

        separate.stop("queue")
        with pytest.raises(ServiceRequestError):
            queue.send_message("lost")
        blobs.upload_blob("while-the-queue-is-away", b"")
        separate.start("queue")

        assert separate.connection_string == before
        message = queue.receive_message()
        assert message is not None
        assert message.content == "kept"


def test_one_service_of_a_single_process_cannot_be_stopped_alone() -> None:
    with pytest.raises(ValueError, match="separate=True"):
        Azurite().stop("queue")


def test_it_ends_when_its_parent_is_killed(azurite: Azurite) -> None:
    del azurite
    program = (
        "import sys; from local.azurite import Azurite; a = Azurite(); a.start();"
        "print(a.queue_endpoint, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().split("/")[2].split(":")[1])
        # A request that Azurite never gets whole: the answer ends when Azurite does.
        witness = http.client.HTTPConnection(HOST, port, timeout=30)
        witness.connect()
        os.kill(parent.pid, signal.SIGKILL)

    assert witness.sock.recv(1) == b""
    witness.close()


def test_absent_node_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(AzuriteUnavailable, match="make test"):
        Azurite().start()


def test_absent_azurite_says_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_INSTALLED", tmp_path)
    with pytest.raises(AzuriteUnavailable, match="make test"):
        Azurite().start()


def test_a_failing_npm_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name in ("package.json", "package-lock.json"):
        (tmp_path / "source" / name).write_text("not json")
    monkeypatch.setattr(module, "_SOURCE", tmp_path / "source")
    monkeypatch.setattr(module, "_INSTALLED", tmp_path / "installed")

    with pytest.raises(AzuriteUnavailable, match=r"npm could not install Azurite:\n.*npm error"):
        install()
    assert list((tmp_path / "installed").iterdir()) == []


def test_an_azurite_that_does_not_start_is_quoted(azurite: Azurite) -> None:
    taken = int(azurite.queue_endpoint.split("/")[2].split(":")[1])
    with pytest.raises(AzuriteUnavailable, match="EADDRINUSE"):
        Azurite(queue_port=taken).start()


def test_installing_again_does_nothing(azurite: Azurite) -> None:
    del azurite
    assert install() == install()


def test_the_default_ports_are_those_of_development_storage() -> None:
    assert "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;" in connection_string()
    assert "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;" in connection_string()


def _queue(azurite: Azurite) -> QueueClient:
    return QueueClient.from_connection_string(azurite.connection_string, "carts", retry_total=0)


def _container(azurite: Azurite) -> ContainerClient:
    return ContainerClient.from_connection_string(azurite.connection_string, "records", retry_total=0)
