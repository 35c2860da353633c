"""Images too small for a model: which layer, what came in, and the smallest size that works."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises, sample
from xpnet import models
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError

# by hand, from the last window back: the sides of square images
SMALLEST = {
    "perceptron": 1,
    "softmax": 1,
    "mlp": 1,
    "lenet5": 4,  # two pools of 2; its second convolution is padded where it must be
    "cnn": 4,
    "alexnet": 67,  # pool5 wants 3; pool2 gives it from 7, pool1 from 15, conv1 from 4 * 14 + 11
    "vgg16": 32,  # five pools of 2
    "resnet18": 1,  # all windows are padded
    "resnet20": 1,
}

# name, image -> layer, the op's window, what comes in there
TOO_SMALL = {
    ("lenet5", (3, 8, 1)): ("pool2 (MaxPool2d)", (2, 2), (1, 4, 16)),
    ("lenet5", (8, 3, 1)): ("pool2 (MaxPool2d)", (2, 2), (4, 1, 16)),
    ("lenet5", (1, 40, 3)): ("pool1 (MaxPool2d)", (2, 2), (1, 40, 6)),
    ("cnn", (3, 3, 2)): ("pool2 (MaxPool2d)", (2, 2), (1, 1, 64)),
    ("alexnet", (66, 66, 3)): ("pool5 (MaxPool2d)", (3, 3), (2, 2, 256)),
    ("alexnet", (28, 28, 1)): ("pool2 (MaxPool2d)", (3, 3), (2, 2, 256)),
    ("alexnet", (8, 300, 1)): ("conv1 (Conv2d)", (11, 11), (8, 300, 1)),
    ("vgg16", (28, 28, 1)): ("pool5 (MaxPool2d)", (2, 2), (1, 1, 512)),
    ("vgg16", (64, 31, 3)): ("pool5 (MaxPool2d)", (2, 2), (4, 1, 512)),
}


@pytest.mark.parametrize(("name", "shape"), TOO_SMALL, ids=str)
def test_an_image_too_small_is_refused_with_the_layer_its_input_and_the_smallest_size(name, shape):
    place, kernel, arrives = TOO_SMALL[name, shape]
    side = SMALLEST[name]
    with raises(
        ShapeError, place, f"shape {arrives}", f"kernel_size {kernel}", f"; {name} takes images of {side}x{side}"
    ):
        models.build(name, shape, 10)
    with raises(ShapeError, place, arrives, kernel):  # a builder names the layer too
        models.MODELS[name].build(shape, 10)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_smallest_size_fits_and_one_pixel_less_does_not(name):
    side = models.smallest_input(name)
    assert side == SMALLEST[name]
    for channels in (1, 3, 4):
        assert models.smallest_input(name, channels) == side
        model = models.build(name, (side, side, channels), 10)
        assert model.cost((side, side, channels)).output == (10,)
    for shape in ((side - 1, side, 3), (side, side - 1, 3)) if side > 1 else ():
        with pytest.raises(ShapeError):
            models.build(name, shape, 10)


@pytest.mark.parametrize("name", ["lenet5", "cnn", "resnet18", "resnet20"])
def test_a_model_of_the_smallest_size_computes_what_it_promised(name):
    side = models.smallest_input(name)
    for shape in ((side, side, 1), (side, side + 5, 3)):
        scores = models.build(name, shape, 10)(Tensor(sample(2, *shape).astype(np.float32)))
        assert scores.shape == (2, 10)


@pytest.mark.parametrize("shape", [(28, 28), (64,), (), (8, 8, 0), (0, 8, 1), (2, 8, 8, 1)], ids=str)
@pytest.mark.parametrize("name", [n for n in models.MODELS if n not in ("perceptron", "softmax", "mlp")])
def test_what_is_no_image_is_refused_with_a_model_that_takes_it(name, shape):
    with raises(ShapeError, name, str(shape), "(H, W, C)", "mlp"):
        models.build(name, shape, 10)


def test_a_smallest_size_is_asked_of_a_model_that_exists_and_of_channels():
    with raises(ConfigError, "model", "'alexnt'", "'alexnet'"):
        models.smallest_input("alexnt")
    with raises(ConfigError, "smallest_input", "channels 0"):
        models.smallest_input("vgg16", 0)
