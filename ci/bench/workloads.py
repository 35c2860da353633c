"""What is timed: the models as plain data, the cases of each suite, the libraries, and the targets.

A worker builds a model from its list of layers in its own library:

    ("linear", D, M)   ("relu",)   ("flatten",)
    ("conv", C, F, K, P, S, G, bias): F filters of K x K, P zeros on each side, stride S, G groups
    ("pool", K, S, P): maximum over K x K
    ("lrn", size, alpha, beta, k): the sum is multiplied by alpha, not by alpha / size   ("dropout", rate)
    ("norm", C): batch norm   ("average",): of each channel   ("residual", body, shortcut): two lists of layers

xpnet builds its own model of that name; the runner compares the numbers of parameters. Dropout is part of AlexNet in
every library; each draws its masks in its own way.
"""

from itertools import pairwise
from typing import Any, NamedTuple

Layer = tuple[Any, ...]


class Workload(NamedTuple):
    """A model: the shape of one input (channels last), classes, layers, batches, and xpnet's name and options of it."""

    sample: tuple[int, ...]
    classes: int
    layers: list[Layer]
    training: tuple[int, ...]
    inference: tuple[int, ...]
    model: str
    options: dict[str, Any]
    without: tuple[str, ...] = ()  # layers of xpnet's model that the peers' models do not have

    @property
    def dense(self) -> bool:
        """Whether all layers are linear, so that scikit-learn's MLPClassifier can run it."""
        return all(kind in ("linear", "relu") for kind, *_ in self.layers)


class Case(NamedTuple):
    """One row of a table. cores: how many every library may use, 0: all. cudnn: whether xpnet may use it."""

    name: str
    batch: int
    task: str = "training"
    precision: str = "fp32"
    cores: int = 0
    cudnn: bool = True

    def names(self, suite: str) -> tuple[str, ...]:
        """The names that select it, the full one first: lenet5-64, lenet5-64-inference, alexnet-128-tf32-im2col."""
        short = f"{self.name}-{self.batch}"
        full = short + ("-inference" if self.task == "inference" else "")
        if suite == "gpu":
            full = f"{short}-{self.precision}{'' if self.cudnn else '-im2col'}"
        return full, self.name, self.task, *([short] if suite == "gpu" else [])


class Library(NamedTuple):
    """A library, or one way to run it: the package to import, the worker script, and options of the request.

    processes: how many mpiexec starts; cores: how many each of them may use, where the case does not say it.
    """

    title: str
    package: str
    worker: str
    options: dict[str, Any] = {}  # noqa: RUF012
    tasks: tuple[str, ...] = ("training", "inference")
    models: str = "all"  # or "dense", "images"
    processes: int = 1
    cores: int = 0

    def runs(self, case: Case) -> bool:
        """Whether it can run a case, and differs there from the library's other ways."""
        kind = "dense" if WORKLOADS[case.name].dense else "images"
        return case.task in self.tasks and self.models in ("all", kind)


def mlp(*sizes: int) -> list[Layer]:
    """Linear layers of these sizes, with ReLU between them."""
    return [layer for pair in pairwise(sizes) for layer in (("linear", *pair), ("relu",))][:-1]


def conv(channels: int, filters: int, kernel: int, padding: int, stride: int = 1, groups: int = 1) -> list[Layer]:
    """A convolution with ReLU."""
    return [("conv", channels, filters, kernel, padding, stride, groups, True), ("relu",)]


def pool(kernel: int, stride: int, padding: int = 0) -> Layer:
    """Max pooling."""
    return ("pool", kernel, stride, padding)


LENET5 = [*conv(1, 6, 5, 2), pool(2, 2), *conv(6, 16, 5, 0), pool(2, 2), ("flatten",), *mlp(400, 120, 84, 10)]
CNN = [*conv(1, 32, 3, 1), pool(2, 2), *conv(32, 64, 3, 1), pool(2, 2), ("flatten",), *mlp(3136, 128, 10)]


def alexnet(hidden: int = 4096, classes: int = 1000) -> list[Layer]:
    """AlexNet's layers for images of 227x227x3, as models.alexnet builds it."""
    lrn, drop = ("lrn", 5, 1e-4, 0.75, 2.0), ("dropout", 0.5)
    return [
        *[*conv(3, 96, 11, 0, 4), lrn, pool(3, 2), *conv(96, 256, 5, 2, 1, 2), lrn, pool(3, 2)],
        *[*conv(256, 384, 3, 1), *conv(384, 384, 3, 1, 1, 2), *conv(384, 256, 3, 1, 1, 2), pool(3, 2), ("flatten",)],
        *[*mlp(9216, hidden), ("relu",), drop, *mlp(hidden, hidden), ("relu",), drop, ("linear", hidden, classes)],
    ]


def resnet18(width: int = 64, classes: int = 1000) -> list[Layer]:
    """ResNet-18's layers for images with 3 channels, as models.resnet18 builds it."""

    def normed(channels: int, filters: int, kernel: int, stride: int) -> list[Layer]:
        return [("conv", channels, filters, kernel, kernel // 2, stride, 1, False), ("norm", filters)]

    layers: list[Layer] = [*normed(3, width, 7, 2), ("relu",), pool(3, 2, 1)]
    channels = width
    for stage in range(4):
        filters = width << stage
        for stride in (1 if stage == 0 else 2, 1):
            body = [*normed(channels, filters, 3, stride), ("relu",), *normed(filters, filters, 3, 1)]
            shortcut = normed(channels, filters, 1, stride) if stride > 1 or channels != filters else []
            layers += [("residual", body, shortcut), ("relu",)]
            channels = filters
    return [*layers, ("average",), ("linear", channels, classes)]


DIGIT, IMAGE = (28, 28, 1), (227, 227, 3)
WORKLOADS = {
    "softmax": Workload((784,), 10, mlp(784, 10), (1, 64), (), "softmax", {}),
    "mlp": Workload((784,), 10, mlp(784, 128, 10), (1, 64, 512), (1, 64), "mlp", {}),
    "mlp-1024": Workload((784,), 10, mlp(784, 1024, 1024, 10), (64, 512), (), "mlp", {"hidden": (1024, 1024)}),
    "lenet5": Workload(DIGIT, 10, LENET5, (1, 64, 128), (1, 64), "lenet5", {}),
    "cnn": Workload(DIGIT, 10, CNN, (64, 128), (64,), "cnn", {}, without=("drop",)),
    "alexnet": Workload(IMAGE, 1000, alexnet(), (16,), (1, 16), "alexnet", {}),
    "resnet18": Workload((224, 224, 3), 1000, resnet18(), (), (), "resnet18", {}),
}
CPU = [
    Case(name, n, task) for task in ("training", "inference") for name, w in WORKLOADS.items() for n in getattr(w, task)
]
QUICK = "softmax-64,mlp-1,mlp-64,lenet5-1,lenet5-64,lenet5-128,cnn-64,alexnet-16,inference"  # for a few quiet minutes
GPU = [
    *[Case("mlp", 64), Case("mlp", 512), Case("lenet5", 128), Case("lenet5", 1024), Case("cnn", 128)],
    *[Case("alexnet", 128, precision=p) for p in ("tf32", "fp16")],
    *[Case("resnet18", 64, precision=p) for p in ("tf32", "fp16")],
    Case("alexnet", 128, precision="tf32", cudnn=False),
]
SHARED = [Case("lenet5", 128), Case("cnn", 128), Case("alexnet", 16)]  # by threads and processes
ALONE = [Case(name, batch) for name in ("alexnet", "resnet18") for batch in (4, 16)]  # for a model of more machines
REDUCED = (60_000, 1_000_000, 60_000_000)  # numbers of a gradient

_LAST = {"layout": "channels last"}
XPNET = Library("xpnet", "xpnet", "xpnet_steps")
LIBRARIES = {
    "xpnet": XPNET,
    "xpnet-numpy": XPNET._replace(title="NumPy alone", options={"fast": False}),
    "baseline": XPNET._replace(title="before"),
    "torch": Library("PyTorch", "torch", "torch_steps"),
    "torch-last": Library("PyTorch", "torch", "torch_steps", _LAST, models="images"),
    "jax": Library("JAX jit", "jax", "jax_steps"),
    "sklearn": Library("scikit-learn", "sklearn", "sklearn_steps", tasks=("training",), models="dense"),
    "onnxruntime": Library("ONNX Runtime", "onnxruntime", "onnx_steps", tasks=("inference",)),
}
GPU_LIBRARIES = {
    "xpnet": XPNET._replace(options={"capture": True}),
    "xpnet-eager": XPNET._replace(title="xpnet, not captured", options={"capture": False}),
    "torch": Library("PyTorch", "torch", "torch_steps", _LAST),
    "torch-captured": Library("PyTorch captured", "torch", "torch_steps", {**_LAST, "mode": "captured"}),
    "torch-compiled": Library("PyTorch compiled", "torch", "torch_steps", {**_LAST, "mode": "compiled"}),
}
SHARDS = 8  # virtual shards of a batch
_SHARDED = {"shards": SHARDS}
DISTRIBUTED = {
    "thread": XPNET._replace(title="1 thread", cores=1),
    "thread-shards": XPNET._replace(title="1 thread, V = 8", cores=1, options=_SHARDED),
    "threads": XPNET._replace(title="2 threads", cores=2),
    "threads-shards": XPNET._replace(title="2 threads, V = 8", cores=2, options=_SHARDED),
    "processes-plain": XPNET._replace(title="2 processes, plain", cores=1, processes=2, options={"shards": 1}),
    "processes": XPNET._replace(title="2 processes, V = 8", cores=1, processes=2, options=_SHARDED),
}
TITLES = {name: library.title for name, library in {**LIBRARIES, **GPU_LIBRARIES, **DISTRIBUTED}.items()}
TITLES |= {"tree": "tree sum", "allreduce": "allreduce", "bound": "np.add in place"}
TITLES |= {"floor": "floor", "beside": "both at once", "published": "LeCun et al. 1998", "pillow": "Pillow"}
TITLES |= {"sklearn": "scikit-learn", "fastapi": "FastAPI, ONNX Runtime"}
RIVALS = ("torch", "torch-last", "jax", "onnxruntime")  # the fastest of them is the peer to reach
PYTORCH = ("torch", "torch-last")  # images channels first and last: the faster counts

# The least ratio time of the fastest rival / time of xpnet, on two cores; 1 where none is given. Memory is to be no
# more than PyTorch's.
TARGETS = {
    ("softmax", 1, "training"): 4.0,
    ("softmax", 64, "training"): 3.0,
    ("mlp", 1, "training"): 1.5,
    ("mlp", 64, "training"): 1.4,
    ("mlp", 512, "training"): 1.1,
    ("lenet5", 1, "training"): 1.3,
    ("alexnet", 16, "training"): 1.1,
}
NUMPY_SHARE = 0.7  # of those, for NumPy alone, without compiled loops
BEFORE_TARGET = 0.97  # time before a change / time after it
PROCESS_TARGET = 2.0  # from `python` to LeNet-5 at an accuracy on MNIST
REDUCTION_TARGET = 1 / 2.5  # the time of np.add, of a reduction by two processes
SHARDS_TARGET = 1 / 1.1  # the time without virtual shards, of the time with them
PROCESSES_TARGET, PROCESSES_FROM = 1.7, 5.0  # of two to one; where a step of one takes so many ms
ESTIMATORS_TARGET = 3.0  # the time of MLPClassifier.fit, of NetClassifier.fit

# On an H100, by workload and whether cuDNN may be used: against PyTorch eager, and the faster of captured and compiled.
GPU_TARGETS = {
    ("mlp", True): (6.0, 1.0),
    ("lenet5", True): (5.0, 1.0),
    ("cnn", True): (4.0, 1.0),
    ("alexnet", True): (1.1, 1.0),
    ("resnet18", True): (1.0, 0.95),
    ("alexnet", False): (0.6, None),
}

# So small that the model hardly moves: after convergence the gradients would vanish and the momenta decay into denormal
# numbers, which are slow on some processors and flushed to zero by some libraries.
LEARNING_RATE, MOMENTUM = 1e-5, 0.9
