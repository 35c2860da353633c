"""How the cost of a step grows with the batch, as a picture for light and dark pages."""

from pathlib import Path
from typing import Any

from rows import Row
from tables import NAMES, fastest
from workloads import PYTORCH

# Okabe and Ito's colours, and a grey, of medium lightness: each stands out from white and from near-black
LINES = [
    (("xpnet",), "xpnet", "#0d86c8", "-"),
    (PYTORCH, "PyTorch", "#d55e00", "-"),
    (("floor",), "GEMM floor", "#808080", ":"),
]
INK = "#808080"


def draw_growth(rows: list[Row], path: Path) -> None:
    """Draw milliseconds a step over the batch: a column a number of cores, a row a model; SVG or PNG by the suffix."""
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["name"] for row in rows))
    counts = sorted({row["cores"] for row in rows})
    inked = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK)
    style: dict[Any, Any] = {"svg.fonttype": "path", "font.size": 10, "svg.hashsalt": "xpnet", **inked}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.4 * len(counts), 3.4 * len(names)), layout="constrained")
        grid = figure.subplots(len(names), len(counts), sharex="row", sharey="row", squeeze=False)
        for name, line in zip(names, grid, strict=True):
            for n, ax in zip(counts, line, strict=True):
                _panel(ax, [row for row in rows if (row["name"], row["cores"]) == (name, n)])
                ax.set_title(f"{NAMES[name]}, {n} core{'s' * (n > 1)}", color=INK, loc="left", fontsize=11)
            line[0].set_ylabel("ms a training step")
        for ax in grid[-1]:
            ax.set_xlabel("batch")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        meta = {"metadata": {"Date": None}} if path.suffix == ".svg" else {"dpi": 110}
        figure.savefig(path, transparent=True, **meta)


def _panel(ax: Any, rows: list[Row]) -> None:
    """Draw the lines of one model and number of cores."""
    batches = sorted({row["batch"] for row in rows})
    for libraries, name, colour, dash in LINES:
        points = [fastest({r["library"]: r for r in rows if r["batch"] == batch}, libraries) for batch in batches]
        times = [row["value"] if row else float("nan") for row in points]
        ax.plot(batches, times, dash, color=colour, label=name, linewidth=1.8, marker="o", markersize=3.5)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(batches, [str(batch) for batch in batches])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
