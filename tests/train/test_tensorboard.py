"""TensorBoard: what its own reader finds in the files of a training, also one that is resumed, fails or has no room."""

from __future__ import annotations

import errno
import importlib.util
import io
import logging

import numpy as np
import PIL.Image
import pytest

from tests.harness import raises
from tests.train.event_files import read, records, scalars
from tests.train.fitting import InterruptAt, Recorded, assert_same_state, digits, noisy_net, some_digits, trainer
from xpnet import nn
from xpnet.errors import CheckpointError, DivergedError
from xpnet.optim import SGD, cosine
from xpnet.train import Callback, TensorBoard, Trainer, event_file, step_losses

HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
EACH = 4  # steps of an epoch


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Losses are read after each step, and not once a second."""
    monkeypatch.setattr(step_losses, "_PAUSE", 0.0)


class Kept(Callback):
    """What the histograms are of, on the host."""

    def __init__(self):
        self.weights, self.gradients, self.steps = {}, {}, 0

    def on_gradients(self, trainer, gradients):
        self.steps += 1
        to_numpy = trainer.model.backend.to_numpy
        self.gradients[self.steps] = {p.path: np.array(to_numpy(g)) for p, g in gradients.items()}

    def on_epoch(self, trainer, record):
        self.weights[self.steps] = {p.path: p.numpy().copy() for p in trainer.model.parameters()}


def fit(folder, model="mlp", backend="numpy", epochs=2, callbacks=(), n=100, board=None, **options) -> Trainer:
    board = {"every": 1, "pictures": 0} | (board or {})
    made = trainer(model, backend, callbacks=[*callbacks, TensorBoard(folder, **board)], **options)
    test = digits()[1].take(np.arange(50))
    made.fit(some_digits(n), test, epochs=epochs, batch_size=32)
    return made


def test_the_figures_of_each_epoch_are_the_historys_in_a_folder_for_each_set(tmp_path):
    made = trainer("mlp", callbacks=[TensorBoard(tmp_path, pictures=0)])
    made.fit(some_digits(128), digits()[1].take(np.arange(50)), validation=0.25, epochs=3, batch_size=32)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test", "train", "validation"]
    for part, tag in [(p, t) for p in ("validation", "test") for t in ("loss", "accuracy")] + [("train", "loss")]:
        want = {3 * r["epoch"]: np.float32(r[f"{part}_{tag}"]) for r in made.history}
        assert scalars(tmp_path / part, tag) == want
    assert scalars(tmp_path / "train", "epoch") == {3: 1, 6: 2, 9: 3}
    assert read(tmp_path / "test").Tags()["scalars"] == ["loss", "accuracy"]


@pytest.mark.parametrize("capture", [None, False], ids=["captured", "eager"])
def test_losses_of_steps_and_rates_are_those_of_each_nth_update(capture, tmp_path, counts):
    losses = []

    class Each(Callback):
        def on_step(self, trainer):
            trainer.meter.read()
            losses.append(trainer.meter.losses[trainer.step])

    net = nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(64, 10)).initialize(3)
    optimizer = SGD(net.parameters(), lr=cosine(0.1, 40))
    made = Trainer(net, optimizer, seed=3, capture=capture, callbacks=[Each(), TensorBoard(tmp_path, every=3)])
    made.callbacks[1].pictures = 0
    made.fit(some_digits(100), epochs=6, batch_size=32)
    assert (counts.replayed > 0) == (capture is None)
    want = {i: np.float32(losses[i - 1]) for i in range(3, 6 * EACH + 1, 3)}
    assert scalars(tmp_path / "train", "loss/step") == want
    rates = {i: np.float32(cosine(0.1, 40)(i - 1)) for i in want}
    assert scalars(tmp_path / "train", "learning_rate") == pytest.approx(rates)


def test_groups_have_rates_of_their_own(tmp_path):
    net = nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(64, 10)).initialize(3)
    groups = [{"params": [net.scores.weight], "lr": 0.25}, {"params": [net.scores.bias], "lr": 0.5}]
    Trainer(net, SGD(groups, lr=0.1), callbacks=[TensorBoard(tmp_path, every=4, pictures=0)]).fit(
        some_digits(100), epochs=1, batch_size=32
    )
    assert scalars(tmp_path / "train", "learning_rate/0") == {4: 0.25}
    assert scalars(tmp_path / "train", "learning_rate/1") == {4: 0.5}


@pytest.mark.parametrize("name", ["numpy", "torch", "array-api-strict:device1", "emulator"])
@pytest.mark.parametrize("accumulate", [1, 2], ids=["whole", "accumulated"])
def test_histograms_are_of_all_weights_and_of_the_last_gradients_of_an_epoch(name, accumulate, tmp_path):
    if name == "torch":
        pytest.importorskip("torch")
    kept = Kept()
    made = fit(tmp_path, "mlp", name, callbacks=[kept], accumulate=accumulate)
    updates = [2, 4] if accumulate == 2 else [4, 8]
    assert kept.steps == updates[-1]
    found = read(tmp_path / "train")
    paths = [p.path for p in made.model.parameters()]
    assert found.Tags()["histograms"] == [f"{kind}/{p}" for kind in ("gradients", "weights") for p in paths]
    for kind, all_values in (("weights", kept.weights), ("gradients", kept.gradients)):
        for path in paths:
            events = found.Histograms(f"{kind}/{path}")
            assert [e.step for e in events] == updates
            for event in events:
                values = all_values[event.step][path].astype(np.float64)
                counts, edges = np.histogram(values, 64)
                assert sum(event.histogram_value.bucket) == values.size
                np.testing.assert_array_equal(event.histogram_value.bucket, counts)
                np.testing.assert_array_equal(event.histogram_value.bucket_limit, edges[1:])


def test_histograms_come_every_so_many_epochs_or_never(tmp_path):
    fit(tmp_path / "some", epochs=5, board={"histograms": 2})
    fit(tmp_path / "none", epochs=2, board={"histograms": 0})
    found = read(tmp_path / "some" / "train")
    assert {tag: [e.step for e in found.Histograms(tag)] for tag in found.Tags()["histograms"]} == {
        tag: [2 * EACH, 4 * EACH] for tag in found.Tags()["histograms"]
    }
    assert read(tmp_path / "none" / "train").Tags()["histograms"] == []


def test_training_is_the_same_bit_for_bit_and_all_steps_but_the_last_of_an_epoch_are_replayed(tmp_path, counts, caplog):
    plain = fit(tmp_path / "a", noisy_net(), epochs=6, n=128)
    plain.callbacks.clear()
    silent = trainer(noisy_net())
    before = counts.replayed
    silent.fit(some_digits(128), digits()[1].take(np.arange(50)), epochs=6, batch_size=32)
    assert counts.replayed - before == before + 6  # one a epoch is eager
    assert_same_state(plain.checkpoint(), silent.checkpoint())
    assert "eagerly" not in caplog.text


def test_steps_may_be_required_to_be_captured(tmp_path, counts):
    fit(tmp_path, capture=True, epochs=3)
    assert counts.replayed > 0
    assert len(read(tmp_path / "train").Histograms("gradients/scores.bias")) == 3


def test_another_reader_of_gradients_reads_each_step_as_before(tmp_path):
    kept = Kept()
    fit(tmp_path, callbacks=[kept])
    assert len(kept.gradients) == 2 * EACH


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="needs matplotlib")
def test_pictures_come_after_epochs_1_2_4_and_the_last_and_decode_to_their_size(tmp_path):
    test = digits()[1].take(np.arange(40))
    made = fit(tmp_path, "softmax", epochs=5, n=32, board={"pictures": None, "data": test, "histograms": 0})
    found, of_data = read(tmp_path / "train"), read(tmp_path / "data")
    assert sorted(found.Tags()["images"]) == ["filters", "model"]
    assert sorted(of_data.Tags()["images"]) == ["confusion", "mistakes"]
    assert [e.step for e in found.Images("model")] == [0]
    for of, tag in ((of_data, "confusion"), (found, "filters"), (of_data, "mistakes")):
        assert [e.step for e in of.Images(tag)] == [1, 2, 4, 5]
    for each in (found, of_data):
        for event in [event for tag in each.Tags()["images"] for event in each.Images(tag)]:
            with PIL.Image.open(io.BytesIO(event.encoded_image_string), formats=("PNG",)) as image:
                assert image.size == (event.width, event.height)
                assert np.asarray(image.convert("L")).std() > 1  # something is drawn
    for path in (tmp_path / "train").iterdir():
        assert len(records(path.read_bytes())) > 10
    silent = trainer("softmax")
    silent.fit(some_digits(32), digits()[1].take(np.arange(50)), epochs=5, batch_size=32)
    assert_same_state(made.checkpoint(), silent.checkpoint())


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="needs matplotlib")
def test_pictures_of_a_set_may_stand_beside_its_figures_and_end_the_log_where_they_cannot(tmp_path, caplog):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        if name == "bad":
            (tmp_path / name / "data").touch()
        board = {"pictures": 1, "data": digits()[1].take(np.arange(9)), "histograms": 0}
        board |= {"data_in": "test"} if name == "good" else {}
        assert len(fit(tmp_path / name, "softmax", epochs=2, n=32, board=board).history) == 2
        assert len([m for m in caplog.messages if "training continues" in m]) == (name == "bad")
    assert sorted(read(tmp_path / "good" / "test").Tags()["images"]) == ["confusion", "mistakes"]
    assert sorted(p.name for p in (tmp_path / "good").iterdir()) == ["test", "train"]


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="needs matplotlib")
def test_a_picture_that_fails_is_named_once_and_all_else_goes_on(tmp_path, monkeypatch, caplog):
    def fails(*arguments, **options):
        raise RuntimeError("no ink")

    monkeypatch.setattr("xpnet.viz.filters", fails)
    monkeypatch.setattr("xpnet.viz.blocks", fails)
    made = fit(tmp_path, epochs=3, board={"pictures": 1})
    assert len(made.history) == 3
    assert [m for m in caplog.messages if "no ink" in m] == [
        "TensorBoard: no pictures of model: RuntimeError: no ink",
        "TensorBoard: no pictures of filters: RuntimeError: no ink",
    ]


def test_without_matplotlib_pictures_are_left_out_with_one_line(tmp_path, monkeypatch, caplog):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "matplotlib" else real(name, *_))
    fit(tmp_path, board={"pictures": None, "data": digits()[1].take(np.arange(9))})
    assert [m for m in caplog.messages if "TensorBoard" in m] == [
        "TensorBoard: no pictures without matplotlib: pip install 'xpnet[viz]'"
    ]
    assert read(tmp_path / "train").Tags()["images"] == []


def test_the_configuration_is_a_table_whose_values_cannot_break_it(tmp_path):
    made = fit(tmp_path, board={"configuration": {"note": "a|b\n<i>", "none": None}})
    (event,) = read(tmp_path / "train").Tensors("configuration")
    text = event.tensor_proto.string_val[0].decode()
    assert "| note | a\\|b &lt;i> |" in text.splitlines()
    assert f"| model | Sequential, {made.model.parameter_count:,} parameters |" in text.splitlines()
    assert "none" not in text.replace("| backend", "")
    assert "hidden1" in read(tmp_path / "train").Tensors("layers")[0].tensor_proto.string_val[0].decode()


def test_a_resumed_training_takes_over_at_the_step_where_it_goes_on(tmp_path):
    """Two epochs; then from the checkpoint of the first on with another rate: of the second epoch the newer counts."""
    first = fit(tmp_path, epochs=1)
    saved = first.checkpoint()
    first.fit(some_digits(100), epochs=2, batch_size=32)
    again = trainer("mlp", callbacks=[TensorBoard(tmp_path, every=1, pictures=0)])
    again.resume(saved)
    again.optimizer.lr = 0.001
    again.fit(some_digits(100), epochs=3, batch_size=32)
    assert scalars(tmp_path / "train", "loss") == {
        EACH * r["epoch"]: np.float32(r["train_loss"]) for r in again.history
    }
    rates = scalars(tmp_path / "train", "learning_rate")
    assert list(rates) == list(range(1, 13))
    assert [*rates.values()] == [np.float32(0.05)] * 4 + [np.float32(0.001)] * 8
    assert [e.step for e in read(tmp_path / "train").Histograms("weights/scores.bias")] == [4, 8, 12]
    assert len([*(tmp_path / "train").iterdir()]) == 3


def test_a_training_that_is_interrupted_within_an_epoch_has_each_step_once(tmp_path):
    recorded = Recorded()
    made = fit(tmp_path, callbacks=[InterruptAt(1, 1)], loss=recorded, capture=False)
    assert (made.epoch, made.step) == (1, 2)
    assert list(scalars(tmp_path / "train", "loss/step")) == [1, 2, 3, 4, 5, 6]
    made.callbacks.pop(0)
    made.fit(some_digits(100), epochs=2, batch_size=32)
    found = scalars(tmp_path / "train", "loss/step")
    assert list(found) == list(range(1, 9))
    losses = np.delete(recorded.numbers(), 4)  # of the test after the first epoch
    np.testing.assert_allclose([*found.values()], losses[:8], rtol=1e-6)


def test_another_training_in_the_folder_takes_the_place_of_the_one_before_with_a_line(tmp_path, caplog):
    before = fit(tmp_path, epochs=2)
    before.fit(some_digits(100), epochs=3, batch_size=32)
    assert [m for m in caplog.messages if "TensorBoard" in m] == []
    made = fit(tmp_path, "softmax", epochs=2)
    (line,) = [m for m in caplog.messages if "TensorBoard" in m]
    assert f"an earlier training in {tmp_path} is not shown any more; give each training a folder" in line
    want = {EACH * r["epoch"]: np.float32(r["train_loss"]) for r in made.history}
    assert scalars(tmp_path / "train", "loss") == want


def test_the_loss_that_ended_a_training_is_written(tmp_path):
    with raises(DivergedError, "loss", "the loss is not finite", "step 3"):
        fit(tmp_path, epochs=5, lr=1e30, board={"every": 100})
    ((step, value),) = scalars(tmp_path / "train", "loss/step").items()
    assert step == 3
    assert np.isnan(value)


def test_losses_are_not_read_more_than_once_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(step_losses, "_PAUSE", 3600.0)
    reads = []

    class Reads(Callback):
        def on_step(self, trainer):
            reads.append(len(trainer.meter.losses))

    made = trainer("mlp", callbacks=[TensorBoard(tmp_path, every=1, pictures=0), Reads()])
    made.fit(some_digits(100), epochs=2, batch_size=32)
    assert reads == [0] * 8
    assert list(scalars(tmp_path / "train", "loss/step")) == list(range(1, 9))


def test_a_disk_that_is_full_ends_the_log_with_a_line_and_not_the_training(tmp_path, monkeypatch, caplog):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Fill(Callback):
        def on_epoch(self, trainer, record):
            monkeypatch.setattr(event_file.os, "write", full)

    made = trainer("mlp", callbacks=[TensorBoard(tmp_path, pictures=0), Fill()])
    made.fit(some_digits(100), epochs=3, batch_size=32)
    assert [r["epoch"] for r in made.history] == [1, 2, 3]
    (line,) = [m for m in caplog.messages if "TensorBoard" in m]
    assert "No space left on device" in line
    assert "training continues" in line
    assert list(scalars(tmp_path / "train", "loss")) == [EACH]


def test_the_file_of_a_set_that_cannot_be_made_ends_the_log_too(tmp_path, caplog):
    (tmp_path / "test").touch()
    made = fit(tmp_path, epochs=2)
    assert len(made.history) == 2
    assert len([m for m in caplog.messages if "training continues" in m]) == 1


def test_a_folder_that_cannot_be_written_is_an_error_before_the_first_step(tmp_path):
    (tmp_path / "file").touch()
    with raises(CheckpointError, str(tmp_path / "file"), "the folder cannot be written", "choose another folder"):
        fit(tmp_path / "file")


def test_files_are_flushed_after_each_epoch(tmp_path):
    seen = []

    class Look(Callback):
        def on_epoch(self, trainer, record):
            seen.append([*scalars(tmp_path / "train", "loss")])

    made = trainer("softmax", callbacks=[TensorBoard(tmp_path, pictures=0), Look()])
    made.fit(some_digits(64), epochs=2, batch_size=32)
    assert seen == [[2], [2, 4]]


def test_several_inputs_have_no_picture_of_the_model(tmp_path, caplog):
    class Two(nn.Module):
        def __init__(self):
            self.scores = nn.Linear(64, 10)

        def forward(self, a, b):
            return self.scores(a) + self.scores(b)

    x, y = some_digits(32).x.reshape(32, 64).astype(np.float32), some_digits(32).y
    with caplog.at_level(logging.WARNING, "xpnet"):
        Trainer(Two(), callbacks=[TensorBoard(tmp_path)]).fit(((x, x), y), epochs=1)
    assert [m for m in caplog.messages if "TensorBoard" in m] == []
    assert len(read(tmp_path / "train").Scalars("loss")) == 1
