"""Options that the data makes no use of are refused; digits are not mirrored; ema and accumulate reach the trainer."""

import pytest

from xpnet.errors import ConfigError
from xpnet.train.runs.config import RunConfig
from xpnet.train.runs.preparation import augmentation_of
from xpnet.train.runs.training import train_run


@pytest.mark.parametrize(
    ("data", "option"),
    [
        ("moons", {"augment": "light"}),
        ("digits", {"image_size": "16"}),
        ("moons", {"workers": 2}),
    ],
)
def test_an_option_of_other_data_is_refused_and_no_folder_is_made(data, option, tmp_path):
    with pytest.raises(ConfigError, match=f"omit {next(iter(option))}"):
        train_run(RunConfig("mlp", data, epochs=1, **option), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_characters_are_not_mirrored_and_other_classes_are():
    from xpnet.data import from_arrays, load

    digits = load("digits")[0]
    pets = from_arrays(digits.x[:4], [0, 1, 0, 1], classes=["cat", "dog"])
    config = RunConfig("cnn", augment="light")
    assert "Mirror" not in repr(augmentation_of(config, digits))
    assert "Mirror" in repr(augmentation_of(config, pets))
    assert "Mirror" not in repr(augmentation_of(RunConfig("lenet5", augment="light"), pets))


def test_a_run_with_averaged_weights_and_accumulation_trains_on(tmp_path):
    config = RunConfig("softmax", "digits", epochs=1, ema=0.9, accumulate=4, best=True)
    first = train_run(config, tmp_path / "run")
    assert first["chosen_by"] == "validation"
    assert (
        train_run(RunConfig("softmax", "digits", epochs=2, ema=0.9, accumulate=4, best=True), tmp_path / "two")[
            "test_loss"
        ]
        < first["test_loss"]
    )
