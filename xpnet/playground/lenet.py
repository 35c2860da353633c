"""LeNet-5 as models.lenet5 builds it, with the variants that the page lets people choose; and the same as a program."""

from __future__ import annotations

from xpnet import nn
from xpnet.playground.code import write_rate
from xpnet.playground.image_settings import ImageSettings

__all__ = ["build_lenet", "write_image_code"]

NORM = {"size": 3, "alpha": 1.0, "beta": 0.75, "k": 1.0}  # stronger than AlexNet's, to be seen


def build_lenet(settings: ImageSettings, side: int) -> nn.Sequential:
    """Build the network for images (side, side, 1) with brightness 0 to 1: scores of ten classes."""
    pool = nn.MaxPool2d if settings.pool == "max" else nn.AvgPool2d
    padding = 0 if side >= 12 else 2
    left = (side // 2 + 2 * padding - 4) // 2  # height and width of the maps after pool2
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
        fc3=nn.Linear(16 * left * left, 120),
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
    array, pool = (
        ("backend.from_numpy({})" if backend else "{}"),
        "MaxPool2d" if settings.pool == "max" else "AvgPool2d",
    )
    padding = 0 if side >= 12 else 2
    left, flip = (side // 2 + 2 * padding - 4) // 2, ", flip=True" if settings.flip else ""
    norm = ", ".join(f"{name}={value:g}" for name, value in NORM.items())
    lines = ["import itertools", "", "import numpy as np", ""]
    lines += [f"from xpnet import Tensor, backward, data, {'get_backend, ' if backend else ''}nn, optim", ""]
    lines += [f'backend = get_backend("{backend}")'] if backend else []
    lines += [f'train, test = data.load("{settings.data}")', "model = nn.Sequential("]
    lines += [f"    conv1=nn.Conv2d(1, 6, 5, padding=2{flip}),", "    relu1=nn.ReLU(),"]
    lines += [f'    norm1=nn.LocalResponseNorm({norm}, region="{settings.norm}"),'] if settings.norm != "none" else []
    lines += [f"    pool1=nn.{pool}(2),", f"    conv2=nn.Conv2d(6, 16, 5, padding={padding}{flip}),"]
    lines += ["    relu2=nn.ReLU(),", f"    pool2=nn.{pool}(2),", "    flatten=nn.Flatten(),"]
    lines += [f"    fc3=nn.Linear({16 * left * left}, 120),", "    relu3=nn.ReLU(),", "    fc4=nn.Linear(120, 84),"]
    lines += [
        "    relu4=nn.ReLU(),",
        "    scores=nn.Linear(84, 10, init=nn.zeros),",
        f").initialize(seed={settings.seed})",
    ]
    lines += ["model.to(backend)"] if backend else []
    before, rate = write_rate(settings)
    lines += [*before, f"optimizer = optim.SGD(model.parameters(), lr={rate}, momentum=0.9)", "", ""]
    lines += ["def batches():", "    for epoch in itertools.count():"]
    lines += [f"        order = np.random.default_rng([{settings.seed}, epoch]).permutation(len(train))"]
    lines += [f"        for start in range(0, len(train), {settings.batch}):"]
    lines += [f"            yield order[start : start + {settings.batch}]", "", ""]
    lines += ["def scores_of(images):", f"    x = images.astype(np.float32) / {white:g}"]
    lines += [f"    return model(Tensor({array.format('x')}))", "", ""]
    lines += [f"for rows in itertools.islice(batches(), {steps}):"]
    lines += [f"    loss = nn.softmax_cross_entropy(scores_of(train.x[rows]), {array.format('train.y[rows]')})"]
    lines += ["    optimizer.step(backward(loss))", ""]
    lines += ["x, y = test.x[:1000], test.y[:1000]", "model.eval()", "scores = scores_of(x)"]
    lines += [f"loss = nn.softmax_cross_entropy(scores, {array.format('y')})"]
    lines += ['print(f"test: loss {loss:.6f}, accuracy {(scores.numpy().argmax(1) == y).mean():.1%}")']
    return "\n".join(lines) + "\n"
