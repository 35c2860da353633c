"""08 Local response normalization (LRN): divide each response by the strength of its neighbours.

    y = x / (k + alpha * S)^beta          S = sum of x^2 over the neighbours, x itself included

There are two types, which differ in who the neighbours are (r = size // 2, and size is odd):

    inter-channel:  channels c-r .. c+r of the same pixel; AlexNet has this one
    intra-channel:  the size x size pixels around it in the same channel

Neighbours beyond the border count as 0. Shapes:

    x, y  (N, H, W, C)       size, alpha, beta, k: numbers; AlexNet's are 5, 1e-4, 0.75, 2

Read more: examples/course/13-local-response-normalization-layer.md, examples/11_local_response_norm.py
Run the test: python 08_lrn.py
"""

import xpnet
from xpnet.exercises import check


def lrn_across(x, size, alpha, beta, k):
    """Return y, (N, H, W, C): inter-channel, across the channels of a pixel."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def lrn_within(x, size, alpha, beta, k):
    """Return y, (N, H, W, C): intra-channel, within a channel."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def test():
    # one pixel with the channels 1, 2, 2, and size 3: S is 1+4, 1+4+4 and 4+4
    x = check.array([1.0, 2.0, 2.0])
    y = lrn_across(x[None, None, None, :], 3, 1.0, 1.0, 1.0)  # (1, 1, 1, 3)
    check.equal("lrn_across", y[0, 0, 0, :], [1 / (1 + 5), 2 / (1 + 9), 2 / (1 + 8)])

    # the same numbers as a line of three pixels with one channel
    y = lrn_within(x[None, None, :, None], 3, 1.0, 1.0, 1.0)  # (1, 1, 3, 1)
    check.equal("lrn_within", y[0, 0, :, 0], [1 / (1 + 5), 2 / (1 + 9), 2 / (1 + 8)])

    check.general("lrn", lrn_across, lrn_within)  # whole images, size 3 and 5, other alpha, beta and k


if __name__ == "__main__":
    check.run(test)
