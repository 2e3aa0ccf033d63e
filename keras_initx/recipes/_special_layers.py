"""Recipes for layers that are parts of other networks: state spaces, and the factors of LoRA."""

import math

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._biases import DecayRate, TimeStepBias
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.initializers._variance_named import HeUniform
from keras_initx.recipes._features import Feature
from keras_initx.recipes._parts import Part, Roles
from keras_initx.recipes._recipe import KEPT, Computed, Recipe, RoleTable
from keras_initx.recipes._weight_rules import Left


def _state_space(source: str) -> RoleTable:
    """Return rules for the decay, the time step and the skip of state-space layers.

    These weights have the names `A_log`, `dt_bias` and `D`. Their numbers are drawn in float32:
    code that draws rates in 16 bits gets 0 now and then, whose logarithm is not finite. All other
    recipes leave these weights, so put this one beside theirs: `["state_space", "llama"]`.

    An `A_log` of several states for each channel, as in Mamba and S4D-real, gets `log(1)` to
    `log(n)` for its `n` states, whatever the source; then the time step is the bias of the layer
    `dt_proj`.

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

    decay = Computed(f"`{drawn!r}`; of `n` states for each channel `log(1)` to `log(n)`", of_decay)
    if source == "mamba2":
        return {"A_log": decay, "dt_bias": TimeStepBias(), "D": "ones"}
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


def _lora(source: str) -> RoleTable:
    """Return rules for the factors of LoRA, which leave all other weights as they are.

    A layer computes with `W + s A B`. `B` starts at zero, so that at first nothing changes, and `A`
    does not: of two zeros neither ever gets a gradient, and with two random factors the model is
    not the pretrained one.

    Of a table that is looked up, as of tokens, loralib and PEFT start the other one at zero: `A`,
    of which a row is taken. Keras draws `A` there with the number of tokens for its inputs; the
    rules leave what it has drawn.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="dense")])
        >>> model.layers[0].enable_lora(2)
        >>> recipes.lora(model, source="keras")
        dense/kernel: left (the recipe keeps all others)
        dense/bias: left (the recipe keeps all others)
        dense/lora_kernel_a: HeUniform()
        dense/lora_kernel_b: zeros

    Reference:
        Hu and others, "LoRA: low-rank adaptation of large language models", ICLR 2022, by its code:
        `reset_parameters` of `Linear` and `Embedding` in `loralib/layers.py`. The same by
        `reset_lora_parameters` in `peft/tuners/lora/layer.py` of Hugging Face's PEFT.
    """
    a = HeUniform() if source == "keras" else VarianceScaling(1 / 3, "fan_in", "uniform")
    rules: RoleTable = {"LoRA A": a, "LoRA B": "zeros", "others": KEPT}
    if source == "keras":
        kept = Left("Keras draws it with the number of tokens for its inputs")
        of_table = Computed("left, its values stay", lambda part, roles: kept)
        return {**rules, "LoRA A of a table": of_table, "LoRA B of a table": "zeros"}
    return {**rules, "LoRA A of a table": "zeros", "LoRA B of a table": RandomNormal(stddev=1.0)}


lora: Recipe = Recipe(
    "lora",
    table=_lora,
    kind="a model with adapters: call `enable_lora(rank)` of its layers first",
    sources={
        "loralib": "Hu and others, 2021, by their code; also Hugging Face's PEFT",
        "keras": "`enable_lora` of Keras",
    },
    needs=(Feature.ADAPTERS,),
)
