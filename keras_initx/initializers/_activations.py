"""Facts about activations: gains, limits, slopes, and the weights that suit them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class ActivationFacts:
    """The known facts about an activation.

    Attributes:
        gain: The factor for the weights before it, `None` if its name is no gain.
        suits: The author whose initialization suits it in a network of few layers.
        keeps_size: Whether a gain keeps signals at one size in depth.
        is_flat: Whether its slope is so small that gradients vanish with any weights.
        opens: True if it is 0 at 0 and has a slope there, so that weights that start at 0 are
            trained. False if it is 0 at 0 and has no slope there. `None` if it is not 0 at 0, or
            not known.
        limits: The lowest and the highest value, `None` if the values have no bounds.
        rising: The function, for arguments that may be infinite, if it never falls.
    """

    gain: float | None = None
    suits: Literal["glorot", "he", "lecun"] = "glorot"
    keeps_size: bool = True
    is_flat: bool = False
    opens: bool | None = None
    limits: tuple[float, float] | None = None
    rising: Callable[[float], float] | None = None


def _clipped(low: float, high: float) -> Callable[[float], float]:
    return lambda value: min(max(value, low), high)


_SILU = ActivationFacts(1.676532, "he", keeps_size=False, opens=True)

# The gains of the first six are those of `torch.nn.init.calculate_gain` (leaky_relu with 0.2, the
# slope of Keras' activation). Its gain for selu is one that others found by trial; the weights of
# self-normalizing networks have a gain of 1. The others preserve the second moment: 1 /
# sqrt(E[f(z)^2]) for z ~ N(0, 1), as sqrt(2) does for relu.
ACTIVATIONS = {
    "linear": ActivationFacts(1.0, rising=float),
    "sigmoid": ActivationFacts(
        1.0,
        is_flat=True,
        limits=(0.0, 1.0),
        rising=lambda value: math.tanh(value / 2) / 2 + 0.5,
    ),
    "tanh": ActivationFacts(5 / 3, opens=True, limits=(-1.0, 1.0), rising=math.tanh),
    "relu": ActivationFacts(math.sqrt(2), "he", opens=False, rising=_clipped(0.0, math.inf)),
    "leaky_relu": ActivationFacts(math.sqrt(2 / (1 + 0.2**2)), "he", opens=True),
    "selu": ActivationFacts(3 / 4, "lecun", opens=True),
    "elu": ActivationFacts(1.245198, "he", opens=True),
    "gelu": ActivationFacts(1.533530, "he", keeps_size=False, opens=True),
    "silu": _SILU,
    "swish": _SILU,
    "celu": ActivationFacts(1.245198, "he", opens=True),
    "hard_silu": ActivationFacts(1.736657, "he", keeps_size=False, opens=True),
    "mish": ActivationFacts(1.486848, "he", keeps_size=False, opens=True),
    "relu6": ActivationFacts(1.414214, "he", opens=False, rising=_clipped(0.0, 6.0)),
    "softplus": ActivationFacts(
        1.041867, "he", rising=lambda value: float(np.logaddexp(value, 0.0))
    ),
    "softsign": ActivationFacts(2.337533, opens=True, limits=(-1.0, 1.0)),
    "prelu": ActivationFacts(suits="he", opens=True),
    "hard_sigmoid": ActivationFacts(
        is_flat=True,
        limits=(0.0, 1.0),
        rising=lambda value: min(max(value / 6 + 0.5, 0.0), 1.0),
    ),
    "hard_tanh": ActivationFacts(opens=True, limits=(-1.0, 1.0), rising=_clipped(-1.0, 1.0)),
    "sparse_sigmoid": ActivationFacts(limits=(0.0, 1.0)),
}
_BY_CLASS = {name.replace("_", ""): facts for name, facts in ACTIVATIONS.items()}
_UNKNOWN = ActivationFacts()


def activation_facts(name: str | None) -> ActivationFacts:
    """Return the facts about an activation, by its name or by the class name of an operation."""
    return _BY_CLASS.get((name or "").replace("_", "").lower(), _UNKNOWN)
