"""Recipes for layers inside other networks: state spaces, and the factors of LoRA."""

import math

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._biases import DecayRate, TimeStepBias
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._variance_named import HeUniform
from keras_initx.inspection._kernels import knows_axes
from keras_initx.recipes._features import Feature
from keras_initx.recipes._frameworks import torch_kernel
from keras_initx.recipes._parts import Doubt, Part, Roles
from keras_initx.recipes._recipe import KEPT, Computed, Recipe, RoleTable
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


def _axes_of_first(part: Part, roles: Roles) -> list[int] | None:
    """Return the axes of the inputs and of the rank of the first factor in a layer of the user.

    Both factors have an axis of this rank. The rank is the smallest length that both have.
    """
    weight = part.weight
    if len(weight.shape) != 2 or knows_axes(weight.layer):
        return None
    for other in roles.parts:
        if other.role.name == "LoRA B" and other.weight.layer is weight.layer:
            second = other.weight.shape
            ranks = {1} if weight.shape[1] == second[0] else set()
            ranks |= {0} if weight.shape[0] == second[-1] else set()
            if ranks:
                rank = min(ranks, key=lambda axis: weight.shape[axis])
                return [1 - rank, rank]
    return None


def _lora(source: str) -> RoleTable:
    """Return rules for the factors of LoRA, which leave all other weights as they are.

    A layer computes with `W + s A B`. `B` starts at 0, so that at first nothing changes. `A` is
    random: if both were 0, neither would ever get a gradient; if both were random, the model would
    not be the pretrained one.

    In a table that a layer looks up, such as a table of tokens, loralib and PEFT start `A` at 0,
    because a row of `A` is looked up. Keras draws `A` there with the number of tokens as its
    inputs. The rules keep the values that Keras has drawn.

    In layers of your own, call the factors `lora_A` and `lora_B`. They can be weights or dense
    layers. The recipe finds the axis of the inputs from both shapes.

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
    drawn = HeUniform() if source == "keras" else torch_kernel()

    def of_first(part: Part, roles: Roles) -> InitializerLike:
        axes = _axes_of_first(part, roles)
        if axes is None:
            return drawn
        options = {"input_axes": axes[:1], "output_axes": axes[1:]}
        return type(drawn).from_config({**drawn.get_config(), **options})

    first = Computed(f"`{drawn!r}`", of_first)
    rules: RoleTable = {"LoRA A": first, "LoRA B": "zeros", "others": KEPT}
    if source == "keras":
        kept = Left("Keras draws it with the number of tokens for its inputs")
        of_table = Computed("left, its values stay", lambda part, roles: kept)
        return {**rules, "LoRA A of a table": of_table, "LoRA B of a table": "zeros"}
    return {**rules, "LoRA A of a table": "zeros", "LoRA B of a table": RandomNormal(stddev=1.0)}


lora: Recipe = Recipe(
    "lora",
    table=_lora,
    kind="a model with adapters: call `enable_lora(rank)` of its layers first, or have weights "
    "`lora_A` and `lora_B`",
    sources={
        "loralib": "Hu and others, 2021, by their code; also Hugging Face's PEFT",
        "keras": "`enable_lora` of Keras",
    },
    needs=(Feature.ADAPTERS,),
)
