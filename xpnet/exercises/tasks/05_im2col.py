"""05 im2col: the windows of an image as the rows of a matrix.

A filter slides over the image. Under it lies a window of KH*KW pixels with C channels each, and the output is the sum
of window times filter. With every window as a row, the whole convolution is one product of two matrices:

    rows[(n, i, j), (p, q, c)] = x[n, i*S + p, j*S + q, c]
    y = rows @ w^T                                              w: (F, KH*KW*C), a row a filter

S is the stride: how far the window moves. Shapes:

    x     (N, H, W, C)                 images, channels last
    rows  (N*OH*OW, KH*KW*C)           OH = (H - KH) // S + 1,  OW = (W - KW) // S + 1

A row is a window: n, i, j in this order, j fastest. In a row the pixels follow each other line by line, each with all
of its channels: c is fastest, then q, then p.

Suggestion: loop over p and q only. x[:, p : p + S*(OH-1) + 1 : S, ...] is row p of all windows at once.

Read more: examples/course/10-convolution-layer.md, examples/08_convolution.py
Run the test: python 05_im2col.py
"""

import xpnet
from xpnet.exercises import check


def im2col(x, KH, KW, S):
    """Return the rows, (N*OH*OW, KH*KW*C)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def test():
    # 1 2 3
    # 4 5 6    has four windows of 2x2
    # 7 8 9
    image = check.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    x = image[None, :, :, None]  # (1, 3, 3, 1): one image, one channel
    windows = [[1.0, 2.0, 4.0, 5.0], [2.0, 3.0, 5.0, 6.0], [4.0, 5.0, 7.0, 8.0], [5.0, 6.0, 8.0, 9.0]]
    check.equal("im2col(x, 2, 2, 1)", im2col(x, 2, 2, 1), windows)

    # with stride 2 only the first of them fits
    check.equal("im2col(x, 2, 2, 2)", im2col(x, 2, 2, 2), [[1.0, 2.0, 4.0, 5.0]])

    check.general("im2col", im2col)  # several images and channels, KH and KW that differ, strides


if __name__ == "__main__":
    check.run(test)
