"""The optimizers: their arguments, their state, and which rule they follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from xpnet.arguments import Check, boolean, not_negative, probability, shown
from xpnet.errors import ConfigError, nearest
from xpnet.optim.optimizer import Optimizer
from xpnet.optim.schedules import Rate

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "AdamW", "RMSprop", "make_optimizer"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum or Nesterov's momentum; see sgd_rule for the equation.

        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        optimizer.step(backward(loss))

    Args:
        parameters, lr, options: see Optimizer.
        momentum: how much of the last step's velocity stays, 0 <= momentum < 1.
        nesterov: take the gradient where the velocity leads; needs momentum > 0.
    Cost: no state without momentum, else one array.
    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum" (2013), as PyTorch
        writes it: the learning rate is outside the velocity.
    """

    formula, constants = "sgd", ("momentum", "nesterov")
    checks: ClassVar[dict[str, Check]] = Optimizer.checks | {"momentum": probability, "nesterov": boolean}

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: Rate = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        super().__init__(parameters, lr, **options)

    def check(self) -> None:
        """Raise ConfigError where settings exclude each other."""
        super().check()
        if self.nesterov and not self.momentum:
            raise ConfigError("SGD", "momentum > 0 with nesterov=True", momentum=self.momentum)

    @property
    def state_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()


class RMSprop(Optimizer):
    """Steps divided by the root of the decaying mean square of the gradient; see rmsprop_rule for the equation.

        optimizer = RMSprop(model.parameters(), lr=1e-3)
        optimizer.step(backward(loss))

    Args:
        parameters, lr, options: see Optimizer.
        rho: how much of the mean square stays, 0 <= rho < 1 (PyTorch calls it alpha and starts from 0.99).
        eps: added to the root, >= 0.
        momentum: how much of the last step's velocity stays, 0 <= momentum < 1.
    Cost: one array of state; two with momentum.
    Source: Tieleman and Hinton, "Neural networks for machine learning", lecture 6.5 (2012).
    """

    formula, constants = "rmsprop", ("rho", "eps", "momentum")
    checks: ClassVar[dict[str, Check]] = Optimizer.checks | {
        "rho": probability,
        "eps": not_negative,
        "momentum": probability,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: Rate = 1e-3,
        *,
        rho: float = 0.9,
        eps: float = 1e-8,
        momentum: float = 0.0,
        **options: Any,
    ) -> None:
        self.rho = rho
        self.eps = eps
        self.momentum = momentum
        super().__init__(parameters, lr, **options)

    @property
    def state_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The mean square, and the velocity where there is momentum."""
        return ("square_mean", "velocity") if self.momentum else ("square_mean",)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients; see adagrad_rule for the equation.

        optimizer = Adagrad(model.parameters(), lr=0.01)
        optimizer.step(backward(loss))

    Args:
        parameters, lr, options: see Optimizer.
        eps: added to the root, >= 0.
    Cost: one array of state.
    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization"
        (2011), figure 1, the diagonal form.
    """

    formula, constants = "adagrad", ("eps",)
    checks: ClassVar[dict[str, Check]] = Optimizer.checks | {"eps": not_negative}
    state_names = ("square_sum",)

    def __init__(self, parameters: Iterable[Any], lr: Rate = 0.01, *, eps: float = 1e-10, **options: Any) -> None:
        self.eps = eps
        super().__init__(parameters, lr, **options)


class Adam(Optimizer):
    """Steps along the mean gradient divided by its root mean square; see adam_rule for the equation.

        optimizer = Adam(model.parameters(), lr=1e-3)
        optimizer.step(backward(loss))

    Args:
        parameters, lr, options: see Optimizer.
        beta1, beta2: how much of the mean, and of the mean square, stays; each 0 <= beta < 1.
        eps: added to the root, >= 0.
    Cost: two arrays of state.
    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.
    """

    formula, constants = "adam", ("beta1", "beta2", "eps")
    checks: ClassVar[dict[str, Check]] = Optimizer.checks | {
        "beta1": probability,
        "beta2": probability,
        "eps": not_negative,
    }
    state_names = ("first_moment", "second_moment")

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: Rate = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        **options: Any,
    ) -> None:
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        super().__init__(parameters, lr, **options)


class AdamW(Adam):
    """Adam with weight decay taken off the parameter, not added to the gradient.

        p = p * (1 - lr * weight_decay)

    and then Adam's update.

    Args: as Adam's; weight_decay is 0.01 unless given.
    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2.
    """

    decoupled_decay = True

    def __init__(
        self, parameters: Iterable[Any], lr: Rate = 1e-3, *, weight_decay: float = 0.01, **options: Any
    ) -> None:
        super().__init__(parameters, lr, weight_decay=weight_decay, **options)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, lr=0.1),
    "momentum": partial(SGD, lr=0.05, momentum=0.9),
    "nesterov": partial(SGD, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": partial(RMSprop, lr=1e-3),
    "adagrad": partial(Adagrad, lr=1e-2),
    "adam": partial(Adam, lr=1e-3),
    "adamw": partial(AdamW, lr=1e-3),
}


def make_optimizer(name: str, parameters: Iterable[Any], lr: Rate | None = None, **options: Any) -> Optimizer:
    """Make an optimizer by its name.

    Args:
        name: one of OPTIMIZERS.
        parameters: what to train.
        lr: a rate or a schedule; None: the default that goes with the name.
        options: see the optimizer.
    Raises:
        ConfigError: no optimizer of that name, or an argument outside its range.
    """
    if not isinstance(name, str) or name not in OPTIMIZERS:
        hint = nearest(str(name), OPTIMIZERS)
        raise ConfigError("make_optimizer", "the name of an optimizer", hint, optimizer=shown(name))
    if lr is not None:
        options["lr"] = lr
    return OPTIMIZERS[name](parameters, **options)
