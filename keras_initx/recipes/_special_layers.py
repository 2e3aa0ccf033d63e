"""Recipes for layers that are parts of other networks: state spaces, and the factors of LoRA."""

from keras_initx.initializers._biases import DecayRate, TimeStepBias
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.initializers._variance_named import HeUniform
from keras_initx.recipes._recipe import KEPT, Recipe, RoleTable


def _state_space(source: str) -> RoleTable:
    """Return rules for the decay, the time step and the skip of state-space layers.

    These weights have the names `A_log`, `dt_bias` and `D`. Their numbers are drawn in float32:
    code that draws rates in 16 bits gets 0 now and then, whose logarithm is not finite. All other
    recipes leave these weights, so put this one beside theirs: `["state_space", "llama"]`.

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
        networks: improving Mamba2 with delta rule", ICLR 2025.
    """
    if source == "mamba2":
        return {"A_log": DecayRate(), "dt_bias": TimeStepBias(), "D": "ones"}
    step = TimeStepBias() if source == "gated_delta" else "ones"
    return {"A_log": DecayRate(0.0), "dt_bias": step}


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
        Hu and others, "LoRA: low-rank adaptation of large language models", ICLR 2022.
    """
    a = HeUniform() if source == "keras" else VarianceScaling(1 / 3, "fan_in", "uniform")
    return {"LoRA A": a, "LoRA B": "zeros", "others": KEPT}


lora: Recipe = Recipe(
    "lora",
    table=_lora,
    kind="a model with adapters: call `enable_lora(rank)` of its layers first",
    sources={
        "loralib": "Hu and others, 2021, by their code; also Hugging Face's PEFT",
        "keras": "`enable_lora` of Keras",
    },
    needs=("LoRA A", "LoRA B"),
)
