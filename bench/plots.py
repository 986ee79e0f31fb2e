"""The plots of the documents, as SVG: what competes with what, and what the simulations say."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.figures import column
from bench.spread import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.results import Run
    from bench.studies import FleetStudy

FOLDER = Path(__file__).parent.parent / "docs" / "plots"
_WHO = {"limit": "the limit", "ours": "this function", "celery": "Celery"}
_COLOURS = {"limit": "#9aa5b1", "ours": "#1f6feb", "celery": "#d29922"}
_LOOK = {
    "svg.hashsalt": "bench",  # the same picture is the same file
    "svg.fonttype": "none",  # text stays text: a quarter of the size
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def competitors(run: Run) -> Path:
    """Carts per second, CPU and memory of the limit, this function and Celery: medians, and quartiles as bars."""
    panels = (("carts_per_second", "carts per second"), ("cpu_ms", "CPU ms per cart"), ("peak_mib", "peak memory, MiB"))
    with plt.rc_context(_LOOK):
        drawn, axes = plt.subplots(1, 3, figsize=(8.4, 2.9))
        for axis, (name, label) in zip(axes, panels, strict=True):
            for place, (who, title) in enumerate(_WHO.items()):
                spread = Spread.of(column(run.measurements, f"busy_5ms/{who}", name))
                around = [[spread.median - spread.low], [spread.high - spread.median]]
                axis.bar(place, spread.median, yerr=around, color=_COLOURS[who], width=0.6, capsize=3, label=title)
                axis.text(place, spread.median * 0.5, f"{spread.median:.3g}", ha="center", color="white")
            axis.set_xticks(range(len(_WHO)), list(_WHO.values()), fontsize=8)
            axis.set_title(label, fontsize=9)
        _caption(
            drawn,
            "32 in flight, 0.2 s latency of the service, 5 ms of storage, on the stub. "
            f"{run.command}, {run.date}, rounds: {run.rounds}, {run.machine}",
        )
        return _save(drawn, "competitors.svg")


def fleet(study: FleetStudy) -> Path:
    """Queue delay and wasted calls by the number of instances, with and without the throttle gate."""
    with plt.rc_context(_LOOK):
        drawn, (delays, wasted) = plt.subplots(1, 2, figsize=(8.4, 3.2))
        for gate, colour, name in ((True, "#1f6feb", "with the gate"), (False, "#d29922", "without it")):
            of_it = [point for point in study.points if point.gate is gate]
            x = [point.instances for point in of_it]
            delays.plot(x, [point.median / 60 for point in of_it], color=colour, marker=".", label=f"{name}, median")
            delays.plot(x, [point.p95 / 60 for point in of_it], color=colour, ls=":", marker=".", label=f"{name}, 95 %")
            wasted.plot(x, [point.wasted for point in of_it], color=colour, marker=".", label=name)
        for axis, label in ((delays, "queue delay, minutes"), (wasted, "calls answered with 429, per cart")):
            axis.axvline(study.enough, color="#9aa5b1", lw=0.8)
            axis.set_xscale("log")
            axis.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
            axis.set_ylim(bottom=0)
            axis.set_xlabel("instances")
            axis.set_title(label, fontsize=9)
            axis.legend(frameon=False, fontsize=8)
        _caption(drawn, f"{study.about}. Simulated: python -m bench.report")
        return _save(drawn, "fleet.svg")


def slots(uses: Sequence[tuple[str, float, float]]) -> Path:
    """Slot use by batchSize/newBatchThreshold, for a constant and for a lognormal latency."""
    with plt.rc_context(_LOOK):
        drawn, axis = plt.subplots(figsize=(6.4, 2.9))
        places = range(len(uses))
        axis.bar([place - 0.2 for place in places], [each[1] for each in uses], 0.4, color="#9aa5b1", label="constant")
        axis.bar([place + 0.2 for place in places], [each[2] for each in uses], 0.4, color="#1f6feb", label="lognormal")
        axis.set_xticks(list(places), [each[0] for each in uses])
        axis.set_xlabel("batchSize/newBatchThreshold")
        axis.set_title("share of 32 slots in use, by the service's latency", fontsize=9)
        axis.set_ylim(0, 1.2)
        axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
        _caption(drawn, "Mean latency 2 s, sigma 0.5. Simulated: python -m bench.report")
        return _save(drawn, "slots.svg")


def _caption(drawn: plt.Figure, text: str) -> None:
    drawn.tight_layout(rect=(0, 0.05, 1, 1))
    drawn.text(0.01, 0.01, text, fontsize=6.5, color="#57606a")


def _save(drawn: plt.Figure, name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / name
    drawn.savefig(file, metadata={"Date": None})
    plt.close(drawn)
    return file
