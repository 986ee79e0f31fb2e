from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from local.process import ProcessFailed
from local.simulator.scenarios import cart_id
from local.stack import ROOT, Stack
from local.stack.__main__ import main
from local.stack.ports import DEFAULT, FREE, Ports, PortTaken
from shared.settings import Settings
from tests.end_to_end.conftest import Shop, unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.azurite import Azurite

PATIENCE = 60.0


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def stack(azurite: Azurite, lines: list[str]) -> Iterator[Stack]:
    with Stack(azurite=azurite, settings=unique_names(), on_line=lines.append) as running:
        yield running


def test_a_cart_is_answered_as_soon_as_the_stack_is_entered(stack: Stack) -> None:
    shop = Shop(stack)
    cart = cart_id("created", str(uuid.uuid4()))

    (event, *_) = shop.published(shop.send(json.dumps({"customerId": cart, "cartId": cart, "requestId": "order-1"})))

    assert event["data"]["outcome"] == "completed"
    assert [page["cartId"] for page in stack.books()["carts"]] == [cart]


def test_its_environment_is_all_the_settings_of_the_app(stack: Stack) -> None:
    settings = Settings.from_env(stack.environment)

    assert settings.storage_connection_string == stack.connection_string
    assert settings.partner_center_url == stack.simulator_url
    assert settings.threads == 32


def test_it_differs_from_the_example_in_values_and_one_name_only(stack: Stack) -> None:
    example = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    assert stack.environment.keys() - example.keys() <= {"CHECKOUT_TIMEOUT_SECONDS"}


def test_the_hosts_lines_are_passed_on(stack: Stack, lines: list[str]) -> None:
    del stack
    assert any("listens on carts-" in line for line in lines)


def test_settings_of_the_shell_for_another_account_are_not_inherited(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CheckoutStorage__queueServiceUri", "https://production.queue.core.windows.net")
    monkeypatch.setenv("PARTNER_CENTER_AUTH", "federated")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Stack(azurite=azurite, settings=unique_names()) as stack:
        shop = Shop(stack)
        cart = cart_id("created", str(uuid.uuid4()))
        shop.published(shop.send(json.dumps({"customerId": cart, "cartId": cart, "requestId": "order-1"})))


def test_everything_it_started_ends_with_it(azurite: Azurite) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent
    with Stack() as stack:
        host, storage = stack.host_pid, stack.azurite
        assert host is not None
        address = _address(stack.simulator_url)
        with QueueClient.from_connection_string(storage.connection_string, "carts", retry_total=0) as queue:
            queue.get_queue_properties()
    assert not _runs(host)
    for url in (storage.queue_endpoint, storage.blob_endpoint, f"http://{address[0]}:{address[1]}"):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(_address(url), timeout=5)


def test_an_exception_inside_ends_it_as_well(azurite: Azurite) -> None:
    stack = Stack(azurite=azurite, settings=unique_names())
    with pytest.raises(ZeroDivisionError), stack:
        raise ZeroDivisionError
    assert stack.host_pid is not None
    assert not _runs(stack.host_pid)


def test_without_a_host_the_messages_wait(azurite: Azurite) -> None:
    with Stack(azurite=azurite, settings=unique_names(), host=False) as stack:
        stack.carts.send_message("x")
        assert stack.host_pid is None
        stack.check()
        assert len(stack.carts.peek_messages()) == 1


def test_a_host_that_cannot_start_is_quoted_and_what_was_started_is_ended(azurite: Azurite) -> None:
    broken = Stack(azurite=azurite, settings=unique_names() | {"RETRY_BASE_SECONDS": "soon"})
    with pytest.raises(ProcessFailed, match="RETRY_BASE_SECONDS must be a number"):
        broken.__enter__()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(_address(broken.simulator_url), timeout=5)


def test_a_host_that_is_killed_is_noticed(azurite: Azurite) -> None:
    with Stack(azurite=azurite, settings=unique_names()) as stack:
        assert stack.host_pid is not None
        os.kill(stack.host_pid, signal.SIGKILL)
        with pytest.raises(ProcessFailed, match="ended with code -9"):
            _until(lambda: stack.check() is not None)  # type: ignore[func-returns-value]


def test_the_queues_are_not_made_twice(azurite: Azurite) -> None:
    names = unique_names()
    for _ in range(2):
        with Stack(azurite=azurite, settings=names, host=False) as stack:
            stack.outcomes.get_queue_properties()
    with pytest.raises(ResourceNotFoundError), _queue(azurite, "never-made") as queue:
        queue.get_queue_properties()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} \(simulator\) is taken.*--free-ports"):
            Ports(simulator=port).check()
    Ports(simulator=port).check()
    FREE.check()


def test_the_command_names_a_taken_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: Ports) -> None:
        raise PortTaken("Port 10000 is taken")

    monkeypatch.setattr(Ports, "check", refuse)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main([]) == 1
    assert capsys.readouterr().err == "Port 10000 is taken\n"


def test_the_default_ports_are_those_of_the_example() -> None:
    example = (ROOT / "local.settings.example.json").read_text()
    assert f'"PARTNER_CENTER_URL": "http://127.0.0.1:{DEFAULT.simulator}"' in example
    assert '"CheckoutStorage": "UseDevelopmentStorage=true"' in example


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_command_prints_the_guide_and_runs_until_it_is_interrupted(
    azurite: Azurite, number: signal.Signals
) -> None:
    del azurite  # only to be skipped, or failed, where Azurite is absent
    command = [sys.executable, "-m", "local.stack", "--free-ports"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            guide = ""
            while "make run ARGS=--no-host" not in guide:
                line = process.stdout.readline()
                assert line, guide
                guide += line
            address = _address(_found(r"PARTNER_CENTER_URL='(\S+)'", guide))
            process.send_signal(number)
            rest, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "stopped\nStopped.\n" in rest  # first the host, having drained
    assert "cart-checkout send --settings .local/local.settings.json" in guide
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, timeout=5)


def _queue(azurite: Azurite, name: str) -> QueueClient:
    return QueueClient.from_connection_string(azurite.connection_string, name, retry_total=0)


def _address(url: str) -> tuple[str, int]:
    host, port = url.split("/")[2].split(":")
    return host, int(port)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
