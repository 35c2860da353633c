"""The gradient norm of each layer, over the depth of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.viz.canvas import panels
from xpnet.viz.predicting import one_of
from xpnet.viz.style import PALETTE, TEXT, despine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_flow"]

_TIMES = {"first tenth of the steps": 0.3, "middle tenth": 0.6, "last tenth": 1.0}  # and how strong their lines are


def gradient_flow(flow: Any, ax: Any = None, *, layers: Sequence[str] | None = None) -> Figure:
    """Draw the norm of each layer's gradient over depth.

        gradient_flow(flow)                                 # at the beginning, in the middle and at the end of training
        gradient_flow({"sigmoid": deep, "ReLU": other})     # a line each, over the whole training

    Of one flow, each line is the median of a tenth of the steps. Of several, a line is the median of all steps, and the
    shade around it holds eight of ten. A line that falls towards the left is a gradient that vanishes in the backward
    pass; one that rises, explodes. Layers whose gradient is exactly 0 are marked at the bottom.

    Args:
        flow: a train.GradientFlow that has recorded steps, or several by name.
        ax: a matplotlib axes to draw on; a new figure by default.
        layers: which of the flows' layers, such as the convolutions alone; by default all.
    Returns: the matplotlib Figure.
    Raises:
        ConfigError: a flow has recorded no step or has no such layer (the message lists those it has), or matplotlib is
            not installed.
    """
    flows = dict(flow) if isinstance(flow, Mapping) else {"": flow}
    if not flows:
        raise ConfigError("gradient_flow", "at least one flow", flows="none")
    chosen: dict[str, tuple[Sequence[str], np.ndarray]] = {}
    layers = None if layers is None else arguments.items("gradient_flow", "layers", layers)
    for name, each in flows.items():
        if not hasattr(each, "norms"):
            rule = "flow, a train.GradientFlow, or several by name"
            raise ConfigError("gradient_flow", rule, flow=arguments.shown(each))
        norms = each.norms  # the copy to the host
        if not norms.size:
            do = "give it to a Trainer as a callback"
            raise ConfigError("gradient_flow", "a flow that has recorded a step", do, flow=repr(name), steps=0)
        names = [one_of("gradient_flow", n, each.layers, "the flow's layers") for n in layers or each.layers]
        chosen[name] = names, norms[:, [each.layers.index(n) for n in names]]
    deepest = max((names for names, _ in chosen.values()), key=len)
    crowded = len(deepest) > 8 or max(map(len, deepest)) > 10
    more = 0.06 * max(map(len, deepest)) if crowded else 0.0
    figure, axes = panels(ax, size=(min(9.0, 4.4 + 0.28 * len(deepest)), 3.8 + more))
    from matplotlib.patches import Patch

    ax = axes[0, 0]
    for number, (name, (_, norms)) in enumerate(chosen.items()):
        colour = PALETTE[number % len(PALETTE)]
        if isinstance(flow, Mapping):
            _draw_line(ax, np.median(norms, axis=0), color=colour, linewidth=1.8, label=name)
            low, high = (np.where(q > 0, q, np.nan) for q in np.quantile(norms, (0.1, 0.9), axis=0))
            ax.fill_between(np.arange(1, len(low) + 1), low, high, color=colour, alpha=0.15, linewidth=0)
        else:
            for (time, strength), row in zip(_TIMES.items(), _tenths(norms), strict=True):
                _draw_line(ax, row, color=colour, alpha=strength, linewidth=0.8 + strength, label=time)
    _labelled(ax, deepest, crowded)
    handles, texts = ax.get_legend_handles_labels()
    if isinstance(flow, Mapping):
        handles, texts = [*handles, Patch(color="0.5", alpha=0.25, linewidth=0)], [*texts, "eight of ten steps"]
    ax.legend(handles, texts, frameon=False, fontsize=TEXT)
    return figure


def _draw_line(ax: Any, row: np.ndarray, **line: Any) -> None:
    """Draw the norms (L,) of layers, those of 0 as marks at the bottom."""
    depth = np.arange(1, len(row) + 1)
    ax.plot(depth, np.where(row > 0, row, np.nan), marker=".", **line)
    if (row == 0).any():
        bottom = np.full((row == 0).sum(), 0.02)  # of the axes' height
        marks = {"color": line["color"], "alpha": line.get("alpha"), "transform": ax.get_xaxis_transform()}
        ax.plot(depth[row == 0], bottom, "v", **marks)


def _tenths(norms: np.ndarray) -> list[np.ndarray]:
    """The median over the first, the middle and the last tenth of the steps, of (S, L): three times (L,)."""
    steps = len(norms)
    some = -(-steps // 10)
    middle = (steps - some) // 2
    return [np.median(norms[start : start + some], axis=0) for start in (0, middle, steps - some)]


def _labelled(ax: Any, layers: Sequence[str], crowded: bool) -> None:
    """Label the axes and the layers."""
    drawn = np.concatenate([line.get_ydata() for line in ax.get_lines() if line.get_marker() == "."])
    drawn = np.concatenate([drawn, *(shade.get_datalim(ax.transData).intervaly for shade in ax.collections)])
    if np.isfinite(drawn).any():
        ax.set_yscale("log")
        low, high = np.nanmin(drawn) / 1.5, np.nanmax(drawn) * 1.5
        widen = max(1.0, (10 * low / high) ** 0.5)  # at least a decade
        ax.set_ylim(low / widen, high * widen)
    each = -(-len(layers) // 30)
    turned = {"rotation": 90} if crowded else {}
    ax.set_xticks(range(1, len(layers) + 1, each), layers[::each], fontsize=TEXT, **turned)
    ax.set_xlabel("layer, from the input to the output")
    ax.set_ylabel("norm of its gradient")
    despine(ax)
