"""PyTorch's training step: eager, captured as one CUDA graph, or compiled; or model.eval() under inference_mode.

The precision is set outright, for PyTorch's defaults differ from layer to layer: fp32 allows TF32 nowhere, tf32 allows
it in products and in convolutions, fp16 is torch.autocast with a GradScaler.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from serve import Job, batch_of, repeated
from torch import nn

WARM = 4  # steps before a capture: lazy tables, cuDNN's choice of algorithms, the scaler's scale


def build(request: dict[str, Any]) -> Job:
    """Build the model with torch.nn, torch.optim.SGD and CrossEntropyLoss, each as it comes."""
    torch.manual_seed(0)
    device, precision = torch.device(request["device"]), request.get("precision", "fp32")
    cuda, mode = device.type == "cuda", request.get("mode", "eager")
    if mode != "eager" and not cuda:
        raise ValueError(f"a {mode} step needs a GPU, got device {device}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = cuda  # the batch is always the same: let cuDNN choose by trying
    images, labels = batch_of(request)
    model = network(request["layers"]).to(device)
    x, y = torch.asarray(images, device=device), torch.asarray(labels, device=device)
    if x.ndim == 4:
        form = torch.channels_last if request.get("layout") == "channels last" else torch.contiguous_format
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=form)  # (N, C, H, W), however it lies in memory
        model = model.to(memory_format=form)
    if request["task"] == "inference":
        model.eval()
        step = torch.inference_mode()(lambda: model(x))
    else:
        rate, fused = (request["lr"], request["momentum"]), mode != "eager"  # one launch, no waiting with a scaler
        optimizer = torch.optim.SGD(model.parameters(), *rate, fused=fused or None)
        step = training(model, optimizer, x, y, mode, half=precision == "fp16")
    peak = None
    if cuda:
        step()  # cuDNN's trials hold memory that no later step does
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        peak = lambda: torch.cuda.max_memory_reserved() / 2**20  # noqa: E731  (what its pools held, as xpnet's figure)
    count = sum(p.numel() for p in model.parameters())
    return repeated(count, step, lambda y: y.mean().item(), peak)  # item() waits for the device


def training(
    model: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor, mode: str, half: bool
) -> Callable[[], torch.Tensor]:
    """Make the function that trains once, in a mode."""
    loss_of, scaler = nn.CrossEntropyLoss(), torch.amp.GradScaler(x.device.type, enabled=half)

    def forward() -> torch.Tensor:
        # casts of weights may not be kept from one replay to the next
        cast = torch.autocast(x.device.type, torch.float16, cache_enabled=mode == "eager") if half else nullcontext()
        with cast:
            return loss_of(model(x), y)

    compute = forward
    if mode == "compiled":
        for given in (x, y):  # else each replay copies them to where it reads them
            torch._dynamo.mark_static_address(given)
        compute = torch.compile(forward, mode="reduce-overhead")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = compute()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return captured(step, optimizer) if mode == "captured" else step


def captured(step: Callable[[], torch.Tensor], optimizer: Any) -> Callable[[], torch.Tensor]:
    """Record a step as a CUDA graph, and return what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad()
    with torch.cuda.graph(graph):
        loss = step()

    def replay(kept: Any = step) -> torch.Tensor:  # the graph reads and writes the memory of all that a step holds
        graph.replay()
        return loss

    return replay


class Residual(nn.Module):
    """A sum of two branches."""

    def __init__(self, body: list[Any], shortcut: list[Any]) -> None:
        super().__init__()
        self.body, self.shortcut = network(body), network(shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute both branches."""
        return self.body(x) + self.shortcut(x)


def network(layers: list[Any]) -> nn.Sequential:
    """Put the layers of a request together."""
    return nn.Sequential(*[_layer(*layer) for layer in layers])


def _layer(kind: str, *given: Any) -> nn.Module:
    if kind == "conv":
        channels, filters, kernel, padding, stride, groups, bias = given
        return nn.Conv2d(channels, filters, kernel, stride, padding, groups=groups, bias=bool(bias))
    if kind == "lrn":
        size, alpha, beta, k = given
        return nn.LocalResponseNorm(size, size * alpha, beta, k)  # which divides alpha by size
    if kind == "average":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    others = {"linear": nn.Linear, "relu": nn.ReLU, "pool": nn.MaxPool2d, "flatten": nn.Flatten}
    return (others | {"dropout": nn.Dropout, "norm": nn.BatchNorm2d, "residual": Residual})[kind](*given)
