"""From measurements to the table: medians and quartiles, targets, the exit code, the files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import __main__ as program
from bench import figures, report, table
from bench.figures import Bound, Figure
from bench.results import Run, machine
from bench.spread import Spread, ratios

if TYPE_CHECKING:
    from pathlib import Path


def run_of(**measurements: list[dict[str, float]]) -> Run:
    named = {name.replace("__", "/"): found for name, found in measurements.items()}
    return Run("2026-11-23", "make bench", "a machine", "3.11.7", {"requests": "2"}, 3, False, 6, named)


BUSY = {"carts_per_second": 100.0, "cpu_ms": 9.0, "peak_mib": 66.0}
MET = run_of(busy__ours=[BUSY] * 3, busy__limit=[{**BUSY, "cpu_ms": 8.0}] * 3)
MISSED = run_of(busy__ours=[BUSY] * 3, busy__limit=[{**BUSY, "cpu_ms": 6.0}] * 3)


def test_the_quartiles_are_those_of_the_sorted_values() -> None:
    assert Spread.of([5, 1, 3, 2, 4]) == Spread(2, 3, 4, 5)
    assert Spread.of([1, 2]).median == 1.5
    assert Spread.of([7]) == Spread(7, 7, 7, 1)
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_ratios_are_taken_round_by_round_so_that_a_slow_round_cancels_out() -> None:
    assert ratios([9, 18, 9], [8, 16, 8]) == [1.125] * 3
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("bound", "target", "met", "missed"),
    [
        (Bound.AT_MOST, 1.25, 1.25, 1.26),
        (Bound.AT_LEAST, 0.92, 0.92, 0.91),
        (Bound.BELOW, 1, 0.99, 1),
        (Bound.WITHIN, 0.1, 0.9, 0.89),
        (Bound.WITHIN, 0.1, 1.1, 1.11),
    ],
)
def test_a_target_is_met_up_to_its_very_value(bound: Bound, target: float, met: float, missed: float) -> None:
    figure = Figure("a figure", lambda _: (), bound, target)
    assert figures.judge(figure, met) is True
    assert figures.judge(figure, missed) is False


def test_a_figure_without_a_target_is_neither_met_nor_missed() -> None:
    assert figures.judge(Figure("a figure", lambda _: ()), 1.0) is None


def test_the_ideal_is_what_32_in_flight_could_do_if_only_the_service_took_time() -> None:
    run = run_of(two_seconds__ours=[{"carts_per_second": 15.2, "latency": 2.0}])
    (row,) = figures.rows(figures.figures(6), run.measurements)
    assert row.spread.median == pytest.approx(0.95)
    assert row.met


def test_a_leak_is_missed_though_the_allocator_hides_it() -> None:
    found = {"few_mib": 68.0, "many_mib": 70.0, "few_live": 280_000.0, "many_live": 329_000.0}
    memory, live = figures.rows(figures.figures(6), run_of(growth__ours=[found]).measurements)
    assert (memory.met, live.met) == (True, False)


def test_the_tutorials_target_follows_from_its_threads() -> None:
    by_threads = {
        threads: next(
            each.target for each in figures.figures(threads) if each.name == "carts/s at 1 s, ours : tutorial"
        )
        for threads in (5, 6, 32)
    }
    assert by_threads == {5: pytest.approx(5.76), 6: pytest.approx(4.8), 32: pytest.approx(0.9)}


def test_the_program_ends_with_0_when_every_target_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.verdict(MET) == 0
    said = capsys.readouterr().out
    assert "CPU per checkout, ours : limit  ≤ 1.25  1.12" in " ".join(said.split()).replace(" ≤", "  ≤").replace(
        " 1.12", "  1.12"
    )
    assert said.endswith("All targets are met.\n")


def test_the_program_ends_with_1_when_a_target_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.verdict(MISSED) == 1
    said = capsys.readouterr().out
    assert "no" in said.split("1.50 to 1.50")[1].split("\n")[0]
    assert said.endswith("1 targets are missed.\n")


def test_an_aim_that_is_missed_is_shown_and_fails_nothing() -> None:
    aim = Figure("an aim", lambda _: [200.0], Bound.AT_MOST, 150, "ms", aim=True)
    rows = figures.rows([aim], {})
    assert "| an aim | aim: ≤ 150 ms | 200 ms |  | no |" in table.markdown(rows)
    assert table.missed(rows) == 0


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    MET.write(file)
    assert Run.read(file) == MET
    replace(MET, rounds=5).write(file)
    assert Run.read(file).rounds == 5


def test_the_machine_is_named() -> None:
    assert "cores" in machine()


def test_the_report_replaces_its_own_parts_and_nothing_else() -> None:
    page = "# A\n\n<!-- run -->\nold\nlines\n<!-- /run -->\n\nby a person\n"
    assert report.replaced(page, "run", r"new \1") == "# A\n\n<!-- run -->\nnew \\1\n<!-- /run -->\n\nby a person\n"
    with pytest.raises(ValueError, match="no part called other"):
        report.replaced(page, "other", "")


def test_the_report_names_the_command_the_date_and_the_machine() -> None:
    told = report.provenance(MET)
    assert told.startswith("`make bench`, 2026-11-23, rounds: 3, a machine, Python 3.11.7; requests 2")
    assert "| `busy/ours` | 100.0 | 9.0 | 66 |" in report.competitors(MET)


def test_runs_are_compared_figure_by_figure() -> None:
    less = run_of(busy__ours=[BUSY])
    told = report.repeated([MET, MISSED, less])
    assert "| CPU per checkout, ours : limit | 1.12 | 1.50 |  | 33% |" in told
    assert told.endswith("`make bench`, 3 rounds; all on a machine.")


def test_the_documents_tell_what_the_committed_run_measured() -> None:
    run = Run.read()
    page = report.BENCHMARKS.read_text(encoding="utf-8")
    for name, made in report.sections(run, report.repeats()).items():
        assert report.replaced(page, name, made) == page, f"{name}: run python -m bench.report"


def test_the_readmes_table_has_every_target_and_shows_what_is_missed() -> None:
    assert "| CPU per checkout, ours : limit | ≤ 1.25 | 1.50 (**no**) |" in report.short(MISSED)
    assert report.short(MISSED).endswith("`make bench`, 2026-11-23, a machine, Python 3.11.7.")
    page = report.README.read_text(encoding="utf-8")
    if "<!-- bench -->" in page:
        assert report.replaced(page, "bench", report.short(Run.read())) == page, "run python -m bench.report"
