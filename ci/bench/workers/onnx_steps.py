"""ONNX Runtime's inference of the model that PyTorch's worker builds, images channels first."""

import io
from typing import Any

import onnxruntime
import torch
from serve import Job, batch_of, repeated
from torch_steps import network


def build(request: dict[str, Any]) -> Job:
    """Export the model from PyTorch and open it with ONNX Runtime's own defaults."""
    x = torch.from_numpy(batch_of(request)[0])
    x = x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
    model, file = network(request["layers"]).eval(), io.BytesIO()
    torch.onnx.export(model, (x,), file, input_names=["x"], dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    given, count = {"x": x.numpy()}, sum(p.numel() for p in model.parameters())
    return repeated(count, lambda: session.run(None, given)[0], lambda y: float(y.mean()))
