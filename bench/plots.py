"""The plot of docs/benchmarks.md, as SVG."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench import ROOT
from bench.quartiles import Quartiles
from bench.targets import column

if TYPE_CHECKING:
    from bench.results import BenchmarkRun

FILE = ROOT / "docs" / "plots" / "competitors.svg"
_TITLES = {"baseline": "the baseline", "ours": "this function", "celery": "Celery"}
_COLOURS = {"baseline": "#9aa5b1", "ours": "#1f6feb", "celery": "#d29922"}
_STYLE = {
    "svg.hashsalt": "bench",  # the same picture is the same file
    "svg.fonttype": "none",  # text stays text: a quarter of the size
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def competitors(run: BenchmarkRun) -> None:
    """Draw carts per second, CPU and memory of the baseline, this function and Celery: medians and quartiles."""
    panels = (("carts_per_second", "carts per second"), ("cpu_ms", "CPU ms per cart"), ("peak_mib", "peak memory, MiB"))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9))
        for axis, (name, label) in zip(axes, panels, strict=True):
            for place, (who, title) in enumerate(_TITLES.items()):
                values = Quartiles.of(column(run.measurements, f"busy_5ms/{who}", name))
                errors = [[values.median - values.low], [values.high - values.median]]
                axis.bar(place, values.median, yerr=errors, color=_COLOURS[who], width=0.6, capsize=3, label=title)
                axis.text(place, values.median * 0.5, f"{values.median:.3g}", ha="center", color="white")
            axis.set_xticks(range(len(_TITLES)), list(_TITLES.values()), fontsize=8)
            axis.set_title(label, fontsize=9)
        caption = (
            "32 in flight, 0.2 s latency of the service, 5 ms of storage, on the stub. "
            f"{run.command}, {run.date}, rounds: {run.rounds}, {run.machine}"
        )
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        figure.text(0.01, 0.01, caption, fontsize=6.5, color="#57606a")
        figure.savefig(FILE, metadata={"Date": None})
        plt.close(figure)
