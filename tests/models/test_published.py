"""The published networks by their numbers: parameters and multiply-adds layer by layer, volumes, totals, paths."""

from __future__ import annotations

import math
import tracemalloc

import pytest

from xpnet import models, nn
from xpnet.errors import ConfigError, ShapeError

# FACTS of the paper's own input, by arithmetic: name -> output, parameters, multiply-adds
ALEXNET = {
    "conv1": ((55, 55, 96), 34_944, 105_415_200),
    "pool1": ((27, 27, 96), 0, 0),
    "conv2": ((27, 27, 256), 307_456, 223_948_800),
    "pool2": ((13, 13, 256), 0, 0),
    "conv3": ((13, 13, 384), 885_120, 149_520_384),
    "conv4": ((13, 13, 384), 663_936, 112_140_288),
    "conv5": ((13, 13, 256), 442_624, 74_760_192),
    "pool5": ((6, 6, 256), 0, 0),
    "fc6": ((4096,), 37_752_832, 37_748_736),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}

# Simonyan and Zisserman (2015), table 1, D: the side of each stage's images, its depth of input, its filters
VGG16 = [
    ("conv1_1", 224, 3, 64),
    ("conv1_2", 224, 64, 64),
    ("conv2_1", 112, 64, 128),
    ("conv2_2", 112, 128, 128),
    ("conv3_1", 56, 128, 256),
    ("conv3_2", 56, 256, 256),
    ("conv3_3", 56, 256, 256),
    ("conv4_1", 28, 256, 512),
    ("conv4_2", 28, 512, 512),
    ("conv4_3", 28, 512, 512),
    ("conv5_1", 14, 512, 512),
    ("conv5_2", 14, 512, 512),
    ("conv5_3", 14, 512, 512),
]

# He et al. (2016), table 1 and section 4.2: the side of each stage's images and its filters
RESNETS = {
    "resnet18": ([(56, 64), (56, 64), (28, 128), (28, 128), (14, 256), (14, 256), (7, 512), (7, 512)], 2),
    "resnet20": ([(32, 16)] * 3 + [(16, 32)] * 3 + [(8, 64)] * 3, 3),
}

TOTALS = {  # parameters, multiply-adds
    "perceptron": (7_850, 7_840),
    "softmax": (7_850, 7_840),
    "mlp": (784 * 128 + 128 + 128 * 10 + 10, 784 * 128 + 128 * 10),
    "cnn": (320 + 18_496 + 7 * 7 * 64 * 128 + 128 + 1_290, 28 * 28 * 288 + 14 * 14 * 18_432 + 3136 * 128 + 1_280),
    "lenet5": (61_706, 416_520),
    "alexnet": (60_965_224, 724_406_816),
    "vgg16": (138_357_544, 15_470_264_320),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet20": (269_722, 40_551_040),
}


def layers_of(name):
    """Path -> output, parameters, multiply-adds of each layer of a model on its own input."""
    model = models.build(name)
    return {
        s.path: (s.cost.output, s.layer.parameter_count, s.cost.macs) for s in model.stages(models.MODELS[name].shape)
    }


@pytest.mark.parametrize("name", TOTALS)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    recipe, model = models.MODELS[name], models.build(name)
    output, macs, *_ = model.cost(recipe.shape)
    assert (model.parameter_count, macs) == TOTALS[name]
    assert output == (recipe.classes,)


def test_alexnet_is_the_papers_layer_by_layer():
    found = layers_of("alexnet")
    assert {path: found[path] for path in ALEXNET} == ALEXNET
    assert sum(p for _, p, _ in found.values()) == 60_965_224
    assert sum(m for _, _, m in found.values()) == 724_406_816
    assert [path for path, (_, p, _) in found.items() if p] == [path for path, row in ALEXNET.items() if row[1]]


def test_alexnet_has_its_groups_normalization_and_overlapping_pools():
    model = models.alexnet()
    order = "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 flatten "
    order += "fc6 relu6 drop6 fc7 relu7 drop7 fc8"
    assert [name for name, _ in model.children()] == order.split()
    assert {n: getattr(model, n).groups for n in order.split() if n.startswith("conv")} == {
        "conv1": 1,
        "conv2": 2,
        "conv3": 1,
        "conv4": 2,
        "conv5": 2,
    }
    for norm in (model.norm1, model.norm2):
        assert (norm.size, norm.alpha, norm.beta, norm.k, norm.region) == (5, 1e-4, 0.75, 2.0, "across")
        assert norm.average is False
    for pool in (model.pool1, model.pool2, model.pool5):
        assert (pool.kernel_size, pool.stride) == ((3, 3), (2, 2))
    assert model.drop6.rate == model.drop7.rate == 0.5


def test_vgg16_is_the_papers_configuration_d():
    found = layers_of("vgg16")
    for path, side, depth, filters in VGG16:
        macs = side * side * filters * 9 * depth
        assert found[path] == ((side, side, filters), filters * (9 * depth + 1), macs), path
    assert [path for path, (_, p, _) in found.items() if p] == [row[0] for row in VGG16] + ["fc6", "fc7", "fc8"]
    assert found["pool5"][0] == (7, 7, 512)
    assert [found[f"fc{i}"][1] for i in (6, 7, 8)] == [25_089 * 4096, 4097 * 4096, 4097 * 1000]


@pytest.mark.parametrize("name", RESNETS)
def test_each_block_of_a_resnet_has_the_papers_size_and_two_convolutions(name):
    blocks, per_stage = RESNETS[name]
    found = layers_of(name)
    depth = blocks[0][1]
    for i, (side, filters) in enumerate(blocks):
        path = f"stage{i // per_stage + 1}.block{i % per_stage + 1}"
        first, second = 9 * depth * filters, 9 * filters * filters
        assert found[f"{path}.body.conv1"] == ((side, side, filters), first, side * side * first), path
        assert found[f"{path}.body.conv2"] == ((side, side, filters), second, side * side * second), path
        assert found[f"{path}.body.norm1"][1] == found[f"{path}.body.norm2"][1] == 2 * filters
        assert found[path][0] == (side, side, filters)
        depth = filters


def test_only_where_the_size_changes_has_a_shortcut_layers():
    starts = {"resnet18": ("conv", "norm"), "resnet20": ("pick", "pad")}
    for name, inner in starts.items():
        stages = {2, 3, 4} if name == "resnet18" else {2, 3}
        want = [f"stage{s}.block1.shortcut.{layer}" for s in sorted(stages) for layer in inner]
        assert [path for path in layers_of(name) if "shortcut." in path] == want


def test_a_shortcut_of_resnet20_has_no_weights_and_one_of_resnet18_a_1x1_convolution():
    small, large = layers_of("resnet20"), layers_of("resnet18")
    assert not any(p for path, (_, p, _) in small.items() if "shortcut" in path)
    assert [large[f"stage{s}.block1.shortcut.conv"][1] for s in (2, 3, 4)] == [64 * 128, 128 * 256, 256 * 512]


@pytest.mark.parametrize("name", models.MODELS)
def test_every_models_scores_begin_at_zero_and_its_biases_too(name):
    model = models.build(name, (67, 67, 1), 3)
    *_, (path, weight), (_, bias) = model.states().items()
    assert path in ("scores.weight", "fc8.weight")
    assert weight.initializer is nn.zeros
    assert bias.initializer is nn.zeros


def test_a_convolution_before_a_batch_norm_has_no_bias():
    for name in ("resnet18", "resnet20"):
        convolutions = [m for _, m in models.build(name).modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == {"resnet18": 20, "resnet20": 19}[name]
        assert all(conv.bias is None for conv in convolutions)


@pytest.mark.parametrize("name", models.MODELS)
def test_building_a_model_and_working_out_its_cost_makes_no_array(name):
    recipe = models.MODELS[name]
    models.build(name).cost(recipe.shape)  # so that nothing is imported below
    tracemalloc.start()
    try:
        model = models.build(name)
        model.cost(recipe.shape)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not any(state.made for state in model.states().values())
    assert peak < 1_000_000  # the smallest of alexnet's weights alone have 140,000 bytes, all of them 244 million


@pytest.mark.parametrize("name", models.MODELS)
def test_a_model_built_without_a_size_takes_its_own(name):
    recipe = models.MODELS[name]
    model, said = recipe.build(), models.build(name, recipe.shape, recipe.classes)
    assert {p: s.shape for p, s in model.states().items()} == {p: s.shape for p, s in said.states().items()}
    assert {p: s.shape for p, s in models.build(name).states().items()} == {
        p: s.shape for p, s in said.states().items()
    }
    assert model.cost(recipe.shape).output == (recipe.classes,)
    assert math.prod(recipe.shape) > 1


def test_torchvisions_alexnet_has_its_published_size_and_takes_images_that_leave_six_pixels_or_a_multiple():
    model = models.alexnet((224, 224, 3), variant="torchvision")
    assert model.parameter_count == 61_100_840  # as torchvision's documentation says
    cost = model.cost((224, 224, 3))
    assert (cost.output, round(cost.macs / 1e9, 2)) == ((1000,), 0.71)
    larger = models.alexnet((416, 420, 3), 10, 8, variant="torchvision")  # 12x12 pixels, averaged by two
    assert larger.cost((416, 420, 3)).output == (10,)
    with pytest.raises(ShapeError, match=r"6x6.*\(7, 7\).*224"):
        models.alexnet((256, 256, 3), variant="torchvision")
    with pytest.raises(ConfigError, match="torchvision"):
        models.alexnet(variant="torchvison")
