"""What is timed on the processor: the models as plain data, the batches, the peers, and the targets.

A worker builds a model from its list of layers in its own library, so all of them build the same one:

    ("linear", D, M)   ("relu",)   ("flatten",)
    ("conv", C, F, K, P, S, G, bias): F filters of K x K, P zeros on each side; stride S, G groups and bias default to 1
    ("pool", K, S, P): maximum over K x K; stride S defaults to K, padding P to 0
    ("lrn", size, alpha, beta, k): the sum is multiplied by alpha, not by alpha / size   ("dropout", rate)

and for ResNet-18, which is timed on a GPU only:

    ("norm", C): batch norm   ("average",): of each channel   ("residual", body, shortcut): two lists of layers

Dropout is part of AlexNet in every library; each draws its masks in its own way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

Layer = tuple[Any, ...]


class Workload(NamedTuple):
    """A model, the shape of one input (channels last), its classes, and the batches that are timed."""

    name: str
    sample: tuple[int, ...]
    classes: int
    layers: list[Layer]
    batches: tuple[int, ...]  # of training
    inference: tuple[int, ...] = ()

    @property
    def dense(self) -> bool:
        """Whether it holds linear layers only, so that scikit-learn's MLPClassifier can run it."""
        return all(kind in ("linear", "relu") for kind, *_ in self.layers)


class Case(NamedTuple):
    """One row of the table: a workload, a batch, and what is done with it, "training" or "inference"."""

    workload: Workload
    batch: int
    task: str = "training"

    @property
    def key(self) -> tuple[str, int, str]:
        """As targets and results name it."""
        return self.workload.name, self.batch, self.task

    @property
    def label(self) -> str:
        """As --only has it, such as "lenet5-64" or "lenet5-64-inference"."""
        name = f"{self.workload.name}-{self.batch}"
        return name if self.task == "training" else f"{name}-{self.task}"


class Peer(NamedTuple):
    """A library to compare with: the package that must import, the worker that drives it, its names for layouts.

    mode says how it runs a step: "eager", "captured" (one CUDA graph, replayed), "compiled" (by torch.compile), or
    "chosen" (xpnet's, as its Trainer chooses).
    """

    package: str
    install: str
    worker: str
    layouts: tuple[str, ...] = ("",)
    dense_only: bool = False
    mode: str = "eager"

    def runs(self, case: Case) -> bool:
        """Whether it can run a case: scikit-learn trains perceptrons only."""
        return not self.dense_only or (case.workload.dense and case.task == "training")


def alexnet(hidden: int = 4096, classes: int = 1000) -> list[Layer]:
    """AlexNet's layers for images of 227x227x3, as models.alexnet builds it."""
    lrn = ("lrn", 5, 1e-4, 0.75, 2.0)
    return [
        *[("conv", 3, 96, 11, 0, 4), ("relu",), lrn, ("pool", 3, 2)],
        *[("conv", 96, 256, 5, 2, 1, 2), ("relu",), lrn, ("pool", 3, 2)],
        *[("conv", 256, 384, 3, 1), ("relu",)],
        *[("conv", 384, 384, 3, 1, 1, 2), ("relu",)],
        *[("conv", 384, 256, 3, 1, 1, 2), ("relu",), ("pool", 3, 2), ("flatten",)],
        *[("linear", 9216, hidden), ("relu",), ("dropout", 0.5)],
        *[("linear", hidden, hidden), ("relu",), ("dropout", 0.5), ("linear", hidden, classes)],
    ]


def mlp(*sizes: int) -> list[Layer]:
    """Linear layers of these sizes, with ReLU between them."""
    return [layer for pair in pairwise(sizes) for layer in (("linear", *pair), ("relu",))][:-1]


WORKLOADS = {
    w.name: w
    for w in [
        Workload("softmax", (784,), 10, mlp(784, 10), (1, 64)),
        Workload("mlp", (784,), 10, mlp(784, 128, 10), (1, 64, 512)),
        Workload("mlp-1024", (784,), 10, mlp(784, 1024, 1024, 10), (64, 512)),
        Workload(
            "lenet5",
            (28, 28, 1),
            10,
            [
                *[("conv", 1, 6, 5, 2), ("relu",), ("pool", 2)],
                *[("conv", 6, 16, 5, 0), ("relu",), ("pool", 2), ("flatten",)],
                *mlp(400, 120, 84, 10),
            ],
            (1, 64, 128),
            inference=(1, 64),
        ),
        Workload(
            "cnn",
            (28, 28, 1),
            10,
            [
                *[("conv", 1, 32, 3, 1), ("relu",), ("pool", 2)],
                *[("conv", 32, 64, 3, 1), ("relu",), ("pool", 2), ("flatten",)],
                *mlp(3136, 128, 10),
            ],
            (64, 128),
        ),
        Workload("alexnet", (227, 227, 3), 1000, alexnet(), (16,), inference=(1, 16)),
    ]
}
CASES = [Case(w, n) for w in WORKLOADS.values() for n in w.batches]
CASES += [Case(w, n, "inference") for w in WORKLOADS.values() for n in w.inference]

XPNET = Peer("xpnet", "pip install .", "xpnet_steps.py", mode="chosen")
PEERS = {
    "torch": Peer("torch", "pip install torch", "torch_steps.py", ("channels first", "channels last")),
    "jax": Peer("jax", "pip install jax", "jax_steps.py"),
    "sklearn": Peer("sklearn", "pip install scikit-learn", "sklearn_steps.py", dense_only=True),
}
RIVALS = ("torch", "jax")  # of whom the faster is the one to reach

# The least ratio time of the faster rival / time of xpnet, on two cores; memory is to be no more than PyTorch's.
RATIO_TARGETS = {
    ("softmax", 1, "training"): 4.0,
    ("softmax", 64, "training"): 3.0,
    ("mlp", 1, "training"): 1.5,
    ("mlp", 64, "training"): 1.4,
    ("mlp", 512, "training"): 1.1,
    ("mlp-1024", 64, "training"): 1.0,
    ("mlp-1024", 512, "training"): 1.0,
    ("lenet5", 1, "training"): 1.3,
    ("lenet5", 64, "training"): 1.0,
    ("lenet5", 128, "training"): 1.0,
    ("cnn", 64, "training"): 1.0,
    ("cnn", 128, "training"): 1.0,
    ("alexnet", 16, "training"): 1.1,
    ("lenet5", 1, "inference"): 1.0,
    ("lenet5", 64, "inference"): 1.0,
    ("alexnet", 1, "inference"): 1.0,
    ("alexnet", 16, "inference"): 1.0,
}
NUMPY_SHARE = 0.7  # of those, for NumPy alone, without compiled loops
PROCESS_TARGET = 2.0  # from `python` to LeNet-5 at an accuracy on MNIST

# So small that the model hardly moves: a batch learned by heart would leave gradients of zero and momenta that decay
# into denormal numbers, which are slow on some processors and flushed by some libraries.
LEARNING_RATE = 1e-5
MOMENTUM = 0.9
