"""Feature maps: what a convolutional network detects, and where.

Each neuron of a convolution learns a filter; sliding it over the image gives a map that is large where the image is
similar to the filter. Four views of one network: filters, maps, the outputs of all layers, and the pixels that
influence the answer most.
Notes: "Convolution Neural Networks", "Convolution Layer".
"""

import numpy as np
from arguments import parse

from xpnet import data, nn, viz
from xpnet.autograd import Tensor, no_grad
from xpnet.optim import SGD
from xpnet.train import Trainer

options = parse(__doc__)
train, test = data.load("digits")
if options.quick:
    train, test = train.take(range(1280)), test.take(range(64))
model = nn.Sequential(
    conv1=nn.Conv2d(1, 12, 3, padding=1),
    relu1=nn.ReLU(),
    pool1=nn.MaxPool2d(2),
    conv2=nn.Conv2d(12, 24, 3, padding=1),
    relu2=nn.ReLU(),
    pool2=nn.MaxPool2d(2),
    flatten=nn.Flatten(),
    scores=nn.Linear(96, 10),
).to(options.backend)
trainer = Trainer(model, SGD(model.parameters(), lr=0.03, momentum=0.9))
trainer.fit(train, test, epochs=3 if options.quick else 15, batch_size=64 if options.quick else 32)
accuracy = trainer.history[-1]["test_accuracy"]
image = test.x[int(np.flatnonzero(test.y == 3)[0])]


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.9), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.9, 3))
    left, right = above.subplots(1, 2, width_ratios=(1, 1.5))
    viz.filters(trainer, "conv1", ax=left)
    viz.feature_maps(trainer, image, "relu1", ax=right)
    left, right = below.subplots(1, 2, width_ratios=(1, 1.4))
    viz.activations(trainer, test.x[:64], ax=left)
    viz.saliency(trainer, image, ax=right)
    return figure


def outputs(x):
    """The output of each layer for images (N, H, W, C), as NumPy arrays."""
    batch = Tensor(trainer.normalize(model.backend.from_numpy(x)))
    with no_grad(), nn.watch() as seen:
        model(batch)
    return {path: y.numpy() for path, y in seen.items()} | {"image": batch.numpy()}


options.save(picture)

# A map is the filter slid over the image: the largest value is the sum of filter times pixels at that place
layers = outputs(image[None])
maps, weights = layers["conv1"][0], model.conv1.weight.numpy()  # (8, 8, 12), (12, 3, 3, 1)
i, j, f = np.unravel_index(np.argmax(maps), maps.shape)
padded = np.pad(layers["image"][0], ((1, 1), (1, 1), (0, 0)))
by_hand = np.sum(padded[i : i + 3, j : j + 3] * weights[f]) + model.conv1.bias.numpy()[f]
assert abs(maps[i, j, f] - by_hand) < 1e-4 * abs(by_hand)
print(f"filter {f} is largest at row {i}, column {j}: {maps[i, j, f]:.3f}, by hand {by_hand:.3f}")

# ReLU keeps what is similar to the filter and sets the rest to 0
zeros = np.mean(layers["relu1"] == 0)
assert 0.2 < zeros < 0.9
assert np.array_equal(layers["relu1"], np.maximum(layers["conv1"], 0))
print(f"after ReLU {zeros:.0%} of the first layer's numbers are 0; test accuracy {accuracy:.1%}")
assert accuracy > (0.8 if options.quick else 0.95)
print("Notice: the filters are edges and spots in several directions, which nobody designed. Each map is bright where")
print("the digit has that edge; ReLU keeps only that. Few pixels influence the score, most of them beside the strokes.")
