"""Reverse-mode differentiation: tensors, the ops applied to them, and the backward pass."""

from xpnet.autograd.gradcheck import gradcheck
from xpnet.autograd.observing import Observer, observe_ops
from xpnet.autograd.tensor import Node, Tensor, apply, backward, has_tape, no_grad

__all__ = ["Node", "Observer", "Tensor", "apply", "backward", "gradcheck", "has_tape", "no_grad", "observe_ops"]
