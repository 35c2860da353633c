"""A custom training loop in several processes: three more lines, marked below, and the weights stay the same bits.

python examples/21_several_processes.py is one process; xpnet launch -n 4 -- examples/21_several_processes.py are four.
A batch is divided into 8 shards, of which each process computes some; their gradients are summed along one tree. The
number that is printed at the end is a checksum of the weights: it does not depend on the number of processes.
"""

import zlib

import numpy as np
from arguments import parse

from xpnet import data, get_backend, models, nn, optim
from xpnet.distributed import get_communicator
from xpnet.output import counted
from xpnet.train import Step
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)
backend, (train, _) = get_backend(options.backend), data.load("digits")
x, y = train.x.astype(np.float32) / 16, train.y
communicator = get_communicator()  # line 1: the processes that were launched, or this one alone


def learn(shards):
    """Train two epochs; return the loss of each step, and the weights."""
    model = models.build("mlp", train.shape, len(train.classes)).to(backend).initialize(0)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    step = Step(model, nn.softmax_cross_entropy, optimizer, communicator=communicator, shards=shards)  # line 2
    losses = []
    for epoch in range(2):
        order = np.random.default_rng(epoch).permutation(len(x))
        for rows in np.array_split(order, len(x) // 50):
            own = rows[slice(*step.processes.part.rows(len(rows)))]  # line 3: this process's rows of the batch
            losses.append(step(backend.from_numpy(x[own]), backend.from_numpy(y[own]), len(rows)))
    return np.asarray([float(loss) for loss in losses]), model.state_dict()


plain, _ = learn(shards=1)  # each process computes its rows at once: equal to rounding
losses, weights = learn(shards=8)
assert np.max(np.abs(losses - plain)) < 1e-4
assert losses[-10:].mean() < losses[:10].mean() / 2
checksum = zlib.crc32(b"".join(np.ascontiguousarray(w).tobytes() for w in weights.values()))


def picture():
    from matplotlib.figure import Figure

    top, bottom = Figure(figsize=(7, 4.4), layout="constrained").subplots(2, 1, sharex=True, height_ratios=(2, 1))
    top.plot(plain, color=PALETTE[0], lw=4, alpha=0.4, label="no shards")
    top.plot(losses, color=PALETTE[1], lw=1, label="8 shards: the same bits on 1 to 8 processes")
    top.set(ylabel="loss of a step")
    top.legend(frameon=False)
    bottom.plot(np.abs(losses - plain), ".", color="0.3", ms=4)
    bottom.set_yscale("symlog", linthresh=1e-8)
    bottom.set(xlabel="step", ylabel="difference", ylim=(-1e-9, 1e-4), yticks=[0, 1e-8, 1e-6, 1e-4])
    despine(top, bottom, grid=None)
    return top.figure


if communicator.rank == 0:
    options.save(picture)
    print(f"{counted(communicator.size, 'process')}, 8 shards: the weights have the checksum {checksum:08x}")
    print("Notice: without shards the sums have another order on each number of processes, and so other last digits.")
