"""The twelve exercises: their names, the functions to write, where to read about them, and what solves them."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet.errors import ConfigError, nearest

__all__ = ["EXERCISES", "Exercise", "find"]

TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Args:
        number: from 1.
        name: of the file, without its number: "softmax" of 02_softmax.py.
        title: what it is about.
        parts: the functions and classes to write, in the order of the file.
        page, example: where to read about it, in the folder examples/.
        solution: xpnet's own code that does it, "module:object".
        given: functions and classes of the file that are written already, and that its general checks take first.
    """

    number: int
    name: str
    title: str
    parts: tuple[str, ...]
    page: str
    example: str
    solution: tuple[str, ...]
    given: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The number and the name: "02_softmax"."""
        return f"{self.number:02d}_{self.name}"

    @property
    def file(self) -> str:
        """The name of its file: "02_softmax.py"."""
        return f"{self.stem}.py"

    @property
    def text(self) -> str:
        """What stands in the file before anyone has written in it."""
        return (TASKS / self.file).read_text(encoding="utf-8")

    def solutions(self) -> list[tuple[str, Any]]:
        """Return xpnet's own code that does it: each object and its name."""
        found = []
        for place in self.solution:
            module, _, path = place.partition(":")
            value: Any = importlib.import_module(module)
            for name in path.split("."):
                value = getattr(value, name)
            found.append((f"{module}.{path}", inspect.unwrap(value)))
        return found


_OPS = "xpnet.ops"

EXERCISES = (
    Exercise(
        1, "perceptron_rule", "the perceptron rule", ("answer", "learn"),
        "course/02-perceptrons.md", "02_perceptron.py",
        ("xpnet.ops.activation:threshold", "xpnet.nn.perceptron:Perceptron.learn"),
    ),
    Exercise(
        2, "softmax", "from logits to probabilities", ("softmax",),
        "course/16-definitions.md", "13_mnist_by_hand.py",
        (f"{_OPS}.activation:softmax",),
    ),
    Exercise(
        3, "cross_entropy", "cross-entropy and its gradient", ("cross_entropy", "cross_entropy_gradient"),
        "course/16-definitions.md", "13_mnist_by_hand.py",
        (f"{_OPS}.loss:_softmax_cross_entropy",),
    ),
    Exercise(
        4, "backpropagation", "backpropagation through two layers", ("forward", "backward"),
        "course/17-training.md", "05_composition.py",
        (f"{_OPS}.linear:_linear", f"{_OPS}.activation:_relu"),
    ),
    Exercise(
        5, "im2col", "the windows of an image as a matrix", ("im2col",),
        "course/10-convolution-layer.md", "08_convolution.py",
        ("xpnet.windows:unroll", "xpnet.windows:Axis.tap"),
    ),
    Exercise(
        6, "convolution", "convolution, forward and backward", ("conv2d", "conv2d_backward"),
        "course/10-convolution-layer.md", "08_convolution.py",
        (f"{_OPS}.conv:_conv2d", "xpnet.windows:fold"),
    ),
    Exercise(
        7, "max_pool_gradient", "the gradient of max pooling", ("max_pool2d_backward",),
        "course/11-pooling-layer.md", "10_pooling.py",
        (f"{_OPS}.pool:_max_pool2d", f"{_OPS}.pool:_to_first_max"), ("max_pool2d",),
    ),
    Exercise(
        8, "lrn", "local response normalization", ("lrn_across", "lrn_within"),
        "course/13-local-response-normalization-layer.md", "11_local_response_norm.py",
        (f"{_OPS}.response_norm:_local_response_norm", f"{_OPS}.response_norm:_window_sum"),
    ),
    Exercise(
        9, "momentum", "gradient descent with momentum", ("sgd_step",),
        "course/17-training.md", "14_learning_rates.py",
        ("xpnet.optim.rules:sgd_rule",),
    ),
    Exercise(
        10, "batch_norm", "batch normalization", ("batch_norm", "batch_norm_backward"),
        "course/13-local-response-normalization-layer.md", "11_local_response_norm.py",
        (f"{_OPS}.normalization:_moments", f"{_OPS}.normalization:_batch_norm"),
    ),
    Exercise(
        11, "tape", "a tape that finds gradients", ("apply", "backward"),
        "course/17-training.md", "17_custom_layer.py",
        ("xpnet.autograd.tensor:Node", "xpnet.autograd.tensor:apply", "xpnet.autograd.tensor:backward"),
        ("Tensor",),
    ),
    Exercise(
        12, "replay", "a step recorded and replayed", ("Program", "Captured"),
        "course/17-training.md", "16_swap_backends.py",
        ("xpnet.backend.recording:Program", "xpnet.capture:Captured"),
    ),
)  # fmt: skip


def find(name: str) -> Exercise:
    """Return an exercise by its number, its name or its file: "5", "im2col", "05_im2col.py".

    Raises:
        ConfigError: there is none of that name.
    """
    word = Path(name).name.removesuffix(".py")
    for exercise in EXERCISES:
        if word in (exercise.name, exercise.stem) or (word.isdecimal() and int(word) == exercise.number):
            return exercise
    names = [e.name for e in EXERCISES]
    raise ConfigError("exercise", "the number or the name of an exercise", nearest(word, names), exercise=repr(name))
