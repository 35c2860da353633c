"""06 Convolution, forward and backward: slide filters over images.

    y[n,i,j,f] = b[f] + sum over p, q, c of w[f,p,q,c] * x[n, i*S + p, j*S + q, c]

This is what networks call convolution: the filter is not rotated (mathematics calls it correlation). The gradients
follow from the sum: each product w * x passes dy * x on to w, and dy * w to x.

    db[f]                        = sum over n, i, j of dy[n,i,j,f]
    dw[f,p,q,c]                  = sum over n, i, j of dy[n,i,j,f] * x[n, i*S + p, j*S + q, c]
    dx[n, i*S + p, j*S + q, c]  += dy[n,i,j,f] * w[f,p,q,c]          for all n, i, j, f, p, q: windows overlap

Shapes:

    x  (N, H, W, C)    images               w  (F, KH, KW, C)   F filters
    y  (N, OH, OW, F)  feature maps         b  (F,)             biases
    OH = (H - KH) // S + 1,  OW = (W - KW) // S + 1

Suggestion: loop over p and q only.

    part = x[:, p : p + S*(OH-1) + 1 : S, q : q + S*(OW-1) + 1 : S, :]      (N, OH, OW, C)

are the pixels that weight (p, q) is multiplied with, of all windows; part @ w[:, p, q, :].T is their part of y. In the
backward pass add to the same slices of dx: dx[place] += ... (Arrays of jax cannot be written in place. With them, and
with all others, dx = add_at(dx, place, ...) works; it is in xpnet.backend.)

Read more: examples/course/10-convolution-layer.md, examples/08_convolution.py
Run the test: python 06_convolution.py
"""

import xpnet
from xpnet.exercises import check


def conv2d(x, w, b, S):
    """Return y, (N, OH, OW, F)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def conv2d_backward(dy, x, w, S):
    """Return dx, dw, db for dy, (N, OH, OW, F)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def test():
    # 1 2 3      1  0
    # 4 5 6      0 -1    each window gives 10 + (upper left) - (lower right) = 10 - 4
    # 7 8 9
    image = check.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    x, w = image[None, :, :, None], check.array([[1.0, 0.0], [0.0, -1.0]])[None, :, :, None]
    y = conv2d(x, w, check.array([10.0]), 1)
    check.equal("conv2d(x, w, b, 1)", y, [[[[6.0], [6.0]], [[6.0], [6.0]]]])

    # dy = 1 for all four windows: dw sums the pixels that a tap met, dx the taps that met a pixel
    dx, dw, db = conv2d_backward(xpnet.namespace(x).ones_like(y), x, w, 1)
    check.equal("db", db, [4.0])
    check.equal("dw", dw[0, :, :, 0], [[1.0 + 2 + 4 + 5, 2.0 + 3 + 5 + 6], [4.0 + 5 + 7 + 8, 5.0 + 6 + 8 + 9]])
    check.equal("dx", dx[0, :, :, 0], [[1.0, 1.0, 0.0], [1.0, 0.0, -1.0], [0.0, -1.0, -1.0]])

    check.general("convolution", conv2d, conv2d_backward)  # strides, channels, filters; <y, dy> = <x, dx>; slopes


if __name__ == "__main__":
    check.run(test)
