"""Growth of the costs of loss and NMS with batch, anchors, objects, classes and candidates.

    python benchmarks/growth.py                   sizes that suit the device
    python benchmarks/growth.py --baseline torch  beside PyTorch, which must be installed

One size is varied at a time, the others are constant. The methods are those of `loss.py` and `nms.py`. Results are
written to `growth.json` and drawn in `growth.png`; bands reach from the fastest to the slowest repeat.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import tyro
from baselines.torch_process import BaselineName, TorchBaseline, open_baseline
from inputs import apart, boxes_and_scores, random_predictions
from loss import LOSSES, METHODS, TORCH_METHODS, loss_calls
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from nms import MAX_CANDIDATES, nms_calls
from timing import OUTPUT, Call, Row, Timing, measure, report

from jaxssd import make_anchors
from jaxssd.viz.style import BLUE, DPI, GREEN, ORANGE, VERMILION, save

Sizes = dict[str, int]
BASE: Sizes = {"batch": 8, "anchors": 189, "objects": 16, "classes": 20, "candidates": MAX_CANDIDATES}
VARIED = {
    "loss": ("batch", "anchors", "objects", "classes"),
    "NMS": ("batch", "anchors", "classes", "candidates"),
}
VALUES = {
    "batch": (1, 4, 16, 64),
    "anchors": (45, 189, 765, 3069),
    "objects": (1, 4, 16, 64),
    "classes": (2, 20, 80, 320),
    "candidates": (50, 200, 800),
}
LARGER = {"batch": (256, 1024), "anchors": (12285,), "candidates": (1600,)}
"""More values, for a GPU or TPU."""
COLORS = dict(zip(METHODS + TORCH_METHODS, (BLUE, GREEN, ORANGE, VERMILION, "black"), strict=True))


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    seconds: float = 0.2
    """Seconds to repeat each measurement; at least five repeats are taken."""
    baseline: BaselineName | None = None
    """Baseline to measure in the same run: `torch` is PyTorch."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report, draw."""
    command = tyro.cli(Command, prog="benchmarks/growth.py", description=__doc__, args=arguments)
    with open_baseline(command.baseline) as baseline:
        larger = {} if jax.default_backend() == "cpu" else LARGER
        rows: list[Row] = []
        for function, names in VARIED.items():
            for name in names:
                for value in VALUES[name] + larger.get(name, ()):
                    times = measure(calls_of(function, BASE | {name: value}, baseline), seconds=command.seconds)
                    blank = dict.fromkeys(METHODS + (TORCH_METHODS if baseline else ()))
                    rows.append({"function": function, "varied": name, "value": str(value)} | blank | times)
                    if baseline:
                        baseline.forget()
        about = ", ".join(f"{value} {name}" for name, value in BASE.items() if name != "batch")
        title = f"one size varied at a time, the others: a batch of {BASE['batch']}, {about}"
        report("growth", title, rows, baseline.about if baseline else None)
    save(growth_figure(rows, f"{title}, on {jax.devices()[0].device_kind}"), OUTPUT / "growth.png")
    print(f"\nfigure {OUTPUT / 'growth.png'}")


def calls_of(function: str, sizes: Sizes, baseline: TorchBaseline | None) -> dict[str, Call]:
    """All methods that compute a function, at these sizes."""
    anchors = apart(make_anchors(grids_with(sizes["anchors"])))
    counts = {"num_objects": sizes["objects"], "num_classes": sizes["classes"]}
    batch = random_predictions(anchors, sizes["batch"], **counts)
    if function == "loss":
        return loss_calls(anchors, LOSSES["focal"], batch, baseline)
    return nms_calls(boxes_and_scores(anchors, *batch), baseline, sizes["candidates"])


def grids_with(num_anchors: int) -> list[int]:
    """Grids that halve down to one cell, with nine anchors a cell and this many in all.

    Raises:
        ValueError: if no such grids exist.
    """
    grids = [1]
    while 9 * sum(grid**2 for grid in grids) < num_anchors:
        grids.insert(0, 2 * grids[0])
    if 9 * sum(grid**2 for grid in grids) != num_anchors:
        raise ValueError(f"no such grids have {num_anchors} anchors")
    return grids


def growth_figure(rows: Sequence[Row], title: str) -> Figure:
    """Figure with a row of panels for each function, a panel for each varied size, a line for each method."""
    figure = Figure(figsize=(13, 6.6), dpi=DPI, layout="constrained")
    columns = max(map(len, VARIED.values()))
    grid = figure.subplots(len(VARIED), columns, sharey="row", squeeze=False)
    for axes, (function, names) in zip(grid, VARIED.items(), strict=True):
        for ax, name in zip(axes, names, strict=True):
            draw_panel(ax, [row for row in rows if (row["function"], row["varied"]) == (function, name)])
            ax.set(xlabel=name)
        axes[0].set(ylabel=f"{function}, ms a batch")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_panel(ax: Axes, rows: Sequence[Row]) -> None:
    """Draw times in milliseconds; both axes are logarithmic."""
    sizes = [int(str(row["value"])) for row in rows]
    for method, color in COLORS.items():
        timings = [timing for row in rows if isinstance(timing := row.get(method), Timing)]
        if timings:
            fastest, median, slowest = (
                [1e3 * getattr(timing, name) for timing in timings] for name in ("fastest", "median", "slowest")
            )
            ax.plot(sizes, median, "o-", color=color, markersize=4, label=method)
            ax.fill_between(sizes, fastest, slowest, color=color, alpha=0.12, linewidth=0)
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(sys.argv[1:])
