"""Nonsense that was accepted once is refused; what is set between steps works; every public object can be copied."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from xpnet import backend, data, models, nn, optim
from xpnet.errors import XpnetError
from xpnet.train import Trainer

X = np.random.default_rng(0).random((16, 6), np.float32)
Y = np.arange(16) % 3


def net():
    return nn.Sequential(first=nn.Linear(6, 4), act=nn.ReLU(), last=nn.Linear(4, 3))


def set_(thing, name, value):
    return lambda: setattr(thing, name, value)


def loop():
    model = net()
    model.itself = model


def loop_in_a_list():
    model = net()
    model.parts = [nn.ReLU()]
    model.parts.append(model)
    model.parameters()


def endless():
    parts = []
    parts.append(parts)
    net().parts = parts


MODEL = net()
SGD = optim.SGD(net().parameters(), clip_norm=1.0)
NONSENSE = {
    "a size that is a float": lambda: nn.Linear(64.0, 2),
    "a size that is True": lambda: nn.Linear(True, 2),
    "a word for a bias": lambda: nn.Conv2d(1, 1, 3, bias="yes"),
    "no momentum": lambda: nn.BatchNorm(3, momentum=None),
    "no weight": set_(MODEL.first, "weight", None),
    "a layer for a weight": set_(MODEL.first, "weight", nn.ReLU()),
    "a weight of another shape": set_(MODEL.first, "weight", nn.Parameter((2, 2))),
    "a rate set later": set_(nn.Dropout(0.5), "rate", 2.0),
    "a stride set later": set_(nn.MaxPool2d(2), "stride", 0),
    "a learning rate of NaN": set_(SGD, "lr", float("nan")),
    "two bounds set later": set_(SGD, "clip_value", 1.0),
    "nesterov without momentum": set_(SGD, "nesterov", True),
    "the method, not its result": lambda: optim.SGD(MODEL.parameters),
    "a typing error in a group": lambda: optim.SGD([{"param": MODEL.parameters()}]),
    "one parameter": lambda: optim.SGD(MODEL.parameters()[0]),
    "tensors": lambda: optim.SGD([X]),
    "a number for a layer": lambda: nn.Sequential(3),
    "a list of layers": lambda: nn.Sequential([nn.ReLU()]),
    "a model within itself": loop,
    "a model within a list of its own": loop_in_a_list,
    "a list within itself": endless,
    "no layer of that index": lambda: MODEL[7],
    "lists in a state dict": lambda: MODEL.load_state_dict({k: v.tolist() for k, v in MODEL.state_dict().items()}),
    "a list for a state dict": lambda: MODEL.load_state_dict([1]),
    "a name that is wrong": lambda: MODEL.load_state_dict({**MODEL.state_dict(), "frist.weight": X}),
    "a mode that is a word": lambda: MODEL.train("no"),
    "a seed that is a word": lambda: MODEL.initialize("x"),
    "a device that torch does not have": lambda: backend.get_backend("torch:mps"),
    "a backend that is a number": lambda: backend.get_backend(3),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused(case):
    with pytest.raises(XpnetError):
        NONSENSE[case]()
    assert MODEL.predict(X).shape == (16, 3)
    assert (SGD.clip_norm, SGD.clip_value, SGD.nesterov) == (1.0, None, False)


@pytest.mark.parametrize("kind", [optim.SGD, optim.RMSprop])
def test_momentum_that_is_set_after_a_step_counts_from_zero(kind):
    one, two = net().initialize(1), net().initialize(1)
    late, early = kind(one.parameters(), lr=0.01), kind(two.parameters(), lr=0.01, momentum=0.9)
    for _ in range(4):
        late.step({p: p.data * 0 + 1 for p in one.parameters()})
    late.momentum = 0.9
    two.load_state_dict(one.state_dict())
    if "square_mean" in early.state:
        early.state["square_mean"][...] = late.state["square_mean"]
    for _ in range(3):
        for model, optimizer in ((one, late), (two, early)):
            optimizer.step({p: p.data * 0 + 1 for p in model.parameters()})
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert set(late.state_dict()[0]) == set(early.state_dict()[0])


def test_momentum_that_is_set_between_two_fits_is_used():
    model = net()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.01))
    trainer.fit((X, Y), epochs=2, batch_size=4)
    trainer.optimizer.momentum = 0.9
    trainer.fit((X, Y), epochs=4, batch_size=4)
    assert trainer.optimizer.state["velocity"].any()


def test_the_state_of_an_inner_model_loads_into_one_that_is_alone():
    outer = nn.Sequential(body=nn.Sequential(part=net()), head=nn.ReLU()).initialize(3)
    alone = net()
    alone.load_state_dict(outer.body.part.state_dict())
    outer.body.part.load_state_dict(alone.state_dict())
    np.testing.assert_array_equal(alone.predict(X), outer.body.part.predict(X))


def fitted():
    model = net()
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=optim.warmup(optim.cosine(0.01, steps=9), steps=2)))
    trainer.fit((X, Y), epochs=2, batch_size=4)
    trainer.predict(X)
    return trainer


LAYERS = {
    "Conv2d": nn.Conv2d(1, 2, 3),
    "BatchNorm": nn.BatchNorm(3),
    "LayerNorm": nn.LayerNorm(3),
    "MaxPool2d": nn.MaxPool2d(2),
    "AvgPool2d": nn.AvgPool2d(2),
    "GlobalAvgPool2d": nn.GlobalAvgPool2d(),
    "Dropout": nn.Dropout(),
    "GELU": nn.GELU(),
    "LeakyReLU": nn.LeakyReLU(),
    "Softmax": nn.Softmax(),
    "LogSoftmax": nn.LogSoftmax(),
    "Sigmoid": nn.Sigmoid(),
    "Tanh": nn.Tanh(),
    "Flatten": nn.Flatten(),
    "PadChannels": nn.PadChannels(1),
    "Perceptron": nn.Perceptron(3),
    "LocalResponseNorm": nn.LocalResponseNorm(),
    "Residual": nn.Residual(nn.ReLU()),
    "augmented": nn.Linear(2, 2, "augmented"),
}
OBJECTS = {
    **{name: lambda layer=layer: layer for name, layer in LAYERS.items()},
    **{name: lambda name=name: optim.make_optimizer(name, net().parameters()) for name in optim.OPTIMIZERS},
    "resnet": lambda: models.build("resnet20", (8, 8, 1), 3),
    "trainer": fitted,
    "fitted model": lambda: fitted().model,
    "backend": lambda: backend.get_backend("cpu"),
    "data set": lambda: data.xor(8),
    "schedule": lambda: optim.one_cycle(0.1, steps=5),
    "parameter": lambda: net().parameters()[0],
    "initializer": lambda: nn.normal(0.1),
    "error": lambda: XpnetError("where", "a rule", x=1),
}


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_copy_is_of_the_same_class_and_has_the_same_numbers(name, way):
    thing = OBJECTS[name]()
    other = way(thing)
    assert type(other) is type(thing)
    for model, copied in [(thing, other), (getattr(thing, "model", None), getattr(other, "model", None))]:
        if isinstance(model, nn.Module):
            states = model.state_dict(), copied.state_dict()
            assert states[0].keys() == states[1].keys()
            assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])
    if isinstance(thing, Trainer):
        np.testing.assert_array_equal(other.predict(X), thing.predict(X))
        for trainer in (thing, other):
            trainer.fit((X, Y), epochs=3, batch_size=4)
        np.testing.assert_array_equal(other.predict(X), thing.predict(X))
