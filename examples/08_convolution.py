"""Convolution and correlation: the same sums, with the filter rotated by 180 degrees.

Neural networks slide the filter as it is, which mathematics calls correlation; Conv2d(flip=True) rotates it first,
which is convolution. As filters are learned, nothing is lost: one network learns the rotated filters of the other.
Notes: "Convolution Layer".
"""

import time

import numpy as np
from arguments import parse

from xpnet import data, get_backend, nn, ops, optim, random
from xpnet.train import Trainer
from xpnet.viz.style import bar, signed

options = parse(__doc__)
backend = get_backend(options.backend)
train, _ = data.load("digits")
train = train.take(range(512)) if options.quick else train  # full batches: jax compiles each call for each shape


def slide(image, filter, flip):
    """The feature map of one filter on one image."""
    x, w = (backend.from_numpy(a.astype(np.float32)[None, :, :, None]) for a in (image, filter))
    y, _ = ops.conv2d(x, w, padding=1, flip=flip)  # (1, H, W, 1)
    return backend.to_numpy(y)[0, :, :, 0]


point = np.zeros((7, 7))
point[3, 3] = 1.0  # one bright pixel shows how the filter is applied
digit = train.x[2, :, :, 0] / 16.0  # a three
flag = np.asarray([[1.0, 1.0, -1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
rotated = flag[::-1, ::-1]

for image in (point, digit):
    assert np.allclose(slide(image, flag, flip=True), slide(image, rotated, flip=False), atol=1e-5)
assert np.allclose(slide(point, flag, flip=True)[2:5, 2:5], flag)
assert np.allclose(slide(point, flag, flip=False)[2:5, 2:5], rotated)


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.7), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 6.6))
    shown = {left.subplots(): ("the filter", flag, signed(flag))}
    for row, image, name in zip(right.subplots(2, 3), (point, digit), ("one bright pixel", "a digit"), strict=True):
        plain, flipped = (slide(image, flag, flip) for flip in (False, True))
        shown[row[0]] = name, image, {"cmap": "gray"}
        shown[row[1]] = "correlation (flip=False)", plain, signed(plain, flipped)
        shown[row[2]] = "convolution (flip=True)", flipped, signed(plain, flipped)
    for ax, (title, values, scale) in shown.items():
        ax.imshow(values, **scale)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
        bar(ax)
    return figure


def milliseconds(turns):
    """The median time of a forward pass, for correlation and for convolution, measured alternately."""
    x, w = (backend.from_numpy(random.normal(random.Key(0, "speed"), s)) for s in ((64, 28, 28, 1), (8, 5, 5, 1)))
    taken = {False: [], True: []}
    for _ in range(turns + 1):
        for flip, times in taken.items():
            began = time.perf_counter()
            ops.conv2d(x, w, flip=flip)
            backend.synchronize()
            times.append(1e3 * (time.perf_counter() - began))
    return [np.median(times[1:]) for times in taken.values()]  # without the first, a warm-up


def learn(flip):
    """Train a small network, with initial filters rotated if flip; return the filters as applied, and the loss."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, flip=flip), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10, init=nn.zeros))
    rotate = (slice(None), *[slice(None, None, -1 if flip else 1)] * 2)  # (F, KH, KW, C): rows and columns
    begin = model.state_dict()
    model.load_state_dict(begin | {"0.weight": begin["0.weight"][rotate]})
    trainer = Trainer(model.to(options.backend), optim.SGD(model.parameters(), lr=0.05))
    history = trainer.fit(train, epochs=1 if options.quick else 5, batch_size=128)
    return model.state_dict()["0.weight"][rotate], history[-1]["train_loss"]


options.save(picture)
plain, flipped = milliseconds(turns=3 if options.quick else 50)
print(f"64 images 28x28, 8 filters 5x5: correlation {plain:.2f} ms, convolution {flipped:.2f} ms")
(correlated, a), (convolved, b) = learn(False), learn(True)
assert np.allclose(correlated, convolved, atol=1e-3)
print(f"training loss: correlation {a:.4f}, convolution {b:.4f}")
print(
    "Notice: for one bright pixel, convolution gives the filter, and correlation gives it rotated by 180 degrees. From"
)
print("the same start, both networks learn to apply the same filters: only the name and a little time differ.")
