"""Write a layer of one op, and a loss, of your own; both run on every backend and are checked against differences."""

import numpy as np

import xpnet
from xpnet import data, nn
from xpnet.train import Trainer


def swish(x):
    """y = x / (1 + exp(-x)), in standard calls only: an op returns y and the way back from dy to dx."""
    xp = xpnet.namespace(x)
    s = 1.0 / (1.0 + xp.exp(-x))

    def vjp(dy, needs):
        return (dy * (s + x * s * (1.0 - s)) if needs[0] else None,)

    return x * s, vjp


class Swish(nn.Module):
    """A layer names the op."""

    def forward(self, x):
        return xpnet.apply(swish, x)


def squared_hinge(scores, labels):
    """A loss is any function of tensors that gives one number."""
    return (nn.hinge_loss(scores, labels, reduction="none") ** 2).mean()


error = xpnet.gradcheck(lambda x: xpnet.apply(swish, x), np.linspace(-3.0, 3.0, 7))
print(f"the gradient of swish agrees with a central difference to {error:.0e}")

train, test = data.load("digits")
for backend in ("cpu", "torch"):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), Swish(), nn.Linear(48, 10)).to(backend)
    trainer = Trainer(model, xpnet.optim.Adam(model.parameters(), lr=5e-3), squared_hinge)
    trainer.fit(train, epochs=10)
    accuracy = trainer.evaluate(test)["accuracy"]
    print(f"{backend}: test accuracy {accuracy:.1%}")
    assert accuracy > 0.9
