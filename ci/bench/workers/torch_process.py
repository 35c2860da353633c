"""LeNet-5 to an accuracy on MNIST with PyTorch, in one process; see suites.process.

The fast plain way: the files read whole, pixels kept as bytes, a batch gathered by a shuffled index and normalized, no
DataLoader. First weights are normal, of variance 2 / fan-in, biases and scores begin at 0, as in xpnet's LeNet-5.
"""

import gzip
from pathlib import Path
from typing import Any

import torch
from serve import peak_mb
from torch import nn
from torch_steps import network

MEAN, STD = 0.1307, 0.3081


def read(folder: str, name: str, offset: int) -> torch.Tensor:
    """The bytes of an IDX file after its header."""
    path = Path(folder) / name
    raw = path.read_bytes() if path.is_file() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
    return torch.frombuffer(bytearray(memoryview(raw)[offset:]), dtype=torch.uint8)


def lenet5(layers: list[Any]) -> nn.Sequential:
    """Build LeNet-5 with xpnet's distribution of first weights."""
    model = network(layers)
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    nn.init.zeros_(model[-1].weight)
    return model


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Train until the accuracy is reached or the steps are done."""
    torch.manual_seed(request["seed"])
    folder, step = request["folder"], 0
    images = read(folder, "train-images-idx3-ubyte", 16).view(-1, 1, 28, 28)
    labels = read(folder, "train-labels-idx1-ubyte", 8).long()
    test = read(folder, "t10k-images-idx3-ubyte", 16).view(-1, 1, 28, 28).float().div_(255).sub_(MEAN).div_(STD)
    truth = read(folder, "t10k-labels-idx1-ubyte", 8).long()
    model, loss_of = lenet5(request["layers"]), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    while True:
        for rows in torch.randperm(len(images)).split(request["batch"]):
            x = images[rows].float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
            optimizer.zero_grad()
            loss_of(model(x), labels[rows]).backward()
            optimizer.step()
            step += 1
            if step % request["every"] == 0:
                with torch.inference_mode():
                    found = torch.cat([model(part).argmax(1) for part in test.split(1000)])
                accuracy = (found == truth).sum().item() / len(truth)
                if accuracy >= request["accuracy"] or step >= request["steps"]:
                    return {"steps": step, "accuracy": accuracy, "mb": peak_mb()}
