"""AlexNet, the network of 2012: 227x227x3 in, 1000 scores out, layer by layer; and a few steps of training.

Five convolutions, three of which see only half of the channels in each group (two groups), local response normalization
after the first two, overlapping pools, and three linear layers, two of them with dropout. It is drawn as blocks, with
parameters at the left and FLOPs at the right, and as volumes. Here it is trained on eight images, drawn below; with
--quick the images are smaller, and fc6 and fc7 have fewer neurons.
Notes: "Example: The AlexNet architecture".
"""

import numpy as np
from arguments import parse

from xpnet import models, optim, random, viz
from xpnet.data import Dataset
from xpnet.train import Progress, Trainer

options = parse(__doc__)
SHAPES = ("disc", "square", "cross", "stripes")

whole = models.alexnet()  # no array is allocated before it is needed
summary = viz.summarize(whole, (227, 227, 3))
print(summary)
by_name = {layer.name: layer for layer in summary.layers}
assert (summary.parameters, summary.macs) == (60_965_224, 724_406_816)
assert by_name["conv1"].output == (55, 55, 96)
assert by_name["conv2"].parameters == 256 * (5 * 5 * 96 // 2 + 1)  # half of the 96 channels: two groups
linear = [by_name[name] for name in ("fc6", "fc7", "fc8")]
assert sum(layer.parameters for layer in linear) > 0.96 * summary.parameters
assert sum(layer.macs for layer in linear) < 0.09 * summary.macs


def drawn(shape: str, number: int) -> np.ndarray:
    """An image (side, side, 3) of bytes: a coloured shape near the middle of a gray background."""
    u = random.uniform(random.Key(number, f"example/{shape}"), (3,))
    down, right = np.mgrid[:side, :side] / side - 0.4 - 0.2 * u[:2, None, None]
    near, far = np.minimum(abs(down), abs(right)), np.maximum(abs(down), abs(right))
    inside, colour = {
        "disc": (down**2 + right**2 < 0.08, (230, 70, 50)),
        "square": (far < 0.25, (60, 160, 230)),
        "cross": ((near < 0.08) & (far < 0.35), (240, 200, 60)),
        "stripes": (np.floor(10 * (down + right)) % 2 == 0, (90, 210, 110)),
    }[shape]
    return np.where(inside[:, :, None], colour, 30 + 60 * u[2]).astype(np.uint8)


side, hidden, steps = (67, 1024, 14) if options.quick else (227, 4096, 12)
y = np.arange(8) % len(SHAPES)
train, new = (np.stack([drawn(SHAPES[k], first + i) for i, k in enumerate(y)]) for first in (0, 8))

model = models.alexnet((side, side, 3), len(SHAPES), hidden=hidden).to(options.backend).initialize(seed=0)
optimizer = optim.make_optimizer("momentum", model.parameters(), 0.003, weight_decay=5e-4)
trainer = Trainer(model, optimizer, callbacks=[Progress()])
trainer.fit(Dataset(train, y, SHAPES, "shapes"), epochs=steps, batch_size=8)  # an epoch is one step here
chances = trainer.predict(new)  # images that were not used for training
for k, row in zip(y, chances, strict=True):
    print(f"{SHAPES[k]:>8}: " + ", ".join(f"{SHAPES[j]} {row[j]:.1%}" for j in np.argsort(-row)[:2]))
assert (trainer.predict(train).argmax(axis=1) == y).all()
assert (chances.argmax(axis=1) == y).mean() >= 0.75

options.save(lambda: viz.blocks(whole, (227, 227, 3), title="AlexNet"))
options.save(lambda: viz.volumes(whole, (227, 227, 3), title="AlexNet"), "volumes")
print(
    "Notice: 96 % of the 61 million parameters are in fc6, fc7 and fc8, but 92 % of the 724 million multiply-adds are"
)
print("in the convolutions: the few weights of a filter are used at every position of the image.")
