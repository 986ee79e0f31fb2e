"""Every environment with every use: the app is loaded, and the operator's first commands work.

One process for each pair. They run side by side, since each mostly waits for its imports.
"""

from __future__ import annotations

import codecs
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from local.simulator.server import Simulator
from tests.conftest import new_storage
from tests.environments.conftest import FUNCTIONS, ROOT, Machine, functions, new_app

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local.azurite import Azurite

    Done = subprocess.CompletedProcess[str]

REQUEST_ID = "größe-1"
CART = {"customerId": "c0ffee00-1111-4222-8333-444444444444", "requestId": REQUEST_ID}
NOWHERE = "http://127.0.0.1:9"
PROXY = {name: NOWHERE for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())}
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PLAIN = "no proxy"


def with_netrc(machine: Machine, folder: Path) -> Machine:
    (folder / ".netrc").write_text("default login somebody password of-something-else\n")
    (folder / ".netrc").chmod(0o600)
    return machine.on(HOME=str(folder), NETRC=str(folder / ".netrc"))


def with_byte_order_marks(machine: Machine, folder: Path) -> Machine:
    settings = (folder / "settings.json").read_text(encoding="utf-8")
    (folder / "settings.json").write_bytes(codecs.BOM_UTF8 + b"// written by hand\n" + settings.encode())
    host_json = codecs.BOM_UTF8 + (ROOT / "host.json").read_bytes()
    return replace(machine, app=new_app(folder / "app", host_json))


def read_only(machine: Machine, folder: Path) -> Machine:
    app = new_app(folder / "app", (ROOT / "host.json").read_bytes())
    app.chmod(0o555)
    return replace(machine, app=app, cwd=app, unprivileged=True)


ENVIRONMENTS: dict[str, Callable[[Machine, Path], Machine]] = {
    PLAIN: lambda machine, _: machine,
    "proxy": lambda machine, _: machine.on(**PROXY),
    ".netrc": with_netrc,
    "b3": lambda machine, _: machine.on(OTEL_PROPAGATORS="tracecontext,b3"),
    "ascii terminal": lambda machine, _: machine.on(**ASCII),
    "BOM files": with_byte_order_marks,
    "other cwd": lambda machine, folder: replace(machine, cwd=folder),
    "read-only app folder": read_only,
    "python -I": lambda machine, _: replace(machine, options=("-I",)),
}
VERBS = ["load", "doctor", "send", "status"]


@pytest.fixture(scope="module")
def done(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Done]]:
    """What each process printed, by environment and verb."""
    with new_storage(azurite) as storage, Simulator() as simulator, ThreadPoolExecutor(os.cpu_count()) as pool:
        values = storage.environ | simulator.environment() | {"PYTHON_THREADPOOL_THREAD_COUNT": "32"}

        def run(environment: str, verb: str) -> Done:
            folder = tmp_path_factory.mktemp("environment")
            (folder / "settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
            machine = ENVIRONMENTS[environment](Machine(), folder)
            if verb == "load":
                return machine.load(**values)
            more: list[str] = []
            if verb == "send":
                (folder / "carts.jsonl").write_text(json.dumps(CART | {"cartId": str(uuid.uuid4())}) + "\n")
                more = ["--from", str(folder / "carts.jsonl")]
            return machine.cli(verb, "--settings", str(folder / "settings.json"), *more)

        pairs = [*product(ENVIRONMENTS, VERBS)]
        yield dict(zip(pairs, pool.map(lambda pair: run(*pair), pairs), strict=True))


@pytest.mark.parametrize(
    ("environment", "verb"),
    [pytest.param(*pair, id=", ".join(pair)) for pair in product(ENVIRONMENTS, VERBS)],
)
def test_it_works(environment: str, verb: str, done: dict[tuple[str, str], Done]) -> None:
    process = done[environment, verb]
    assert "Traceback" not in process.stderr, process.stderr
    assert process.returncode == 0, process.stdout + process.stderr
    if verb == "load":
        assert functions(process) == FUNCTIONS
    if verb == "doctor":
        assert "Nothing failed." in process.stdout
