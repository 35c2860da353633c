"""The traditional pipeline and a network on the same digits: which steps are designed by hand, and which are learned.

In the pipeline, filters, feature points and the dictionary are designed by hand; only the classifier is
learned, a linear layer. The network learns all four from pixels. Notes: the five steps at the beginning.
"""

import numpy as np
from arguments import parse

from xpnet import data, get_backend, models, nn, ops, optim
from xpnet.train import Trainer
from xpnet.viz.style import PALETTE
from xpnet.viz.tiles import colours, mosaic

options = parse(__doc__)
backend = get_backend(options.backend)
train, test = data.load("digits")  # step 1: image formation
BINS, WORDS, SOBEL = 8, 100, np.asarray([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8


def gradients(images):
    """Step 2: the change of brightness to the right and downwards, (N, 8, 8, 2), by two filters designed by hand."""
    w = np.stack([SOBEL, SOBEL.T])[..., None]  # (F, KH, KW, C)
    y, _ = ops.conv2d(backend.from_numpy(images.x / np.float32(16)), backend.from_numpy(w), padding=1)
    return backend.to_numpy(y)


def points(gradient):
    """Step 3: describe each 4x4 patch by histograms of gradient directions in its 2x2 corners; mark the strong ones."""
    strength = np.linalg.norm(gradient, axis=-1)
    direction = np.arctan2(gradient[..., 1], gradient[..., 0]) / (2 * np.pi)  # as a fraction of a full turn
    pixels = strength[..., None] * np.eye(BINS)[np.round(BINS * direction).astype(int) % BINS]  # (N, 8, 8, BINS)
    cells = pixels[:, :-1, :-1] + pixels[:, 1:, :-1] + pixels[:, :-1, 1:] + pixels[:, 1:, 1:]  # (N, 7, 7, BINS)
    patches = np.concatenate([cells[:, i : i + 5, j : j + 5] for i in (0, 2) for j in (0, 2)], axis=-1)
    length = np.linalg.norm(patches, axis=-1, keepdims=True)
    return patches / np.maximum(length, 1e-6), length[..., 0] > 1.4  # (N, 5, 5, 4*BINS), (N, 5, 5)


def nearest(patches):
    """The word of the dictionary that is nearest to each patch."""
    return np.argmin(np.sum(dictionary**2, axis=1) - 2 * patches @ dictionary.T, axis=1)


def count_words(patches, strong):
    """Step 4: replace each feature point by the nearest word of the dictionary; count the words in 3x3 regions."""
    bag = np.zeros((len(patches), 3, 3, WORDS), np.float32)
    n, i, j = np.nonzero(strong)
    np.add.at(bag, (n, i * 3 // 5, j * 3 // 5, nearest(patches[strong])), 1)
    return bag.reshape(len(bag), -1)


found, tested = points(gradients(train)), points(gradients(test))
described = found[0][found[1]]  # (n, 4*BINS), of all feature points
dictionary = described[:: len(described) // WORDS][:WORDS]
for _ in range(10):  # k-means: each word becomes the mean of the descriptions nearest to it
    word = nearest(described)
    dictionary = np.stack([described[word == k].mean(axis=0) if k in word else dictionary[k] for k in range(WORDS)])
bags, test_bags = count_words(*found), count_words(*tested)
linear = nn.Linear(bags.shape[1], 10).to(options.backend)
classifier = Trainer(linear, optim.AdamW(linear.parameters(), lr=0.003, weight_decay=0.1))
classifier.fit(bags, train.y, epochs=20, batch_size=32)  # step 5: learned
by_hand = classifier.evaluate((test_bags, test.y), batch_size=32)["accuracy"]
model = models.build("cnn", train.shape, 10).to(options.backend)
trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
trainer.fit(train, epochs=1 if options.quick else 20, batch_size=32)  # steps 2 to 5: learned
learned = trainer.evaluate(test, batch_size=32)["accuracy"]


def picture(one=2):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes, digit = figure.subplots(2, 5), train.x[one, :, :, 0] / 16
    patches = np.lib.stride_tricks.sliding_window_view(train.x[..., 0] / 16, (4, 4), axis=(1, 2))[found[1]]
    words = np.stack([patches[word == k].mean(axis=0) for k in range(16)])
    x = trainer.normalize(backend.from_numpy(train.x[:32]))
    first, second = (np.moveaxis(model[:n](x).numpy()[one, :, :, :16], 2, 0) for n in (2, 5))
    filters, change = model[0].weight.numpy()[:16, :, :, 0], np.moveaxis(gradients(train)[one], 2, 0)
    titles = "1 image", "2 gradients", "3 feature points", "4 words", "1 image", "2 filters", "3 maps", "4 deeper maps"
    every = digit, change, digit, words, digit, filters, first, second
    for ax, shown, title in zip(axes[:, :4].flat, every, titles, strict=True):
        ax.imshow(digit, "gray") if shown is digit else mosaic(ax, colours(shown)[0], 4 if len(shown) > 2 else 1)
        ax.set(title=title, xticks=[], yticks=[])
    axes[0, 2].scatter(*np.nonzero(found[1][one])[::-1] + np.asarray(1.5), s=110, fc="none", ec=PALETTE[4], lw=2)
    for column, ends in ((1, (-1.0, 0.0, 1.0)), (slice(2, 4), (0.0, 0.5, 1.0))):
        bar = {"location": "bottom", "label": "share of the panel's largest", "shrink": 0.8, "aspect": 15 * len(ends)}
        figure.colorbar(colours(np.asarray(ends))[1], ax=axes[:, column], ticks=ends, **bar)
    sure = classifier.predict(bags[:32])[one], trainer.predict(train.x[:32])[one]
    for row, name, chances, right in zip(axes, ("by hand", "learned"), sure, (by_hand, learned), strict=True):
        row[0].set_ylabel(name, fontsize=12)
        row[4].bar(range(10), chances, color=PALETTE[2])
        row[4].set(xticks=range(10), ylim=(0, 1), xlabel="digit", ylabel="probability", title=f"5 class: {right:.1%}")
    return figure


options.save(picture)
print("designed by hand: steps 1 to 4 of the pipeline, step 1 of the network; learned: the others")
assert 0.9 < by_hand < learned + (0.1 if options.quick else 0)
print(f"Notice: four steps designed by hand give {by_hand:.1%} test accuracy; the network, which got only pixels and")
print(f"labels, gives {learned:.1%}. It replaces the design by data and a few seconds of training.")
