"""The outputs of all layers of a network: histograms over depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Array, Backend
from xpnet.errors import ConfigError
from xpnet.nn import Module, State
from xpnet.viz.canvas import panels
from xpnet.viz.predicting import Scale, Subject, host, layer_name, one_of, outputs, prepared, unpack
from xpnet.viz.style import DENSE, PALETTE, QUIET, TEXT, TITLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["activations"]

_SAMPLE = 50_000  # numbers of a layer that its histogram is made of
_BINS = 80


def activations(
    model: Subject, x: Any, ax: Any = None, *, layers: Sequence[str] | None = None, normalize: Scale = None
) -> Figure:
    """Draw a histogram of each layer's output, from the first layer at the top to the last, on one axis.

    A network that learns keeps its values spread: rows that narrow towards the end are signals that vanish, rows at
    the edge of a sigmoid are saturated neurons, a row of zeros is a dead layer. Exact zeros are left out of the curve
    and counted at the right, beside mean and standard deviation.

    Args:
        model: a Module, of any backend, or a Trainer, which knows how data is normalized.
        x: examples as the data set has them, (N, ...); a few hundred will do.
        ax: a matplotlib axes to draw on; a new figure by default.
        layers: paths; by default all but those that only reshape, drop or contain others.
        normalize: applied to the examples; by default the trainer's, or none.
    Returns: the matplotlib Figure. Mean, deviation and zeros are of all numbers, each curve of up to 50,000, evenly
        chosen, scaled to its own height; the axis leaves out a thousandth at each end.
    Raises:
        ConfigError: the model has no such layer (the message lists those it has), or matplotlib is not installed.
    Cost: one forward pass, all layers' outputs kept meanwhile; one copy to the host.
    """
    module, normalize = unpack(model, normalize)
    seen = outputs(module, prepared(module, host(x), normalize))
    kinds = {layer_name(path, layer): layer for path, layer in module.modules()}
    if layers is None:
        names = [name for name in seen if _computes(kinds[name])] or list(seen)
    else:
        layers = arguments.items("activations", "layers", layers)
        names = [one_of("activations", name, list(seen), "the model's layers") for name in layers]
    if not names:
        raise ConfigError("activations", "layers, at least one", layers="none")
    figures, samples = _statistics(module.backend, [seen[name] for name in names])
    edges = _edges(samples)
    figure, axes = panels(ax, size=(7.0, 1.1 + max(0.2, min(0.42, 8.0 / len(names))) * len(names)))
    ax = axes[0, 0]
    for row, (name, sample) in enumerate(zip(names, samples, strict=True)):
        counts, _ = np.histogram(sample, edges)
        ax.stairs(
            0.85 * counts / max(1, counts.max()) - row,
            edges,
            baseline=-row,
            fill=True,
            linewidth=0,
            color=PALETTE[0] if any(isinstance(part, State) for _, part in kinds[name].named_parts()) else PALETTE[4],
        )
    return _labelled(figure, ax, names, figures)


def _computes(layer: Module) -> bool:
    """Whether a layer computes new numbers itself: it neither passes on its input nor what layers in it computed."""
    return not any(layer.children()) if layer.computes is None else layer.computes


def _statistics(backend: Backend, arrays: list[Array]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mean, deviation and share of zeros of each array, (n, 3), and a sample of its finite numbers but zeros."""
    xp, parts = backend.xp, []
    for y in arrays:
        y = xp.astype(xp.reshape(y, (-1,)), xp.float32, copy=False)
        zeros = xp.mean(xp.astype(y == 0, xp.float32))
        parts += [xp.stack([xp.mean(y), xp.std(y), zeros]), y[:: _stride(y.shape[0])]]
    every = backend.to_numpy(xp.concat(parts, axis=0))
    pieces = np.split(every, np.cumsum([p.shape[0] for p in parts])[:-1])
    return np.stack(pieces[::2]), [s[np.isfinite(s) & (s != 0)] for s in pieces[1::2]]


def _stride(count: int) -> int:
    """How far apart numbers are taken from so many; it shares no factor with the sizes, so as to meet every channel."""
    stride = -(-count // _SAMPLE)
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride


def _edges(samples: list[np.ndarray]) -> np.ndarray:
    """The edges of the histograms' bins: 0 and all but a thousandth of the numbers at either end."""
    every = np.concatenate(samples)
    low = high = 0.0
    if every.size:
        low = min(low, float(np.quantile(every, 0.001, method="lower")))
        high = max(high, float(np.quantile(every, 0.999, method="higher")))
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)


def _labelled(figure: Any, ax: Any, names: list[str], figures: np.ndarray) -> Any:
    """Name the rows at the left, and write their figures at the right."""
    small = TEXT if len(names) <= 24 else DENSE
    ax.set_yticks([0.25 - row for row in range(len(names))], names, fontsize=small)
    ax.set_ylim(0.85 - len(names), 1.0)
    ax.tick_params(axis="y", length=0)
    ax.axvline(0.0, color="0.6", linewidth=0.6, zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_xlabel("value")
    ax.set_title("outputs of each layer\n(blue: layers with weights)", fontsize=TITLE)
    rows = [("mean", "std", "zeros")]
    for mean, deviation, zeros in figures.tolist():
        mean = 0.0 if abs(mean) < 1e-3 * deviation else mean  # rounding
        rows.append((f"{mean:.2g}", f"{deviation:.2g}", f"{zeros:.0%}"))
    for row, texts in enumerate(rows):
        for points, text in zip((44, 84, 124), texts, strict=True):  # from the axes' right edge
            ax.annotate(
                text,
                (1.0, 1.25 - row),
                (points, 0),
                xycoords=ax.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=small,
                color="black" if row else QUIET,
            )
    return figure
