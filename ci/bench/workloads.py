"""What is timed: the models as plain data, the batches, the peers, and the targets.

A worker builds a model from its list of layers in its own library, so all of them build the same one:

    ("linear", D, M)   ("conv", C, F, K, P): F filters of K x K, P zeros on each side   ("relu",)
    ("pool", K): maximum over K x K, stride K   ("flatten",)

and for the larger models, which are timed on a GPU only:

    ("conv", C, F, K, P, S, G, bias): stride S, G groups, bias 1 or 0   ("pool", K, S, P): stride S, padded by P
    ("lrn", size, alpha, beta, k): the sum is multiplied by alpha, not by alpha / size   ("dropout", rate)
    ("norm", C): batch norm   ("average",): of each channel   ("residual", body, shortcut): two lists of layers
"""

from __future__ import annotations

from typing import Any, NamedTuple

Layer = tuple[Any, ...]


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
    """A library to compare with: the package that must import, the worker that drives it, its names for layouts.

    mode says how it runs a step: "eager", "captured" (one CUDA graph, replayed), "compiled" (by torch.compile).
    """

    package: str
    install: str
    worker: str
    layouts: tuple[str, ...] = ("",)
    dense_only: bool = False
    mode: str = "eager"


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


# On a GPU


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


def resnet18(width: int = 64, classes: int = 1000) -> list[Layer]:
    """ResNet-18's layers for images with 3 channels, as models.resnet18 builds it."""

    def conv(channels: int, filters: int, kernel: int, stride: int) -> list[Layer]:
        return [("conv", channels, filters, kernel, kernel // 2, stride, 1, 0), ("norm", filters)]

    layers: list[Layer] = [*conv(3, width, 7, 2), ("relu",), ("pool", 3, 2, 1)]
    channels = width
    for stage in range(4):
        filters = width << stage
        for stride in (1 if stage == 0 else 2, 1):
            body = [*conv(channels, filters, 3, stride), ("relu",), *conv(filters, filters, 3, 1)]
            shortcut = conv(channels, filters, 1, stride) if stride > 1 or channels != filters else []
            layers += [("residual", body, shortcut), ("relu",)]
            channels = filters
    return [*layers, ("average",), ("linear", channels, classes)]


GPU_WORKLOADS = {
    **{name: WORKLOADS[name] for name in ("mlp", "lenet5", "cnn")},
    "alexnet": Workload("alexnet", (227, 227, 3), 1000, alexnet(), (128,)),
    "resnet18": Workload("resnet18", (224, 224, 3), 1000, resnet18(), (64,)),
}


class Timing(NamedTuple):
    """One row of the GPU's table: a workload, a batch, a precision, and whether cuDNN may be used."""

    name: str
    batch: int
    precision: str
    cudnn: bool = True

    @property
    def label(self) -> str:
        """As --only has it, such as "alexnet-128-tf32-im2col"."""
        return f"{self.name}-{self.batch}-{self.precision}{'' if self.cudnn else '-im2col'}"


GPU_TIMINGS = [
    *[Timing("mlp", 64, "fp32"), Timing("mlp", 512, "fp32")],
    *[Timing("lenet5", 128, "fp32"), Timing("lenet5", 1024, "fp32"), Timing("cnn", 128, "fp32")],
    *[Timing("alexnet", 128, "tf32"), Timing("alexnet", 128, "fp16")],
    *[Timing("resnet18", 64, "tf32"), Timing("resnet18", 64, "fp16")],
    Timing("alexnet", 128, "tf32", cudnn=False),
]

GPU_XPNET = XPNET._replace(mode="captured")
GPU_PEERS = {
    "torch": Peer("torch", "pip install torch", "torch_steps.py", ("channels last",)),
    "torch-captured": Peer("torch", "pip install torch", "torch_steps.py", ("channels last",), mode="captured"),
    "torch-compiled": Peer("torch", "pip install torch", "torch_steps.py", ("channels last",), mode="compiled"),
    "xpnet-eager": XPNET,
}

# The least ratio peer time / xpnet time to reach on an H100, by workload and whether cuDNN may be used: against PyTorch
# eager, and against the faster of captured and compiled.
GPU_TARGETS = {
    ("mlp", True): (6.0, 1.0),
    ("lenet5", True): (5.0, 1.0),
    ("cnn", True): (4.0, 1.0),
    ("alexnet", True): (1.1, 1.0),
    ("resnet18", True): (1.0, 0.95),
    ("alexnet", False): (0.6, None),
}

# How LeNet-5 learns MNIST against the clock: accuracy to reach, in percent, and the seconds of training it may take.
MNIST_GOAL = (99.0, 2.0)
