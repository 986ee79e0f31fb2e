from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from local.process import ManagedProcess, ProcessFailed
from local.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0


def test_a_child_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, sys, pathlib; from local.process import ManagedProcess as P;"
        "c = P.of_module('local.simulator', environ=os.environ, cwd=pathlib.Path(),"
        "          on_line=lambda line: print(line, flush=True)); sys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parts = urlsplit(json.loads(parent.stdout.readline())["PARTNER_CENTER_URL"])
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as witness:
            parent.kill()
            with suppress(ConnectionResetError):  # it had not even accepted us
                assert witness.recv(1) == b""


def test_a_child_without_output_is_not_ready() -> None:
    child = ManagedProcess.of_module("local.simulator", environ=os.environ, cwd=ROOT)
    try:
        with pytest.raises(ProcessFailed, match=r"local\.simulator was not ready in 0 s"):
            child.wait_until_ready("a word it never says", timeout=0.2)
    finally:
        child.terminate(PATIENCE)


def test_a_child_goes_on_when_its_lines_cannot_be_shown_any_more(tmp_path: Path) -> None:
    (tmp_path / "talker.py").write_text("import sys; print('x\\n' * 100_000 + 'done', flush=True); sys.stdin.read()")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}

    def show(_: str) -> None:
        raise BrokenPipeError

    child = ManagedProcess.of_module("talker", environ=environ, cwd=tmp_path, on_line=show)
    try:
        child.wait_until_ready("^done$", timeout=PATIENCE)  # more than a pipe holds
    finally:
        child.terminate(PATIENCE)


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(999)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    child = ManagedProcess.of_module("deaf", environ=environ, cwd=tmp_path)
    child.wait_until_ready("^up$")
    child.terminate(0.1)
    with pytest.raises(ProcessFailed, match="ended with code -9"):
        child.check()
