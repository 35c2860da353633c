"""Add an array library that xpnet does not know, in a few lines, and see which of its functions a training step calls.

The library here is NumPy under another name, with a type of arrays of its own and a namespace that counts the calls.
For a real library, xp is its module; xpnet/backend/README.md shows it with array-api-strict. xpnet has no kernels for a
new library, so it runs the ops as they are written, by the standard. The same run on --backend gives the same results.
"""

from collections import Counter

import numpy as np
from arguments import parse

from xpnet import Backend, data, get_backend, models, nn, optim, register_backend
from xpnet.train import Step
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)


class Counted(np.ndarray):
    """The type of the library's arrays."""


class Namespace:
    """The functions of the standard as NumPy has them: each counts its calls, and returns arrays of the new type."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found  # a dtype or a constant

        def function(*arguments, **options):
            calls[name] += 1
            result = found(*arguments, **options)
            return np.asarray(result).view(Counted) if isinstance(result, np.ndarray | np.generic) else result

        return function


calls = Counter()
register_backend("counted", lambda device: Backend("counted", Namespace(), "cpu"))  # that is all xpnet needs
train, _ = data.load("digits")


def losses(name):
    """The loss of each step of two epochs on a backend."""
    model = models.build("mlp", train.shape, len(train.classes)).to(name)
    step = Step(model, nn.softmax_cross_entropy, optim.SGD(model.parameters(), lr=0.1))
    feed = data.Feed(train, 32, get_backend(name), normalize=data.Normalize.of(train), shuffle=True)
    return np.asarray([float(step(x, y)) for epoch in range(2) for x, y in feed.epoch(epoch)])


known, new = losses(options.backend), losses("counted")
assert np.max(np.abs(known - new)) < 1e-4
assert new[-20:].mean() < 0.5
often = {name: n / len(new) for name, n in calls.most_common() if n >= len(new)}  # at least once a step
assert {"reshape", "sum", "exp"} <= set(often)


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    left.barh(list(often), list(often.values()), color=PALETTE[5])
    left.invert_yaxis()
    left.set(xlabel="calls in a step, without operators such as @")
    left.set_title("functions of the new library", fontsize=10)
    right.plot(known, color=PALETTE[0], lw=5, alpha=0.4, label=get_backend(options.backend).name)
    right.plot(new, color=PALETTE[1], lw=1, label="the new library")
    right.set(xlabel="step", ylabel="loss of a step")
    right.set_title("the same losses", fontsize=10)
    right.legend(frameon=False)
    despine(left, right, grid=None)
    return figure


options.save(picture)
apart = np.max(np.abs(known - new))
print(f"the losses on {get_backend('counted')} agree with those on {get_backend(options.backend)}")
print(
    f"besides operators a step calls {len(often)} functions: "
    + ", ".join(f"{name} {n:.0f}" for name, n in often.items())
)
print(f"Notice: xpnet needs a namespace and a device, no more. In {len(new)} steps no loss differs by more than")
print(
    f"{apart:.1g}, though the new library has no kernels: each op is written once, in functions that every library has."
)
