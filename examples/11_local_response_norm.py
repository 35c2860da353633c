"""Local response normalization: a strong response reduces those of its neighbours, and itself.

The neighbours are the other channels of the same pixel (inter-channel, as in AlexNet) or the surrounding pixels of the
same channel (intra-channel). Papers and libraries also differ in whether alpha multiplies the sum of squares or their
average, so the same alpha has two meanings. AlexNet's k = 2 and alpha = 1e-4 would have little visible effect, so here
k = 1 and alpha = 1.
Notes: "Local Response Normalization Layer".
"""

import itertools

import numpy as np
from arguments import parse

from xpnet import get_backend, nn, random
from xpnet.viz.style import PALETTE, despine, unsigned

options = parse(__doc__)
backend = get_backend(options.backend)
K, ALPHA, BETA, SIZE = 1.0, 1.0, 0.75, 3
CASES = list(itertools.product(("across", "within"), (False, True)))  # region, average

x = random.uniform(random.Key(0, "texture"), (1, 9, 9, 7), 0.5, 0.7)  # (N, H, W, C): a weak texture, and
x[0, 4, 4, 3] = 3.0  # one strong response in its middle

normalized = {}
for region, average in CASES:
    layer = nn.LocalResponseNorm(SIZE, ALPHA, BETA, K, region=region, average=average)
    normalized[region, average] = layer(backend.from_numpy(x)).numpy()


def by_the_formula(region, average, i, j, c):
    """One number of the output, neighbour by neighbour; neighbours outside the image count as 0."""
    reach = range(-(SIZE // 2), SIZE // 2 + 1)
    square = [(i + d, j + e, c) for d in reach for e in reach]
    near = [(i, j, c + d) for d in reach] if region == "across" else square
    inside = [n for n in near if all(0 <= at < size for at, size in zip(n, x.shape[1:], strict=True))]
    s = sum(float(x[0][n]) ** 2 for n in inside)
    return x[0, i, j, c] / (K + ALPHA * s / (len(near) if average else 1)) ** BETA


for (region, average), y in normalized.items():
    for i, j, c in np.ndindex(*x.shape[1:]):
        assert abs(y[0, i, j, c] - by_the_formula(region, average, i, j, c)) < 1e-5


def picture():
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    figure = Figure(figsize=(9, 5.7), layout="constrained")
    axes = figure.subplots(2, 3)
    roles = {PALETTE[2]: "the strong response", PALETTE[4]: "its neighbours", "0.6": "others"}
    loud, near, others = roles
    titles = ("the input x", "y, with alpha times the sum", "y, with alpha times the average")
    for col, (title, average) in enumerate(zip(titles, (None, False, True), strict=True)):
        across, within = (x if col == 0 else normalized[region, average] for region in ("across", "within"))
        axes[0, col].bar(range(7), across[0, 4, 4, :], color=[others, others, near, loud, near, others, others])
        axes[0, col].set(xlabel="channel, at the middle pixel", ylim=(0, 1.1 if col else 3.1))
        axes[0, col].set_title(title, fontsize=10)
        despine(axes[0, col], grid=None)
        image = axes[1, col].imshow(within[0, :, :, 3], **unsigned(1.1))
        axes[1, col].add_patch(Rectangle((2.5, 2.5), 3, 3, fill=False, edgecolor=near, linewidth=2))
        axes[1, col].set(xticks=[], yticks=[], xlabel="pixels, of channel 3")
    axes[0, 0].set_ylabel("across channels")
    axes[1, 0].set_ylabel("within a channel")
    legend = {"handles": [Patch(color=c, label=r) for c, r in roles.items()], "frameon": False, "fontsize": 9}
    axes[0, 1].legend(loc="upper left", **legend)
    figure.colorbar(image, ax=axes[1, :], extend="max", label="x, y")
    figure.suptitle(
        "y = x / (1 + S) ** 0.75,  S: sum or average of the squares over 3 channels or 3x3 pixels", fontsize=10
    )
    return figure


options.save(picture)
quiet = normalized["across", False][0, 4, 4, :] / x[0, 4, 4, :]
assert quiet[2] < 0.3 * quiet[0]
assert np.all(normalized["across", True] > normalized["across", False])
print("y / x, channel by channel at the middle pixel:", " ".join(f"{q:.2f}" for q in quiet))
print("Notice: channels 2 and 4 are reduced more than 0 and 6, only because channel 3 beside them is strong. With the")
print("average instead of the sum, the same alpha has less effect: check which one a paper means.")
