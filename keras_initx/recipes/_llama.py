"""Recipes for decoders with gated feed-forward networks: Llama, its successors, and Gemma."""

from typing import Literal

import keras

from keras_initx.initializers import RandomNormal
from keras_initx.recipes._blocks import matched
from keras_initx.recipes._clip import NAMES_OF_CLIP
from keras_initx.recipes._network import Network
from keras_initx.recipes._recipe import Recipe, recipe

__all__ = ["gemma", "llama"]

# Names in KerasHub.
_NAMES = ("*/feedforward_gate_dense/kernel", "*/expert_feedforward_gate_dense")


def _is_llama(network: Network) -> bool:
    # There may be an encoder of images with the names of CLIP, for which there are no rules.
    return network.has(*_NAMES) and not network.has(*NAMES_OF_CLIP)


@recipe(
    kind="a decoder with gated feed-forward networks, and with scales of normalizations that are 1 "
    "at the start, as in Llama, Mistral, Mixtral, Phi 3 and Qwen",
    sources="Hugging Face's transformers: every kernel and embedding 0.02",
    marks=_is_llama,
)
def llama(model: keras.Model) -> Recipe:
    """Return the rules of Llama: all kernels and embeddings from `N(0, 0.02²)`, biases 0.

    Neither the papers nor the published code of Llama and Mistral say how their weights were
    initialized. The rules are those of Hugging Face's transformers for Llama, Mistral, Mixtral,
    Phi 3 and Qwen. In a mixture of experts the router and the experts get them too.

    Args:
        model: A built model with the names of KerasHub.

    Example:
        >>> from keras_initx import recipes
        >>> gate = keras.layers.Dense(8, name="feedforward_gate_dense")
        >>> block = keras.Sequential([gate], name="transformer_layer_0")
        >>> recipes.llama(keras.Sequential([keras.Input((4,)), block]))
        {'*kernel': RandomNormal(stddev=0.02), '*bias': 'zeros'}

    Reference:
        Touvron and others, "LLaMA: open and efficient foundation language models",
        arXiv:2302.13971, 2023, by `LlamaPreTrainedModel` of Hugging Face's transformers.
    """
    # The kernels of experts may have no layers of their own.
    drawn = ("*kernel", "*/expert_feedforward_*", "*embeddings")
    rules: Recipe = dict.fromkeys(drawn, RandomNormal(stddev=0.02))
    rules["*bias"] = "zeros"
    return rules


@recipe(
    kind="a Gemma, with scales of normalizations that are 0 at the start, to which it adds 1",
    sources={
        "gemma": "Gemma team, 2024, by its code: kernels and embeddings 0.01",
        "transformers": "Hugging Face's transformers: 0.02",
    },
    marks=("*decoder_block_*/ffw_gating/kernel",),
)
def gemma(model: keras.Model, *, source: Literal["gemma", "transformers"] = "gemma") -> Recipe:
    """Return the rules of Gemma: kernels of the blocks and token embeddings from `N(0, 0.01²)`.

    They are those of the authors' code, for all layers the default of its library. Hugging Face's
    transformers have 0.02: `source="transformers"`. Gemma adds 1 to the scales of its
    normalizations; they are left to their layers, and so is an encoder of images. As there, the
    model must multiply the embeddings by `sqrt(d)` at lookup, where `d` is their size; those of
    KerasHub do.

    Args:
        model: A built model with the layer names of KerasHub's `GemmaBackbone`.
        source: Whose numbers: `"gemma"` or `"transformers"`.

    Example:
        >>> from keras_initx import recipes
        >>> embedding = keras.layers.Embedding(50, 8, name="token_embedding")
        >>> gating = keras.layers.Dense(16, name="ffw_gating")
        >>> block = keras.Sequential([gating], name="decoder_block_0")
        >>> list(recipes.gemma(keras.Sequential([keras.Input((6,)), embedding, block])))
        ['*decoder_block_*kernel', '*token_embedding/embeddings']

    Reference:
        Gemma team, "Gemma: open models based on Gemini research and technology", arXiv:2403.08295,
        2024, by its code. `GemmaPreTrainedModel` in Hugging Face's transformers.
    """
    drawn = RandomNormal(stddev=0.01 if source == "gemma" else 0.02)
    tokens = "*token_embedding/embeddings"
    matched("model", model, tokens)
    return dict.fromkeys(("*decoder_block_*kernel", tokens), drawn)
