from __future__ import annotations

import pytest

from tests.data.test_image import picture
from xpnet.data import LoadOptions, load, splits
from xpnet.data.image import Header
from xpnet.data.sizes import choose_shape
from xpnet.models import MODELS, build, image_side


def shape(*sizes, gray=False, **options):
    return choose_shape([Header(*size, gray, False) for size in sizes], LoadOptions(**options), len(sizes))[0]


# Sizes found (height, width), options, and the shape that images are brought to.
RULE = {
    "all alike and small": ([(28, 30)] * 3, {}, (28, 30, 3)),
    "all alike, 256": ([(256, 200)] * 3, {}, (256, 200, 3)),
    "all alike and large": ([(3024, 4032)] * 3, {}, (128, 171, 3)),
    "upright": ([(4032, 3024)] * 3, {"side": 224}, (299, 224, 3)),
    "257": ([(257, 100)] * 3, {"side": 227}, (583, 227, 3)),
    "one ratio, sizes differ": ([(300, 400), (600, 800), (75, 100)], {}, (128, 171, 3)),
    "one ratio but for rounding": ([(300, 400), (601, 800)], {}, (128, 171, 3)),
    "ratios differ": ([(300, 400), (400, 300)], {}, (128, 128, 3)),
    "small, sizes differ": ([(28, 28), (28, 40)], {"side": 28}, (28, 28, 3)),
    "N": ([(300, 400), (600, 800)], {"image_size": 64}, (64, 85, 3)),
    "N, ratios differ": ([(300, 400), (400, 300)], {"image_size": 64}, (64, 64, 3)),
    "N of images alike": ([(28, 28)], {"image_size": 64}, (64, 64, 3)),
    "HxW": ([(300, 400)], {"image_size": "50x20"}, (50, 20, 3)),
    "channels": ([(8, 8)], {"channels": 1}, (8, 8, 1)),
    "gray": ([(8, 8)], {"gray": True}, (8, 8, 1)),
}


@pytest.mark.parametrize(("sizes", "options", "expected"), RULE.values(), ids=RULE.keys())
def test_the_rule_of_sizes(sizes, options, expected):
    assert shape(*sizes, **options) == expected


@pytest.mark.parametrize(
    ("model", "side"),
    [("cnn", 128), ("alexnet", 227), ("vgg16", 224), ("resnet18", 224), ("resnet20", 32), ("lenet5", 28)],
)
def test_each_model_prefers_a_side(model, side):
    assert image_side(model) == side


@pytest.mark.parametrize("model", [name for name in MODELS if name not in ("alexnet", "vgg16", "resnet18")])
def test_models_take_photos_of_their_side_in_both_directions(model):
    for size in shape((3024, 4032), side=image_side(model)), shape((4032, 3024), side=image_side(model)):
        assert build(model, size, 3).cost(size).output == (3,)


def test_what_becomes_of_the_sizes_is_said(tmp_path):
    for name in ("cat", "dog"):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png", i, size=(6, 4))
    assert splits(tmp_path).note[1] == "sizes (height x width): all 4 x 6; gray"
    picture(tmp_path / "cat" / "9.png", 1, size=(20, 10))
    text = "sizes (height x width): 4 x 6 to 10 x 20, brought to 5 x 5, {}; gray"
    for fit, how in (("crop", "the centre cropped"), ("pad", "padded with black"), ("stretch", "stretched")):
        assert splits(tmp_path, options=LoadOptions(image_size=5, fit=fit)).note[1] == text.format(how)


def test_of_many_images_a_sample_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.sizes._SAMPLED", 5)
    for name in ("cat", "dog"):
        for i in range(10):
            picture(tmp_path / name / f"{i}.png", i, size=(6, 4))
    text = "sizes (height x width): all 4 x 6 (of 5 of 20 that were looked at); gray"
    assert splits(tmp_path).note[1] == text
    assert load(tmp_path)[0].shape == (4, 6, 1)
