"""The traditional pipeline and a network on the same digits: which steps are designed by hand, and which are learned.

In the pipeline, filters, feature points and the dictionary are designed by hand; only the classifier is learned. The
network learns all four from pixels. Needs scikit-learn. Notes: the five steps at the beginning.
"""

import numpy as np
from arguments import parse

from xpnet import data, get_backend, models, ops, optim
from xpnet.train import Trainer
from xpnet.viz.tiles import colours, mosaic

options = parse(__doc__)
options.needs("sklearn", "pip install scikit-learn")
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression

backend = get_backend(options.backend)
train, test = data.load("digits")  # step 1: image formation
if options.quick:  # full batches of 32: jax compiles each call for each shape
    train, test = train.take(range(44 * 32)), test.take(range(11 * 32))
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


def count_words(patches, strong):
    """Step 4: replace each feature point by the nearest word of the dictionary; count the words in 3x3 regions."""
    bag = np.zeros((len(patches), 3, 3, WORDS))
    n, i, j = np.nonzero(strong)
    np.add.at(bag, (n, i * 3 // 5, j * 3 // 5, dictionary.predict(patches[strong])), 1)
    return bag.reshape(len(bag), -1)


found, tested = points(gradients(train)), points(gradients(test))
dictionary = MiniBatchKMeans(WORDS, n_init=1, random_state=0, batch_size=2048).fit(found[0][found[1]])
bags, test_bags = count_words(*found), count_words(*tested)
classifier = LogisticRegression(C=0.3, max_iter=300).fit(bags, train.y)  # step 5: learned
by_hand = classifier.score(test_bags, test.y)

model = models.build("cnn", train.shape, 10).to(options.backend)
trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
trainer.fit(train, epochs=1 if options.quick else 20, batch_size=32)  # steps 2 to 5: learned
learned = trainer.evaluate(test, batch_size=32)["accuracy"]


def picture(one=2):
    from matplotlib.figure import Figure

    top, bottom = Figure(figsize=(11, 4.8), layout="constrained").subplots(2, 5)
    images, (i, j) = train.x[:32], np.nonzero(found[1][one])
    patches = np.lib.stride_tricks.sliding_window_view(train.x[..., 0], (4, 4), axis=(1, 2))[found[1]]
    words = [patches[dictionary.labels_ == word].mean(axis=0) / 16 for word in range(16)]
    x = trainer.normalize(backend.from_numpy(images))
    first, second = (np.moveaxis(model[:n](x).numpy()[one, :, :, :16], 2, 0) for n in (2, 5))
    for ax, title, pictures in (
        (top[1], "2 gradients", np.moveaxis(gradients(train)[one], 2, 0)),
        (top[3], "4 words", np.stack(words)),
        (bottom[1], "2 learned filters", model[0].weight.numpy()[:16, :, :, 0]),
        (bottom[2], "3 what they find", first),
        (bottom[3], "4 what layer 2 finds", second),
    ):
        mosaic(ax, colours(pictures)[0], 4 if len(pictures) > 2 else 1)
        ax.set_title(title)
    for ax, title in ((top[0], "1 image"), (bottom[0], "1 image"), (top[2], "3 feature points")):
        ax.imshow(images[one, :, :, 0], cmap="gray")
        ax.set(title=title, xticks=[], yticks=[])
    top[2].scatter(j + 1.5, i + 1.5, s=150, facecolors="none", edgecolors="#E69F00", linewidths=2)
    sure = classifier.predict_proba(bags[:32])[one], trainer.predict(images)[one]
    for row, name, chances, right in zip((top, bottom), ("by hand", "learned"), sure, (by_hand, learned), strict=True):
        row[0].set_ylabel(name, fontsize=13)
        row[4].bar(range(10), chances, color="#009E73")
        row[4].set(title=f"5 classifier: {right:.1%} right", xticks=range(10), ylim=(0, 1), ylabel="probability")
    return top[0].figure


options.save(picture)
print("pipeline: by hand: image formation, filtering, feature points, dictionary building; learned: classifier")
print("network:  by hand: image formation; learned: filtering, feature points, dictionary building, classifier")
assert by_hand > 0.9
assert learned > (0.85 if options.quick else by_hand)
print(f"Notice: four steps designed by hand give {by_hand:.1%} test accuracy; the network, which got only pixels and")
print(f"labels, gives {learned:.1%}. It replaces the design by data and a few seconds of training.")
