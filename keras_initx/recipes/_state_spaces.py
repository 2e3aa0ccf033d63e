"""A recipe for state spaces, which are layers inside other networks."""

import math

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._biases import DecayRate, TimeStepBias
from keras_initx.recipes._frameworks import torch_kernel
from keras_initx.recipes._parts import Doubt, Part, Roles
from keras_initx.recipes._recipe import Computed, Recipe, RoleTable
from keras_initx.recipes._weight_rules import Left


def _state_space(source: str) -> RoleTable:
    """Return rules for the decay, the time step and the skip of state-space layers.

    The recipe finds weights with the names `A_log`, `dt_bias` and `D`, and weights in attributes
    with these names. All other recipes leave these weights, so put this recipe in a list with the
    other one: `["state_space", "llama"]`. It draws in float32. Code that draws rates in 16 bits
    sometimes gets a rate of 0, whose logarithm is not finite.

    If an `A_log` has several states for each channel, as in Mamba and S4D-real, its `n` states get
    `log(1)` to `log(n)`, with any source. Then the time step is the bias of the layer `dt_proj`,
    found by the name of the layer or by the attribute that holds it. If the recipe finds an `A_log`
    without a time step, it raises an error: use one of these names, or write a rule for the `A_log`
    and one for the time step, `{"mixer/step": "initx.time_step_bias"}`.

    Example:
        >>> from keras_initx import recipes
        >>> class Mixer(keras.Layer):
        ...     def build(self, shape):
        ...         self.decay = self.add_weight(shape=(shape[-1],), name="A_log")
        ...         self.step = self.add_weight(shape=(shape[-1],), name="dt_bias")
        ...     def call(self, x):
        ...         return x * keras.ops.exp(-keras.ops.exp(self.decay) * self.step)
        >>> recipes.state_space(keras.Sequential([keras.Input((6, 4)), Mixer(name="mixer")]))
        mixer/A_log: DecayRate()
        mixer/dt_bias: TimeStepBias()

    Reference:
        Dao and Gu, "Transformers are SSMs: generalized models and efficient algorithms through
        structured state space duality", ICML 2024. Yang, Kautz and Hatamizadeh, "Gated delta
        networks: improving Mamba2 with delta rule", ICLR 2025. Gu and Dao, "Mamba: linear-time
        sequence modeling with selective state spaces", 2023, section 3.6, by its code, `Mamba` in
        `mamba_simple.py`.
    """
    drawn = DecayRate() if source == "mamba2" else DecayRate(0.0)

    def of_decay(part: Part, roles: Roles) -> InitializerLike | Left:
        *channels, states = part.weight.shape
        if not channels:
            return drawn
        if len(channels) > 1:
            return Left("the recipe knows no decay of so many axes")
        return keras.initializers.Constant([math.log(state + 1) for state in range(states)])

    decay = Computed(
        f"`{drawn!r}`; of `n` states for each channel `log(1)` to `log(n)`",
        of_decay,
        needs=(Doubt.TIME_STEP,),
    )
    if source == "mamba2":
        kernel = torch_kernel()  # U(-1 / sqrt(n), 1 / sqrt(n)) for the rank `n` of the time step
        return {"A_log": decay, "dt_bias": TimeStepBias(), "dt kernel": kernel, "D": "ones"}
    step = TimeStepBias() if source == "gated_delta" else "ones"
    return {"A_log": decay, "dt_bias": step}


state_space: Recipe = Recipe(
    "state_space",
    table=_state_space,
    kind="a network with state-space or gated delta layers, which have a weight `A_log`",
    sources={
        "mamba2": "Dao and Gu, 2024, by their code",
        "gated_delta": "Yang, Kautz and Hatamizadeh, 2024, by their code",
        "qwen3_next": "Qwen 3-Next and 3.5, by the code of transformers",
    },
    needs=("A_log",),
)
