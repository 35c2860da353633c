"""Add an array library that xpnet does not know, in ten lines, and train on it.

array-api-strict implements exactly the standard: what runs on it runs on any conforming library. Its "device1" is a
second device that needs no hardware. The same run on --backend (NumPy by default) shows that the results agree.
"""

import numpy as np
from arguments import parse

from xpnet import Backend, data, get_backend, models, nn, optim, register_backend
from xpnet.train import Step

options = parse(__doc__)


class Strict(Backend):
    def to_numpy(self, x):
        return np.asarray(self.xp.asarray(x, device=self.xp.Device("CPU_DEVICE")))


def open_strict(device):
    import array_api_strict as xp

    return Strict("array-api-strict", xp, xp.Device(device or "CPU_DEVICE"))


register_backend("array-api-strict", open_strict, install="pip install array-api-strict")
train, _ = data.load("digits")


def losses(name):
    """The loss of each step of two epochs on a backend."""
    model = models.build("mlp", train.shape, len(train.classes)).to(name)
    step = Step(model, nn.softmax_cross_entropy, optim.SGD(model.parameters(), lr=0.1))
    feed = data.Feed(train, 32, get_backend(name), normalize=data.Normalize.of(train), shuffle=True)
    return np.asarray([float(step(x, y)) for epoch in range(2) for x, y in feed.epoch(epoch)])


known, new = losses(options.backend), losses("array-api-strict:device1")
assert np.max(np.abs(known - new)) < 1e-4
assert new[-20:].mean() < 0.5


def picture():
    from matplotlib.figure import Figure

    top, bottom = Figure(figsize=(7, 4.4), layout="constrained").subplots(2, 1, sharex=True, height_ratios=(2, 1))
    top.plot(known, color="#0072B2", lw=4, alpha=0.4, label=get_backend(options.backend).name)
    top.plot(new, color="#D55E00", lw=1, label="array-api-strict")
    top.set(ylabel="loss of a step")
    top.legend(frameon=False)
    bottom.plot(np.abs(known - new), ".", color="0.3", ms=4)
    bottom.set_yscale("symlog", linthresh=1e-8)
    bottom.set(xlabel="step", ylabel="they differ by", ylim=(-1e-9, 1e-4), yticks=[0, 1e-8, 1e-6, 1e-4])
    for ax in (top, bottom):
        ax.spines[["top", "right"]].set_visible(False)
    return top.figure


options.save(picture)
apart = np.max(np.abs(known - new))
print(f"the losses on {get_backend('array-api-strict:device1')} agree with those on {get_backend(options.backend)}")
print(f"Notice: ten lines added the library. In {len(new)} steps no loss differs by more than {apart:.1g}.")
