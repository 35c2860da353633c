"""Pooling arithmetic: how many windows fit, and what happens to the numbers in each.

A window of KH x KW pixels moves by SH pixels. If the stride is the size of the window, windows do not overlap; those of
AlexNet are 3x3 with stride 2, and overlap. In both cases OH = (H + 2*PH - KH) // SH + 1.
Notes: "Pooling Layer".
"""

import itertools

import numpy as np
from arguments import parse

from xpnet import get_backend, ops
from xpnet.viz.style import PALETTE

options = parse(__doc__)
backend = get_backend(options.backend)
COLOURS = PALETTE[:4]  # one for each window
SIZES = [(4, 2, 2, 0), (5, 3, 2, 0), (6, 3, 2, 1), (7, 2, 3, 1)]  # H, KH, SH, PH
if not options.quick:
    SIZES += itertools.product(range(1, 20), range(1, 6), range(1, 5), range(3))

VOLUMES = {
    "2x2, stride 2: windows side by side": (2, [[4, 1, 0, 5], [1, 6, 8, 3], [7, 2, 4, 4], [0, 1, 9, 3]]),
    "3x3, stride 2: windows overlap, as AlexNet's": (
        3,
        [[1, 3, 2, 0, 5], [4, 6, 1, 2, 2], [0, 2, 9, 1, 3], [5, 1, 0, 4, 7], [2, 8, 3, 1, 6]],
    ),
}


def pooled(op, numbers, kernel):
    """Pool a table of numbers with stride 2."""
    x = backend.from_numpy(np.asarray(numbers, np.float32)[None, :, :, None])  # (1, H, W, 1)
    y, _ = op(x, kernel_size=kernel, stride=2)
    return backend.to_numpy(y)[0, :, :, 0]


def draw(ax, numbers, tall, kernel=0):
    """Write a table of numbers, each in the colour of its window; with a kernel, draw the windows around them."""
    rows, columns = np.shape(numbers)
    middle = rows / 2 - 0.5
    ax.set(xlim=(-0.6, columns - 0.4), ylim=(middle + tall / 2 + 0.1, middle - tall / 2 - 0.1), aspect="equal")
    ax.axis("off")
    for (i, j), value in np.ndenumerate(np.asarray(numbers)):
        ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=13)
        box(ax, j, i, 1, "0.8" if kernel else COLOURS[2 * i + j])
    for n, (i, j) in enumerate(itertools.product((0, 2), (0, 2)) if kernel else ()):
        box(ax, j, i, kernel, COLOURS[n])


def box(ax, x, y, size, colour):
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    window = colour in COLOURS
    place, side = (x - 0.46, y - 0.46), size - 0.08
    face, line = (to_rgba(colour, 0.18), 2.5) if window else ("none", 0.8)
    ax.add_patch(Rectangle(place, side, side, facecolor=face, edgecolor=colour, linewidth=line))


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 7), layout="constrained")
    halves = figure.subfigures(2, height_ratios=(4.6, 5.6), hspace=0.04)
    for part, (title, (kernel, numbers)) in zip(halves, VOLUMES.items(), strict=True):
        size = f"OH = OW = ({len(numbers)} + 2*0 - {kernel}) // 2 + 1 = {(len(numbers) - kernel) // 2 + 1}"
        part.suptitle(f"{title}: {size}", fontsize=11)
        axes = part.subplots(1, 3, width_ratios=(len(numbers) + 0.2, 2.2, 2.2))
        draw(axes[0], numbers, len(numbers), kernel)
        for ax, op in zip(axes[1:], (ops.max_pool2d, ops.avg_pool2d), strict=True):
            draw(ax, pooled(op, numbers, kernel), len(numbers))
            ax.text(0.5, -0.75, op.__name__, ha="center", family="monospace")
    return figure


sizes = 0
for h, k, s, p in SIZES:
    if k > h + 2 * p or 2 * p > k:
        continue  # the window exceeds the image, or the padding half the window
    x = backend.xp.zeros((1, h, 2 * h, 1), dtype=backend.xp.float32, device=backend.device)
    y, _ = ops.max_pool2d(x, kernel_size=k, stride=s, padding=p)
    assert y.shape == (1, (h + 2 * p - k) // s + 1, (2 * h + 2 * p - k) // s + 1, 1)
    sizes += 1
print(f"the equation gives the size of all {sizes} poolings that were tried")

(_, apart), (_, over) = VOLUMES.values()
assert pooled(ops.max_pool2d, apart, 2).tolist() == [[6, 8], [7, 9]]
assert pooled(ops.avg_pool2d, apart, 2).tolist() == [[3, 4], [2.5, 5]]
assert pooled(ops.max_pool2d, over, 3).tolist() == [[9, 9], [9, 9]]
options.save(picture)
print("Notice: 4x4 numbers become 2x2, and 5x5 numbers too. If windows overlap, one large number, the 9 in the")
print("middle, can be the maximum of all four. AlexNet's first pooling: (55 - 3) // 2 + 1 = 27 rows from 55.")
