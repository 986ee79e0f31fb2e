"""From measurements to the table: medians and quartiles, targets, the exit code, the files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import __main__ as program
from bench import report, table, targets
from bench.quartiles import Quartiles, ratios
from bench.results import BenchmarkRun, machine
from bench.targets import BenchmarkTarget, Comparison

if TYPE_CHECKING:
    from pathlib import Path


def run_of(**measurements: list[dict[str, float]]) -> BenchmarkRun:
    named = {name.replace("__", "/"): found for name, found in measurements.items()}
    return BenchmarkRun("2026-11-23", "make bench", "a machine", "3.11.7", {"requests": "2"}, 3, False, 6, named)


BUSY = {"carts_per_second": 100.0, "cpu_ms": 9.0, "peak_mib": 66.0}
MET = run_of(busy__ours=[BUSY] * 3, busy__baseline=[{**BUSY, "cpu_ms": 8.0}] * 3)
MISSED = run_of(busy__ours=[BUSY] * 3, busy__baseline=[{**BUSY, "cpu_ms": 6.0}] * 3)


def test_the_quartiles_are_those_of_the_sorted_values() -> None:
    assert Quartiles.of([5, 1, 3, 2, 4]) == Quartiles(2, 3, 4, 5)
    assert Quartiles.of([1, 2]).median == 1.5
    assert Quartiles.of([7]) == Quartiles(7, 7, 7, 1)
    with pytest.raises(ValueError, match="no values"):
        Quartiles.of([])


def test_ratios_are_taken_round_by_round_so_that_a_slow_round_cancels_out() -> None:
    assert ratios([9, 18, 9], [8, 16, 8]) == [1.125] * 3
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("comparison", "limit", "met", "missed"),
    [
        (Comparison.AT_MOST, 1.25, 1.25, 1.26),
        (Comparison.AT_LEAST, 0.92, 0.92, 0.91),
        (Comparison.BELOW, 1, 0.99, 1),
        (Comparison.WITHIN, 0.1, 0.9, 0.89),
        (Comparison.WITHIN, 0.1, 1.1, 1.11),
    ],
)
def test_a_target_is_met_exactly_at_its_limit(comparison: Comparison, limit: float, met: float, missed: float) -> None:
    target = BenchmarkTarget("a target", lambda _: (), comparison, limit)
    assert target.is_met(met)
    assert not target.is_met(missed)


def test_the_ideal_is_what_32_in_flight_could_do_if_only_the_service_took_time() -> None:
    run = run_of(two_seconds__ours=[{"carts_per_second": 15.2, "latency": 2.0}])
    (result,) = targets.evaluate(targets.targets(6), run.measurements)
    assert result.quartiles.median == pytest.approx(0.95)
    assert result.is_met


def test_a_leak_misses_the_target_even_if_the_allocator_hides_it() -> None:
    found = {"few_mib": 68.0, "many_mib": 70.0, "few_live": 280_000.0, "many_live": 329_000.0}
    memory, live = targets.evaluate(targets.targets(6), run_of(growth__ours=[found]).measurements)
    assert (memory.is_met, live.is_met) == (True, False)


def test_the_tutorials_target_follows_from_its_threads() -> None:
    by_threads = {
        threads: next(each.limit for each in targets.targets(threads) if each.name == "carts/s at 1 s, ours : tutorial")
        for threads in (5, 6, 32)
    }
    assert by_threads == {5: pytest.approx(5.76), 6: pytest.approx(4.8), 32: pytest.approx(0.9)}


def test_the_program_ends_with_0_when_every_target_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.print_results(MET) == 0
    printed = capsys.readouterr().out
    assert "CPU per checkout, ours : baseline  ≤ 1.25  1.12" in " ".join(printed.split()).replace(" ≤", "  ≤").replace(
        " 1.12", "  1.12"
    )
    assert printed.endswith("All targets are met.\n")


def test_the_program_ends_with_1_when_a_target_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.print_results(MISSED) == 1
    printed = capsys.readouterr().out
    assert "no" in printed.split("1.50 to 1.50")[1].split("\n")[0]
    assert printed.endswith("1 targets are missed.\n")


def test_an_aim_that_is_missed_is_shown_and_fails_nothing() -> None:
    aim = BenchmarkTarget("an aim", lambda _: [200.0], Comparison.AT_MOST, 150, "ms", aim=True)
    (result,) = targets.evaluate([aim], {})
    assert "| an aim | aim: ≤ 150 ms | 200 ms |  | no |" in table.markdown_results([result])
    assert not result.fails_run


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    MET.write(file)
    assert BenchmarkRun.read(file) == MET
    replace(MET, rounds=5).write(file)
    assert BenchmarkRun.read(file).rounds == 5


def test_the_machine_is_named() -> None:
    assert "cores" in machine()


def test_the_report_replaces_its_own_parts_and_nothing_else() -> None:
    page = "# A\n\n<!-- run -->\n{}\n<!-- /run -->\n\nby a person\n"
    assert report.replace_section(page.format("old\nlines"), "run", r"new \1") == page.format(r"new \1")
    with pytest.raises(ValueError, match="no part called other"):
        report.replace_section(page, "other", "")


def test_the_report_names_the_command_the_date_and_the_machine() -> None:
    text = report.provenance(MET)
    assert text.startswith("`make bench`, 2026-11-23, rounds: 3, a machine, Python 3.11.7; requests 2")
    assert "| `busy/ours` | 100.0 | 9.0 | 66 |" in report.competitors(MET)


def test_the_page_has_every_target_and_shows_what_is_missed() -> None:
    row = "| CPU per checkout, ours : baseline | ≤ 1.25 | 1.50 | 1.50 to 1.50 | **no** |"
    assert row in report.sections(MISSED)["targets"]


def test_the_page_says_what_the_committed_run_measured() -> None:
    page = report.BENCHMARKS.read_text(encoding="utf-8")
    for name, made in report.sections(BenchmarkRun.read()).items():
        assert report.replace_section(page, name, made) == page, f"{name}: run python -m bench.report"
