"""The course: thirteen ideas, each with a setting of the playground that shows it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from xpnet.playground.settings import Point

__all__ = ["LESSONS", "STEPS", "Lesson"]


class Lesson(NamedTuple):
    """A step of the course.

    Args:
        name: as links and --step give it. title: of the idea. text: two sentences about it.
        look: what to do, and what to see.
        part: a CSS selector of the part of the page that look is about.
        kind: "plane" or "images". settings: as Settings or ImageSettings take them; others have their defaults.
        rate: steps a second.
    """

    name: str
    title: str
    text: str
    look: str
    part: str
    kind: str
    settings: dict[str, Any]
    rate: int = 50


def _beside(centre: float, k: int) -> list[Point]:
    """Ten points around (centre, centre)."""
    return [
        (round(centre + 0.5 * math.cos(0.63 * i), 2), round(centre + 0.5 * math.sin(0.63 * i), 2), k) for i in range(10)
    ]


_FAR, _NEAR = _beside(2.6, 0), _beside(0.9, 1)
_RULE = {"layers": [], "loss": "perceptron", "batch": 1, "lr": 1.0}

LESSONS = (
    Lesson(
        "perceptron",
        "The perceptron",
        "A perceptron multiplies its inputs by weights, adds a bias and decides by the sign of the sum, so its border "
        "is a straight line. It learns only from mistakes, so it stops once the line separates the classes; two "
        "scores are drawn, one for each class, and their difference is that sum.",
        "Press Play: after a few mistakes the training accuracy is 100 %, and nothing moves any more.",
        "#output",
        "plane",
        {"data": "blobs", "noise": 0.6, **_RULE},
        10,
    ),
    Lesson(
        "xor",
        "XOR: no line will do",
        "Opposite corners belong to one class here, and no straight line separates the two classes: a perceptron never "
        "stops making mistakes, as Minsky and Papert wrote in 1969. Two scores are drawn, one for each class: their "
        "difference is the sum of the perceptron, and the colour is pale where it is near 0.",
        "Press Play: the border moves for ever. Then add a hidden layer with the + above the network.",
        "#deeper",
        "plane",
        {"data": "xor", "noise": 0.2, **_RULE},
        50,
    ),
    Lesson(
        "many-perceptrons",
        "Many perceptrons",
        "For several classes there is one perceptron for each class, and the class with the highest sum is the answer. "
        "The plane is divided into regions with straight borders.",
        "Press Play, then point at the scores on the right: each is one perceptron, positive on one side of its line.",
        "#network",
        "plane",
        {"data": "blobs", "classes": 5, "noise": 0.35, "layers": [], "lr": 0.03},
        50,
    ),
    Lesson(
        "bias",
        "The bias",
        "The bias is the weight of an input that is always 1, and moves the line away from the origin. Without it "
        "every line goes through the origin, and here both classes lie in the same direction from it.",
        "Press Play: it fails. Then tick Bias and press Play again.",
        "#set-bias",
        "plane",
        {"data": "points", "points": [*_FAR, *_NEAR], "layers": [], "bias": False, "batch": 5},
        50,
    ),
    Lesson(
        "composition",
        "Composition",
        "The outputs of one layer are the inputs of the next, so complex functions are composed of simple ones. "
        "The neurons of the first layer have straight borders, and the next layer combines them into shapes.",
        "Press Play, then point at the neurons from left to right.",
        "#network",
        "plane",
        {"data": "circles", "layers": [4, 2], "lr": 0.1},
        200,
    ),
    Lesson(
        "linear-layers",
        "Linear layers collapse",
        "A linear function of a linear function is linear again: w2 (w1 x + b1) + b2 = (w2 w1) x + (w2 b1 + b2). "
        "Without an activation between them, three layers can do no more than one.",
        "Press Play: every neuron has a straight border. Then choose ReLU as activation and press Play again.",
        "#set-activation",
        "plane",
        {"data": "moons", "noise": 0.1, "layers": [6, 6, 6], "activation": "none", "lr": 0.1},
        200,
    ),
    Lesson(
        "sigmoid",
        "Sigmoid and vanishing gradients",
        "In the backward pass the gradient is multiplied by the slope of every activation, which for a sigmoid is at "
        "most 1/4. After eight of them almost nothing is left for the first layers.",
        "Press Play, and look at the gradient of each layer: the first is thousands of times smaller than the last.",
        "#gradients",
        "plane",
        {"data": "circles", "layers": [8] * 8, "activation": "sigmoid", "lr": 0.3},
        200,
    ),
    Lesson(
        "relu",
        "ReLU",
        "The ReLU passes positive numbers and sets the others to 0, so its slope is 1 where it is active and the "
        "gradient keeps its size. The same eight layers learn now.",
        "Press Play and compare the gradients. ReLU neurons have kinks: the border is made of straight pieces.",
        "#gradients",
        "plane",
        {"data": "circles", "layers": [8] * 8, "activation": "relu", "lr": 0.03},
        200,
    ),
    Lesson(
        "convolution",
        "Convolution and correlation",
        "A filter slides over the image, and each output pixel is the sum of a window times the filter. Convolution "
        "turns the filter by 180 degrees, correlation does not; a network learns its filters, so both work equally "
        "well.",
        "Draw a digit and click a pixel of conv1: window, filter and sum are written out. Then change to correlation.",
        ".map[title^=conv1]",
        "images",
        {"flip": True},
    ),
    Lesson(
        "pooling",
        "Pooling",
        "Pooling makes the maps smaller: max pooling keeps the largest number of each window, average pooling the "
        "mean. With a window of 2x2 and a stride of 2 the windows do not overlap, and each map keeps a quarter of its "
        "numbers.",
        "Click a pixel of pool1, and see which of the four numbers passes. Then change to average pooling.",
        ".map[title^=pool1]",
        "images",
        {},
    ),
    Lesson(
        "normalization",
        "Local response normalization",
        "Each response is divided by the strength of its neighbours: across channels, as in AlexNet, or within one "
        "channel. Weak neighbours of a strong response become weaker than other weak responses; the strong one is "
        "reduced too.",
        "Click a bright pixel of norm1: the neighbours and the divisor are written out. Then change across to within.",
        ".map[title^=norm1]",
        "images",
        {"norm": "across"},
    ),
    Lesson(
        "softmax",
        "Softmax and cross-entropy",
        "The softmax turns scores into probabilities: exp of each score, divided by the sum of exp of all scores. The "
        "cross-entropy is -log of the probability of the true class, and its gradient by the scores is the "
        "probabilities, minus 1 at the true class.",
        "Press Play: away from the borders the colours become strong, where one probability is near 1. Then choose "
        "the squared error as loss and compare.",
        "#set-loss",
        "plane",
        {"data": "blobs", "classes": 3, "noise": 0.8, "layers": [8], "lr": 0.03},
        50,
    ),
    Lesson(
        "learning-rate",
        "Gradient descent and the learning rate",
        "Every step moves each weight against its gradient, times the learning rate; an epoch is one pass through "
        "all points. A rate that is too small takes very long, and one that is too large jumps over the minimum.",
        "Press Play at 0.001, then choose 0.1 and then 3: training goes on with the new rate. Adam adapts the rate of "
        "each weight by itself.",
        "#set-lr",
        "plane",
        {"data": "moons", "noise": 0.1, "layers": [8, 8], "lr": 0.001},
        200,
    ),
)
STEPS = tuple(lesson.name for lesson in LESSONS)
