"""How cost grows, as a reader sees it: the README's table, and a picture for light and dark pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import about_line

TITLES = {"lenet5": "LeNet-5", "alexnet": "AlexNet"}
# Okabe and Ito's colours, and a grey, of middling lightness: each stands out from white and from near-black
LINES = [
    ("xpnet_ms", "xpnet", "#0d86c8", "-"),
    ("peer_ms", "PyTorch", "#d55e00", "-"),
    ("floor_ms", "GEMM floor", "#808080", ":"),
]
INK = "#808080"


def markdown(facts: dict[str, Any]) -> str:
    """Make the README's table: a line a model and batch, three columns a number of cores; then where series end."""
    counts = sorted({row["cores"] for row in facts["growth"]})
    heads = ["training step"]
    for n in counts:
        where = f"{n} core{'s' * (n > 1)}"
        heads += [f"xpnet, {where}", f"PyTorch, {where}", f"GEMM floor, {where}"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    rows = {(row["name"], row["batch"], row["cores"]): row for row in facts["growth"]}
    order = list(TITLES)
    for name, batch in sorted({key[:2] for key in rows}, key=lambda key: (order.index(key[0]), key[1])):
        cells = [f"{TITLES[name]}, batch {batch}"]
        for n in counts:
            row = rows.get((name, batch, n))
            cells += [f"{row[k]:.3g} ms" for k in ("xpnet_ms",)] if row else [""]
            cells += [f"{row['peer_ms']:.3g} ms, {row['ratio']:.2f}x", f"{row['floor_ms']:.3g} ms"] if row else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    rates = ", ".join(f"{n}: {rate:.0f}" for n, rate in facts["gemm_gflop_s"].items())
    where = [*facts["ended"], f"GFLOP/s of a large product, by cores: {rates}", about_line(facts)]
    return "\n".join([*lines, "", ". ".join(where)])


def draw(facts: dict[str, Any], path: Path) -> None:
    """Draw milliseconds a step over the batch: a column a number of cores, a row a model; SVG or PNG by the suffix."""
    import matplotlib
    from matplotlib.figure import Figure

    names = [name for name in TITLES if any(row["name"] == name for row in facts["growth"])]
    counts = sorted({row["cores"] for row in facts["growth"]})
    style: dict[Any, Any] = {
        "svg.fonttype": "path",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "svg.hashsalt": "xpnet",
    }
    style |= {"xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.4 * len(counts), 3.4 * len(names)), layout="constrained")
        grid = figure.subplots(len(names), len(counts), sharex="row", sharey="row", squeeze=False)
        for name, line in zip(names, grid, strict=True):
            for count, ax in zip(counts, line, strict=True):
                rows = [row for row in facts["growth"] if (row["name"], row["cores"]) == (name, count)]
                _lines(ax, sorted(rows, key=lambda row: row["batch"]))
                ax.set_title(f"{TITLES[name]}, {count} core{'s' * (count > 1)}", color=INK, loc="left", fontsize=11)
            line[0].set_ylabel("ms a training step")
        for ax in grid[-1]:
            ax.set_xlabel("batch")
        figure.draw_without_rendering()  # so that all is in its place
        for ax in grid.flat:
            _names(ax)
        meta = {"metadata": {"Date": None}} if path.suffix == ".svg" else {"dpi": 110}
        figure.savefig(path, transparent=True, **meta)


def _lines(ax: Any, rows: list[dict[str, Any]]) -> None:
    """Draw the lines of one panel."""
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    batches = [row["batch"] for row in rows]
    for key, name, colour, dash in LINES:
        times = [row[key] for row in rows]
        solid = {"linewidth": 2.0, "marker": "o", "markersize": 3.5} if dash == "-" else {"linewidth": 1.6}
        ax.plot(batches, times, dash, color=colour, label=name, **solid)
    ax.set_xticks(batches, [str(batch) for batch in batches])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)


def _names(ax: Any) -> None:
    """Write each line's name beside its end; names that would lie upon one another are moved apart."""
    ends = [(line.get_xydata()[-1], line) for line in ax.lines if len(line.get_xydata())]
    lowest = -float("inf")
    for end, line in sorted(ends, key=lambda pair: pair[0][1]):
        y = ax.transData.transform(end)[1] * 72 / ax.figure.dpi  # in points of the page
        lowest = max(y, lowest + 12)
        style: dict[Any, Any] = {"color": line.get_color(), "va": "center", "annotation_clip": False}
        ax.annotate(line.get_label(), end, (6, lowest - y), textcoords="offset points", **style)
