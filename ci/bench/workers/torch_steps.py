"""PyTorch's training step: eager, float32, its own number of threads, images channels first or channels last."""

from __future__ import annotations

from typing import Any

import torch
from serve import Job, batch_of, serve


def build(request: dict[str, Any]) -> Job:
    """Build the model with torch.nn, torch.optim.SGD and CrossEntropyLoss, each as it comes."""
    torch.manual_seed(0)
    device = torch.device(request["device"])
    images, labels = batch_of(request)
    model = torch.nn.Sequential(*[_module(*layer) for layer in request["layers"]]).to(device)
    x, y = torch.asarray(images, device=device), torch.asarray(labels, device=device)
    if x.ndim == 4:
        form = torch.channels_last if request["layout"] == "channels last" else torch.contiguous_format
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=form)  # (N, C, H, W), however it lies in memory
        model = model.to(memory_format=form)
    loss_of = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    model.train()

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    # item() waits for the loss's device.
    return Job(torch.__version__, sum(p.numel() for p in model.parameters()), step, lambda loss: loss.item())


def _module(kind: str, *sizes: int) -> torch.nn.Module:
    match kind:
        case "linear":
            return torch.nn.Linear(sizes[0], sizes[1])
        case "conv":
            channels, filters, kernel, padding = sizes
            return torch.nn.Conv2d(channels, filters, kernel, padding=padding)
        case "relu":
            return torch.nn.ReLU()
        case "pool":
            return torch.nn.MaxPool2d(sizes[0])
        case "flatten":
            return torch.nn.Flatten()
    raise ValueError(f"no such layer: {kind}")


if __name__ == "__main__":
    serve(build)
