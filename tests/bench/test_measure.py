"""The competitors run on the stub, each in a process of its own, and are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import ROOT, backend_limit, measure
from bench.backend import Backend, MeasurementFailed
from bench.competitor import BASELINE, OURS, TUTORIAL, Competitor, before
from bench.measure import Workload
from local.process import ProcessFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def stub() -> Iterator[Backend]:
    with Backend() as backend:
        yield backend


@pytest.mark.parametrize("competitor", [BASELINE, OURS, TUTORIAL], ids=lambda each: each.name)
def test_a_competitor_checks_carts_out_and_reports_what_it_used(stub: Backend, competitor: Competitor) -> None:
    found = measure.window(stub, competitor, Workload(0.0, warm_up=8, carts=16))
    assert found["latency"] == 0.0
    assert found["carts_per_second"] > 0
    assert 0 < found["cpu_ms"] < 1_000
    assert 10 < found["rss_mib"] <= found["peak_mib"] < 1_000


@pytest.mark.parametrize("competitor", [BASELINE, OURS], ids=lambda each: each.name)
def test_each_call_is_timed_with_one_in_flight_and_has_six_transactions(stub: Backend, competitor: Competitor) -> None:
    found = measure.one_by_one(stub, competitor, 21)
    assert 0 < found["warm_ms"] < 10_000
    assert round(found["stub_transactions"]) == 6  # receive, GET, the entry, the record, the outcome, delete


def test_another_version_is_run_in_its_own_folder(stub: Backend, tmp_path: Path) -> None:
    found = measure.window(stub, before(ROOT), Workload(0.0, warm_up=8, carts=16))
    assert found["carts_per_second"] > 0
    with pytest.raises(ProcessFailed, match="No module named"):
        measure.window(stub, before(tmp_path), Workload(0.0, warm_up=8, carts=16))


def test_memory_and_live_objects_are_measured_early_and_late(stub: Backend) -> None:
    found = measure.growth(stub, OURS, 20, 60)
    assert 10 < found["few_mib"] <= found["many_mib"] < 1_000
    assert 100_000 < found["few_live"] < 2 * found["many_live"]


def test_a_competitor_is_measured_over_tls() -> None:
    with Backend(tls=True) as backend:
        found = measure.window(backend, OURS, Workload(0.0, warm_up=8, carts=16))
    assert found["carts_per_second"] > 0


def test_the_import_is_measured_in_a_process_of_its_own_and_not_its_compilation(
    stub: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))  # where nothing is compiled yet
    found = measure.imports(stub, times=1)
    assert 0 < found["seven_cpu_ms"] < 60_000
    assert 10 < found["seven_peak"] < found["ours_peak"] < 1_000
    with pytest.raises(MeasurementFailed, match="No module named"):
        measure.imported("import absent_module", stub)


def test_the_limit_of_a_back_end_is_found_by_whole_carts(stub: Backend) -> None:
    assert backend_limit.measure(stub, 16)["carts_per_second"] > 0


def test_a_program_that_does_not_start_is_reported_with_its_last_output(stub: Backend, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit('out of order')", encoding="utf-8")
    broken = Competitor("broken", ("broken",), settings={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(ProcessFailed, match="out of order"):
        measure.window(stub, broken, Workload(0.0, warm_up=1, carts=1))
