"""A terminal that cannot print a letter, and a pipe that was closed: what was done is told all the same.

`cart-checkout send --from carts.jsonl | head -1` must not lose the requestIds that were generated: whoever sends a cart
again without its id asks for another checkout. Terminals that are not UTF-8 are as common (Azure/azure-cli#26843).
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import CART, CUSTOMER, OTHER_CART, THIRD_CART, Function, asked
from tests.environments.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Storage
    from tests.environments.conftest import Machine

ID = re.compile(r"requestId (\S+)")


def into(output: str, storage: Storage, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a verb with its stdout on a pipe that nobody reads, on a full disk, or closed."""
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    command = [sys.executable, "-m", "cli.main", *arguments]
    if output == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    try:
        return subprocess.run(  # noqa: S603  our own interpreter
            command,
            stdin=subprocess.DEVNULL,
            stdout=full if output == "full" else writer,
            stderr=subprocess.PIPE,
            env=_inherited() | storage.environ | environ,
            cwd=ROOT,
            encoding="utf-8",
            check=False,
            timeout=120,
        )
    finally:
        os.close(writer)
        os.close(full)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


BROKEN = pytest.mark.parametrize("output", ["pipe", "full", "closed"])


@pytest.fixture
def function(storage: Storage) -> Function:
    return Function(storage)


@pytest.fixture
def carts(tmp_path: Path) -> str:
    """A file of three carts without ids."""
    file = tmp_path / "carts.jsonl"
    requests = [{"customerId": CUSTOMER, "cartId": cart} for cart in (CART, OTHER_CART, THIRD_CART)]
    file.write_text("\n".join(map(json.dumps, requests)))
    return str(file)


@BROKEN
def test_send_tells_every_generated_id_although_stdout_is_broken(storage: Storage, carts: str, output: str) -> None:
    done = into(output, storage, "send", "--from", carts)
    assert 0 == done.returncode, done.stderr
    sent = [json.loads(base64.b64decode(message.content)) for message in storage.carts.peek_messages(5)]
    assert [CART, OTHER_CART, THIRD_CART] == [request["cartId"] for request in sent]
    assert [request["requestId"] for request in sent] == ID.findall(done.stderr)
    assert "the rest is told here" in done.stderr
    assert "Traceback" not in done.stderr


@BROKEN
def test_what_republish_did_is_told_although_stdout_is_broken(
    storage: Storage, function: Function, output: str
) -> None:
    function.record(asked("order-1"))
    done = into(output, storage, "republish", "--yes", CART)
    assert "order-1" in done.stderr
    assert "Traceback" not in done.stderr
    assert 1 == storage.outcomes.get_queue_properties().approximate_message_count


@pytest.mark.parametrize("output", ["pipe", "closed"])
@pytest.mark.parametrize("verb", [("status", "--json"), ("status",), ("doctor", "--skip", "host")])
def test_what_only_reads_ends_quietly_when_nobody_reads_it(
    storage: Storage, verb: tuple[str, ...], output: str
) -> None:
    done = into(output, storage, *verb)
    assert (1, "") == (done.returncode, done.stderr)


def test_an_id_that_the_terminal_cannot_print_is_escaped(machine: Machine, storage: Storage) -> None:
    ascii_only = machine.on(PYTHONIOENCODING="ascii", **storage.environ)
    done = ascii_only.cli("send", CUSTOMER, CART, "--request-id", "größe-1")
    assert (0, "") == (done.returncode, done.stderr)
    assert "requestId gr\\u00f6\\u00dfe-1" in done.stdout
    assert 1 == storage.carts.get_queue_properties().approximate_message_count


def test_json_stays_json_on_such_a_terminal(machine: Machine, storage: Storage, function: Function) -> None:
    function.record(asked("größe-1", context={"note": "größe 😀"}))
    ascii_only = machine.on(PYTHONIOENCODING="ascii", **storage.environ)
    wanted = ascii_only.cli("republish", "--yes", CART)
    assert 0 == wanted.returncode, wanted.stderr
    shown = ascii_only.cli("watch", "--json", "--count", "1", "--timeout", "30")
    assert 0 == shown.returncode, shown.stderr
    assert "größe 😀" == json.loads(shown.stdout)["data"]["context"]["note"]
    table = ascii_only.cli("status", CART)
    assert (0, "") == (table.returncode, table.stderr)
    assert "gr\\u00f6\\u00dfe-1" in table.stdout
