"""One layer of ten neurons learns to read digits by the steps of the notes, with every derivative written out.

Gradient descent as in the notes: for each training example in turn, compute the output p and the gradient of the loss
L, and step against the gradient. The arithmetic is array calls on any backend; xpnet's autograd only checks the
derivatives. Reads MNIST if XPNET_DATA_DIR gives the folder of its files (never with --quick), else the 8x8 digits.
Notes: "Training Neural Networks", with its letters.
"""

import os

import numpy as np
from arguments import parse

from xpnet import Tensor, backward, data, get_backend, nn, random
from xpnet.viz.style import signed

options = parse(__doc__)
backend = get_backend(options.backend)
xp = backend.xp
mnist = "XPNET_DATA_DIR" in os.environ and not options.quick
RATE, EPOCHS = (0.01, 1) if mnist else (0.05, 1 if options.quick else 10)  # lambda; passes over all examples


def probabilities(x, w, b):
    """Logits a_j = sum over i of w_ji x_i + b_j, then p_j = e^a_j / sum over k of e^a_k."""
    a = w @ x + b  # (10,)
    e = xp.exp(a - xp.max(a))  # subtracting the maximum changes no p_j and avoids overflow
    return e / xp.sum(e)


def loss(x, y, w, b):
    """Cross-entropy L = -sum over j of y_j ln p_j; y_j is 1 for the class of x, and 0 for the others."""
    return -xp.sum(y * xp.log(probabilities(x, w, b)))


def gradient(x, y, w, b):
    """dL/da_j = p_j - y_j; so dL/dw_ji = (p_j - y_j) x_i and dL/db_j = p_j - y_j."""
    da = probabilities(x, w, b) - y
    return da[:, None] * x[None, :], da  # (10, D), (10,)


def error_to_autograd(x, y, w, b):
    """The largest difference of L, dL/dw and dL/db to those of xpnet's autograd."""
    weight, bias = Tensor(w, requires_grad=True), Tensor(b, requires_grad=True)
    automatic = nn.softmax_cross_entropy(Tensor(x[None, :]) @ weight.T + bias, y[None, :])
    found = backward(automatic)
    ours, theirs = (loss(x, y, w, b), *gradient(x, y, w, b)), (automatic.data, found[weight], found[bias])
    return max(float(xp.max(xp.abs(by_hand - other))) for by_hand, other in zip(ours, theirs, strict=True))


def arrays(images, dtype):
    """Each image as a vector x of numbers from 0 to 1, each label as a vector y with one 1 and nine 0."""
    x = images.x.reshape(len(images), -1).astype(dtype) / dtype(images.white)
    return backend.from_numpy(x), backend.from_numpy(np.eye(10, dtype=dtype)[images.y])


train, test = data.load("mnist" if mnist else "digits")
D = train.x[0].size  # pixels
xs, ys = arrays(train.take(range(20)), np.float64)
w, b = (backend.from_numpy(random.normal(random.Key(0, "w"), s, std=0.1).astype("f8")) for s in ((10, D), (10,)))
apart = max(error_to_autograd(xs[i, :], ys[i, :], w, b) for i in range(20))
print(f"L, dL/dw and dL/db by hand and by autograd differ by at most {apart:.0e} on 20 examples")
assert apart < 1e-6

xs, ys = arrays(train, np.float32)
w, b = (xp.zeros(s, dtype=xp.float32, device=backend.device) for s in ((10, D), (10,)))
for epoch in range(EPOCHS):
    for i in random.permutation(random.Key(0, "order", epoch), len(train)).tolist():
        dw, db = gradient(xs[i, :], ys[i, :], w, b)
        w, b = w - RATE * dw, b - RATE * db

a = arrays(test, np.float32)[0] @ w.T + b  # logits, (N, 10); the largest is the answer
accuracy = np.mean(backend.to_numpy(xp.argmax(a, axis=1)) == test.y)


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.7), layout="constrained")
    weights = backend.to_numpy(w).reshape(10, *train.shape[:2])
    for j, ax in enumerate(figure.subplots(2, 5).flat):
        image = ax.imshow(weights[j], **signed(weights))
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"neuron {j}", fontsize=10)
    figure.colorbar(image, ax=figure.axes, label="weight of a pixel")
    return figure


options.save(picture)
print(f"{train.name}: {EPOCHS} x {len(train):,} steps, one per example; test accuracy {accuracy:.1%}")
assert accuracy > (0.9 if mnist else 0.85)
print("Notice: the weights of a neuron are a picture: ink on red pixels is evidence for its digit, on blue against it.")
