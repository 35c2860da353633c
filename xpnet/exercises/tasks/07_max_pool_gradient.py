"""07 The gradient of max pooling: it goes to the pixel that was the maximum.

    y[n,i,j,c] = max over p, q of x[n, i*S + p, j*S + q, c]           windows of K x K pixels, stride S

A small change of another pixel of the window does not change y, so its gradient is 0. Therefore dy[n,i,j,c] is added
to dx at the pixel that is the maximum of window (i, j). If several pixels are, it goes to the first one only: line by
line, from the left. If S < K, windows overlap, and a pixel may be the maximum of several. Shapes:

    x, dx  (N, H, W, C)        y, dy  (N, OH, OW, C)       OH = (H - K) // S + 1,  OW = (W - K) // S + 1

Suggestion: loop over p and q, as in 06. An array of True and False, (N, OH, OW, C), tells which windows have already
found their maximum.

Read more: examples/course/11-pooling-layer.md, examples/10_pooling.py
Run the test: python 07_max_pool_gradient.py
"""

import xpnet
from xpnet.exercises import check


def max_pool2d(x, K, S):
    """Return y, (N, OH, OW, C): this one is written already."""
    xp = xpnet.namespace(x)
    OH, OW = (x.shape[1] - K) // S + 1, (x.shape[2] - K) // S + 1
    y = None
    for p in range(K):
        for q in range(K):
            part = x[:, p : p + S * (OH - 1) + 1 : S, q : q + S * (OW - 1) + 1 : S, :]  # (N, OH, OW, C)
            y = part if y is None else xp.maximum(y, part)
    return y


def max_pool2d_backward(dy, x, K, S):
    """Return dx, (N, H, W, C), for dy, (N, OH, OW, C)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def test():
    # 1 5 | 2 0
    # 3 4 | 7 7     the maxima are 5, 7 (the left one: it comes first), 9 and 4
    # ----+----
    # 0 1 | 2 3
    # 9 8 | 4 3
    image = check.array([[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 7.0, 7.0], [0.0, 1.0, 2.0, 3.0], [9.0, 8.0, 4.0, 3.0]])
    dy = check.array([[10.0, 20.0], [30.0, 40.0]])
    dx = max_pool2d_backward(dy[None, :, :, None], image[None, :, :, None], 2, 2)
    wanted = [[0.0, 10.0, 0.0, 0.0], [0.0, 0.0, 20.0, 0.0], [0.0, 0.0, 0.0, 0.0], [30.0, 0.0, 40.0, 0.0]]
    check.equal("dx", dx[0, :, :, 0], wanted)

    # 1 9 2   K = 2, S = 1: the 9 is the maximum of both windows
    # 0 3 4
    image, dy = check.array([[1.0, 9.0, 2.0], [0.0, 3.0, 4.0]]), check.array([[10.0, 20.0]])
    dx = max_pool2d_backward(dy[None, :, :, None], image[None, :, :, None], 2, 1)
    check.equal("dx of windows that overlap", dx[0, :, :, 0], [[0.0, 30.0, 0.0], [0.0, 0.0, 0.0]])

    check.general("max_pool_gradient", max_pool2d, max_pool2d_backward)  # many images, ties, other K and S


if __name__ == "__main__":
    check.run(test)
