"""What is timed on a GPU: the larger models, the precisions, the peers, and the targets."""

from __future__ import annotations

from typing import NamedTuple

from workloads import WORKLOADS, XPNET, Layer, Peer, Workload


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
    "alexnet": WORKLOADS["alexnet"]._replace(batches=(128,)),
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
    "xpnet-eager": XPNET._replace(mode="eager"),
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
