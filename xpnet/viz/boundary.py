"""Decision boundaries: the plane in the colours of the predicted classes, and the examples over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.backend import backend_of
from xpnet.data import Dataset, from_arrays
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn import Module
from xpnet.viz.canvas import panels
from xpnet.viz.confusion import short
from xpnet.viz.predicting import best_probability
from xpnet.viz.sheet import text_width
from xpnet.viz.style import MARKERS, PALETTE, QUIET, TEXT, TITLE, bar, rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["decision_boundary"]

_SURE, _UNSURE, _PLAIN = 0.45, 0.05, 0.28  # how strong the colour of the plane is


def decision_boundary(
    predict: Any,
    data: Dataset | tuple[Any, Any],
    ax: Any = None,
    *,
    lines: Module | None = None,
    title: str | None = None,
    resolution: int = 200,
    legend: bool = True,
) -> Figure:
    """Draw the class that a classifier predicts at each place of the plane, and the examples, each class with a marker.

    If predict returns scores, the colour fades to white as the probability of the best class (softmax of the scores,
    or sigmoid) approaches that of a guess, and a colour bar says the probability: of two classes that of the second.

    Args:
        predict: a Trainer, a Perceptron, any Module with scores (N, K) or one sum (N, 1), or a function; its argument
            is places (N, 2), float32, on the host; it returns scores or probabilities (N, K), or class numbers (N,).
        data: a Dataset of samples (N, 2), or arrays (x, y).
        ax: a matplotlib axes to draw on; a new figure by default.
        lines: a Perceptron or Linear of 2 features: where each neuron's sum is 0 a line is drawn, and an arrow to the
            side where it is above.
        title: written above.
        resolution: places along the longer side, >= 2.
        legend: whether to name the classes, beside a new figure's axes, within one that is given; and whether to draw
            the colour bar.
    Returns: the matplotlib figure.
    Raises:
        ShapeError: samples are not (N, 2), or what predict returns or lines holds is of another shape.
        ConfigError: predict or resolution is something else, or matplotlib is not installed.
    Cost: one forward pass of up to resolution^2 places, and one transfer to the host.
    """
    if not isinstance(data, Dataset):
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise ConfigError("decision_boundary", "data, a Dataset or arrays (x, y)", data=arguments.shown(data))
        data = from_arrays(*data)
    if data.shape != (2,):
        raise ShapeError("decision_boundary", "samples (N, 2)", x=data.x.shape)
    resolution = arguments.count("decision_boundary", "resolution", resolution, 2, 1 << 14)
    arguments.optional(arguments.text)("decision_boundary", "title", title)
    legend = arguments.boolean("decision_boundary", "legend", legend)
    weights = None if lines is None else _weights(lines)
    low, high = _view(data.x[:])
    width, height = high - low
    columns, rows = (max(2, round(resolution * float(side / max(width, height)))) for side in (width, height))
    across, up = np.meshgrid(np.linspace(low[0], high[0], columns), np.linspace(low[1], high[1], rows))
    predicted, strength, count = _answers(predict, np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32))

    tall = 4.4 * min(1.4, max(0.4, float(height / width))) + (0.9 if title else 0.6)
    more = (1.2 if legend else 0.0) + (0.9 if legend and count else 0.0) + (0.0 if weights is None else 0.9)
    figure, axes = panels(ax, size=(5.2 + more, tall))
    own, beside = ax is None, legend and ax is None
    if own:
        figure.set_layout_engine("compressed")  # made for axes of a fixed aspect
    ax = axes[0, 0]
    colours = _colours(max(int(predicted.max()) + 1, len(data.classes), 0 if weights is None else len(weights)))
    tint = 1.0 - strength[:, None] * (1.0 - colours[predicted])  # (rows*columns, 3)
    extent = (low[0], high[0], low[1], high[1])
    ax.imshow(tint.reshape(rows, columns, 3), extent=extent, origin="lower", interpolation="bilinear")
    _draw_examples(ax, data, colours)
    if weights is not None:
        _draw_lines(ax, weights, colours, low, high)
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="x₁", ylabel="x₂", aspect="equal")
    if title:
        ax.set_title(title, fontsize=TITLE)
    if legend and count:
        _draw_bar(ax, data, count, colours)
    if beside:
        figure.legend(loc="outside right upper", frameon=False, fontsize=TEXT, markerscale=1.5)
    elif legend:
        _draw_legend(ax)
    if own:
        figure.draw_without_rendering()  # the size of the axes changes the labels of ticks, and they the size
    return figure


def _view(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the picture: all examples, and a margin."""
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    margin = 0.1 * float((high - low).max()) or 1.0
    return low - margin, high + margin


def _answers(predict: Any, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The class predicted at each place, how strongly to colour it, and of how many classes there are probabilities."""
    found = _on_host(_ask(predict, places))
    if found.ndim not in (1, 2) or found.shape[0] != len(places) or 0 in found.shape:
        rule = f"scores (N, K) or class numbers (N,) from predict, N = {len(places)}"
        raise ShapeError("decision_boundary", rule, result=found.shape)
    if found.ndim == 1:
        predicted = found.astype(np.int64)
        if (predicted != found).any() or predicted.min() < 0:
            odd = found[(predicted != found) | (predicted < 0)][0]
            raise ShapeError("decision_boundary", "class numbers (N,) of 0, 1, 2, ...", value=odd)
        return predicted, np.full(len(predicted), _PLAIN), 0
    scores = found.astype(np.float64)
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)  # the softmax of (0, s) is the sigmoid of s
    guess = 1.0 / scores.shape[1]
    sure = np.nan_to_num((best_probability(scores) - guess) / (1.0 - guess))
    return np.argmax(scores, axis=1), _UNSURE + (_SURE - _UNSURE) * sure, scores.shape[1]


def _ask(predict: Any, places: np.ndarray) -> Any:
    scoring = isinstance(predict, Module) and type(predict).predict is Module.predict
    if scoring or isinstance(getattr(predict, "model", None), Module):  # batches would each be a transfer
        return predict.predict(places, batch_size=len(places))
    if hasattr(predict, "predict"):
        return predict.predict(places)
    if not callable(predict):
        rule = "a Trainer, a Module or a function"
        raise ConfigError("decision_boundary", rule, predict=type(predict).__name__)
    return predict(places)


def _on_host(found: Any) -> np.ndarray:
    if isinstance(found, Tensor):
        return found.numpy()
    return found if isinstance(found, np.ndarray) else backend_of(found).to_numpy(found)


def _weights(layer: Any) -> np.ndarray:
    """Weights and bias of each neuron of a Perceptron or Linear: (K, 3)."""
    weight = getattr(layer, "weight", None)
    w = np.zeros((0, 0)) if weight is None else weight.numpy().astype(np.float64)
    wide = 3 if getattr(layer, "augmented", False) else 2
    if w.ndim != 2 or w.shape[1] != wide:
        rule = "lines of a Perceptron or Linear with 2 features"
        raise ShapeError("decision_boundary", rule, lines=type(layer).__name__, weight=w.shape)
    if wide == 3:
        return w
    b = np.zeros(len(w)) if layer.bias is None else layer.bias.numpy().astype(np.float64)
    return np.concatenate([w, b[:, None]], axis=1)


def _colours(count: int) -> np.ndarray:
    return np.stack([rgb(PALETTE[k % len(PALETTE)]) for k in range(count)])  # (K, 3)


def _draw_bar(ax: Any, data: Dataset, count: int, colours: np.ndarray) -> None:
    """Draw a colour bar of probabilities: of two classes from the one to the other; of more, of the predicted class."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.ticker import PercentFormatter

    chance = np.linspace(0.0 if count == 2 else 1.0 / count, 1.0, 255)
    sure = np.maximum(chance, 1.0 - chance) * 2.0 - 1.0 if count == 2 else (chance * count - 1.0) / (count - 1.0)
    ends = colours[(chance > 0.5).astype(int)] if count == 2 else np.full((255, 3), 0.25)
    shown = ListedColormap(1.0 - (_UNSURE + (_SURE - _UNSURE) * sure)[:, None] * (1.0 - ends))
    of = _named(data.classes[1]) if count == 2 and len(data.classes) > 1 else "the predicted class"
    found = bar(ax, f"probability of\n{of}", ScalarMappable(Normalize(chance[0], 1.0), shown))
    found.ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def _draw_legend(ax: Any) -> None:
    """Name the classes and lines below an axes, where no example is covered."""
    from matplotlib.transforms import ScaledTranslation

    handles, labels = ax.get_legend_handles_labels()
    below = ax.transAxes + ScaledTranslation(0.0, -0.4, ax.figure.dpi_scale_trans)  # inches: of ticks and the label
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": below, "borderaxespad": 0.0}
    look = {"frameon": False, "fontsize": TEXT, "columnspacing": 1.2, "handletextpad": 0.4}
    wide = ax.get_window_extent().width / ax.figure.dpi
    columns = int(wide / (0.5 + max(text_width(label, TEXT) for label in labels)))
    ax.legend(handles, labels, ncols=min(len(labels), max(1, columns)), **place, **look)


def _named(name: str) -> str:
    return f"class {name}" if name.isdigit() else short(name, 28)


def _draw_examples(ax: Any, data: Dataset, colours: np.ndarray) -> None:
    room = ax.get_window_extent().width / ax.figure.dpi  # inches
    size = min(45.0, max(14.0, 14000.0 / len(data))) * min(1.0, room / 3.5)
    for k, name in enumerate(data.classes):
        ax.scatter(
            *data.x[data.y == k].T,
            s=size,
            marker=MARKERS[k % len(MARKERS)],
            color=[colours[k]],
            edgecolors="white",
            linewidths=0.5,
            label=_named(name),
            zorder=3,
        )


def _draw_lines(ax: Any, weights: np.ndarray, colours: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Draw each neuron's line, black where there is only one, and an arrow to the side where its sum is above 0."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import Normal, Stroke

    outline = [Stroke(linewidth=3.5, foreground="white"), Normal()]
    middle, length = (low + high) / 2, 0.09 * float((high - low).max())
    for k, (*w, b) in enumerate(weights):
        w, colour = np.asarray(w), "black" if len(weights) == 1 else colours[k]
        if not w.any():
            continue  # the sum is one number everywhere
        normal = w / np.linalg.norm(w)
        foot = middle - (middle @ w + b) / (w @ w) * w  # the point of the line that is nearest to the middle
        along = foot + np.asarray([-normal[1], normal[0]])
        ax.axline(foot, along, color=colour, linewidth=1.8, path_effects=outline, zorder=4)
        if ((low < foot) & (foot < high)).all():
            arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", foot + length * normal, foot, arrowprops=arrow, zorder=4)
    if weights[:, :2].any():
        colour, label = ("black", "sum = 0") if len(weights) == 1 else (QUIET, "a neuron's sum = 0")
        ax.add_line(Line2D([], [], color=colour, label=label))
