"""PyTorch's training step: eager, captured as one CUDA graph, or compiled; images channels first or channels last.

A request may say task: "inference", which is model.eval() under inference_mode.

Where a precision is asked for it is set outright, for PyTorch's defaults differ from layer to layer: fp32 allows TF32
nowhere, tf32 allows it in products and in convolutions, fp16 is torch.autocast with a GradScaler.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from serve import Job, batch_of, serve

WARM = 4  # steps before a capture: lazy tables, cuDNN's choice of algorithms, the scaler's scale


def build(request: dict[str, Any]) -> Job:
    """Build the model with torch.nn, torch.optim.SGD and CrossEntropyLoss, each as it comes."""
    torch.manual_seed(0)
    device, mode, precision = torch.device(request["device"]), request.get("mode", "eager"), request.get("precision")
    if mode != "eager" and device.type != "cuda":
        raise ValueError(f"a {mode} step needs a GPU, got device {device}")
    if precision:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
        torch.backends.cudnn.benchmark = (
            device.type == "cuda"
        )  # the batch is always the same: let cuDNN choose by trying
    images, labels = batch_of(request)
    model = torch.nn.Sequential(*[_module(*layer) for layer in request["layers"]]).to(device)
    x, y = torch.asarray(images, device=device), torch.asarray(labels, device=device)
    if x.ndim == 4:
        form = torch.channels_last if request["layout"] == "channels last" else torch.contiguous_format
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=form)  # (N, C, H, W), however it lies in memory
        model = model.to(memory_format=form)
    if request.get("task") == "inference":
        step = _forward(model, x)
    else:
        step = _step(model, x, y, request["lr"], request["momentum"], mode, precision)
    if device.type == "cuda":
        step()  # cuDNN's trials hold memory that no later step does
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    count = sum(p.numel() for p in model.parameters())
    # item() waits for the device; a loss is its own mean
    return Job(torch.__version__, count, step, lambda y: y.mean().item(), _peak if device.type == "cuda" else None)


def _forward(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    model.eval()
    return torch.inference_mode()(lambda: model(x))


def _step(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    lr: float,
    momentum: float,
    mode: str,
    precision: str | None,
) -> Callable[[], torch.Tensor]:
    """Make the function that trains once, in a mode."""
    half, loss_of = precision == "fp16", torch.nn.CrossEntropyLoss()
    fused = {"fused": True} if mode != "eager" else {}  # one launch, and with a scaler no waiting
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, **fused)
    scaler = torch.amp.GradScaler(x.device.type, enabled=half)
    model.train()

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

    if mode != "captured":
        return step
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

    kept = step  # the graph reads and writes the memory of all that a step holds

    def replay() -> torch.Tensor:
        _ = kept
        graph.replay()
        return loss

    return replay


def _peak() -> float:
    return torch.cuda.max_memory_reserved() / 2**20  # what its pools held, as xpnet's figure is of CuPy's


class _Residual(torch.nn.Module):
    def __init__(self, body: list[Any], shortcut: list[Any]) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(*[_module(*layer) for layer in body])
        self.shortcut = torch.nn.Sequential(*[_module(*layer) for layer in shortcut])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


def _module(kind: str, *given: Any) -> torch.nn.Module:
    match kind:
        case "linear":
            return torch.nn.Linear(given[0], given[1])
        case "conv":
            channels, filters, kernel, padding, stride, groups, bias = (*given, *(1, 1, 1)[len(given) - 4 :])
            return torch.nn.Conv2d(channels, filters, kernel, stride, padding, groups=groups, bias=bool(bias))
        case "relu":
            return torch.nn.ReLU()
        case "pool":
            return torch.nn.MaxPool2d(*given)
        case "flatten":
            return torch.nn.Flatten()
        case "lrn":
            size, alpha, beta, k = given
            return torch.nn.LocalResponseNorm(size, size * alpha, beta, k)  # which divides alpha by size
        case "dropout":
            return torch.nn.Dropout(given[0])
        case "norm":
            return torch.nn.BatchNorm2d(given[0])
        case "average":
            return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        case "residual":
            return _Residual(*given)
    raise ValueError(f"no such layer: {kind}")


if __name__ == "__main__":
    serve(build)
