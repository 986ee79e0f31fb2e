"""OpenTelemetry's settings, right or wrong, do not keep the app from loading, nor `doctor` from checking.

A platform sets OTEL_PROPAGATORS for all its apps, for example, and names a propagator that this app has no package for
(open-telemetry/opentelemetry-python#3250).
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import distributions
from typing import TYPE_CHECKING

import pytest

from tests.environments.conftest import FUNCTIONS, GOOD, ROOT, Machine, findings, functions

if TYPE_CHECKING:
    import subprocess

NONSENSE = "no such thing,, {=%"
EXPORT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
SWEEP = """
import json, os, sys, traceback
_, app, value, *names = sys.argv
sys.path.insert(0, app)
import azure.functions, shared.adapters.partner_center, shared.adapters.storage  # they load no OpenTelemetry
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
for number, name in enumerate(names):  # each in a copy of this process, which is quicker than a new one
    if number >= (os.cpu_count() or 1):
        os.wait()
    if not os.fork():
        os.environ[name] = value
        try:
            import function_app
            found = [function.get_function_name() for function in function_app.app.get_functions()]
        except BaseException:
            found = traceback.format_exc()[-500:]
        print(json.dumps([name, found]), flush=True)
        os._exit(0)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
HTTP_PROTOBUF = "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf"


@cache
def variables() -> list[str]:
    """Every variable that the installed packages of OpenTelemetry and of the Azure SDK define or read."""
    named = re.compile(r"""["'](OTEL_[A-Z0-9_]+|AZURE_(?:TRACING|SDK|LOG)_[A-Z0-9_]+)["']""")
    found: set[str] = set()
    for distribution in distributions():
        if re.match(r"opentelemetry-|azure-core$", distribution.metadata["Name"] or ""):
            sources = [file for file in distribution.files or [] if file.suffix == ".py"]
            found.update(*(named.findall(source.read_text(encoding="utf-8")) for source in sources))
    return sorted(found)


def loaded(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return Machine(GOOD | environ).load()


def test_the_variables_are_found() -> None:
    assert {"OTEL_PROPAGATORS", "OTEL_PYTHON_CONTEXT", "OTEL_PYTHON_TRACER_PROVIDER", "OTEL_TRACES_SAMPLER"} <= {
        *variables()
    }
    assert len(variables()) > 80


def test_nonsense_in_any_one_variable_of_an_app_that_exports_does_not_keep_the_app_from_loading() -> None:
    done = Machine(GOOD | EXPORT).run("-c", SWEEP, str(ROOT), NONSENSE, *variables())
    assert done.returncode == 0, done.stderr
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert dict.fromkeys(variables(), FUNCTIONS) == found


@pytest.mark.parametrize("export", [{}, EXPORT], ids=["not exported", "exported"])
def test_nonsense_in_all_variables_at_once_does_not_keep_the_app_from_loading(export: dict[str, str]) -> None:
    assert FUNCTIONS == functions(loaded(dict.fromkeys(variables(), NONSENSE) | export))


def test_nonsense_in_all_variables_does_not_keep_doctor_from_checking() -> None:
    machine = Machine(GOOD | dict.fromkeys(variables(), NONSENSE))
    done = machine.cli("doctor", "--json", "--skip", "storage", "--skip", "identity", "--skip", "service")
    assert {"settings", "host.threads"} <= findings(done).keys()


def test_a_propagator_that_is_not_installed_does_not_keep_the_app_from_loading() -> None:
    assert FUNCTIONS == functions(loaded({"OTEL_PROPAGATORS": "tracecontext,b3"}))


@pytest.mark.parametrize("protocol", [{}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}], ids=["default", "grpc"])
def test_an_exporter_that_is_not_installed_names_the_setting_that_asks_for_it(protocol: dict[str, str]) -> None:
    done = loaded({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **protocol})
    assert FUNCTIONS == functions(done)
    assert HTTP_PROTOBUF in done.stderr
    assert "it needs" not in done.stderr


def test_with_the_installed_exporter_another_wrong_setting_does_not_blame_the_protocol() -> None:
    done = loaded(EXPORT | {"OTEL_TRACES_EXPORTER": "nonsense"})
    assert FUNCTIONS == functions(done)
    assert "nothing is exported" in done.stderr
    assert HTTP_PROTOBUF not in done.stderr
