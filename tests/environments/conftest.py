"""Fresh processes with an environment of their own: the app as the host loads it, and the `cart-checkout` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
FUNCTIONS = ["checkout_cart", "report_poison"]
CUSTOMER, CART = "c0ffee00-1111-4222-8333-444444444444", "00000001-1111-4222-8333-444444444444"
GOOD = {
    "CheckoutStorage": "AccountName=shop;AccountKey=c2VjcmV0",
    "CARTS_QUEUE": "carts",
    "OUTCOMES_QUEUE": "checkout-outcomes",
    "RECORDS_CONTAINER": "checkout-records",
    "PARTNER_CENTER_TENANT_ID": "11111111-2222-3333-4444-555555555555",
    "PYTHON_THREADPOOL_THREAD_COUNT": "32",
}
"""App settings with which the app loads. Nothing listens at their addresses."""
STORAGE_VERBS: list[tuple[str, ...]] = [
    ("send", CUSTOMER, CART),
    ("status",),
    ("watch", "--timeout", "0"),
    ("redrive", "--dry-run", "--class", "partner"),
    ("republish", "--dry-run", CART),
]
"""Verbs of the command that need the storage account only."""

_INHERITED = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "CI")
_INDEX = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
async def index():  # as the worker does: inside its event loop
    import function_app
    return [function.get_function_name() for function in function_app.app.get_functions()]
print(json.dumps(asyncio.run(index())))
"""


@dataclass(frozen=True)
class Machine:
    """Where a process runs: its variables beside those of every process, its folder, the interpreter's options."""

    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    options: tuple[str, ...] = ()
    app: Path = ROOT
    unprivileged: bool = False

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return subprocess.run(  # noqa: S603  our own interpreter
            [*self._prefix(), sys.executable, *self.options, *arguments],
            env=inherited | dict(self.environ) | environ,
            cwd=self.cwd,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
            timeout=600,  # a busy machine is no defect, and a process that hangs is one
            stdin=subprocess.DEVNULL,
        )

    def load(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Load the app as the worker does, and print the names of its functions."""
        return self.run("-c", _INDEX, str(self.app), **settings)

    def cli(self, verb: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `cart-checkout`."""
        return self.run("-m", "cli.main", verb, *arguments, **environ)

    def on(self, **environ: str) -> Machine:
        """The same machine with more variables."""
        return replace(self, environ={**self.environ, **environ})

    def _prefix(self) -> list[str]:
        if not self.unprivileged or os.geteuid():
            return []
        tool = shutil.which("setpriv")  # root may write everywhere, unless it gives that up
        if tool is None:
            pytest.skip("root cannot be kept from writing without setpriv, of util-linux")
        return [tool, "--bounding-set=-dac_override,-dac_read_search", "--"]


def functions(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The functions that were indexed. Fails, with what was printed, where the app did not load."""
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


@pytest.fixture
def machine() -> Machine:
    """A machine without anything special."""
    return Machine()


def new_app(folder: Path, host_json: str | bytes | None = None) -> Path:
    """An app in a folder of its own, with this host.json or without one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "function_app.py").symlink_to(ROOT / "function_app.py")
    (folder / "shared").symlink_to(ROOT / "shared")
    if host_json is not None:
        (folder / "host.json").write_bytes(host_json.encode() if isinstance(host_json, str) else host_json)
    return folder


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The last finding of each check of `doctor --json`."""
    assert "Traceback" not in done.stderr, done.stderr
    return {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}
