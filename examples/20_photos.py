"""Train on a folder of a few pictures, with and without augmentation: changed copies take the place of more pictures.

Each epoch shows every picture mirrored, cropped and in other colours, by draws that depend on the seed alone.
"""

import tempfile
from pathlib import Path

import numpy as np
from arguments import parse
from PIL import Image, ImageDraw

from xpnet import data, models, optim, viz
from xpnet.train import Trainer

options = parse(__doc__)
rng = np.random.default_rng(0)
SHAPES = {"circle": 60, "square": 4, "triangle": 3}  # as polygons
each = 10 if options.quick else 30


def photo(corners):
    """A bright shape of any size, direction and colour before a dark background, with noise."""
    x, y, radius = *rng.uniform(48, 80, 2), rng.uniform(22, 40)
    angles = rng.uniform(0, 6.28) + np.arange(corners) * 2 * np.pi / corners
    dark, bright = (tuple(map(int, rng.integers(*limits, 3))) for limits in ((0, 90), (120, 256)))
    image = Image.new("RGB", (128, 128), dark)
    points = [(float(x + radius * np.cos(a)), float(y + radius * np.sin(a))) for a in angles]
    ImageDraw.Draw(image).polygon(points, fill=bright)
    noisy = np.asarray(image.resize((24, 24)), np.float64) + rng.normal(0, 12, (24, 24, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


with tempfile.TemporaryDirectory() as folder:
    for part, count in (("train", each), ("test", 2 * each)):
        for name, corners in SHAPES.items():
            place = Path(folder, "shapes", part, name)
            place.mkdir(parents=True)
            for i in range(count):
                photo(corners).save(place / f"{i:03}.png")
    parts = data.splits(str(Path(folder, "shapes")), validation=0)
    print("\n".join(parts.note))
train, test = parts.train, parts.test

histories, batch = {}, 10 if options.quick else 15
for name in ("none", "light"):
    model = models.build("cnn", train.shape, len(train.classes)).to(options.backend).initialize(seed=0)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=2e-3))
    histories[name] = trainer.fit(train, test, epochs=1 if options.quick else 40, batch_size=batch, augment=name)
    print(f"augmentation {name}: test accuracy {trainer.evaluate(test, batch_size=20)['accuracy']:.1%}")
if not options.quick:
    last = {name: np.mean([record["test_accuracy"] for record in history[-5:]]) for name, history in histories.items()}
    assert last["light"] > last["none"]

options.save(lambda: viz.compare(histories))
print(
    "Notice: without augmentation the training loss falls to nothing while the test loss rises: the network knows its"
)
print("pictures by heart. With it, training is harder, and the network does better on pictures it has not seen.")
