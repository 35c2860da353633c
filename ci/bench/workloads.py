"""What is timed: the models as plain data, the batches, the peers, and the targets.

A worker builds a model from its list of layers in its own library, so all of them build the same one:

    ("linear", D, M)   ("conv", C, F, K, P): F filters of K x K, P zeros on each side   ("relu",)
    ("pool", K): maximum over K x K, stride K   ("flatten",)
"""

from __future__ import annotations

from typing import NamedTuple

Layer = tuple[str | int, ...]


class Workload(NamedTuple):
    """A model, the shape of one input (channels last), its classes and the batches that are timed."""

    name: str
    sample: tuple[int, ...]
    classes: int
    layers: list[Layer]
    batches: tuple[int, ...]

    @property
    def dense(self) -> bool:
        """Whether it holds linear layers only, so that scikit-learn's MLPClassifier can run it."""
        return all(kind in ("linear", "relu") for kind, *_ in self.layers)


class Peer(NamedTuple):
    """A library to compare with: the package that must import, the worker that drives it, its names for layouts."""

    package: str
    install: str
    worker: str
    layouts: tuple[str, ...] = ("",)
    dense_only: bool = False


WORKLOADS = {
    w.name: w
    for w in [
        Workload("softmax", (784,), 10, [("linear", 784, 10)], (1, 64, 512)),
        Workload("mlp", (784,), 10, [("linear", 784, 128), ("relu",), ("linear", 128, 10)], (1, 64, 512)),
        Workload(
            "lenet5",
            (28, 28, 1),
            10,
            [
                *[("conv", 1, 6, 5, 2), ("relu",), ("pool", 2)],
                *[("conv", 6, 16, 5, 0), ("relu",), ("pool", 2), ("flatten",)],
                *[("linear", 400, 120), ("relu",), ("linear", 120, 84), ("relu",), ("linear", 84, 10)],
            ],
            (1, 64, 128),
        ),
        Workload(
            "cnn",
            (28, 28, 1),
            10,
            [
                *[("conv", 1, 32, 3, 1), ("relu",), ("pool", 2)],
                *[("conv", 32, 64, 3, 1), ("relu",), ("pool", 2), ("flatten",)],
                *[("linear", 3136, 128), ("relu",), ("linear", 128, 10)],
            ],
            (64, 128),
        ),
    ]
}

XPNET = Peer("xpnet", "pip install .", "xpnet_steps.py")
PEERS = {
    "torch": Peer("torch", "pip install torch", "torch_steps.py", ("channels first", "channels last")),
    "jax": Peer("jax", "pip install jax", "jax_steps.py"),
    "sklearn": Peer("sklearn", "pip install scikit-learn", "sklearn_steps.py", dense_only=True),
}

# The least ratio peer time / xpnet time to reach, by (workload, batch, peer).
RATIO_TARGETS = {
    ("softmax", 1, "torch"): 2.0,
    ("softmax", 64, "torch"): 2.0,
    ("mlp", 1, "torch"): 1.2,
    ("mlp", 64, "torch"): 1.2,
    ("lenet5", 128, "torch"): 0.4,
}

# Where xpnet's peak memory is to be no more than the peer's.
MEMORY_TARGETS = {("lenet5", 128, "torch")}

# So small that the model hardly moves: a batch learned by heart would leave gradients of zero and momenta that decay
# into denormal numbers, which are slow on some processors and flushed by some libraries.
LEARNING_RATE = 1e-5
MOMENTUM = 0.9
