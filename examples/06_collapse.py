"""Linear layers collapse into one: w2 (w1 x + b1) + b2 = (w2 w1) x + (w2 b1 + b2), however many there are.

Without a non-linear activation between the layers, depth is therefore useless. But where layers are linear anyway, as a
convolution and the batch norm after it, merging them makes a trained network faster.
Notes: "Non-linear activation".
"""

import time

import numpy as np
from arguments import parse

from xpnet import data, get_backend, nn, optim, viz
from xpnet.train import Trainer

options = parse(__doc__)
backend = get_backend(options.backend)


def deep(activation=None):
    """Eight linear layers, with or without an activation between them."""
    layers = [nn.Linear(2, 24), *(nn.Linear(24, 24) for _ in range(6)), nn.Linear(24, 2)]
    if activation:
        layers = [part for layer in layers for part in (layer, activation())][:-1]
    return nn.Sequential(*layers)


def trained(model, train, epochs):
    """Train with Adam; return the model, in evaluation mode."""
    model.to(options.backend)
    Trainer(model, optim.Adam(model.parameters(), lr=0.003)).fit(train, epochs=epochs, batch_size=100)
    return model


def folded(name, model, x):
    """Collapse a model; print and check what changes."""
    one = nn.collapse(model)
    before, after = model(x).numpy(), one(x).numpy()
    apart = float(np.abs(before - after).max() / np.abs(before).max())
    print(f"{name}: outputs differ by {apart:.0e} of the largest")
    assert apart < 1e-4
    for which, m in (("before", model), ("after", one)):
        numbers, macs = sum(s.numpy().size for s in m.states().values()), m.cost(x.shape[1:]).macs
        print(
            f"  {which:7}{len(m):3} layers, {numbers:5,} numbers, {macs:6,} multiply-adds, {milliseconds(m, x):.2f} ms"
        )
    return one


def milliseconds(model, x):
    """The median time of a forward pass, without the first."""
    times = [time.perf_counter()]
    for _ in range(4 if options.quick else 30):
        model(x).numpy()
        times.append(time.perf_counter())
    return 1e3 * float(np.median(np.diff(times)[1:]))


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.9), layout="constrained")
    shown = {"eight linear layers": linear, "the one layer that they are": one, "eight layers, ReLU between": bent}
    for ax, (title, model) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        title += f"\n{model.parameter_count:,} parameters"
        viz.decision_boundary(model, test, ax, title=title, legend=model is bent)
        ax.label_outer()
    return figure


train, test = data.moons(n=1000).split(0.8)
x, epochs = backend.from_numpy(test.x), 15 if options.quick else 25
linear, bent = trained(deep(), train, epochs), trained(deep(nn.ReLU), train, epochs)
one = folded("eight linear layers", linear, x)
assert len(one) == 1
assert one[0].weight.shape == (2, 2)
assert len(folded("the same with ReLU between", bent, x)) == len(bent)
line, same, bend = (Trainer(model).evaluate(test)["accuracy"] for model in (linear, one, bent))
assert line == same < 0.95 < bend

digits, new = data.load("digits")
network = nn.Sequential(
    conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False),
    norm1=nn.BatchNorm(16),
    relu1=nn.ReLU(),
    conv2=nn.Conv2d(16, 32, 3, stride=2, bias=False),
    norm2=nn.BatchNorm(32),
    relu2=nn.ReLU(),
    pool=nn.GlobalAvgPool2d(),
    scores=nn.Linear(32, 10),
)
some = 400 if options.quick else 1400
trained(network, (digits.x[:some], digits.y[:some]), epochs=1 if options.quick else 5)
fast = folded("a network for digits", network, data.Normalize.of(digits)(backend.from_numpy(new.x[:100])))
assert [name for name, _ in fast.children()] == ["conv1", "relu1", "conv2", "relu2", "pool", "scores"]
options.save(picture)
print(f"Notice: eight linear layers divide the plane by a line ({line:.1%} right), as the one layer does that is their")
print(f"product. With ReLU between, nothing folds, and the boundary bends ({bend:.1%}). The batch norms went into the")
print("convolutions before them: the same scores, in fewer steps.")
