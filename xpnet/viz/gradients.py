"""The gradient norm of each layer, over the depth of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.viz.canvas import PALETTE, panels
from xpnet.viz.predicting import one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_flow"]

_TIMES = {"first tenth of the steps": 0.3, "middle tenth": 0.6, "last tenth": 1.0}  # and how strong their lines are


def gradient_flow(flow: Any, ax: Any = None, *, layers: Sequence[str] | None = None) -> Figure:
    """Draw the norm of each layer's gradient over depth, at the beginning, in the middle and at the end of training.

        gradient_flow(flow)
        gradient_flow({"sigmoid": deep, "ReLU": other})

    Each line is the median of a tenth of the steps. A line that falls towards the left is a gradient that vanishes in
    the backward pass; one that rises, explodes. Layers whose gradient is exactly 0 are marked at the bottom.

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
    ax = axes[0, 0]
    for number, (name, (_, norms)) in enumerate(chosen.items()):
        colour = PALETTE[number % len(PALETTE)]
        for (time, strength), row in zip(_TIMES.items(), _tenths(norms), strict=True):
            depth = np.arange(1, len(row) + 1)
            label = (name if strength == 1.0 else None) if name else time
            line = {"color": colour, "alpha": strength, "marker": ".", "linewidth": 0.8 + strength}
            ax.plot(depth, np.where(row > 0, row, np.nan), label=label, **line)
            if (row == 0).any():
                bottom = np.full((row == 0).sum(), 0.02)  # of the axes' height
                ax.plot(depth[row == 0], bottom, "v", color=colour, alpha=strength, transform=ax.get_xaxis_transform())
    _labelled(ax, deepest, crowded, "" not in flows)
    return figure


def _tenths(norms: np.ndarray) -> list[np.ndarray]:
    """The median over the first, the middle and the last tenth of the steps, of (S, L): three times (L,)."""
    steps = len(norms)
    some = -(-steps // 10)
    middle = (steps - some) // 2
    return [np.median(norms[start : start + some], axis=0) for start in (0, middle, steps - some)]


def _labelled(ax: Any, layers: Sequence[str], crowded: bool, named: bool) -> None:
    """Label the axes and the layers, and draw the legend."""
    from matplotlib.lines import Line2D

    drawn = np.concatenate([line.get_ydata() for line in ax.get_lines() if line.get_marker() == "."])
    if np.isfinite(drawn).any():
        ax.set_yscale("log")
        low, high = np.nanmin(drawn) / 1.5, np.nanmax(drawn) * 1.5
        widen = max(1.0, (10 * low / high) ** 0.5)  # at least a decade
        ax.set_ylim(low / widen, high * widen)
    each = -(-len(layers) // 30)
    turned = {"rotation": 90, "fontsize": 8} if crowded else {"fontsize": 9}
    ax.set_xticks(range(1, len(layers) + 1, each), layers[::each], **turned)
    ax.set_xlabel("layer, from the input to the output")
    ax.set_ylabel("norm of its gradient")
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    handles, texts = ax.get_legend_handles_labels()
    if named:
        for time, strength in _TIMES.items():
            handles.append(Line2D([], [], color="black", alpha=strength, marker=".", linewidth=0.8 + strength))
            texts.append(time)
    ax.legend(handles, texts, frameon=False, fontsize=9)
