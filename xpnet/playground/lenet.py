"""LeNet-5 as models.lenet5 builds it, with the variants that the page lets people choose; and the same as a program."""

from __future__ import annotations

from xpnet import nn
from xpnet.playground.image_settings import ImageSettings
from xpnet.playground.program import fill, pieces_of_backend, pieces_of_rate

__all__ = ["build_lenet", "write_image_code"]

NORM = {"size": 3, "alpha": 1.0, "beta": 0.75, "k": 1.0}  # stronger than AlexNet's, to be seen
_PROGRAM = """\
import itertools

import numpy as np

from xpnet import Tensor, backward, data, {get_backend}nn, optim

{open_backend}
train, test = data.load("{data}")
model = nn.Sequential(
    conv1=nn.Conv2d(1, 6, 5, padding=2{flip}),
    relu1=nn.ReLU(),
    {norm}
    pool1=nn.{pool}(2),
    conv2=nn.Conv2d(6, 16, 5, padding={padding}{flip}),
    relu2=nn.ReLU(),
    pool2=nn.{pool}(2),
    flatten=nn.Flatten(),
    fc3=nn.Linear({inputs}, 120),
    relu3=nn.ReLU(),
    fc4=nn.Linear(120, 84),
    relu4=nn.ReLU(),
    scores=nn.Linear(84, 10, init=nn.zeros),
).initialize(seed={seed})
{move_model}
{rate_function}
optimizer = optim.SGD(model.parameters(), lr={rate}, momentum=0.9)


def batches():
    for epoch in itertools.count():
        order = np.random.default_rng([{seed}, epoch]).permutation(len(train))
        for start in range(0, len(train), {batch}):
            yield order[start : start + {batch}]


def scores_of(images):
    x = images.astype(np.float32) / {white}
    return model(Tensor({on}x{off}))


for rows in itertools.islice(batches(), {steps}):
    loss = nn.softmax_cross_entropy(scores_of(train.x[rows]), {on}train.y[rows]{off})
    optimizer.step(backward(loss))

x, y = test.x[:1000], test.y[:1000]
model.eval()
scores = scores_of(x)
loss = nn.softmax_cross_entropy(scores, {on}y{off})
print(f"test: loss {{loss:.6f}}, accuracy {{(scores.numpy().argmax(1) == y).mean():.1%}}")
"""


def build_lenet(settings: ImageSettings, side: int) -> nn.Sequential:
    """Build the network for images (side, side, 1) with brightness 0 to 1: scores of ten classes."""
    pool = nn.MaxPool2d if settings.pool == "max" else nn.AvgPool2d
    padding, inputs = _sizes(side)
    norm = {} if settings.norm == "none" else {"norm1": nn.LocalResponseNorm(**NORM, region=settings.norm)}
    return nn.Sequential(
        conv1=nn.Conv2d(1, 6, 5, padding=2, flip=settings.flip),
        relu1=nn.ReLU(),
        **norm,
        pool1=pool(2),
        conv2=nn.Conv2d(6, 16, 5, padding=padding, flip=settings.flip),
        relu2=nn.ReLU(),
        pool2=pool(2),
        flatten=nn.Flatten(),
        fc3=nn.Linear(inputs, 120),
        relu3=nn.ReLU(),
        fc4=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        scores=nn.Linear(84, 10, init=nn.zeros),
    ).initialize(seed=settings.seed)


def write_image_code(settings: ImageSettings, side: int, white: float, steps: int, backend: str = "") -> str:
    """Write a program that trains the network for so many steps and prints its loss and accuracy on the test images.

    Args:
        settings: of the images. side: of an image. white: the brightest value. steps: >= 1.
        backend: as get_backend takes it; "": NumPy, which need not be named.
    """
    padding, inputs = _sizes(side)
    constants = ", ".join(f"{name}={value:g}" for name, value in NORM.items())
    return fill(
        _PROGRAM,
        data=settings.data,
        flip=", flip=True" if settings.flip else "",
        norm="" if settings.norm == "none" else f'norm1=nn.LocalResponseNorm({constants}, region="{settings.norm}"),',
        pool="MaxPool2d" if settings.pool == "max" else "AvgPool2d",
        padding=padding,
        inputs=inputs,
        seed=settings.seed,
        batch=settings.batch,
        white=f"{white:g}",
        steps=steps,
        **pieces_of_rate(settings),
        **pieces_of_backend(backend),
    )


def _sizes(side: int) -> tuple[int, int]:
    """Return the padding of conv2, and how many numbers fc3 receives: small images are padded."""
    padding = 0 if side >= 12 else 2
    return padding, 16 * ((side // 2 + 2 * padding - 4) // 2) ** 2
