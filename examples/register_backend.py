"""Bring in an array library that xpnet does not know, in ten lines, and train on it.

array-api-strict is the standard to the letter: what runs on it runs on any conforming library. Its "device1" is a
second device that needs no hardware.
"""

import numpy as np

from xpnet import Backend, data, get_backend, models, register_backend
from xpnet.train import Trainer


class Strict(Backend):
    def to_numpy(self, x):
        return np.asarray(self.xp.asarray(x, device=self.xp.Device("CPU_DEVICE")))


def open_strict(device):
    import array_api_strict as xp

    return Strict("array-api-strict", xp, xp.Device(device or "CPU_DEVICE"))


register_backend("array-api-strict", open_strict, install="pip install array-api-strict")

train, test = data.load("digits")
model = models.build("mlp", train.shape, len(train.classes)).to("array-api-strict:device1")
trainer = Trainer(model)
trainer.fit(train, test, epochs=2)
accuracy = trainer.evaluate(test)["accuracy"]
print(f"{get_backend('array-api-strict:device1')}: test accuracy {accuracy:.1%}")
assert accuracy > 0.85
