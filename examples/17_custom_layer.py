"""Write your own layer with one op, and your own loss: they run on every backend, and gradcheck verifies them."""

import numpy as np
from arguments import parse

import xpnet
from xpnet import data, get_backend, nn
from xpnet.train import Trainer
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)
backend = get_backend(options.backend)


def swish(x):
    """y = x / (1 + exp(-x)), in standard calls only: an op returns y and its vjp, which computes dx from dy."""
    xp = xpnet.namespace(x)
    s = 1.0 / (1.0 + xp.exp(-x))

    def vjp(dy, needs):
        return (dy * (s + x * s * (1.0 - s)) if needs[0] else None,)

    return x * s, vjp


class Swish(nn.Module):
    """A layer applies the op."""

    def forward(self, x):
        return xpnet.apply(swish, x)


def squared_hinge(scores, labels):
    """A loss is any function of tensors that gives one number."""
    return (nn.hinge_loss(scores, labels, reduction="none") ** 2).mean()


x = xpnet.Tensor(backend.from_numpy(np.linspace(-6.0, 6.0, 121)), requires_grad=True)
error = xpnet.gradcheck(Swish(), x.data)
print(f"the gradient of swish agrees with central differences to {error:.0e}")

train, test = data.load("digits")
if options.quick:  # full batches: jax compiles each call for each shape
    train, test = train.take(range(20 * 64)), test.take(range(5 * 64))
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), Swish(), nn.Linear(48, 10)).to(options.backend)
trainer = Trainer(model, xpnet.optim.Adam(model.parameters(), lr=5e-3), squared_hinge)
trainer.fit(train, epochs=5 if options.quick else 10)
accuracy = trainer.evaluate(test, batch_size=64)["accuracy"]
assert accuracy > 0.85


def picture():
    from matplotlib.figure import Figure

    ax = Figure(figsize=(6.4, 3.6), layout="constrained").subplots()
    y = Swish()(x)
    slope = xpnet.backward(y.sum())[x]
    at = x.numpy()
    ax.plot(at, np.maximum(at, 0), color="0.6", lw=1, label="ReLU")
    ax.plot(at, y.numpy(), color=PALETTE[0], label="swish(x)")
    ax.plot(at, backend.to_numpy(slope), "--", color=PALETTE[1], label="its gradient, by the vjp")
    ax.set(xlabel="x", ylabel="output, gradient", ylim=(-0.5, 4))
    ax.set_title(f"swish, an op of ten lines; test accuracy with it {accuracy:.1%}", fontsize=10)
    ax.axhline(0, color="0.8", lw=0.8)
    ax.legend(frameon=False)
    despine(ax, grid=None)
    return ax.figure


options.save(picture)
print(f"{backend}: test accuracy {accuracy:.1%} with swish and a squared hinge")
print("Notice: one function of array calls is the whole op. It names no backend, and runs on every one.")
